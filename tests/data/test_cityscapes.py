"""Cityscapes, from tiny archives of the published names and layout."""

import numpy as np
import pytest

from keras_i2i.data import cityscapes
from keras_i2i.data.archives import StoredFile
from keras_i2i.data.cityscapes import CITYSCAPES, IGNORED, LABELS
from keras_i2i.data.examples import UnreadableError
from keras_i2i.errors import InputError

from .published_files import contents, png, scene, write_folder, write_zip

FRAMES = {
    "train": ["aachen/aachen_000000_000019", "aachen/aachen_000001_000019", "ulm/ulm_000000_000019"]
    + [f"bochum/bochum_000000_{number:06}" for number in range(9)],
    "val": ["frankfurt/frankfurt_000000_000294", "lindau/lindau_000000_000019"],
    "test": ["berlin/berlin_000000_000019"],
}


def published_files():
    """All files of both archives, by name, and the scenes by frame."""
    files, scenes = {"leftImg8bit": {}, "gtFine": {}}, {}
    for part, frames in FRAMES.items():
        for number, frame in enumerate(frames):
            name = f"{part}/{frame}"
            image, ids = scenes[name] = scene([len(part), number])
            files["leftImg8bit"][f"leftImg8bit/{name}_leftImg8bit.png"] = png(image)
            files["gtFine"][f"gtFine/{name}_gtFine_labelIds.png"] = png(ids)
            files["gtFine"][f"gtFine/{name}_gtFine_instanceIds.png"] = png(ids.astype(np.uint16))
            files["gtFine"][f"gtFine/{name}_gtFine_color.png"] = png(image)
            files["gtFine"][f"gtFine/{name}_gtFine_polygons.json"] = b"{}"
    for content in files.values():
        content |= {"README": b"Cityscapes", "license.txt": b"terms"}
    return files, scenes


def put(data_dir, files, place=""):
    for name, content in files.items():
        write_zip(data_dir / "downloads/manual" / place / f"{name}_trainvaltest.zip", content)


def expected(scenes, part):
    """The scenes of a part, as (image, mask) in bytes, with masks by the table of the paper."""
    class_of = {label.id: label.class_id for label in LABELS}
    return {
        (image.tobytes(), np.vectorize(class_of.get)(ids).astype(np.uint8).tobytes())
        for name, (image, ids) in scenes.items()
        if name.startswith(part)
    }


def test_label_table():
    """Spot checks of the published table, and what follows from it."""
    table = {label.name: (label.id, label.class_id, label.color) for label in LABELS}
    assert table["road"] == (7, 0, (128, 64, 128))
    assert table["sidewalk"] == (8, 1, (244, 35, 232))
    assert table["pole"] == (17, 5, (153, 153, 153))
    assert table["sky"] == (23, 10, (70, 130, 180))
    assert table["car"] == (26, 13, (0, 0, 142))
    assert table["train"] == (31, 16, (0, 80, 100))
    assert table["bicycle"] == (33, 18, (119, 11, 32))
    for ignored in ("ego vehicle", "parking", "polegroup", "caravan", "trailer", "license plate"):
        assert table[ignored][1] == IGNORED
    assert table["license plate"][0] == -1
    assert [label.id for label in LABELS] == [*range(34), -1]
    assert [label.class_id for label in LABELS if label.class_id != IGNORED] == list(range(19))
    assert CITYSCAPES.class_names[0] == "road" and CITYSCAPES.class_names[18] == "bicycle"
    assert CITYSCAPES.palette[13] == (0, 0, 142)
    assert len(CITYSCAPES.class_names) == len(set(CITYSCAPES.palette)) == 19


def stored(content, tmp_path):
    return StoredFile("label.png", lambda: content, tmp_path)


@pytest.mark.parametrize("kind", ["gray", "palette", "rgb", "rgba"])
def test_masks_of_all_kinds(kind, tmp_path):
    ids = np.array([[7, 26, 33, 0], [29, 11, 4, 14]], np.uint8)
    classes = [[0, 13, 18, IGNORED], [IGNORED, 2, IGNORED, IGNORED]]
    colors = np.array([label.color for label in LABELS], np.uint8)[ids]
    content = {
        "gray": png(ids),
        "palette": png(ids, "P"),
        "rgb": png(colors),
        "rgba": png(np.dstack([colors, np.full_like(ids, 255)])),
    }[kind]
    mask = cityscapes.read_mask(stored(content, tmp_path))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, classes)


def test_numbers_and_colors_of_no_label_are_ignored(tmp_path):
    numbers = np.array([[34, 35, 200, 254, 255]], np.uint8)
    assert (cityscapes.read_mask(stored(png(numbers), tmp_path)) == IGNORED).all()
    colors = np.array([[[128, 64, 129], [0, 0, 0], [255, 255, 255], [0, 0, 141]]], np.uint8)
    assert (cityscapes.read_mask(stored(png(colors), tmp_path)) == IGNORED).all()


def test_every_class_by_its_color(tmp_path):
    colors = np.array([CITYSCAPES.palette], np.uint8)
    (classes,) = cityscapes.read_mask(stored(png(colors), tmp_path))
    np.testing.assert_array_equal(classes, np.arange(19))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no image", "label.png: not an image"),
        (png(np.zeros((8, 16), np.uint16)), r"label.png: stored as I;16; expected label numbers"),
        (png(scene(0)[1])[:-30], r"label.png: "),
    ],
)
def test_label_files_that_are_none(content, message, tmp_path):
    with pytest.raises(UnreadableError, match=message):
        cityscapes.read_mask(stored(content, tmp_path))


@pytest.mark.parametrize("place", ["", "cityscapes", "extracted"])
def test_published_files(place, tmp_path):
    files, scenes = published_files()
    if place == "extracted":
        for content in files.values():
            write_folder(tmp_path / "downloads/manual/cityscapes", content)
    else:
        put(tmp_path, files, place)
    parts = {split: CITYSCAPES.load(split, data_dir=tmp_path) for split in ("train", "test")}
    parts["validation"] = CITYSCAPES.load("validation", data_dir=tmp_path)
    # A sixth of twelve.
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 10,
        "validation": 2,
        "test": 2,
    }
    assert all(part.has_masks and part.channels == 3 for part in parts.values())
    assert contents(parts["train"], parts["validation"]) == expected(scenes, "train")
    assert contents(parts["test"]) == expected(scenes, "val")
    again = CITYSCAPES.load("train", data_dir=tmp_path)
    np.testing.assert_array_equal(again.read(3)[0], parts["train"].read(3)[0])


def test_keys_name_each_example_and_change_with_its_files(tmp_path):
    files, _ = published_files()
    put(tmp_path, files)
    examples = CITYSCAPES.load("train", data_dir=tmp_path)
    keys = [examples.reader.key(position) for position in range(12)]
    assert len(set(keys)) == 12
    put(tmp_path, {"gtFine": files["gtFine"] | {"README": b"a longer one"}})
    changed = CITYSCAPES.load("train", data_dir=tmp_path).reader
    assert not set(keys) & {changed.key(position) for position in range(12)}


def test_target_images_without_reading_masks(tmp_path):
    files, scenes = published_files()
    spoilt = {n: b"no image" if n.endswith("Ids.png") else c for n, c in files["gtFine"].items()}
    put(tmp_path, files | {"gtFine": spoilt})
    images = CITYSCAPES.load("test", data_dir=tmp_path).without_labels()
    read = {image.tobytes() for _, image, _ in images.readable()}
    assert read == {image for image, _ in expected(scenes, "val")}


@pytest.mark.parametrize("missing", ["leftImg8bit", "gtFine"])
def test_missing_archive(missing, tmp_path):
    files, _ = published_files()
    put(tmp_path, {name: content for name, content in files.items() if name != missing})
    with pytest.raises(InputError) as raised:
        CITYSCAPES.load("test", data_dir=tmp_path)
    message = str(raised.value)
    assert f"{missing}_trainvaltest.zip from www.cityscapes-dataset.com (registration" in message
    assert f"put it into {tmp_path / 'downloads/manual/cityscapes'}" in message


def test_image_without_labels(tmp_path):
    files, _ = published_files()
    del files["gtFine"][f"gtFine/val/{FRAMES['val'][0]}_gtFine_labelIds.png"]
    put(tmp_path, files)
    assert len(CITYSCAPES.load("train", data_dir=tmp_path)) == 10
    with pytest.raises(InputError, match=r"frankfurt_000000_000294_leftImg8bit.png has no label"):
        CITYSCAPES.load("test", data_dir=tmp_path)
