"""GTA5, from tiny archives of the published names and layout."""

import numpy as np
import pytest
from PIL import Image

from keras_i2i.data.cityscapes import CITYSCAPES, IGNORED, LABELS
from keras_i2i.data.examples import UnreadableError
from keras_i2i.data.gta5 import GTA5
from keras_i2i.errors import InputError

from .published_files import contents, png, scene, write_folder, write_zip


def frame(number, shape=(8, 16)):
    image, ids = scene(number, shape)
    ids[0, 0] = 34  # GTA5's number of a license plate.
    return image, ids


def archives(numbers=range(1, 7), per_archive=3):
    """The published archives by name, each its files by name."""
    found = {}
    for number in numbers:
        archive = (number - 1) // per_archive + 1
        image, ids = frame(number)
        images = found.setdefault(f"{archive:02}_images.zip", {"images/": b""})
        labels = found.setdefault(f"{archive:02}_labels.zip", {"labels/": b""})
        images[f"images/{number:05}.png"] = png(image)
        labels[f"labels/{number:05}.png"] = png(ids, "P")
    return found


def put(data_dir, found, place=""):
    for name, files in found.items():
        write_zip(data_dir / "downloads/manual" / place / name, files)


def expected(numbers):
    class_of = {label.id: label.class_id for label in LABELS} | {34: IGNORED}
    scenes = map(frame, numbers)
    return {
        (image.tobytes(), np.vectorize(class_of.get)(ids).astype(np.uint8).tobytes())
        for image, ids in scenes
    }


@pytest.mark.parametrize("place", ["", "gta5", "extracted"])
def test_published_files(place, tmp_path):
    if place == "extracted":
        for files in archives().values():
            files = {name: content for name, content in files.items() if content}
            write_folder(tmp_path / "downloads/manual/gta5", files)
    else:
        put(tmp_path, archives(), place)
    everything = GTA5.load("train", data_dir=tmp_path, validation_size=0)
    assert everything.has_masks and everything.channels == 3
    assert contents(everything) == expected(range(1, 6))
    train, validation = (
        GTA5.load(split, data_dir=tmp_path, validation_size=1) for split in ("train", "validation")
    )
    assert len(validation) == 1 and contents(train, validation) == expected(range(1, 6))
    # Mixed, and the same every time.
    first, again = (GTA5.load("train", data_dir=tmp_path, validation_size=0) for _ in range(2))
    np.testing.assert_array_equal(first.positions, again.positions)
    assert sorted(first.positions) == list(range(5)) != list(first.positions)


def test_test_frames_have_the_highest_numbers(tmp_path):
    put(tmp_path, archives())
    assert contents(GTA5.load("test", data_dir=tmp_path)) == expected([6])


def test_same_classes_as_cityscapes():
    assert GTA5.class_names == CITYSCAPES.class_names and GTA5.palette == CITYSCAPES.palette


def test_some_of_the_archives(tmp_path):
    found = archives()
    put(tmp_path, {name: found[name] for name in ("02_images.zip", "02_labels.zip")})
    train = GTA5.load("train", data_dir=tmp_path, validation_size=0)
    assert contents(train) == expected([4, 5])


@pytest.mark.parametrize(
    ("kind", "other", "lone"),
    [
        ("images", "labels", "no label file of the same name"),
        ("labels", "images", "no image of the same name"),
    ],
)
def test_frame_without_its_other_half(kind, other, lone, tmp_path):
    found = archives()
    del found[f"02_{other}.zip"]
    put(tmp_path, found)
    with pytest.raises(InputError, match=rf"02_{kind}.zip/{kind}/00004.png has {lone}, 3 of 6"):
        GTA5.load("train", data_dir=tmp_path)


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_missing_archives(kind, tmp_path):
    put(tmp_path, {name: files for name, files in archives().items() if kind not in name})
    with pytest.raises(InputError) as raised:
        GTA5.load("train", data_dir=tmp_path)
    message = str(raised.value)
    assert f"Get 01_{kind}.zip to 10_{kind}.zip from the page of 'Playing for Data'" in message
    assert str(tmp_path / "downloads" / "manual" / "gta5") in message


def test_mask_of_nearly_the_same_size_is_resized(tmp_path):
    found = archives([1])
    # The published case in small: 1052 x 1914 against 1046 x 1914. Rows become 99 from 100.
    ids = np.repeat(np.arange(100, dtype=np.uint8)[:, np.newaxis] // 50 * 19 + 7, 160, axis=1)
    found["01_images.zip"]["images/00001.png"] = png(scene(1, (99, 160))[0])
    found["01_labels.zip"]["labels/00001.png"] = png(ids, "P")
    put(tmp_path, found)
    image, mask = GTA5.load("test", data_dir=tmp_path).read(0)
    assert image.shape == (99, 160, 3) and mask.shape == (99, 160) and mask.dtype == np.uint8
    assert set(mask[:49].ravel()) == {0} and set(mask[50:].ravel()) == {13}


def test_mask_of_another_shape(tmp_path):
    found = archives([1])
    found["01_labels.zip"]["labels/00001.png"] = png(scene(1, (8, 15))[1], "P")
    put(tmp_path, found)
    examples = GTA5.load("test", data_dir=tmp_path)
    with pytest.raises(UnreadableError, match=r"labels/00001.png: 8 x 15 .*images/00001.png, 8 x"):
        examples.read(0)
    assert examples.without_labels().read(0)[0].shape == (8, 16, 3)


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_damaged_frame_is_passed_over(kind, tmp_path):
    found = archives()
    found[f"01_{kind}.zip"][f"{kind}/00002.png"] = b"no image"
    put(tmp_path, found)
    examples = GTA5.load("train", data_dir=tmp_path, validation_size=0)
    assert len(list(examples.readable())) == 4
    (error,) = examples.reader.unreadable.errors.values()
    assert error.endswith(f"01_{kind}.zip/{kind}/00002.png: not an image")


def test_license_plates_are_cars_where_labels_are_colors(tmp_path):
    found = archives([1])
    label = Image.new("RGB", (16, 8), (0, 0, 142))
    found["01_labels.zip"]["labels/00001.png"] = png(np.asarray(label))
    put(tmp_path, found)
    assert set(GTA5.load("test", data_dir=tmp_path).read(0)[1].ravel()) == {13}
