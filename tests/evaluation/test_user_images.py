import csv
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from keras_i2i.data.geometry import Geometry
from keras_i2i.errors import InputError
from keras_i2i.evaluation import user_images
from keras_i2i.evaluation.user_images import find_images, read_images


class Brightness:
    """Class 1 is bright, class 0 dark; translation inverts."""

    can_classify = True
    directions = ("source_to_target", "target_to_source")

    def image_shape_of(self, domain):
        return (16, 16, 1)

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
    model.directions = ()
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


class OneWay(Brightness):
    """Translates small gray source images to larger coloured target images, and not back."""

    directions = ("source_to_target",)

    def image_shape_of(self, domain):
        return (16, 16, 1) if domain == "source" else (32, 32, 3)

    def classify(self, images, domain):
        assert images.shape[1:] == (32, 32, 3)
        return super().classify(images, domain)

    def translate(self, images, direction):
        assert direction == "source_to_target" and images.shape[1:] == (16, 16, 1)
        return np.ones((len(images), 32, 32, 3), "float32")


def test_each_domain_has_its_shape_and_only_known_ways_are_shown(tmp_path):
    table = rows(read_images(save(tmp_path / "a.png", 0), OneWay(), NAMES, tmp_path / "out"))
    assert table[0]["predicted"] == "dark"
    (written,) = (tmp_path / "out" / "translations").iterdir()
    panel = np.asarray(Image.open(written))
    assert panel.shape == (128, 2 * 128 + 4, 3)
    assert (panel[64, [64, 196]] == [[0] * 3, [255] * 3]).all()


def test_each_direction_is_shown_with_what_it_was_made_from(tmp_path):
    model = OneWay()
    model.directions = Brightness.directions
    model.translate = lambda images, direction: -images
    read_images(save(tmp_path / "a.png"), model, NAMES, tmp_path / "out")
    (written,) = (tmp_path / "out" / "translations").iterdir()
    assert np.asarray(Image.open(written)).shape == (128, 4 * 128 + 3 * 4, 3)


def test_without_a_classifier_files_are_only_translated(tmp_path):
    model = OneWay()
    model.can_classify = False
    table = rows(read_images(save(tmp_path / "a.png"), model, (), tmp_path / "out"))
    assert table == [{"file": str(tmp_path / "a.png")}]
    assert len(list((tmp_path / "out" / "translations").iterdir())) == 1


def test_images_are_cut_as_in_a_test(tmp_path):
    """A bright frame around a dark square, of which the model is to see the square only."""
    image = Image.new("L", (40, 40), 255)
    image.paste(0, (12, 12, 28, 28))
    image.save(tmp_path / "a.png")
    geometry = Geometry(crop_size=16)
    for given, expected in ((None, "bright"), (geometry, "dark")):
        read = read_images(
            tmp_path / "a.png", Brightness(), NAMES, tmp_path / "out", geometry=given
        )
        assert rows(read)[0]["predicted"] == expected


@pytest.fixture
def halves(tmp_path):
    """A photo that is dark to the left and bright to the right, 90 pixels wide and 60 high."""
    image = Image.new("RGB", (90, 60), "black")
    image.paste("white", (30, 0, 90, 60))
    (tmp_path / "in").mkdir()
    image.save(tmp_path / "in" / "halves.png")
    return tmp_path / "in"


CLASSES = ["dark", "gray", "bright", "ghost"]
COLOURS = [(10, 20, 30), (200, 30, 30), (30, 200, 30), (30, 30, 200)]


@pytest.mark.parametrize("largest", [4_000_000, 400])
def test_a_segmentation_is_a_picture_of_classes(largest, halves, segmenter, tmp_path, monkeypatch):
    monkeypatch.setattr(user_images, "LARGEST", largest)
    model, out = segmenter(blind=True), tmp_path / "out"
    read = read_images(
        halves, model, CLASSES, out, palette=COLOURS, geometry=Geometry(crop_size=16)
    )
    (row,) = rows(read)
    assert list(row) == ["file", *CLASSES]
    shares = [float(row[name]) for name in CLASSES]
    np.testing.assert_allclose(shares, [1 / 3, 0, 2 / 3, 0], atol=1e-3 if largest > 400 else 0.03)
    (((shape, size),)) = model.seen
    assert shape[:2] == size == ((60, 90) if largest > 400 else (16, 24))

    with Image.open(out / "segmentations" / "00001_halves.png") as picture:
        assert picture.mode == "P"
        classes, colours = np.asarray(picture), np.asarray(picture.convert("RGB"))
    assert classes.shape == (60, 90) and set(np.unique(classes)) == {0, 2}
    assert (colours[30, [5, 80]] == [COLOURS[0], COLOURS[2]]).all()
    with Image.open(out / "panels" / "00001_halves.png") as panels:
        assert panels.width > 3 * panels.height
    assert sorted(path.name for path in out.iterdir()) == [
        "panels", "predictions.csv", "segmentations",
    ]  # fmt: skip


def test_an_overlay_is_the_mean_and_takes_little_memory():
    image, painted = np.indices((256, 256), "uint8").repeat(8, axis=1)
    tracemalloc.start()
    overlaid = user_images._overlaid(image, painted)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 3.1 * image.size
    np.testing.assert_array_equal(overlaid, (0.5 * image + 0.5 * painted).astype("uint8"))


@pytest.mark.parametrize("side", [30, 90])
def test_a_network_reads_no_more_pixels_than_fit_into_memory(
    side, segmenter, tmp_path, monkeypatch
):
    """A small crop, enlarged to what the network reads, makes more of an image than it has."""
    monkeypatch.setattr(user_images, "LARGEST", 60 * 60)
    model = segmenter()
    save(tmp_path / "a.png", (9, 9, 9), size=(side, side), mode="RGB")
    geometry = Geometry(crop_size=4)
    read_images(tmp_path / "a.png", model, CLASSES, tmp_path / "out", geometry=geometry)
    (((shape, size),)) = model.seen
    assert shape == (60, 60, 3) and size == (min(side, 60),) * 2


def test_a_segmentation_model_translates_too(halves, segmenter, tmp_path):
    model = segmenter(directions=("source_to_target",))
    read_images(halves, model, CLASSES, tmp_path / "out", geometry=Geometry(fit="crop"))
    (written,) = (tmp_path / "out" / "translations").iterdir()
    assert np.asarray(Image.open(written)).shape == (128, 2 * 128 + 4, 3)
