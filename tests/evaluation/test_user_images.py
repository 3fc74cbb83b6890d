import csv

import numpy as np
import pytest
from PIL import Image

from keras_i2i.errors import InputError
from keras_i2i.evaluation import user_images
from keras_i2i.evaluation.user_images import find_images, open_image, read_images


class Brightness:
    """Class 1 is bright, class 0 dark; translation inverts."""

    image_shape = (16, 16, 1)
    can_translate = True

    def classify(self, images, domain):
        assert domain == "target"
        mean = images.mean(axis=(1, 2, 3))
        return np.stack([-mean, mean], axis=1)

    def translate(self, images, direction):
        return -images


NAMES = ["dark", "bright"]


def save(path, value=255, size=(20, 10), mode="L", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)
    return path


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_of_images(tmp_path):
    photos = tmp_path / "photos"
    save(photos / "a.png", 255)
    save(photos / "b.JPG", (0, 0, 0), mode="RGB")
    (photos / "notes.txt").write_text("not an image, and nobody said it was")
    table = rows(read_images(photos, Brightness(), NAMES, tmp_path / "out"))

    assert [row["predicted"] for row in table] == ["bright", "dark"]
    assert [row["file"] for row in table] == [str(photos / "a.png"), str(photos / "b.JPG")]
    expected = 1 / (1 + np.exp(-2))
    assert float(table[0]["probability"]) == pytest.approx(expected, abs=1e-4)
    assert float(table[0]["bright"]) == pytest.approx(expected, abs=1e-4)
    assert float(table[0]["bright"]) + float(table[0]["dark"]) == pytest.approx(1)

    translations = sorted((tmp_path / "out" / "translations").iterdir())
    assert [path.name for path in translations] == ["00001_a.png", "00002_b.png"]
    panel = np.asarray(Image.open(translations[0]))
    assert panel.shape == (128, 3 * 128 + 2 * 4, 3)
    assert (panel[64, [64, 196, 328]] == [[255] * 3, [0] * 3, [0] * 3]).all()


def test_a_classifier_writes_the_table_only(tmp_path):
    model = Brightness()
    model.can_translate = False
    read_images(save(tmp_path / "a.png"), model, NAMES, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.csv"]


def test_batches_change_nothing(tmp_path, monkeypatch):
    for number in range(5):
        save(tmp_path / "in" / f"{number}.png", 60 * number, size=(9 + number, 300))
    whole = rows(read_images(tmp_path / "in", Brightness(), NAMES, tmp_path / "whole"))
    monkeypatch.setattr(user_images, "BATCH", 2)
    assert rows(read_images(tmp_path / "in", Brightness(), NAMES, tmp_path / "b")) == whole
    assert len(list((tmp_path / "b" / "translations").iterdir())) == 5


def test_names_neither_collide_nor_escape(tmp_path):
    save(tmp_path / "one" / "digit.png")
    save(tmp_path / "two" / "digit.png")
    save(tmp_path / "two" / "x..%2f.. x.png")
    save(tmp_path / "two" / ("ü" * 100 + ".png"))
    out = tmp_path / "out"
    read_images(tmp_path / "**" / "*.png", Brightness(), NAMES, out)
    written = list((out / "translations").iterdir())
    assert len(written) == 4
    assert all(set(path.name) <= set("0123456789_digitfxü.pn2") for path in written)
    assert sorted(path.name for path in out.iterdir()) == ["predictions.csv", "translations"]


def test_patterns(tmp_path, monkeypatch):
    odd = save(tmp_path / "in" / "photo[1].png")
    assert find_images(odd) == [odd]
    save(tmp_path / "in" / "deep" / "b.png")
    assert len(find_images(f"{tmp_path}/in/**/*.png")) == 2
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_images("~/in") == [odd]


@pytest.mark.parametrize("pattern", ["none/*.png", "none", "."])
def test_nothing_matches(pattern, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="No image files match"):
        read_images(pattern, Brightness(), NAMES, tmp_path / "out")


def test_bad_files_are_all_named_and_nothing_is_written(tmp_path):
    save(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "text.png").write_text("hello")
    whole = save(tmp_path / "in" / "cut.png", size=(200, 200)).read_bytes()
    (tmp_path / "in" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "empty.jpg").touch()
    with pytest.raises(InputError) as raised:
        read_images(tmp_path / "in" / "*", Brightness(), NAMES, tmp_path / "out")
    message = str(raised.value)
    assert "3 of the 4 files" in message and "text.png: not an image" in message
    assert "cut.png" in message and "empty.jpg" in message and "good.png" not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("limit", [150, 50])
def test_decompression_bombs_are_refused(limit, tmp_path, monkeypatch):
    """200 pixels: below twice the limit Pillow only warns, above it raises."""
    path = save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(InputError, match=f"more than {limit} pixels"):
        open_image(path)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 100, (100, 100, 100)),
        ("LA", (0, 0), (255, 255, 255)),
        ("P", 0, (0, 0, 0)),
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("RGBA", (0, 0, 0, 255), (0, 0, 0)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 257 * 80, (80, 80, 80)),
    ],
)
def test_modes_of_png(mode, value, expected, tmp_path):
    image = open_image(save(tmp_path / "a.png", value, mode=mode))
    assert image.mode == "RGB" and image.size == (20, 10)
    assert image.getpixel((3, 3)) == expected


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
    exif = Image.Exif()
    exif[0x0112] = 6  # Rotate by 90° clockwise to see it upright.
    path = save(tmp_path / "a.jpg", size=(20, 10), exif=exif)
    assert open_image(path).size == (10, 20)


def test_of_an_animation_the_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert open_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)
