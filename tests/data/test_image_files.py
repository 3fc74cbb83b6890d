import itertools
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from keras_i2i.data import image_files
from keras_i2i.data.examples import UnreadableError
from keras_i2i.data.image_files import (
    common_channels,
    file_key,
    find_image_files,
    native_shape,
    open_image,
    read_image,
    read_images,
)
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
    some = find_image_files(tmp_path, at_most=2)
    assert len(some) == 2 and set(some) < set(expected)


@pytest.mark.parametrize("limit", [150, 50])
def test_decompression_bombs_are_refused(limit, tmp_path, monkeypatch):
    path = save(tmp_path / "bomb.png")  # of 200 pixels
    monkeypatch.setattr(image_files, "MOST_PIXELS", limit)
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


@pytest.mark.parametrize("unit", [1, 255])
def test_floats_of_tiff_that_are_no_numbers(unit, tmp_path):
    values = np.array([[np.nan, 0.2 * unit, unit], [np.inf, -np.inf, -1]], "float32")
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", 1)[..., 0].tolist() == [[0, 51, 255], [255, 0, 0]]
    Image.fromarray(np.full((1, 2), np.nan, "float32")).save(tmp_path / "nothing.tif")
    assert not read_image(tmp_path / "nothing.tif", 1).any()


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
    reads = (
        open_image,
        native_shape,
        lambda path: read_image(path, 3),
        lambda path: read_images([path], (1, 1, 3)),
    )
    for name, read in itertools.product(("cut.png", "text.png", "empty.jpg", "none.png"), reads):
        with pytest.raises(UnreadableError, match=f"^{tmp_path / name}: "):
            read(tmp_path / name)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("mode", "value", "suffix", "expected"),
    [
        ("1", 1, "png", (255, 255, 255)),
        ("L", 100, "jpg", (100, 100, 100)),
        ("L", 100, "webp", (100, 100, 100)),
        ("LA", (0, 128), "png", (127, 127, 127)),
        ("P", 0, "gif", (0, 0, 0)),
        ("RGB", (200, 100, 50), "bmp", (200, 100, 50)),
        ("RGB", (200, 100, 50), "ppm", (200, 100, 50)),
        ("RGBA", (255, 0, 0, 0), "tiff", (255, 255, 255)),
        ("I;16", 257 * 80, "tif", (80, 80, 80)),
        ("F", 0.5, "tif", (128, 128, 128)),
        ("CMYK", (0, 0, 0, 255), "jpg", (0, 0, 0)),
    ],
)
def test_pixels_of_any_kind(mode, value, suffix, expected, channels, tmp_path):
    image = read_image(save(tmp_path / f"a.{suffix}", value, mode=mode), channels)
    assert image.shape == (10, 20, channels) and image.dtype == np.uint8
    red, green, blue = expected
    luma = round(0.299 * red + 0.587 * green + 0.114 * blue)
    tolerance = 2 if suffix in ("jpg", "webp") else 0
    wanted = expected if channels == 3 else luma
    assert np.abs(image.astype(int) - wanted).max() <= tolerance


def test_color_of_16_bits(tmp_path):
    """Pillow does not write such PNG files."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    row = struct.pack(">6H", 0, 257 * 100, 65535, 257 * 7, 0, 0)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" + row))
        + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 3), [[[0, 100, 255], [7, 0, 0]]])


# What EXIF says of each orientation: where the stored image's first row and column are.
ORIENTATIONS = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_is_turned_upright(orientation, suffix, tmp_path):
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :8], stored[:8, 24:], stored[8:, :8] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {"quality": 100, "subsampling": 0}
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(stored).save(path, exif=exif, **(options if suffix in ("webp", "jpg") else {}))
    upright = ORIENTATIONS[orientation](stored)
    image = read_image(path, 3)
    assert image.shape == upright.shape and native_shape(path) == upright.shape
    assert np.abs(image.astype(int) - upright).max() <= (4 if suffix == "jpg" else 0)


def test_damaged_exif_does_not_cost_the_image(tmp_path):
    """As ImageMagick writes it, in hexadecimal, but cut off."""
    text = PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 9\n4d4")
    path = save(tmp_path / "a.png", 70, pnginfo=text)
    with pytest.raises(ValueError, match="fromhex"), Image.open(path) as image:
        image.getexif()
    assert (read_image(path, 1) == 70).all()


def test_common_channels(tmp_path):
    gray = [save(tmp_path / f"{i}.png", mode=mode) for i, mode in enumerate(("1", "L", "LA"))]
    color = save(tmp_path / "color.png", "red", mode="RGB")
    (tmp_path / "torn.png").write_text("no image")
    torn = tmp_path / "torn.png"
    assert common_channels(gray) == common_channels([*gray, torn]) == 1
    assert common_channels([*gray, color]) == common_channels([torn]) == common_channels([]) == 3
    assert common_channels(gray * 1000) == 1
    assert common_channels([*gray, color] * 1000) == 3


def test_common_channels_reads_few_headers_and_no_pixels(tmp_path, monkeypatch):
    files = [save(tmp_path / f"{i}.png") for i in range(101)]
    opened, real = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path, **_: opened.append(path) or real(path))
    monkeypatch.setattr(Image.Image, "load", None)
    assert common_channels(files) == 1
    assert len(set(opened)) == len(opened) == 100


def test_a_file_key_changes_with_the_file(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png")
    key = file_key(path)
    assert key == file_key(path)
    monkeypatch.chdir(tmp_path)
    assert file_key("a.png") == key
    os.utime(path, ns=(1, 1))
    assert file_key(path) != key
    assert file_key(save(tmp_path / "b.png")) != key
    with pytest.raises(UnreadableError, match=r"none\.png: No such file"):
        file_key(tmp_path / "none.png")


def test_many_threads_refuse_bombs_and_nothing_else(tmp_path, monkeypatch):
    bomb, image = save(tmp_path / "bomb.png", size=(20, 11)), save(tmp_path / "a.png")
    monkeypatch.setattr(image_files, "MOST_PIXELS", 200)

    def read(path):
        try:
            return read_image(path, 1).shape
        except UnreadableError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(read, [bomb, image] * 50))
    assert set(results[1::2]) == {(10, 20, 1)}
    assert len(set(results[::2])) == 1 and results[0].startswith(f"{bomb}: more than 200 pixels")


def test_other_programs_and_data_files_are_left_alone(tmp_path):
    for name in ("a.eps", "labels.h5", "film.mpg", "a.pdf"):
        (tmp_path / name).write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert find_image_files(tmp_path) == []
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(UnreadableError, match=r"a\.png: not an image"):
        read_image(tmp_path / "a.png", 3)
