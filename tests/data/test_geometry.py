import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.data.geometry import Geometry
from keras_i2i.data.preprocessing import preprocess, to_uint8
from keras_i2i.errors import InputError

GEOMETRIES = [
    Geometry(),
    Geometry(fit="crop"),
    Geometry(crop_size=16),
    Geometry(load_size=24, crop_size=16),
    Geometry(load_size=24, crop_size=17, fit="crop"),
    Geometry(load_size=10, crop_size=24, fit="crop"),
    Geometry(crop_size=64),
]


def noise(height, width, channels=3, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (height, width, channels), np.uint8)


def places(height, width):
    """An image whose colors tell row and column: red goes down, green to the right, 3 a pixel."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([3 * rows, 3 * columns, 0 * rows], axis=-1).astype(np.uint8)


def train(geometry, image, shape, seed=(0, 0), mask=None):
    seen, seen_mask = geometry.for_training(image, mask, shape, seed)
    return seen.numpy() if mask is None else (seen.numpy(), seen_mask.numpy())


def values(image):
    """Back from [-1, 1] to [0, 255], not rounded."""
    return (np.asarray(image, np.float64) + 1) * 127.5


@pytest.mark.parametrize("shape", [(8, 8, 3), (20, 31, 1), (13, 17, 3)])
@pytest.mark.parametrize("load_size", [0, 9])
def test_without_a_crop_it_is_preprocess(shape, load_size):
    image, geometry = noise(13, 17), Geometry(load_size=load_size)
    expected = preprocess(image[None], shape)[0]
    np.testing.assert_array_equal(train(geometry, image, shape), expected)
    np.testing.assert_array_equal(geometry.for_test(image, shape), expected)
    np.testing.assert_array_equal(geometry.whole(image, shape), expected)


def test_a_crop_is_a_piece_of_the_image():
    image, corners = noise(20, 30), set()
    windows = np.lib.stride_tricks.sliding_window_view(image, (16, 16, 3))[:, :, 0]
    cut = tf.function(
        lambda seed: Geometry(crop_size=16).for_training(image, None, (16, 16, 3), seed)[0]
    )
    for seed in range(300):
        seen = to_uint8(cut(tf.constant((1, seed))).numpy())
        ((row, column),) = np.argwhere((windows == seen).all(axis=(2, 3, 4)))
        corners.add((row, column))
    # Each of 5 x 15 places, by its share.
    assert {row for row, _ in corners} == set(range(5))
    assert {column for _, column in corners} == set(range(15))
    assert len(corners) > 0.9 * 75


def test_a_test_crops_the_center():
    image = noise(20, 30)
    seen = Geometry(crop_size=16).for_test(image, (16, 16, 3))
    np.testing.assert_array_equal(to_uint8(seen), image[2:18, 7:23])
    seen = Geometry(fit="crop").for_test(image, (20, 20, 3))
    np.testing.assert_array_equal(to_uint8(seen), image[:, 5:25])


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if g.crop_size or g.fit == "crop"])
def test_training_cuts_from_the_center_where_asked_to(geometry):
    geometry = dataclasses.replace(geometry, crop_place="center")
    image, mask = noise(20, 30), noise(20, 30)[..., 0]
    views = [geometry.for_training(image, mask, (16, 16, 3), (1, seed)) for seed in range(5)]
    for seen, seen_mask in views:
        np.testing.assert_array_equal(seen, geometry.for_test(image, (16, 16, 3)))
        np.testing.assert_array_equal(seen_mask, views[0][1])
    # The mask moves with the image: where a pixel is copied as it is, so is its mask's.
    if geometry == Geometry(crop_size=16, crop_place="center"):
        np.testing.assert_array_equal(views[0][1], mask[2:18, 7:23])


def test_load_size_scales_then_a_square_is_cut():
    image = noise(40, 60)
    loaded = preprocess(image[None], (24, 24, 3))[0]
    seen = Geometry(load_size=24, crop_size=16).for_test(image, (16, 16, 3))
    np.testing.assert_allclose(seen, loaded[4:20, 4:20], atol=1e-5)
    # fit "crop" keeps the aspect: 24 x 36.
    loaded = preprocess(image[None], (24, 36, 3))[0]
    seen = Geometry(load_size=24, crop_size=16, fit="crop").for_test(image, (16, 16, 3))
    np.testing.assert_allclose(seen, loaded[4:20, 10:26], atol=1e-5)
    # Aspects are kept to a pixel: 41 x 60 becomes 24 x 35.
    loaded = preprocess(noise(41, 60)[None], (24, 35, 3))[0]
    seen = Geometry(load_size=24, fit="crop").for_test(noise(41, 60), (24, 24, 3))
    np.testing.assert_allclose(seen, loaded[:, 6:30], atol=1e-5)


def test_what_is_cut_is_resized():
    image = noise(20, 30)
    for shape in ((8, 8, 3), (40, 20, 3)):
        seen = Geometry(crop_size=16).for_test(image, shape)
        cut = preprocess(image[None, 2:18, 7:23], shape)[0]
        # At the rim of the square the image beyond it has a part.
        inner = (slice(3, -3), slice(3, -3))
        np.testing.assert_allclose(seen[inner], cut[inner], atol=1e-5)
        assert seen.shape == shape


def test_small_images_are_enlarged_until_they_contain_the_square():
    image = noise(10, 15)
    enlarged = preprocess(image[None], (16, 24, 3))[0]
    seen = Geometry(crop_size=16).for_test(image, (16, 16, 3))
    np.testing.assert_allclose(seen, enlarged[:, 4:20], atol=1e-5)
    # One side is enough to be too small.
    image = noise(10, 40)
    enlarged = preprocess(image[None], (16, 64, 3))[0]
    seen = Geometry(crop_size=16).for_test(image, (16, 16, 3))
    np.testing.assert_allclose(seen, enlarged[:, 24:40], atol=1e-5)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_channels_range_and_type(geometry):
    for given, wanted in ((1, 3), (3, 1), (1, 1), (3, 3)):
        seen = train(geometry, noise(21, 33, given), (12, 16, wanted))
        assert seen.shape == (12, 16, wanted) and seen.dtype == np.float32
        assert np.abs(seen).max() <= 1 + 1e-5
    white = train(geometry, np.full((21, 33, 3), 255, np.uint8), (12, 16, 1))
    np.testing.assert_allclose(white, 1, atol=3e-4)  # the weights of luma add up to 0.9999
    of_floats = train(geometry, noise(21, 33).astype(np.float32), (12, 16, 3))
    np.testing.assert_array_equal(of_floats, train(geometry, noise(21, 33), (12, 16, 3)))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [(31, 45), (64, 33), (16, 16), (7, 9)])
def test_masks_are_aligned_with_images(geometry, size):
    """A mask of places: what the image shows at a pixel is where the mask's pixel comes from."""
    height, width = size
    image = places(height, width)
    for axis, shape in enumerate([(12, 20, 3), (33, 30, 3)]):
        mask = np.mgrid[:height, :width][axis].astype(np.uint8)
        for seed in range(3):
            seen, seen_mask = train(geometry, image, shape, (5, seed), mask)
            assert seen_mask.shape == shape[:2] and seen_mask.dtype == np.uint8
            # The nearest pixel is half a pixel away at most; near the image's rim the kernel of a
            # shrunken image has one side only, and its mean moves inwards.
            shrinks = max(1.0, height / 12, width / 20)
            error = values(seen)[..., axis] / 3 - seen_mask
            assert np.abs(error).max() <= 0.5 + 0.5 * shrinks + 0.01
            inner = (seen_mask > 2 * shrinks) & (seen_mask < size[axis] - 1 - 2 * shrinks)
            assert np.abs(error[inner]).max(initial=0) <= 0.51


def test_a_vertical_edge_stays_one():
    image = np.zeros((35, 51, 3), np.uint8)
    mask = np.zeros((35, 51), np.uint8)
    image[:, 23:], mask[:, 23:] = 255, 7
    for geometry in GEOMETRIES:
        seen, seen_mask = train(geometry, image, (27, 27, 3), (1, 2), mask)
        np.testing.assert_array_equal(np.where(seen[..., 0] > 0, 7, 0), seen_mask)


def test_masks_take_values_of_the_mask_only():
    mask = np.random.default_rng(0).choice([0, 3, 255], (31, 45)).astype(np.uint8)
    for geometry in GEOMETRIES:
        _, seen = train(geometry, noise(31, 45), (16, 16, 3), (0, 1), mask)
        assert set(np.unique(seen)) == {0, 3, 255}


def test_mask_at_half_and_double_size():
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4)
    _, double = train(Geometry(), noise(4, 4), (8, 8, 3), mask=mask)
    np.testing.assert_array_equal(double, mask.repeat(2, 0).repeat(2, 1))
    # Centers fall between two pixels: the later one.
    _, half = train(Geometry(), noise(4, 4), (2, 2, 3), mask=mask)
    np.testing.assert_array_equal(half, mask[1::2, 1::2])


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_in_a_graph_of_unknown_sizes(geometry):
    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, 3), tf.uint8),
            tf.TensorSpec((None, None), tf.uint8),
            tf.TensorSpec((2,), tf.int64),
        ]
    )
    def traced(image, mask, seed):
        seen, seen_mask = geometry.for_training(image, mask, (12, 16, 1), seed)
        assert seen.shape == (12, 16, 1) and seen_mask.shape == (12, 16)
        test = geometry.for_test(image, (12, 16, 1))
        assert test.shape == (12, 16, 1)
        return seen, seen_mask, test, geometry.whole(image, (12, 16, 1))

    for size in ((21, 33), (40, 9)):
        image, mask = noise(*size), noise(*size)[..., 0]
        seen, seen_mask, test, whole = traced(image, mask, (3, 4))
        expected, expected_mask = train(geometry, image, (12, 16, 1), (3, 4), mask)
        np.testing.assert_allclose(seen, expected, atol=1e-5)
        np.testing.assert_array_equal(seen_mask, expected_mask)
        np.testing.assert_allclose(test, geometry.for_test(image, (12, 16, 1)), atol=1e-5)
        np.testing.assert_allclose(whole, geometry.whole(image, (12, 16, 1)), atol=1e-5)


def test_stateless():
    image, geometry = noise(40, 40), Geometry(crop_size=8)
    tf.random.set_seed(1)
    first = train(geometry, image, (8, 8, 3), (3, 4))
    tf.random.set_seed(2)
    np.testing.assert_array_equal(first, train(geometry, image, (8, 8, 3), (3, 4)))
    assert (first != train(geometry, image, (8, 8, 3), (3, 5))).any()
    assert (first != train(geometry, image, (8, 8, 3), (4, 4))).any()


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        (Geometry(), (16, 16)),
        (Geometry(load_size=50), (16, 16)),
        (Geometry(fit="crop"), (16, 27)),  # 40 x 68 with its shorter side 16
        (Geometry(load_size=30, fit="crop"), (16, 27)),
        (Geometry(crop_size=16), (40, 68)),
        (Geometry(crop_size=32), (20, 34)),
        (Geometry(load_size=50, crop_size=40), (20, 20)),
        (Geometry(load_size=20, crop_size=16, fit="crop"), (20, 34)),
        (Geometry(crop_size=80), (16, 27)),  # enlarged to 80 x 136 first
    ],
)
def test_size_of_the_whole_image(geometry, expected):
    assert geometry.whole(noise(40, 68), (16, 16, 3)).shape == (*expected, 3)


@pytest.mark.parametrize(
    ("at_most", "expected"),
    [(None, (40, 68)), (2720, (40, 68)), (2719, (39, 67)), (680, (20, 34)), (100, (7, 13))],
)
def test_a_whole_image_of_too_many_pixels_is_shrunk(at_most, expected):
    geometry, image = Geometry(crop_size=16), noise(40, 68)
    whole = geometry.whole(image, (16, 16, 3), at_most)
    assert whole.shape == (*expected, 3)
    graph = tf.function(
        lambda image: geometry.whole(image, (16, 16, 3), at_most),
        input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)],
    )
    np.testing.assert_allclose(graph(image), whole, atol=1e-5)
    smaller = tf.image.resize(preprocess(image[np.newaxis], image.shape), expected, antialias=True)
    np.testing.assert_allclose(whole, smaller[0], atol=0.01)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_whole_image_has_the_scale_of_training(geometry):
    """What training sees is a piece of it."""
    image = places(48, 80)
    whole = values(geometry.whole(image, (12, 12, 3)))
    seen = values(train(geometry, image, (12, 12, 3), (1, 1)))
    for axis in (0, 1):
        slopes = [np.diff(part[..., axis], axis=axis)[4:-4, 4:-4].mean() for part in (seen, whole)]
        assert slopes[0] == pytest.approx(slopes[1], rel=0.03)  # sizes are rounded


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"load_size": -1}, "load_size and crop_size of at least 0"),
        ({"crop_size": -1}, "load_size and crop_size of at least 0"),
        ({"fit": "pad"}, "fit one of stretch, crop"),
        ({"load_size": 20, "crop_size": 21}, "Got crop_size 21 and load_size 20"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(InputError, match=message):
        Geometry(**settings)


@pytest.mark.parametrize("image", [noise(4, 4)[..., 0], noise(4, 4, 2), noise(4, 4)[None]])
def test_other_images(image):
    for geometry in (Geometry(), Geometry(crop_size=2)):
        with pytest.raises(InputError, match=r"Got an image of shape .* 1 channel \(gray\) or 3"):
            geometry.for_test(image, (4, 4, 3))
    with pytest.raises(InputError, match="expected"):
        Geometry(crop_size=2).for_test(noise(4, 4), (4, 4, 2))
