"""Objectives: values and gradients worked out by hand from the papers' equations."""

import keras
import numpy as np
import pytest

from keras_i2i import losses
from keras_i2i.errors import InputError
from keras_i2i.losses.adversarial import LogitObjective, Minimax

# Two images, a score map of two patches each.
REAL = np.array([[0.5, 2.0], [-1.0, 3.0]], "float32")
FAKE = np.array([[0.0, 1.0], [2.0, -2.0]], "float32")


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


# objective → discriminator's loss and generator's loss per image, and the gradients by which the
# two players move: dL_D/dreal, dL_D/dfake, dL_G/dfake. Each patch counts one half.
GOLDEN = {
    "least_squares": (
        # ((0.5-1)² + (2-1)²)/2 + (0² + 1²)/2;  ((-1-1)² + (3-1)²)/2 + (2² + (-2)²)/2
        [0.625 + 0.5, 4.0 + 4.0],
        # ((0-1)² + (1-1)²)/2;  ((2-1)² + (-2-1)²)/2
        [0.5, 5.0],
        [[-0.5, 1.0], [-2.0, 2.0]],
        [[0.0, 1.0], [2.0, -2.0]],
        [[-1.0, 0.0], [1.0, -3.0]],
    ),
    "wasserstein": (
        [0.5 - 1.25, 0.0 - 1.0],
        [-0.5, 0.0],
        [[-0.5, -0.5], [-0.5, -0.5]],
        [[0.5, 0.5], [0.5, 0.5]],
        [[-0.5, -0.5], [-0.5, -0.5]],
    ),
    "non_saturating": (
        -np.log(sigmoid(REAL)).mean(1) - np.log(1 - sigmoid(FAKE)).mean(1),
        -np.log(sigmoid(FAKE)).mean(1),
        (sigmoid(REAL) - 1) / 2,
        sigmoid(FAKE) / 2,
        (sigmoid(FAKE) - 1) / 2,
    ),
    "minimax": (
        -np.log(sigmoid(REAL)).mean(1) - np.log(1 - sigmoid(FAKE)).mean(1),
        np.log(1 - sigmoid(FAKE)).mean(1),
        (sigmoid(REAL) - 1) / 2,
        sigmoid(FAKE) / 2,
        -sigmoid(FAKE) / 2,
    ),
}
LOGIT_OBJECTIVES = ("non_saturating", "minimax")


def test_every_objective_has_golden_values():
    assert set(GOLDEN) == set(losses.OBJECTIVES)


@pytest.mark.parametrize("name", losses.OBJECTIVES)
def test_values_follow_the_equation(name):
    objective = losses.get_objective(name)
    expected_d, expected_g, *_ = GOLDEN[name]
    np.testing.assert_allclose(objective.discriminator(REAL, FAKE), expected_d, rtol=1e-6)
    np.testing.assert_allclose(objective.generator(FAKE), expected_g, rtol=1e-6)


@pytest.mark.parametrize("name", losses.OBJECTIVES)
def test_gradients_follow_the_equation(name, gradients):
    objective = losses.get_objective(name)
    *_, d_real, d_fake, g_fake = GOLDEN[name]
    real, fake = gradients(objective.discriminator, REAL, FAKE)
    np.testing.assert_allclose(real, d_real, rtol=1e-5)
    np.testing.assert_allclose(fake, d_fake, rtol=1e-5)
    np.testing.assert_allclose(gradients(objective.generator, FAKE)[0], g_fake, rtol=1e-5)


@pytest.mark.parametrize("name", losses.OBJECTIVES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("shape", [(3, 1), (3, 2, 2, 1), (1, 4, 4, 1)])
def test_one_float32_value_per_image(name, dtype, shape):
    objective = losses.get_objective(name)
    scores = keras.ops.cast(np.linspace(-2, 2, np.prod(shape)).reshape(shape), dtype)
    for loss in (objective.discriminator(scores, scores), objective.generator(scores)):
        assert tuple(loss.shape) == shape[:1]
        assert keras.backend.standardize_dtype(loss.dtype) == "float32"


@pytest.mark.parametrize("name", losses.OBJECTIVES)
def test_a_score_map_counts_as_the_mean_of_its_patches(name):
    objective = losses.get_objective(name)
    maps = np.linspace(-1, 2, 24).reshape(2, 3, 4, 1)
    by_patch = np.stack(
        [objective.generator(maps[:, i, j]) for i in range(3) for j in range(4)]
    ).mean(0)
    np.testing.assert_allclose(objective.generator(maps), by_patch, rtol=1e-5)


def test_half_precision_scores_are_not_averaged_in_half_precision():
    # The mean of 2048 and 2049 squares to a number that float16 cannot hold.
    scores = keras.ops.cast([[300.0, 302.0]], "float16")
    expected = (299.0**2 + 301.0**2) / 2
    np.testing.assert_allclose(losses.LeastSquares().generator(scores), [expected], rtol=1e-6)


def test_a_discriminator_that_knows_nothing_pays_what_the_docstring_says():
    half, zero = np.full((2, 3), 0.5), np.zeros((2, 3))
    np.testing.assert_allclose(losses.LeastSquares().discriminator(half, half), 0.5)
    for name in LOGIT_OBJECTIVES:
        np.testing.assert_allclose(
            losses.get_objective(name).discriminator(zero, zero), 2 * np.log(2), rtol=1e-6
        )
    np.testing.assert_allclose(losses.Wasserstein().discriminator(zero, zero), 0)


@pytest.mark.parametrize(
    ("name", "boundary"),
    [("least_squares", 0.5), ("non_saturating", 0.0), ("minimax", 0.0)],
)
def test_a_discriminator_that_knows_nothing_stays_at_the_boundary(name, boundary, gradients):
    """Scores that are the same for real and fake are pulled there, from either side."""
    objective = losses.get_objective(name)
    assert objective.boundary == boundary

    def pull(score):
        return gradients(lambda s: objective.discriminator(s, s), np.full((1, 2), score))[0]

    np.testing.assert_allclose(pull(boundary), 0, atol=1e-6)
    assert (pull(boundary + 0.1) > 0).all() and (pull(boundary - 0.1) < 0).all()


def test_to_a_critic_only_differences_of_scores_matter(gradients):
    objective = losses.Wasserstein()
    assert objective.boundary is None
    for score in (-1.0, 0.0, 3.0):
        (pull,) = gradients(lambda s: objective.discriminator(s, s), np.full((1, 2), score))
        np.testing.assert_allclose(pull, 0, atol=1e-6)


def test_non_saturating_survives_extreme_logits(gradients):
    extreme = np.array([[-1e4], [1e4]], "float32")
    objective = losses.NonSaturating()
    np.testing.assert_allclose(objective.generator(extreme), [1e4, 0])
    np.testing.assert_allclose(objective.discriminator(extreme, -extreme), [2e4, 0])
    np.testing.assert_allclose(gradients(objective.generator, extreme)[0], [[-1], [0]])
    # It does not saturate: the worst fake gets the full slope.
    real, fake = gradients(objective.discriminator, extreme, -extreme)
    np.testing.assert_allclose(real, [[-1], [0]])
    np.testing.assert_allclose(fake, [[1], [0]])


def test_minimax_survives_extreme_logits(gradients):
    extreme = np.array([[-1e4], [1e4]], "float32")
    objective = losses.get_objective("minimax")
    np.testing.assert_allclose(objective.generator(extreme), [0, -1e4])
    np.testing.assert_allclose(objective.discriminator(extreme, -extreme), [2e4, 0])
    # It saturates: the worst fake gets no slope.
    np.testing.assert_allclose(gradients(objective.generator, extreme)[0], [[0], [-1]])


@pytest.mark.parametrize("name", LOGIT_OBJECTIVES)
def test_negating_logits_swaps_the_labels(name):
    objective = losses.get_objective(name)
    assert isinstance(objective, LogitObjective)
    np.testing.assert_allclose(
        objective.discriminator(-FAKE, -REAL), objective.discriminator(REAL, FAKE), rtol=1e-6
    )


@pytest.mark.parametrize("name", ["least_squares", "wasserstein"])
def test_other_scores_are_not_logits(name):
    assert not isinstance(losses.get_objective(name), LogitObjective)


def test_only_wasserstein_asks_for_a_penalty_and_weighs_it(rng):
    real, fake = rng.normal(size=(2, 3, 5)).astype("float32")
    slope = np.array([3.0, 0, 4.0, 0, 0], "float32")[:, None]

    def critic(points):
        return points @ slope

    for name in ("least_squares", *LOGIT_OBJECTIVES):
        assert losses.get_objective(name).penalty(critic, real, fake, 0) is None
    assert losses.Wasserstein(0).penalty(critic, real, fake, 0) is None
    # The slope is 5 everywhere: λ · (5 - 1)².
    np.testing.assert_allclose(
        losses.Wasserstein().penalty(critic, real, fake, 0), [160.0] * 3, rtol=1e-5
    )
    np.testing.assert_allclose(
        losses.Wasserstein(0.5).penalty(critic, real, fake, 0), [8.0] * 3, rtol=1e-5
    )


@pytest.mark.parametrize(
    "objective",
    [losses.LeastSquares(), losses.Wasserstein(2.5), losses.NonSaturating(), Minimax()],
    ids=lambda objective: type(objective).__name__,
)
def test_an_objective_survives_serialization(objective):
    config = keras.saving.serialize_keras_object(objective)
    restored = keras.saving.deserialize_keras_object(config)
    assert type(restored) is type(objective)
    assert restored.get_config() == objective.get_config()


def test_get_objective_takes_a_name_or_an_instance():
    for name, cls in losses.OBJECTIVES.items():
        assert type(losses.get_objective(name)) is cls
    own = losses.Wasserstein(3.0)
    assert losses.get_objective(own) is own


def test_errors_name_what_was_given():
    with pytest.raises(
        InputError, match=r"'hinge'.*least_squares, wasserstein, non_saturating, minimax"
    ):
        losses.get_objective("hinge")
    for weight in (-1.0, float("nan")):
        with pytest.raises(InputError, match=f"Received: {weight}"):
            losses.Wasserstein(weight)
