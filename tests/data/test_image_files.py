import itertools

import numpy as np
import pytest
from PIL import Image

from keras_i2i.data.image_files import find_image_files, native_shape, open_image, read_images
from keras_i2i.errors import InputError


def save(path, value=255, size=(20, 10), mode="L", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)
    return path


def sideways(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Rotate by 90° clockwise to see it upright.
    return save(path, size=(20, 10), exif=exif)


def test_found_by_their_ending(tmp_path):
    expected = [save(tmp_path / name) for name in ("a.png", "b.JPG", "c.bmp")]
    save(tmp_path / ".hidden.png")
    save(tmp_path / "deep" / "d.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("not an image, and nobody said it was")
    assert find_image_files(tmp_path) == expected


@pytest.mark.parametrize("limit", [150, 50])
def test_decompression_bombs_are_refused(limit, tmp_path, monkeypatch):
    """200 pixels: below twice the limit Pillow only warns, above it raises."""
    path = save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    for read in (open_image, native_shape, lambda path: read_images([path] * 9, (10, 20, 1))):
        with pytest.raises(InputError, match=f"bomb.png: more than {limit} pixels"):
            read(path)


@pytest.mark.parametrize(
    ("mode", "value", "expected", "channels"),
    [
        ("1", 1, (255, 255, 255), 1),
        ("L", 100, (100, 100, 100), 1),
        ("LA", (0, 0), (255, 255, 255), 1),
        ("P", 0, (0, 0, 0), 3),
        ("RGB", (10, 20, 30), (10, 20, 30), 3),
        ("RGBA", (0, 0, 0, 255), (0, 0, 0), 3),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255), 3),
        ("I;16", 65535, (255, 255, 255), 1),
        ("I;16", 257 * 80, (80, 80, 80), 1),
    ],
)
def test_modes_of_png(mode, value, expected, channels, tmp_path):
    path = save(tmp_path / "a.png", value, mode=mode)
    image = open_image(path)
    assert image.mode == "RGB" and image.size == (20, 10)
    assert image.getpixel((3, 3)) == expected
    assert native_shape(path) == (10, 20, channels)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("F", 0.5, 128), ("F", 100.0, 100), ("I", 257 * 9, 9), ("CMYK", (0, 0, 0, 255), 0)],
)
def test_modes_of_tiff(mode, value, expected, tmp_path):
    image = open_image(save(tmp_path / "a.tif", value, mode=mode))
    assert image.getpixel((0, 0)) == (expected,) * 3


def test_a_palette_with_a_transparent_entry(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    read = open_image(tmp_path / "a.png")
    assert [read.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (200, 0, 0)]


def test_photographs_are_upright(tmp_path):
    path = sideways(tmp_path / "a.jpg")
    assert open_image(path).size == (10, 20)
    assert native_shape(path) == (20, 10, 1)


def test_of_an_animation_the_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert open_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


def test_images_of_one_size_are_read_as_they_are_in_order(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 5, 7, 3), np.uint8)
    files = [tmp_path / f"{number}.png" for number in range(20)]
    for file, image in zip(files, pixels, strict=True):
        Image.fromarray(image).save(file)
    np.testing.assert_array_equal(read_images(files, (5, 7, 3), resize=False), pixels)


def test_other_sizes_are_resized_or_refused(tmp_path):
    Image.fromarray(np.array([[0, 255] * 8] * 16, np.uint8)).save(tmp_path / "fine.png")
    files = [tmp_path / "fine.png", save(tmp_path / "flat.png", 70, size=(2, 3))]
    fine, flat = read_images(files, (4, 4, 1))
    assert np.abs(fine.astype(int) - 127).max() < 30, "shrinking averages"
    assert (flat == 70).all() and flat.shape == (4, 4, 1)
    with pytest.raises(InputError, match=r"flat\.png: 3 x 2 pixels; expected 16 x 16"):
        read_images(files, (16, 16, 1), resize=False)


def test_gray_becomes_color_but_color_not_gray(tmp_path):
    gray = save(tmp_path / "gray.png", 70)
    color = save(tmp_path / "color.png", (1, 2, 3), mode="RGB")
    images = read_images([gray, color], (10, 20, 3))
    assert (images[0] == 70).all() and (images[1] == (1, 2, 3)).all()
    with pytest.raises(InputError, match=r"color\.png: stored in color; expected a gray image"):
        read_images([gray, color], (10, 20, 1))


def test_damaged_files_are_named(tmp_path):
    whole = save(tmp_path / "cut.png", size=(200, 200)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.jpg").touch()
    reads = (open_image, native_shape, lambda path: read_images([path], (1, 1, 3)))
    for name, read in itertools.product(("cut.png", "text.png", "empty.jpg", "none.png"), reads):
        with pytest.raises(InputError, match=name):
            read(tmp_path / name)
