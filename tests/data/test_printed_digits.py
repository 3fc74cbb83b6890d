import hashlib
import pathlib

import matplotlib
import numpy as np
import pytest
from matplotlib.ft2font import FT2Font

from keras_i2i.data import printed_digits
from keras_i2i.data.printed_digits import FONTS, render


@pytest.mark.parametrize("font", FONTS)
def test_font_has_ten_different_digits(font):
    path = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    charmap = FT2Font(str(path)).get_charmap()
    assert len({charmap[ord(digit)] for digit in "0123456789"}) == 10
    drawn = {
        printed_digits._draw_glyph(font, digit, 0, canvas=64).tobytes() for digit in "0123456789"
    }
    assert len(drawn) == 10


@pytest.mark.parametrize("size", [8, 28, 32])
def test_light_digits_on_dark(size):
    examples = render(30, size, seed=0)
    assert examples.images.shape == (30, size, size, 1)
    assert examples.images.dtype == np.uint8
    # Every picture has dark ground at its rim and bright ink somewhere.
    assert (np.median(examples.images, axis=(1, 2, 3)) < 64).all()
    assert (examples.images.max(axis=(1, 2, 3)) > 100).all()


def test_every_run_of_ten_holds_every_digit():
    labels = render(40, 8, seed=3).labels
    for ten in labels.reshape(4, 10):
        np.testing.assert_array_equal(np.sort(ten), np.arange(10))
    assert len({tuple(ten) for ten in labels.reshape(4, 10)}) == 4
    assert len(render(13, 8, seed=3)) == 13


def test_same_seed_same_bits_other_seed_others():
    def digest(seed):
        return hashlib.sha256(render(50, 16, seed).images.tobytes()).hexdigest()

    assert digest(0) == digest(0) != digest(1)


def test_digits_lie_about_the_middle():
    images = render(200, 32, seed=0).images[..., 0].astype(float)
    mean = images.mean(axis=0)
    center = (mean * np.arange(32)).sum() / mean.sum(), (mean.T * np.arange(32)).sum() / mean.sum()
    np.testing.assert_allclose(center, 15.5, atol=1)
    assert mean[3:29, 3:29].sum() > 0.95 * mean.sum(), "little is cut off"


def test_affine_maps_pixels_back_where_they_came_from():
    radians = np.radians([30.0])
    (matrix,) = printed_digits._inverse_affine(
        rotation=radians,
        shear=np.array([0.3]),
        scale=np.array([[2.0], [0.5]]),
        shift=np.array([[3.0], [-1.0]]),
        center=10.0,
    )
    x, y = 4.0, 7.0
    # Forwards, step by step: scale, slant, turn, shift.
    u, v = 2.0 * (x - 10), 0.5 * (y - 10)
    u = u + 0.3 * v
    cos, sin = np.cos(radians[0]), np.sin(radians[0])
    u, v = cos * u - sin * v + 10 + 3, sin * u + cos * v + 10 - 1
    a, b, c, d, e, f = matrix
    np.testing.assert_allclose([a * u + b * v + c, d * u + e * v + f], [x, y])


def test_kept_images_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        printed_digits.PRINTED_DIGITS.load("test").images[0] = 0


def test_splits_share_no_picture():
    domain = printed_digits.PRINTED_DIGITS
    seen = [
        {image.tobytes() for image in domain.load(split).images}
        for split in ("train", "validation", "test")
    ]
    assert [len(s) for s in seen] == [5000, 500, 1000]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
