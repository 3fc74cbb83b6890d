import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.data.preprocessing import preprocess, to_uint8
from keras_i2i.errors import InputError


def column(*values):
    return np.array(values, np.uint8).reshape(1, 1, -1, 1)


def test_range():
    result = preprocess(column(0, 51, 255), (1, 3, 1)).numpy()
    np.testing.assert_allclose(result.ravel(), [-1, -0.6, 1], atol=1e-6)
    assert result.dtype == np.float32


def test_right_size_is_left_alone():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)
    np.testing.assert_allclose(preprocess(images, (5, 7, 3)), images / 127.5 - 1, atol=1e-6)


def test_enlarging_interpolates_between_pixel_centers():
    # Centers of the new pixels lie at -0.25, 0.25, 0.75, 1.25 of the old.
    result = preprocess(column(0, 100), (1, 4, 1)).numpy().ravel()
    np.testing.assert_allclose((result + 1) * 127.5, [0, 25, 75, 100], atol=1e-4)


def test_shrinking_averages_over_all_pixels():
    # Triangle of twice the width, without antialiasing only the two middle pixels would count.
    result = preprocess(column(0, 0, 0, 255, 0, 0, 0, 0), (1, 2, 1)).numpy().ravel()
    weights = 1 - np.abs(np.arange(8) - 1.5) / 4
    first = weights[3] / weights[weights > 0].sum()
    weights = np.maximum(1 - np.abs(np.arange(8) - 5.5) / 4, 0)
    second = weights[3] / weights.sum()
    np.testing.assert_allclose((result + 1) / 2, [first, second], atol=1e-5)


def test_sizes_unknown_while_tracing_give_the_same():
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 6, 3), np.uint8)
    for shape in ((32, 32, 1), (4, 4, 3), (9, 6, 3), (9, 12, 1)):
        traced = tf.function(
            lambda x, shape=shape: preprocess(x, shape),
            input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)],
        )
        np.testing.assert_allclose(traced(images), preprocess(images, shape), atol=1e-5)


def test_color_to_gray_is_luma():
    image = np.array([255, 0, 0, 0, 255, 0, 0, 0, 255, 90, 90, 90], np.uint8).reshape(1, 1, 4, 3)
    gray = (preprocess(image, (1, 4, 1)).numpy().ravel() + 1) * 127.5
    expected = [0.2989 * 255, 0.587 * 255, 0.114 * 255, 90]
    np.testing.assert_allclose(gray, expected, atol=0.05)


def test_gray_to_color_repeats():
    color = preprocess(column(0, 51), (1, 2, 3)).numpy()
    np.testing.assert_allclose(color, np.tile([[[[-1], [-0.6]]]], (1, 1, 1, 3)), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int32])
def test_any_number_type(dtype):
    result = preprocess(np.full((1, 2, 2, 1), 102, dtype), (2, 2, 1))
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, -0.2, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [((1, 4, 4, 2), (4, 4, 1)), ((1, 4, 4, 4), (4, 4, 3)), ((1, 4, 4, 3), (4, 4, 2)),
     ((4, 4, 1), (4, 4, 1))],
)  # fmt: skip
def test_other_channels(given, wanted):
    with pytest.raises(InputError, match=r"Got images of shape .*1 channel \(gray\) or 3"):
        preprocess(np.zeros(given, np.uint8), wanted)


@pytest.mark.parametrize("kind", [np.asarray, tf.constant])
def test_uint8_round_trip(kind):
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    back = to_uint8(kind(preprocess(images, (16, 16, 1)).numpy()))
    np.testing.assert_array_equal(back, images)
    assert isinstance(back, type(kind(images))) and back.dtype == np.uint8


@pytest.mark.parametrize("kind", [np.array, tf.constant])
def test_uint8_rounds_and_clips(kind):
    values = kind([-1.5, -1.0, 10.4 / 127.5 - 1, 10.6 / 127.5 - 1, 1.0, 7.0])
    np.testing.assert_array_equal(to_uint8(values), [0, 0, 10, 11, 255, 255])
