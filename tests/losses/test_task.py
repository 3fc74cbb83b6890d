"""Cross-entropy, worked out by hand."""

import keras
import numpy as np
import pytest

from keras_i2i.losses.task import cross_entropy

LOGITS = np.log([[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]]) + np.array([[3.0], [-2.0]])
LABELS = np.array([2, 1])


def test_value_is_the_negative_log_probability_of_the_label():
    np.testing.assert_allclose(cross_entropy(LABELS, LOGITS), -np.log([0.5, 0.2]), rtol=1e-5)


def test_gradient_is_probability_minus_one_hot(gradients):
    expected = [[0.2, 0.3, 0.5 - 1], [0.7, 0.2 - 1, 0.1]]
    gradient = gradients(lambda logits: cross_entropy(LABELS, logits), LOGITS)[0]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_extreme_logits_do_not_overflow():
    loss = cross_entropy(np.array([0, 1]), np.array([[1e4, -1e4], [1e4, -1e4]]))
    np.testing.assert_allclose(loss, [0.0, 2e4])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("label_dtype", ["uint8", "int32", "int64"])
def test_one_float32_value_per_image(dtype, label_dtype):
    loss = cross_entropy(keras.ops.cast(LABELS, label_dtype), keras.ops.cast(LOGITS, dtype))
    assert tuple(loss.shape) == (2,)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
