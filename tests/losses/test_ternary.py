"""The ternary objective: by hand, its gradients, no overflow."""

import numpy as np
import pytest

from keras_i2i.losses.ternary import ternary_discriminator_loss, ternary_generator_loss

# Probabilities in eighths, one row for each kind, and two images.
TRANSLATED = np.log([[1, 2, 5], [4, 2, 2]])
REBUILT = np.log([[2, 2, 4], [1, 6, 1]])
REAL = np.log([[5, 1, 2], [1, 3, 4]])


def test_values_by_hand():
    np.testing.assert_allclose(
        ternary_discriminator_loss(TRANSLATED, REBUILT, REAL),
        -np.log([1 / 8 * 2 / 8 * 2 / 8, 4 / 8 * 6 / 8 * 4 / 8]),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        ternary_generator_loss(TRANSLATED, REBUILT),
        -np.log([5 / 8 * 4 / 8, 2 / 8 * 1 / 8]),
        rtol=1e-6,
    )


def test_who_knows_nothing_pays_log_three_for_each_answer():
    zeros = np.zeros((2, 3))
    discriminator = ternary_discriminator_loss(zeros, zeros, zeros)
    np.testing.assert_allclose(discriminator, [3 * np.log(3)] * 2, rtol=1e-6)
    np.testing.assert_allclose(ternary_generator_loss(zeros, zeros), [2 * np.log(3)] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "logits", "wanted"),
    [
        (ternary_discriminator_loss, (TRANSLATED, REBUILT, REAL), (0, 1, 2)),
        (ternary_generator_loss, (TRANSLATED, REBUILT), (2, 2)),
    ],
)
def test_the_wanted_answers_logit_rises_the_others_fall(gradients, loss, logits, wanted):
    for gradient, logit, kind in zip(gradients(loss, *logits), logits, wanted, strict=True):
        expected = np.exp(logit) / np.exp(logit).sum(-1, keepdims=True) - np.eye(3)[kind]
        np.testing.assert_allclose(gradient, expected, atol=1e-6)
        signs = np.sign(gradient)
        assert (signs[:, kind] == -1).all() and (np.delete(signs, kind, axis=1) == 1).all()


def test_no_logit_overflows():
    sure = np.array([[1e4, -1e4, 0.0]])
    np.testing.assert_allclose(ternary_discriminator_loss(sure, sure, sure), [3e4], rtol=1e-6)
    np.testing.assert_allclose(ternary_generator_loss(sure, sure), [2e4], rtol=1e-6)


def test_half_precision_is_computed_in_float32():
    zeros = np.zeros((1, 3), "float16")
    assert ternary_generator_loss(zeros, zeros).dtype == "float32"
