import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.data.augmentation import Augmentation, transform, transform_masks
from keras_i2i.data.examples import IGNORED
from keras_i2i.errors import InputError

FULL = Augmentation(rotation=15.0, scale=0.2, translation=0.1)


def noise(n=6, side=12, channels=1):
    random = np.random.default_rng(0)
    return random.uniform(-1, 1, (n, side, side, channels)).astype(np.float32)


def dot(row, column, side=9):
    image = np.full((1, side, side, 1), -1.0, np.float32)
    image[0, row, column] = 1.0
    return image


def move(images, rotation=0.0, scale=1.0, shift_x=0.0, shift_y=0.0):
    n = len(images)
    parts = {"rotation": rotation, "scale": scale, "shift_x": shift_x, "shift_y": shift_y}
    return transform(images, **{k: tf.fill([n], float(v)) for k, v in parts.items()}).numpy()


def brightest(image):
    return np.unravel_index(image[0, :, :, 0].argmax(), image.shape[1:3])


def test_nothing_to_do_returns_the_images_themselves():
    images = tf.constant(noise())
    assert Augmentation()(images, (1, 2)) is images
    np.testing.assert_allclose(move(images), images, atol=1e-6)


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ({"shift_x": 2}, (1, 4)),
        ({"shift_y": 3}, (4, 2)),
        ({"rotation": 90}, (6, 1)),  # counterclockwise: top left goes to bottom left
        ({"rotation": 180}, (7, 6)),
        ({"rotation": -90}, (2, 7)),
        ({"rotation": 90, "shift_x": 1}, (6, 2)),
    ],
)
def test_known_moves(moves, expected):
    # The dot stands three pixels above and two left of the center (4, 4).
    moved = move(dot(1, 2), **moves)
    assert brightest(moved) == expected
    assert moved.max() == pytest.approx(1, abs=1e-4)


def test_scale_is_about_the_center():
    assert brightest(move(dot(2, 6), scale=0.5)) == (3, 5)
    assert brightest(move(dot(3, 4), scale=3.0)) == (1, 4)


def test_quarter_turn_is_numpys():
    images = noise(channels=3)
    np.testing.assert_allclose(move(images, rotation=90), np.rot90(images, axes=(1, 2)), atol=1e-4)


def test_half_a_pixel_is_interpolated():
    moved = move(dot(4, 4), shift_x=0.5)
    np.testing.assert_allclose(moved[0, 4, 3:7, 0], [-1, 0, 0, -1], atol=1e-5)


def test_edges_are_repeated():
    ramp = np.tile(np.linspace(-1, 1, 5, dtype=np.float32), (5, 1))[None, :, :, None]
    np.testing.assert_allclose(move(ramp, shift_x=2)[0, 0, :, 0], [-1, -1, -1, -0.5, 0], atol=1e-5)
    np.testing.assert_allclose(move(ramp, shift_x=-2)[0, 0, :, 0], [0, 0.5, 1, 1, 1], atol=1e-5)


def test_stateless():
    images = noise()
    tf.random.set_seed(1)
    first = FULL(images, (3, 4))
    tf.random.set_seed(2)
    np.testing.assert_array_equal(first, FULL(images, (3, 4)))
    traced = tf.function(FULL)(images, tf.constant([3, 4]))
    np.testing.assert_allclose(first, traced, atol=1e-4)
    assert np.abs(first - FULL(images, (3, 5))).max() > 0.1
    assert np.abs(first - FULL(images, (4, 4))).max() > 0.1


def test_each_image_moves_in_its_own_way():
    images = np.repeat(noise(1), 8, axis=0)
    moved = FULL(images, (0, 0)).numpy()
    assert len({image.tobytes() for image in moved}) == 8


@pytest.mark.parametrize(
    "augmentation",
    [
        FULL,
        Augmentation(rotation=180),
        Augmentation(scale=0.9),
        Augmentation(translation=1.0),
        Augmentation(pixels=30.0),
        Augmentation(rotation=20, invert=0.5),
    ],
)
def test_shape_type_and_range(augmentation):
    images = noise(n=32, channels=3)
    moved = augmentation(images, (0, 1))
    assert moved.shape == images.shape and moved.dtype == tf.float32
    assert np.abs(moved).max() <= 1 + 1e-5
    full = np.ones_like(images)
    np.testing.assert_allclose(np.abs(augmentation(full, (0, 1))), full, atol=1e-5)


@pytest.mark.parametrize(
    ("augmentation", "limit"),
    [
        (Augmentation(translation=0.25), 0.25 * 21),
        (Augmentation(pixels=2.0), 2.0),
        (Augmentation(pixels=5.5), 5.5),
    ],
)
def test_moves_spread_over_their_range_and_no_further(augmentation, limit):
    images = np.repeat(dot(10, 10, side=21), 400, axis=0)
    moved = (augmentation(images, (0, 0)).numpy()[..., 0] + 1) / 2
    rows, columns = (moved.sum(axis=axis) @ np.arange(21) - 10 for axis in (2, 1))
    for shift in (rows, columns):
        assert np.abs(shift).max() <= limit + 1e-3
        assert shift.min() < -0.9 * limit and shift.max() > 0.9 * limit
        assert abs(shift.mean()) < 0.15 * limit
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.15


def test_without_shifts_by_pixels_nothing_is_drawn_for_them():
    """Runs of before there were any are resumed bit for bit."""
    images = noise()
    random = tf.random.stateless_uniform((4, len(images)), (3, 4), -1.0, 1.0)
    expected = transform(
        images,
        rotation=15.0 * random[0],
        scale=1.0 + 0.2 * random[1],
        shift_x=0.1 * 12 * random[2],
        shift_y=0.1 * 12 * random[3],
    )
    np.testing.assert_array_equal(FULL(images, (3, 4)), expected)


def test_shifts_by_share_and_by_pixels_add_up():
    images = np.repeat(dot(20, 20, side=41), 400, axis=0)
    both = Augmentation(translation=0.1, pixels=4.0)
    moved = (both(images, (0, 0)).numpy()[..., 0] + 1) / 2
    for axis in (1, 2):
        shift = moved.sum(axis=axis) @ np.arange(41) - 20
        assert np.abs(shift).max() <= 8.1 + 1e-3
        # Two independent draws: the variance is the sum of theirs.
        assert shift.var() == pytest.approx((4.1**2 + 4.0**2) / 3, rel=0.2)


def test_negatives():
    images = np.repeat(noise(1), 400, axis=0)
    plain = Augmentation(rotation=30.0, pixels=1.0)(images, (1, 2)).numpy()
    shown = Augmentation(rotation=30.0, pixels=1.0, invert=0.25)(images, (1, 2)).numpy()
    # The moves are those without; a quarter of the images, and no single pixels, are negatives.
    negative = np.all(np.isclose(shown, -plain), axis=(1, 2, 3))
    np.testing.assert_array_equal(shown[~negative], plain[~negative])
    assert negative.mean() == pytest.approx(0.25, abs=0.07)
    np.testing.assert_allclose(Augmentation(invert=1.0)(images, (1, 2)), -images, atol=1e-6)


@pytest.mark.parametrize("levels", [0.5, 2.0])
def test_levels(levels):
    images = np.repeat(noise(1, channels=3), 2000, axis=0)
    shown = Augmentation(levels=levels)(images, (1, 2)).numpy().astype("float64")
    # One straight line through the values of each channel of each image, found by two of them ...
    flat, given = shown.reshape(2000, -1, 3), images[0].reshape(-1, 3).astype("float64")
    low, high, channel = given.argmin(0), given.argmax(0), np.arange(3)
    rise = (flat[:, high, channel] - flat[:, low, channel]) / (
        given[high, channel] - given[low, channel]
    )
    black = flat[:, low, channel] - rise * (given[low, channel] + 1)
    np.testing.assert_allclose(flat, black[:, None] + rise[:, None] * (given + 1), atol=1e-5)
    # ... whose ends are uniform, each drawn for itself, for the channels one by one.
    ends = np.concatenate([(black + 1) / levels, (1 - black - 2 * rise) / levels], axis=1)
    assert ends.min() > -1e-5 and ends.max() < 1 + 1e-5
    np.testing.assert_allclose(ends.mean(0), 0.5, atol=0.03)
    np.testing.assert_allclose(ends.var(0), 1 / 12, rtol=0.1)
    np.testing.assert_allclose(np.corrcoef(ends.T), np.eye(6), atol=0.1)


def test_levels_change_no_places():
    images = noise(8, channels=3)
    fields = {"rotation": 20.0, "pixels": 2.0}
    plain = Augmentation(**fields)(images, (3, 4)).numpy()
    shown = Augmentation(**fields, levels=0.5)(images, (3, 4)).numpy()
    assert shown.shape == images.shape and shown.dtype == np.float32
    for one, other in zip(plain, shown, strict=True):
        for channel in range(3):
            values = np.corrcoef(one[..., channel].ravel(), other[..., channel].ravel())
            assert values[0, 1] > 0.9999


def test_flips():
    images = np.repeat(noise(1, channels=3), 400, axis=0)
    flipped = Augmentation(flip=0.25)(images, (1, 2)).numpy()
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(flipped[~mirrored], images[~mirrored])
    assert mirrored.mean() == pytest.approx(0.25, abs=0.07)
    np.testing.assert_array_equal(Augmentation(flip=1.0)(images, (1, 2)), images[:, :, ::-1])


def test_flips_come_first_and_change_no_other_draw():
    images = noise(n=40, channels=3)
    others = {"rotation": 20.0, "pixels": 2.0, "levels": 0.5, "invert": 0.5}
    plain, mirrored = (Augmentation(**others)(i, (1, 2)) for i in (images, images[:, :, ::-1]))
    shown = Augmentation(**others, flip=0.5)(images, (1, 2))
    same = [(shown == other).numpy().all(axis=(1, 2, 3)) for other in (plain, mirrored)]
    np.testing.assert_array_equal(same[0], ~same[1])
    assert 5 < same[0].sum() < 35
    inverted = Augmentation(invert=0.5)(images, (1, 2)) == -images
    inverted = inverted.numpy().all(axis=(1, 2, 3))
    # Who is mirrored has nothing to do with who is inverted.
    assert abs(np.corrcoef(same[1], inverted)[0, 1]) < 0.5


@pytest.mark.parametrize("augmentation", [Augmentation(levels=0.5), Augmentation(invert=0.5)])
def test_what_changes_values_leaves_places_and_masks_alone(augmentation):
    masks = np.random.default_rng(1).integers(0, 9, (6, 12, 12)).astype(np.uint8)
    images, same = augmentation(noise(), (1, 2), masks)
    assert same is masks
    np.testing.assert_array_equal(images, augmentation(noise(), (1, 2)))
    nothing = Augmentation()(images, (1, 2), masks)
    assert nothing[0] is images and nothing[1] is masks


def test_a_map_that_does_nothing_changes_no_bit():
    """It is left out where only values change."""
    np.testing.assert_array_equal(move(noise(channels=3)), noise(channels=3))


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(flip=0.5),
        Augmentation(rotation=40, scale=0.3, flip=0.5),
        Augmentation(translation=0.3, pixels=2.0, levels=0.2),
    ],
)
def test_masks_move_with_their_images(augmentation):
    """An image of places and masks of rows and of columns: they go on telling the same."""
    n, side = 16, 24
    rows, columns = np.mgrid[:side, :side]
    places = np.stack([rows, columns, 0 * rows], axis=-1) / 12.0 - 1.0
    images = np.repeat(places[None].astype(np.float32), n, axis=0)
    plain = dataclasses.replace(augmentation, levels=0.0)(images, (3, 4)).numpy()
    for axis, mask in enumerate((rows, columns)):
        masks = np.repeat(mask[None].astype(np.uint8), n, axis=0)
        moved, moved_masks = augmentation(images, (3, 4), masks)
        np.testing.assert_array_equal(moved, augmentation(images, (3, 4)))
        moved_masks = moved_masks.numpy()
        assert moved_masks.dtype == np.uint8 and moved_masks.shape == masks.shape
        inside = moved_masks != IGNORED
        shown = (plain[..., axis] + 1.0) * 12.0
        assert np.abs(shown[inside] - moved_masks[inside]).max() <= 0.5 + 1e-3
        assert inside.mean() > 0.5
        assert inside.all() == (augmentation == Augmentation(flip=0.5))


def test_masks_are_ignored_outside():
    mask = np.arange(25, dtype=np.uint8).reshape(1, 5, 5)
    moves = {"rotation": 0.0, "scale": 1.0, "shift_x": 2.0, "shift_y": -1.0}
    moved = transform_masks(mask, **{k: tf.constant([v]) for k, v in moves.items()}).numpy()
    expected = np.full((5, 5), IGNORED)
    expected[:4, 2:] = mask[0, 1:, :3]
    np.testing.assert_array_equal(moved[0], expected)


def test_masks_in_a_graph():
    masks = np.random.default_rng(1).integers(0, 9, (6, 12, 12)).astype(np.uint8)
    augmentation = Augmentation(rotation=20, flip=0.5)
    images, moved = tf.function(augmentation)(noise(), tf.constant([3, 4]), masks)
    expected, expected_masks = augmentation(noise(), (3, 4), masks)
    np.testing.assert_allclose(images, expected, atol=1e-4)
    assert (moved == expected_masks).numpy().mean() > 0.99  # up to rounding where pixels tie
    assert images.shape == (6, 12, 12, 1) and moved.shape == (6, 12, 12)


def test_no_flips_unless_asked_for():
    # A flip reverses the turn from the right-hand mark to the lower mark about the center.
    image = dot(10, 10, side=21)
    image[0, 10, 16] = 0.5
    image[0, 16, 10] = 0.0
    images = np.repeat(image, 200, axis=0)
    maps = {"rotation": 180.0, "scale": 0.2}
    moved = Augmentation(**maps)(images, (5, 5)).numpy()[..., 0]
    grid = np.stack(np.meshgrid(np.arange(21), np.arange(21)), axis=-1)  # (x, y)
    for picture in moved:
        bright = picture + 1.0
        bright[8:13, 8:13] = 0  # the center mark
        first = grid[np.unravel_index(bright.argmax(), bright.shape)]
        bright[np.abs(grid - first).max(axis=-1) <= 2] = 0
        second = grid[np.unravel_index(bright.argmax(), bright.shape)]
        (a, b), (c, d) = first - 10, second - 10
        assert a * d - b * c > 0


@pytest.mark.parametrize(
    "bad",
    [
        {"rotation": -1},
        {"scale": 1.0},
        {"translation": -0.1},
        {"pixels": -1},
        {"pixels": np.nan},
        {"levels": -0.1},
        {"levels": 2.1},
        {"invert": -0.1},
        {"invert": 1.1},
        {"flip": -0.1},
        {"flip": 1.1},
    ],
)
def test_impossible_settings(bad):
    with pytest.raises(InputError, match="Got Augmentation"):
        Augmentation(**bad)
