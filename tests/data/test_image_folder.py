import os

import numpy as np
import pytest
from PIL import Image

from keras_i2i import data
from keras_i2i.data.examples import StoredExamples, UnreadableError
from keras_i2i.errors import InputError


def put(path, value, size=(6, 4), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def classes_in(folder, n=12, names=("cat", "dog"), start=0):
    """`n` images per class; an image's value tells class and number, its size varies."""
    for label, name in enumerate(names):
        for i in range(start, start + n):
            put(folder / name / f"{i:02d}.png", 100 * label + i, size=(6 + i, 4))


def labelled(folder, names=("cat", "dog"), n=12):
    classes_in(folder / "train", n, names)
    classes_in(folder / "test", 2, names, start=50)
    return f"image_folder:{folder}"


def flat(folder, n=12):
    for i in range(n):
        put(folder / "train" / f"{i:02d}.png", i)
        put(folder / "test" / f"{i:02d}.png", 100 + i)
    return f"image_folder:{folder}"


def values(examples):
    return np.array([int(image[0, 0, 0]) for _, image, _ in examples.readable()])


def load_all(name, storage=None):
    return tuple(data.load(name, split, storage=storage) for split in data.SPLITS)


def test_class_folders(tmp_path):
    name = labelled(tmp_path)
    domain = data.get_domain(name)
    assert (domain.name, domain.class_names, domain.image_shape) == (name, ("cat", "dog"), None)
    assert not domain.has_masks and not domain.own_validation
    parts = load_all(name)
    assert tuple(map(len, parts)) == (20, 4, 4)
    for examples in parts:
        assert isinstance(examples, StoredExamples) and examples.channels == 1
        assert examples.labels.dtype == np.int64
        np.testing.assert_array_equal(examples.labels, values(examples) // 100)
        image, label = examples.read(0)
        assert image.shape == (4, 6 + image[0, 0, 0] % 100, 1) and label == examples.labels[0]
    train, validation, _ = parts
    shown = np.concatenate([values(train), values(validation)])
    np.testing.assert_array_equal(np.sort(shown), [*range(12), *range(100, 112)])
    assert 0 < train.labels[:10].sum() < 10, "classes are mixed"
    np.testing.assert_array_equal(values(data.load(name, "train")), values(train))
    assert data.load_unlabelled(name, "train").labels is None
    few = data.load_few_labelled(name, 2, seed=0)
    np.testing.assert_array_equal(few.labels, [0, 0, 1, 1])


def test_without_class_folders(tmp_path):
    name = flat(tmp_path)
    assert data.get_domain(name).class_names == ()
    for examples, size in zip(load_all(name), (10, 2, 12), strict=True):
        assert len(examples) == size and examples.labels is None
        assert examples.read(0)[1] is None
        assert len(set(values(examples))) == size
    assert len(data.load_unlabelled(name, "train", size=3, validation_size=0)) == 3
    with pytest.raises(InputError, match=r"2 labelled examples.*has no labels.*class folders"):
        data.load_few_labelled(name, 2, seed=0)


@pytest.mark.parametrize("called", ["val", "validation", "valid"])
def test_a_validation_folder_is_the_validation_split(called, tmp_path):
    name = labelled(tmp_path)
    classes_in(tmp_path / called, 3, start=30)
    assert data.get_domain(name).own_validation
    train, validation, test = load_all(name)
    np.testing.assert_array_equal(np.sort(values(train)), [*range(12), *range(100, 112)])
    np.testing.assert_array_equal(np.sort(values(validation)), [*range(30, 33), *range(130, 133)])
    np.testing.assert_array_equal(np.sort(values(test)), [50, 51, 150, 151])
    carved = data.load(name, "validation", validation_size=5)
    assert len(carved) == 5 and max(values(carved) % 100) < 30


def parted(folder, **storage):
    return load_all(f"image_folder:{folder}", data.Storage(**storage))


@pytest.mark.parametrize("below", ["", "train"])
def test_a_folder_without_a_test_part_is_split(below, tmp_path):
    classes_in(tmp_path / below, 30)
    classes_in(tmp_path / below, 4, ("cow",), start=90)
    train, validation, test = parted(tmp_path, test_share=0.3)
    np.testing.assert_array_equal(np.bincount(test.labels), [9, 1, 9])
    assert set(train.labels) == {0, 1, 2}
    assert len(train) + len(validation) + len(test) == 64
    every = np.concatenate([values(examples) for examples in (train, validation, test)])
    assert len(every) == 64 and np.bincount(every).max() <= 2, "cow's values are cat's too"
    assert set(values(parted(tmp_path, split_seed=1)[2])) != set(values(parted(tmp_path)[2]))


def test_with_validation_but_no_test_folder(tmp_path):
    classes_in(tmp_path / "train", 10)
    classes_in(tmp_path / "val", 3, start=30)
    train, validation, test = parted(tmp_path)
    assert tuple(map(len, (train, validation, test))) == (16, 6, 4)
    assert not set(values(train)) & set(values(test)) and min(values(validation)) >= 30


def test_a_flat_folder_is_split(tmp_path):
    for i in range(10):
        put(tmp_path / f"{i}.png", i)
    train, validation, test = parted(tmp_path)
    assert tuple(map(len, (train, validation, test))) == (7, 1, 2) and test.labels is None
    shown = np.concatenate([values(examples) for examples in (train, validation, test)])
    np.testing.assert_array_equal(np.sort(shown), np.arange(10))


def test_the_order_of_the_file_system_does_not_matter(tmp_path, monkeypatch):
    classes_in(tmp_path, 12)
    before = [values(examples).tolist() for examples in parted(tmp_path)]
    scandir = os.scandir

    class Reversed:
        def __init__(self, folder):
            with scandir(folder) as entries:
                self.entries = list(entries)[::-1]

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert [values(examples).tolist() for examples in parted(tmp_path)] == before


def test_same_classes(tmp_path):
    animals, others = labelled(tmp_path / "a"), labelled(tmp_path / "b", ("cat", "cow"))
    unknown, unknown_too = flat(tmp_path / "c"), flat(tmp_path / "d")
    data.check_same_classes(animals, animals)
    data.check_same_classes(animals, unknown)
    data.check_same_classes(unknown, unknown_too)
    with pytest.raises(InputError, match=r"only in .*a: dog; only in .*b: cow"):
        data.check_same_classes(animals, others)
    with pytest.raises(InputError, match=r"only in .*a: cat, dog"):
        data.check_same_classes(unknown, animals)


def test_one_training_image_in_color_makes_all_color(tmp_path):
    name = flat(tmp_path, n=3)
    put(tmp_path / "train" / "00.png", (10, 20, 30), mode="RGB")
    train = data.load(name, "train", validation_size=0)
    assert train.channels == 3
    shown = sorted(image[0, 0].tolist() for _, image, _ in train.readable())
    assert shown == [[1] * 3, [2] * 3, [10, 20, 30]]
    image, _ = data.load(name, "test").read(0)
    assert image.shape == (4, 6, 3)


def test_color_among_gray_becomes_gray_by_luma(tmp_path):
    name = flat(tmp_path, n=3)
    put(tmp_path / "test" / "01.png", (200, 100, 50), mode="RGB")
    test = data.load(name, "test")
    assert test.channels == 1
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    np.testing.assert_array_equal(np.sort(values(test)), [100, 102, luma])


def test_what_does_not_decode_is_left_out_up_to_the_limit(tmp_path, capsys):
    name = labelled(tmp_path)
    torn = tmp_path / "train" / "dog" / "05.png"
    torn.write_text("no image")
    train = data.load(name, "train", validation_size=0)
    assert len(train) == 24 and len(values(train)) == 23
    assert f"{torn}: not an image" in capsys.readouterr().out
    storage = data.Storage(max_unreadable=0)
    strict = data.load(name, "train", validation_size=0, storage=storage)
    with pytest.raises(InputError, match=r"train split: 1 images cannot.*\n.*dog/05\.png: not an"):
        values(strict)
    strict = data.load(name, "train", validation_size=0, storage=storage)
    torn.unlink()  # After listing.
    with pytest.raises(InputError, match=r"dog/05\.png: "):
        values(strict)


def test_the_disk_cache_notices_a_changed_file(tmp_path):
    name = labelled(tmp_path / "data")
    storage = data.Storage(cache="disk", cache_dir=tmp_path / "cache")
    test = data.load(name, "test", storage=storage)
    before = values(test)
    count = len(list((tmp_path / "cache").rglob("*.npy")))
    assert count == 4
    np.testing.assert_array_equal(values(data.load(name, "test", storage=storage)), before)
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == count
    put(tmp_path / "data" / "test" / "cat" / "50.png", 77, size=(3, 3))
    assert sorted(values(test)) == [51, 77, 150, 151]


def test_hidden_and_other_files_are_left_out(tmp_path):
    name = labelled(tmp_path)
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "train" / "cat" / "._00.png").write_text("what macOS leaves")
    (tmp_path / "train" / "notes.txt").write_text("notes")
    assert data.get_domain(name).class_names == ("cat", "dog")
    assert len(data.load(name, "train", validation_size=0)) == 24


def test_home_folder(tmp_path, monkeypatch):
    flat(tmp_path / "photos")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(data.load("image_folder:~/photos", "test")) == 12


def remove(path):
    for file in path.rglob("*"):
        if file.is_file():
            file.unlink()


def only(folder, file):
    """Leaves nothing in a folder but one file in which nobody looks for an image."""
    remove(folder)
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text("?")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.rename(f.parent / "elsewhere"), "there is no folder .*PATH/train/CLASS"),
        (lambda f: (f / "train").rename(f / "Train"), "there is no folder .*train"),
        (lambda f: remove(f / "train"), r"no images in .*/train\. Expected"),
        (lambda f: remove(f / "test"), r"no images in .*/test\. Expected"),
        (lambda f: put(f / "test" / "cow" / "deep" / "1.png", 0), "cat, dog against cat, cow, dog"),
        (lambda f: only(f / "train" / "cat", "deep/1.png"), "no images in .*train/cat"),
        (lambda f: only(f / "test" / "dog", "notes.txt"), "no images in .*test/dog"),
        (lambda f: classes_in(f / "test", 1, ("cow",)), "differ: cat, dog against cat, cow, dog"),
        (lambda f: classes_in(f / "val", 1, ("cow",)), "train and val differ: cat, dog against"),
        (lambda f: put(f / "val" / "1.png", 0), "train and val differ: cat, dog against none"),
        (lambda f: put(f / "train" / "a.png", 0), r"train holds both .*beside them \(a\.png\)"),
        (lambda f: put(f / "test" / "a.png", 0), r"test holds both .*beside them \(a\.png\)"),
        (lambda f: [(f / v).mkdir() for v in ("val", "valid")], "folders val and valid"),
    ],
)
def test_other_layouts(spoil, message, tmp_path):
    name = labelled(tmp_path / "data")
    spoil(tmp_path / "data")
    with pytest.raises(InputError, match=message):
        data.get_domain(name)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no images in"),
        (["a.png"], r"a\.png is the only image in its folder.*at least two"),
        (["cat/a.png", "cat/b.png", "dog/a.png"], r"dog/a\.png is the only image in its folder"),
        (["cat/a.png", "cat/b.png"], "cat is the only class folder"),
        (["cat/a.png", "Cat/b.png"], "folders Cat and cat differ in upper and lower case only"),
        (["cat/a.png", "dog/a.png", "x.png"], r"beside them \(x\.png\)"),
        (["cat/deep/a.png", "dog/a.png", "dog/b.png"], "no images in .*cat. Expected"),
        (["val/1.png", "val/2.png"], "there is no folder .*train"),
    ],
)
def test_folders_to_split_that_cannot_be(files, message, tmp_path):
    for file in files:
        put(tmp_path / file, 0)
    with pytest.raises(InputError, match=message):
        data.get_domain(f"image_folder:{tmp_path}")


# What a split has: classes, images without them, or no folder at all.
ANIMALS, OTHERS, FLAT, MISSING = ("cat", "dog"), ("cat", "cow"), (), None


def parts_of(folder, **parts):
    for number, (part, names) in enumerate(parts.items()):
        if names == FLAT:
            for i in range(8):
                put(folder / part / f"{i}.png", 50 * number + i)
        elif names:
            classes_in(folder / part, 4, names, start=10 * number)
    return f"image_folder:{folder}"


@pytest.mark.parametrize("val", [ANIMALS, FLAT, MISSING])
def test_labels_in_the_test_part_only(val, tmp_path):
    name = parts_of(tmp_path, train=FLAT, val=val, test=ANIMALS)
    domain = data.get_domain(name)
    assert (domain.class_names, domain.labelled_train) == (ANIMALS, False)
    train, validation, test = load_all(name)
    assert train.labels is None and train.read(0)[1] is None
    assert len(train) == (7 if val is MISSING else 8)
    if val == ANIMALS:
        np.testing.assert_array_equal(validation.labels, values(validation) // 100)
    else:
        assert validation.labels is None
    np.testing.assert_array_equal(test.labels, values(test) // 100)
    assert sorted(values(test)) == [*range(20, 24), *range(120, 124)]
    # Taken from training images, which are without labels.
    assert data.load(name, "validation", validation_size=3).labels is None
    data.check_same_classes(labelled(tmp_path / "source"), name)
    with pytest.raises(InputError, match=r"only in .*: dog; only in .*: cow"):
        data.check_same_classes(name, labelled(tmp_path / "others", OTHERS))
    with pytest.raises(InputError, match=r"1 labelled examples.*has no labels"):
        data.load_few_labelled(name, 1, seed=0)


@pytest.mark.parametrize("names", [ANIMALS, FLAT])
def test_all_splits_or_none_with_labels(names, tmp_path):
    domain = data.get_domain(parts_of(tmp_path, train=names, val=names, test=names))
    assert (domain.class_names, domain.labelled_train) == (names, True)


@pytest.mark.parametrize(
    ("train", "val", "test", "message"),
    [
        (ANIMALS, MISSING, FLAT, "train and test differ: cat, dog against none"),
        (ANIMALS, ANIMALS, FLAT, "train and test differ: cat, dog against none"),
        (ANIMALS, FLAT, FLAT, "train and val differ: cat, dog against none"),
        (ANIMALS, FLAT, ANIMALS, "train and val differ: cat, dog against none"),
        (ANIMALS, FLAT, MISSING, "train and val differ: cat, dog against none"),
        (FLAT, ANIMALS, FLAT, "val and train differ: cat, dog against none"),
        (FLAT, ANIMALS, MISSING, "val and train differ: cat, dog against none"),
        (FLAT, ANIMALS, OTHERS, "val and test differ: cat, dog against cat, cow"),
        (FLAT, MISSING, ("cat",), "cat is the only class folder"),
        (FLAT, MISSING, ("Cat", "cat"), "folders Cat and cat differ in upper and lower case"),
    ],
)
def test_splits_whose_labels_do_not_agree(train, val, test, message, tmp_path):
    name = parts_of(tmp_path, train=train, val=val, test=test)
    with pytest.raises(InputError, match=message):
        data.get_domain(name)


def test_images_beside_the_class_folders_of_the_test_part(tmp_path):
    name = parts_of(tmp_path, train=FLAT, test=ANIMALS)
    put(tmp_path / "test" / "a.png", 0)
    with pytest.raises(InputError, match=r"test holds both .*\(cat, dog\).*\(a\.png\)"):
        data.get_domain(name)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_an_empty_folder_stands_for_a_class_without_images_there(part, tmp_path, capsys):
    names = ("cat", "cow", "dog")
    name = parts_of(tmp_path, train=names, val=names, test=names)
    remove(tmp_path / part / "cow")
    (tmp_path / part / "cow" / ".gitkeep").touch()
    domain = data.get_domain(name)
    assert (domain.class_names, domain.labelled_train) == (names, True)
    for split, examples in zip(data.SPLITS, load_all(name), strict=True):
        counts = [4, 0 if split.startswith(part) else 4, 4]
        np.testing.assert_array_equal(np.bincount(examples.labels, minlength=3), counts)
        np.testing.assert_array_equal(examples.labels, values(examples) // 100)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(("below", "val"), [("", False), ("train", False), ("train", True)])
def test_an_empty_class_cannot_be_split(below, val, tmp_path):
    classes_in(tmp_path / below, 3)
    (tmp_path / below / "cow").mkdir()
    if val:
        classes_in(tmp_path / "val", 3, ("cat", "cow", "dog"))
    with pytest.raises(InputError, match=r"no images in .*/cow\. Expected"):
        data.get_domain(f"image_folder:{tmp_path}")


def test_a_translated_copy_without_some_classes(tmp_path):
    images = np.zeros((4, 2, 3, 1), np.uint8)
    for split, labels in (("train", [0, 0, 2, 2]), ("test", [0, 1, 2, 1])):
        examples = data.Examples(images, np.array(labels))
        names = ("cat", "cow", "dog")
        data.write_translated_copy(tmp_path, examples, lambda x: x, names, split=split)
    train, test = (
        data.load(f"image_folder:{tmp_path}", split, validation_size=0)
        for split in ("train", "test")
    )
    np.testing.assert_array_equal(np.bincount(train.labels), [2, 0, 2])
    np.testing.assert_array_equal(np.bincount(test.labels), [1, 2, 1])


def test_valid_may_be_a_class(tmp_path):
    classes_in(tmp_path, 3, ("invalid", "valid"))
    assert data.get_domain(f"image_folder:{tmp_path}").class_names == ("invalid", "valid")


def test_no_path():
    with pytest.raises(InputError, match="without a path"):
        data.get_domain("image_folder:")
    with pytest.raises(InputError, match="or image_folder:PATH"):
        data.get_domain("image_folders:x")


def copied(folder, names):
    """Ten images of each class; those named are copies of the class's first."""
    classes_in(folder, 10)
    for name in ("cat", "dog"):
        for number in names:
            first = (folder / name / "00.png").read_bytes()
            (folder / name / f"{number:02d}.png").write_bytes(first)


@pytest.mark.parametrize("seed", range(5))
def test_copies_of_a_file_are_not_on_both_sides_of_a_split(seed, tmp_path):
    copied(tmp_path, (3, 4, 5, 6))
    train, validation, test = parted(tmp_path, test_share=0.3, split_seed=seed)
    learnt = {*values(train), *values(validation)}
    assert not learnt & set(values(test))
    assert len(train) + len(validation) + len(test) == 20, "nothing is lost"
    assert set(test.labels) == {0, 1}


def test_a_split_without_copies_is_drawn_by_names_alone(tmp_path):
    classes_in(tmp_path, 10)
    before = [values(examples).tolist() for examples in parted(tmp_path)]
    labels = np.repeat([0, 1], 10)
    _, drawn = data.Storage().split(labels)
    assert sorted(before[2]) == [100 * labels[p] + p % 10 for p in drawn]
    for path in tmp_path.rglob("*.png"):  # other bytes, the same name
        path.write_bytes(path.read_bytes() + b"\0")
    assert [values(examples).tolist() for examples in parted(tmp_path)] == before


def test_a_class_of_copies_cannot_be_split(tmp_path):
    classes_in(tmp_path, 4)
    for number in range(1, 4):
        content = (tmp_path / "dog" / "00.png").read_bytes()
        (tmp_path / "dog" / f"{number:02d}.png").write_bytes(content)
    with pytest.raises(
        InputError,
        match=r"all images of \S+dog that were set aside for the test are copies of training "
        r"images: \S+\.png has the content of \S+\.png\. Remove the copies, or give another",
    ):
        data.load(f"image_folder:{tmp_path}", "train")


def test_files_are_known_by_names_within_the_folder(tmp_path):
    examples = data.load(labelled(tmp_path), "test")
    (file,) = examples.reader.stored(0)
    path = tmp_path / file.name
    assert file.name.startswith("test/") and file.size == path.stat().st_size
    assert file.content(5) == path.read_bytes()[:5]
    assert file.content(10**6) == path.read_bytes()
    path.unlink()
    with pytest.raises(UnreadableError):
        examples.reader.stored(0)
