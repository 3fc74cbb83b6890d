"""Cross-entropy, worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.losses.task import cross_entropy, pixel_cross_entropy

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


# Of pixels

# Two images of 1x2 pixels; the second image's second pixel does not count.
PIXEL_LOGITS = np.stack([LOGITS[None], LOGITS[None]])
PIXEL_LABELS = np.array([[[2, 1]], [[0, 255]]])


def rederived(labels, logits, ignored):
    """Pixel by pixel."""
    result = np.zeros(len(labels))
    for image, (rows, scores) in enumerate(zip(labels, logits.astype("float64"), strict=True)):
        counted = [
            np.log(np.sum(np.exp(scores[place]))) - scores[place][label]
            for place, label in np.ndenumerate(rows)
            if label != ignored
        ]
        result[image] = np.mean(counted) if counted else 0
    return result


def test_an_images_value_is_the_mean_over_its_counted_pixels():
    expected = [(-np.log(0.5) - np.log(0.2)) / 2, -np.log(0.2)]
    np.testing.assert_allclose(pixel_cross_entropy(PIXEL_LABELS, PIXEL_LOGITS), expected, rtol=1e-5)


def test_a_counted_pixels_gradient_is_shared_out_and_an_ignored_ones_is_zero(gradients):
    gradient = gradients(lambda logits: pixel_cross_entropy(PIXEL_LABELS, logits), PIXEL_LOGITS)[0]
    first = np.array([[0.2, 0.3, 0.5 - 1], [0.7, 0.2 - 1, 0.1]]) / 2
    second = np.array([[0.2 - 1, 0.3, 0.5], [0, 0, 0]])
    np.testing.assert_allclose(gradient, [[first], [second]], atol=1e-6)
    assert not np.any(gradient[1, 0, 1])


def test_an_image_without_counted_pixels_costs_and_moves_nothing(gradients):
    labels = np.full((1, 2, 3), 255)
    logits = np.linspace(-1e4, 1e4, 2 * 3 * 4).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(pixel_cross_entropy(labels, logits), [0.0])
    gradient = gradients(lambda logits: pixel_cross_entropy(labels, logits), logits)[0]
    np.testing.assert_array_equal(gradient, np.zeros(logits.shape))


@pytest.mark.parametrize("ignored", [255, 0, 3, -1])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_any_label_may_be_the_ignored_one(ignored, dtype, rng):
    if ignored < 0 and dtype == "uint8":
        dtype = "int8"
    labels = rng.integers(0, 5, (3, 4, 6))
    labels[rng.uniform(size=labels.shape) < 0.3] = ignored
    labels[2] = ignored
    logits = rng.normal(0, 3, (3, 4, 6, 5)).astype("float32")
    np.testing.assert_allclose(
        pixel_cross_entropy(labels.astype(dtype), logits, ignored),
        rederived(labels, logits, ignored),
        rtol=1e-5,
    )


def test_one_pixel_is_an_image_to_classify():
    loss = pixel_cross_entropy(LABELS[:, None, None], LOGITS[:, None, None])
    np.testing.assert_allclose(loss, cross_entropy(LABELS, LOGITS), rtol=1e-6)


def test_extreme_logits_of_pixels_do_not_overflow(gradients):
    labels, logits = np.array([[[0, 1, 255]]]), np.tile([1e30, -1e30], (1, 1, 3, 1))
    np.testing.assert_allclose(pixel_cross_entropy(labels, logits), [1e30], rtol=1e-5)
    gradient = gradients(lambda logits: pixel_cross_entropy(labels, logits), logits)[0]
    np.testing.assert_allclose(gradient, [[[[0, 0], [0.5, -0.5], [0, 0]]]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("label_dtype", ["uint8", "int32", "int64"])
def test_one_float32_value_per_segmented_image(dtype, label_dtype):
    loss = pixel_cross_entropy(
        keras.ops.cast(PIXEL_LABELS, label_dtype), keras.ops.cast(PIXEL_LOGITS, dtype)
    )
    assert tuple(loss.shape) == (2,)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"


def test_it_traces_without_a_size(rng):
    traced = tf.function(
        pixel_cross_entropy,
        [tf.TensorSpec((None,) * 3, "uint8"), tf.TensorSpec((None, None, None, 3), "float32")],
    )
    for shape in ((2, 3, 4), (1, 5, 2)):
        labels = rng.integers(0, 3, shape).astype("uint8")
        logits = rng.normal(size=(*shape, 3)).astype("float32")
        np.testing.assert_allclose(
            traced(labels, logits), rederived(labels, logits, 255), rtol=1e-5
        )
