"""Pixel losses: by hand, and MS-SSIM against TensorFlow's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i import losses
from keras_i2i.errors import InputError

PUBLISHED_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def similar_images(rng, batch, height, width, channels, noise=0.05):
    """Images with structure at all scales, and disturbed copies."""
    coarse = rng.uniform(-1, 1, (batch, 4, 4, channels))
    images = 0.7 * tf.image.resize(coarse, (height, width), "bicubic").numpy()
    images += 0.1 * rng.normal(size=images.shape)
    disturbed = 0.7 * images + noise * rng.normal(size=images.shape)
    return (np.clip(x, -1, 1).astype("float32") for x in (images, disturbed))


X = np.array([[1.0, -1.0], [0.5, 0.0]], "float32").reshape(2, 1, 2, 1)
Y = np.array([[0.5, -0.5], [-0.5, 0.5]], "float32").reshape(2, 1, 2, 1)


@pytest.mark.parametrize(
    ("loss", "values", "slope"),
    [
        # |0.5|, |-0.5|; |1|, |-0.5|, halved by the mean over two pixels
        (losses.l1, [0.5, 0.75], [[-0.5, 0.5], [-0.5, 0.5]]),
        # 2 (x̂ - x) / 2
        (losses.l2, [0.25, 0.625], [[-0.5, 0.5], [-1.0, 0.5]]),
    ],
)
def test_values_and_gradients_by_hand(loss, values, slope, gradients):
    np.testing.assert_allclose(loss(X, Y), values, rtol=1e-6)
    in_x, in_y = gradients(loss, X, Y)
    np.testing.assert_allclose(in_y.reshape(2, 2), slope, rtol=1e-6)
    np.testing.assert_allclose(in_x, -in_y, rtol=1e-6)


@pytest.mark.parametrize("batch", [1, 3])
def test_ms_ssim_is_tensorflows_at_five_scales(batch, rng, gradients):
    x, y = similar_images(rng, batch, 176, 192, 2)

    def reference(x, y):
        return 1 - tf.image.ssim_multiscale(x, y, 2.0, PUBLISHED_WEIGHTS)

    expected = reference(x, y)
    assert np.all((expected > 0.02) & (expected < 0.9)), "the comparison would show nothing"
    np.testing.assert_allclose(losses.ms_ssim(x, y), expected, atol=1e-4)
    ours, theirs = gradients(losses.ms_ssim, x, y), gradients(reference, x, y)
    np.testing.assert_allclose(ours[1], theirs[1], atol=0.01 * np.abs(theirs[1]).max())


@pytest.mark.parametrize("batch", [1, 3])
def test_ms_ssim_of_digits_has_two_scales_with_renormalized_weights(batch, rng, gradients):
    x, y = similar_images(rng, batch, 32, 32, 1)
    weights = (0.0448 / 0.3304, 0.2856 / 0.3304)

    def reference(x, y):
        return 1 - tf.image.ssim_multiscale(x, y, 2.0, weights)

    np.testing.assert_allclose(losses.ms_ssim(x, y), reference(x, y), atol=1e-5)
    ours, theirs = gradients(losses.ms_ssim, x, y), gradients(reference, x, y)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-3 * np.abs(theirs[1]).max())


@pytest.mark.parametrize(("side", "window"), [(8, 8), (11, 11), (16, 11)])
def test_ms_ssim_of_a_small_image_is_ssim_with_a_window_that_fits(side, window, rng):
    x, y = similar_images(rng, 2, side, side, 1)
    expected = 1 - tf.image.ssim(x, y, 2.0, filter_size=window)
    assert np.all(expected < 0.9), "the comparison would show nothing"
    np.testing.assert_allclose(losses.ms_ssim(x, y), expected, atol=1e-5)


def test_ms_ssim_does_not_mix_images(rng):
    x, y = similar_images(rng, 3, 32, 32, 1)
    alone = [losses.ms_ssim(x[i : i + 1], y[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(losses.ms_ssim(x, y), alone, atol=1e-6)


@pytest.mark.parametrize("name", losses.PIXEL_LOSSES)
def test_equal_images_lose_nothing(name, rng):
    loss = losses.get_pixel_loss(name)
    x, _ = similar_images(rng, 3, 32, 32, 1)
    np.testing.assert_allclose(loss(x, x), np.zeros(3), atol=1e-5)
    for constant in (-1.0, 0.0, 1.0):
        flat = np.full((2, 32, 32, 1), constant, "float32")
        np.testing.assert_allclose(loss(flat, flat), np.zeros(2), atol=1e-4)


@pytest.mark.parametrize("name", losses.PIXEL_LOSSES)
def test_gradients_are_finite_where_a_root_or_power_could_break(name, rng, gradients):
    loss = losses.get_pixel_loss(name)
    noise = rng.uniform(-1, 1, (2, 32, 32, 1))
    black, white = np.full_like(noise, -1.0), np.full_like(noise, 1.0)
    pairs = {
        "equal": (noise, noise),
        "constant": (black, black),
        "opposite constants": (black, white),
        "a constant reconstruction": (noise, white),
        "an inverted reconstruction": (noise, -noise),
    }
    for case, pair in pairs.items():
        assert np.all(np.isfinite(loss(*pair))), case
        for gradient in gradients(loss, *pair):
            assert np.all(np.isfinite(gradient)), case


def test_ms_ssim_counts_negative_similarity_as_none(rng):
    noise = rng.uniform(-0.4, 0.4, (2, 16, 16, 1))
    bright, inverted = 0.5 + noise, 0.5 - noise
    assert np.all(tf.image.ssim(bright, inverted, 2.0) < -0.5)
    np.testing.assert_allclose(losses.ms_ssim(bright, inverted), [1.0, 1.0], atol=1e-5)


@pytest.mark.parametrize("name", losses.PIXEL_LOSSES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_one_float32_value_per_image(name, dtype, rng):
    images = keras.ops.cast(rng.uniform(-1, 1, (3, 16, 16, 2)), dtype)
    loss = losses.get_pixel_loss(name)(images, images * 0.5)
    assert tuple(loss.shape) == (3,)
    assert loss.dtype == tf.float32


def test_an_unknown_pixel_loss_is_named():
    with pytest.raises(InputError, match=r"'lpips'.*l1, l2, ms_ssim"):
        losses.get_pixel_loss("lpips")
