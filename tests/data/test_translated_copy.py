import hashlib
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from keras_i2i import data
from keras_i2i.data import read_translated_copy, translated_copy, write_translated_copy
from keras_i2i.data.batches import in_memory
from keras_i2i.data.examples import (
    Examples,
    Reader,
    StoredExamples,
    Unreadable,
    UnreadableError,
)
from keras_i2i.data.geometry import Geometry
from keras_i2i.errors import InputError

NAMES = ("zero", "one", "two")


def examples(n=10, channels=1, seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (n, 4, 5, channels), np.uint8)
    return Examples(images, random.integers(0, 3, n))


def stored(n=10, unreadable=(), limit=10, seed=0):
    """Images of many sizes."""
    random = np.random.default_rng(seed)
    sizes = random.integers(5, 12, (n, 2))
    images = [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]

    def image(position):
        if position in unreadable:
            raise UnreadableError(f"{position}.jpg: broken")
        return images[position]

    warnings = Unreadable(limit, "fakes", warn=lambda line: None)
    return StoredExamples(Reader(image, 3, warnings, random.integers(0, 3, n)), np.arange(n))


class Inverted:
    """Inverts and enlarges images, remembers how many it was given, and may fail at a call."""

    def __init__(self, fail_at=None):
        self.batches = []
        self.fail_at = fail_at

    def __call__(self, images):
        if len(self.batches) == self.fail_at:
            raise KeyboardInterrupt
        self.batches.append(len(images))
        return 255 - images.repeat(2, axis=1)


def write(folder, of=None, translate=None, names=NAMES, **settings):
    of = examples() if of is None else of
    return write_translated_copy(
        folder, of, translate or Inverted(), names, batch_size=4, **settings
    )


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip(channels, tmp_path):
    original = examples(channels=channels)
    assert write(tmp_path / "copy", original) == tmp_path / "copy"
    copy = read_translated_copy(tmp_path / "copy")
    np.testing.assert_array_equal(copy.images, 255 - original.images.repeat(2, axis=1))
    np.testing.assert_array_equal(copy.labels, original.labels)
    assert copy.labels.dtype == np.int64


def test_layout(tmp_path):
    original = examples()
    write(tmp_path, original)
    files = [f"train/{NAMES[label]}/{i:08d}.png" for i, label in enumerate(original.labels)]
    assert sorted(contents(tmp_path)) == sorted(["train.json", *files])
    record = json.loads((tmp_path / "train.json").read_text())
    assert record["count"] == 10 and record["image_shape"] == [8, 5, 1]
    assert record["class_names"] == record["class_folders"] == list(NAMES)


@pytest.mark.parametrize("channels", [1, 3])
def test_tfds_reads_it(channels, tmp_path):
    original = examples(channels=channels)
    original.labels[original.labels == 1] = 2  # A class without images keeps its number.
    write(tmp_path, original)
    write(tmp_path, original[:3], split="test")
    builder = tfds.ImageFolder(str(tmp_path), shape=(8, 5, channels))
    assert builder.info.features["label"].names == sorted(NAMES)
    assert set(builder.info.splits) == {"train", "test"}
    read = {
        row["image/filename"].decode()[-12:-4]: row
        for row in tfds.as_numpy(builder.as_dataset(split="train"))
    }
    copy = read_translated_copy(tmp_path)
    assert len(read) == len(copy)
    for i, (image, label) in enumerate(zip(copy.images, copy.labels, strict=True)):
        np.testing.assert_array_equal(read[f"{i:08d}"]["image"], image)
        assert sorted(NAMES)[read[f"{i:08d}"]["label"]] == NAMES[label]


def test_the_image_folder_domain_reads_it(tmp_path):
    original = Examples(examples().images, np.arange(10) % 3)
    write(tmp_path, original, split="train")
    write(tmp_path, original, split="test")
    name = f"image_folder:{tmp_path}"
    assert data.get_domain(name).class_names == tuple(sorted(NAMES))
    read = data.load(name, "test")
    assert len(read) == 10 and read.read(0)[0].shape[:2] == (8, 5)


def test_progress_and_batches(tmp_path):
    calls, translate = [], Inverted()
    write(tmp_path, translate=translate, progress=lambda *call: calls.append(call))
    assert calls == [(4, 10), (8, 10), (10, 10)]
    assert translate.batches == [4, 4, 2]


def test_a_finished_copy_is_left_alone(tmp_path):
    write(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    translate = Inverted()
    write(tmp_path, translate=translate)
    assert translate.batches == []
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


@pytest.mark.parametrize("fail_at", [0, 1, 2])
def test_an_interrupted_copy_continues(fail_at, tmp_path):
    write(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "copy", translate=Inverted(fail_at))
    with pytest.raises(InputError, match=r"is not finished.*continues where"):
        read_translated_copy(tmp_path / "copy")
    translate, calls = Inverted(), []
    write(tmp_path / "copy", translate=translate, progress=lambda *call: calls.append(call))
    assert translate.batches == [4, 4, 2][fail_at:]
    assert len(calls) == 3
    assert contents(tmp_path / "copy") == contents(tmp_path / "whole")


def test_of_a_translator_at_random_an_interrupted_copy_is_translated_anew(tmp_path):
    class AtRandom(Inverted):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.random = np.random.default_rng(0)

        def __call__(self, images):
            images = super().__call__(images)
            return images ^ self.random.integers(0, 16, images.shape, np.uint8)

    write(tmp_path / "whole", translate=AtRandom(), anew=True)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "copy", translate=AtRandom(2), anew=True)
    write(tmp_path / "copy", translate=AtRandom(), anew=True)
    assert contents(tmp_path / "copy") == contents(tmp_path / "whole")


def test_only_batches_with_a_missing_file_are_translated_again(tmp_path):
    whole = write(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "copy", translate=Inverted(fail_at=2))
    for number in (5, 6):
        (path,) = (tmp_path / "copy").rglob(f"{number:08d}.png")
        path.unlink()
    translate = Inverted()
    write(tmp_path / "copy", translate=translate)
    assert translate.batches == [4, 2]
    assert contents(tmp_path / "copy") == contents(whole)


@pytest.mark.parametrize("record", ["before", "after"])
def test_killed_around_the_last_record(record, tmp_path):
    """The process dies right before train.json is there, or right after."""
    folder = write(tmp_path)
    expected = contents(folder)
    finished, partial = folder / "train.json", folder / "train.partial.json"
    partial.write_bytes(finished.read_bytes())
    if record == "before":
        finished.unlink()
    translate = Inverted()
    write(folder, translate=translate)
    assert translate.batches == [] and contents(folder) == expected


def test_halves_that_a_killed_process_left_are_removed(tmp_path):
    whole = write(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "copy", translate=Inverted(fail_at=1))
    (tmp_path / "copy" / "train" / "one" / ".00000009.123.png").write_bytes(b"half")
    (tmp_path / "copy" / ".train.partial.123.json").write_text("{")
    assert contents(write(tmp_path / "copy")) == contents(whole)


def test_a_failed_write_leaves_no_half_file(tmp_path, monkeypatch):
    def fail(image, path, *_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path)
    assert list(contents(tmp_path)) == ["train.partial.json"]
    monkeypatch.undo()
    write(tmp_path)
    assert len(read_translated_copy(tmp_path)) == 10


STORED = {"image_shape": (4, 6, 3), "geometry": Geometry(crop_size=5)}


def test_stored_examples(tmp_path):
    original, translate = stored(), Inverted()
    write(tmp_path, original, translate, **STORED)
    assert translate.batches == [4, 4, 2]
    copy, expected = read_translated_copy(tmp_path), in_memory(original, *STORED.values())
    np.testing.assert_array_equal(copy.images, 255 - expected.images.repeat(2, axis=1))
    np.testing.assert_array_equal(copy.labels, original.labels)
    assert "left_out" not in json.loads((tmp_path / "train.json").read_text())


def test_images_in_memory_may_be_brought_to_a_shape_too(tmp_path):
    original = examples(channels=3)
    write(tmp_path, original, image_shape=(3, 3, 1))
    expected = in_memory(original, (3, 3, 1))
    np.testing.assert_array_equal(
        read_translated_copy(tmp_path).images, 255 - expected.images.repeat(2, axis=1)
    )


@pytest.mark.parametrize("unreadable", [(0,), (3, 9), (4, 5, 6, 7), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("fail_at", [None, 1])
def test_unreadable_examples_are_left_out(fail_at, unreadable, tmp_path):
    kept = np.setdiff1d(np.arange(10), unreadable)
    expected = in_memory(stored(), *STORED.values())[kept]
    calls = []
    if fail_at is not None:
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, stored(unreadable=unreadable), Inverted(fail_at), **STORED)
    progress = {"progress": lambda *call: calls.append(call)}
    write(tmp_path, stored(unreadable=unreadable), **STORED, **progress)
    assert calls == [(4, 10), (8, 10), (10, 10)]
    names = {int(path.stem) for path in tmp_path.rglob("*.png")}
    assert names == set(kept.tolist())
    copy = read_translated_copy(tmp_path)
    np.testing.assert_array_equal(copy.images, 255 - expected.images.repeat(2, axis=1))
    np.testing.assert_array_equal(copy.labels, expected.labels)
    assert json.loads((tmp_path / "train.json").read_text())["left_out"] == list(unreadable)
    # It is finished.
    translate = Inverted()
    write(tmp_path, stored(unreadable=unreadable), translate, **STORED)
    assert translate.batches == []


def test_a_missing_file_is_no_example_left_out(tmp_path):
    write(tmp_path, stored(unreadable=(2,)), **STORED)
    (path,) = tmp_path.rglob("00000005.png")
    path.unlink()
    with pytest.raises(InputError, match=r"1 are missing, the first of them 00000005\.png"):
        read_translated_copy(tmp_path)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (stored(seed=1), "its fingerprint is"),
        (stored(9), "its count is 10, but now it would be 9"),
        (stored()[::-1], "its fingerprint is"),
        (examples(), "its fingerprint is"),
    ],
)
def test_a_copy_of_other_stored_examples_is_refused(of, message, tmp_path):
    write(tmp_path, stored(), **STORED)
    with pytest.raises(InputError, match=message):
        write(tmp_path, of, **STORED)


def test_other_labels_of_stored_examples_are_refused(tmp_path):
    original = stored()
    write(tmp_path, original, **STORED)
    original.reader.labels[7] = (original.reader.labels[7] + 1) % 3
    with pytest.raises(InputError, match="its fingerprint is"):
        write(tmp_path, original, **STORED)


OTHERS = [
    ({"of": examples(seed=1)}, "its fingerprint is"),
    ({"of": examples()[:9]}, "its count is 10, but now it would be 9"),
    ({"of": Examples(examples().images, (examples().labels + 1) % 3)}, "its fingerprint is"),
    ({"names": ("zero", "one", "three")}, "its class_names is"),
]


@pytest.mark.parametrize(("other", "message"), OTHERS)
@pytest.mark.parametrize("fail_at", [None, 1])
def test_a_copy_of_something_else_is_refused(fail_at, other, message, tmp_path):
    if fail_at is None:
        write(tmp_path)
    else:
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, translate=Inverted(fail_at))
    before, translate = contents(tmp_path), Inverted()
    with pytest.raises(InputError, match=rf"train.*json tells of .*other.*{message}.*Give another"):
        write(tmp_path, translate=translate, **other)
    assert translate.batches == [] and contents(tmp_path) == before


def test_files_of_another_origin_are_left_alone(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "photo.jpg").touch()
    with pytest.raises(InputError, match="train is not empty"):
        write(tmp_path)
    assert list(contents(tmp_path)) == ["train/photo.jpg"]


@pytest.mark.parametrize(
    "names",
    [
        ("../x", "a/b", ""),
        ("..", ".", "/etc"),
        ("cat", "Cat", "cat_1"),
        ("a b", "a_b", "a?b"),
        ("x" * 300, "x" * 301, "\x00\n"),
        ("", "_1", ""),
    ],
)
def test_evil_class_names_stay_inside_and_apart(names, tmp_path):
    folder = write(tmp_path / "deep" / "copy", names=names)
    assert list(tmp_path.iterdir()) == [tmp_path / "deep"]
    assert list((tmp_path / "deep").iterdir()) == [folder]
    assert sorted(path.name for path in folder.iterdir()) == ["train", "train.json"]
    homes = [path.name for path in (folder / "train").iterdir()]
    assert len({home.casefold() for home in homes}) == 3
    assert all(home.strip("_") == home.strip("_.") and len(home) < 60 for home in homes)
    np.testing.assert_array_equal(read_translated_copy(folder).labels, examples().labels)


def test_class_folders():
    names = ["cat", "Cat", "traffic light", "größe", "../x", "", "cat_1"]
    expected = ["cat", "Cat_1", "traffic_light", "größe", "___x", "_5", "cat_1_6"]
    assert translated_copy.class_folders(names) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"of": examples().without_labels()}, "10 examples without labels"),
        ({"of": examples()[:0]}, "Got 0 examples"),
        ({"of": stored()}, "Got stored examples.*image_shape"),
        ({"of": stored(unreadable=range(3), limit=2), **STORED}, "fakes: 3 images cannot be read"),
        ({"of": stored(unreadable=range(10)), **STORED}, "None of the 10 images"),
        (
            {"of": Examples(np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), np.uint8))},
            "masks",
        ),
        ({"names": ("zero", "one")}, "to 2 and 2 class names"),
        ({"split": "../train"}, "Got split '../train'"),
        ({"split": ""}, "Got split ''"),
        ({"translate": lambda images: images / 255}, "float64 .*expected 4 uint8.*to_uint8"),
        ({"translate": lambda images: images[:-1]}, "expected 4 uint8"),
        ({"translate": lambda images: images[..., 0]}, "expected 4 uint8"),
        ({"translate": lambda images: images.repeat(2, axis=3)}, "width, 1 or 3"),
        ({"translate": lambda i: i.repeat(len(i), axis=1)}, r"expected 2 .*\(16, 5, 1\)"),
    ],
)
def test_mistakes(settings, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write(tmp_path, **settings)


def test_batch_size_is_checked(tmp_path):
    with pytest.raises(InputError, match="Got batch_size 0"):
        write_translated_copy(tmp_path, examples(), Inverted(), NAMES, batch_size=0)


def cut(path):
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f, p: p.unlink(), r"10 images .* 1 are missing, the first of them 00000003\.png"),
        (lambda f, p: cut(p), r"damaged: .*00000003\.png"),
        (lambda f, p: Image.new("L", (3, 3)).save(p), r"00000003\.png: 3 x 3 pixels; expected 8"),
        (lambda f, p: Image.new("RGB", (5, 8)).save(p), r"00000003\.png: stored in color"),
        (lambda f, p: p.with_name("00000010.png").touch(), r"00000010\.png is not part"),
        (lambda f, p: p.with_name("photo.png").touch(), r"photo\.png is not part"),
        (lambda f, p: (f / "train.json").unlink(), r"does not exist: no .*train\.json"),
        (lambda f, p: (f / "train.json").write_text("{"), r"train\.json is damaged"),
        (lambda f, p: (f / "train.json").write_text("{}"), r"train\.json is damaged.*'count'"),
    ],
)
def test_damaged_copies(spoil, message, tmp_path):
    folder = write(tmp_path)
    (path,) = folder.rglob("00000003.png")
    spoil(folder, path)
    with pytest.raises(InputError, match=message):
        read_translated_copy(folder)
