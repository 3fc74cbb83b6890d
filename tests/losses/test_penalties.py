"""Penalties on one network or one prediction, against closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i import losses

HALF_TYPES = ["float16", "bfloat16", "float32"]


# gradient_penalty


def linear_critic(slope):
    return lambda points: tf.reshape(points, (points.shape[0], -1)) @ slope[:, None]


@pytest.mark.parametrize("norm", [0.25, 1.0, 3.0])
def test_penalty_of_a_linear_critic_is_its_slope_norm_minus_one_squared(norm, rng):
    real, fake = rng.uniform(-1, 1, (2, 3, 4, 4, 2)).astype("float32")
    slope = rng.normal(size=32).astype("float32")
    slope *= norm / np.linalg.norm(slope)
    penalty = losses.gradient_penalty(linear_critic(tf.constant(slope)), real, fake, seed=1)
    np.testing.assert_allclose(penalty, [(norm - 1) ** 2] * 3, atol=1e-5)


def test_gradient_of_the_penalty_reaches_the_critics_weights(rng):
    real, fake = rng.uniform(-1, 1, (2, 2, 6)).astype("float32")
    slope = tf.constant(rng.normal(size=6).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(slope)
        total = tf.reduce_sum(losses.gradient_penalty(linear_critic(slope), real, fake, seed=1))
    norm = np.linalg.norm(slope)
    # d/dw (‖w‖ - 1)² = 2 (‖w‖ - 1) w / ‖w‖, for each of two images.
    expected = 2 * 2 * (norm - 1) * slope.numpy() / norm
    np.testing.assert_allclose(tape.gradient(total, slope), expected, rtol=1e-4)


def test_a_score_map_counts_as_its_mean(rng):
    real, fake = rng.uniform(-1, 1, (2, 3, 4, 4, 1)).astype("float32")
    # Each of 16 patches is 2 x there: the mean's slope is 2/16 at 16 places, its norm 1/2.
    penalty = losses.gradient_penalty(lambda x: 2.0 * x, real, fake, seed=1)
    np.testing.assert_allclose(penalty, [0.25] * 3, atol=1e-6)


def test_points_lie_between_each_real_and_its_fake():
    # With D(x) = x²/2 the slope at x̂ is x̂ itself, so the penalty shows where x̂ was.
    real = np.array([[1.0], [10.0], [100.0], [1000.0]], "float32")
    fake = 2 * real
    penalty = losses.gradient_penalty(lambda x: x * x / 2, real, fake, seed=3)
    points = 1 + np.sqrt(penalty.numpy())
    position = points / real[:, 0] - 1
    assert np.all((position >= 0) & (position <= 1.001))
    assert np.ptp(position[1:]) > 0.01, "every image has a random point of its own"


def test_the_seed_decides_the_points(rng):
    real, fake = rng.normal(size=(2, 8, 3)).astype("float32")

    def penalty(seed):
        return losses.gradient_penalty(lambda x: x**2, real, fake, seed).numpy()

    one, other = keras.random.SeedGenerator(5), keras.random.SeedGenerator(5)
    first = penalty(one)
    np.testing.assert_array_equal(first, penalty(other))
    assert not np.array_equal(first, penalty(one)), "a generator moves on"


def test_a_critic_without_slope_pays_one_and_gives_no_nan():
    weight = tf.Variable(0.0)
    with tf.GradientTape() as tape:
        penalty = losses.gradient_penalty(
            lambda x: weight * x, np.ones((2, 3)), np.zeros((2, 3)), seed=0
        )
    np.testing.assert_allclose(penalty, [1.0, 1.0], atol=1e-5)
    assert np.isfinite(tape.gradient(penalty, weight))


# information_maximization


def confident(classes, num_classes=4, sure=40.0):
    return sure * np.eye(num_classes, dtype="float32")[classes]


@pytest.mark.parametrize(
    ("logits", "mean"),
    [
        (np.zeros((8, 4)), 0.0),
        (confident([0, 1, 2, 3]), -np.log(4)),
        (confident([2, 2, 2]), 0.0),
        (confident([0, 1, 0, 1]), -np.log(2)),
    ],
    ids=["uniform", "sure and balanced", "collapsed", "two of four classes"],
)
def test_information_at_its_extremes(logits, mean):
    loss = losses.information_maximization(logits)
    np.testing.assert_allclose(np.mean(loss), mean, atol=1e-5)


def test_information_is_each_entropy_minus_that_of_the_mean(rng, gradients):
    logits = rng.normal(size=(5, 3)) * 2

    def reference(z):
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        mean = p.mean(0)
        return -(p * np.log(p)).sum(1) + (mean * np.log(mean)).sum()

    np.testing.assert_allclose(
        losses.information_maximization(logits), reference(logits), rtol=1e-5, atol=1e-6
    )
    numeric = np.zeros_like(logits)
    for place in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[place] = 1e-5
        numeric[place] = (reference(logits + step) - reference(logits - step)).sum() / 2e-5
    np.testing.assert_allclose(
        gradients(losses.information_maximization, logits)[0], numeric, atol=1e-5
    )


def test_information_stays_finite_for_extreme_logits(gradients):
    logits = np.array([[1e4, -1e4, 0.0]] * 3)
    assert np.all(np.isfinite(losses.information_maximization(logits)))
    assert np.all(np.isfinite(gradients(losses.information_maximization, logits)[0]))


# total_variation


def test_total_variation_of_hand_made_images(gradients):
    image = np.array([[0.0, 1.0], [0.5, -1.0]], "float32")[None, :, :, None]
    # Down: 0.5², 2²; right: 1², 1.5².
    np.testing.assert_allclose(losses.total_variation(image), [4.25 / 2 + 3.25 / 2], rtol=1e-6)
    # d/dx of ((c - a)² + (d - b)² + (b - a)² + (d - c)²) / 2 for [[a, b], [c, d]].
    expected = [[0.0 - 0.5 + 0.0 - 1.0, 1.0 + 1.0 + 1.0 - 0.0], [0.5 + 0.5 + 1.0, -1 - 1 - 1 - 0.5]]
    np.testing.assert_allclose(
        gradients(losses.total_variation, image)[0][0, :, :, 0], expected, rtol=1e-6
    )


def test_total_variation_knows_both_directions_and_its_bounds():
    stripes = np.tile(np.array([1.0, -1.0]), (6, 3))[None, :, :, None]
    checkers = stripes * np.array([1.0, -1.0] * 3)[None, :, None, None]
    np.testing.assert_allclose(losses.total_variation(stripes), [4.0])
    np.testing.assert_allclose(losses.total_variation(stripes.swapaxes(1, 2)), [4.0])
    np.testing.assert_allclose(losses.total_variation(checkers), [8.0])
    np.testing.assert_allclose(losses.total_variation(np.full((2, 4, 3, 2), 0.7)), [0.0, 0.0])


# All of them


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_one_float32_value_per_image(dtype, rng):
    images = keras.ops.cast(rng.uniform(-1, 1, (3, 4, 4, 1)), dtype)
    logits = keras.ops.cast(rng.normal(size=(3, 5)), dtype)
    for loss in (
        losses.total_variation(images),
        losses.information_maximization(logits),
        losses.gradient_penalty(lambda x: x * 2.0, images, images, seed=0),
    ):
        assert tuple(loss.shape) == (3,)
        assert loss.dtype == tf.float32
