import numpy as np
import pytest
from PIL import Image

from keras_i2i import data
from keras_i2i.errors import InputError


def put(path, value, size=(6, 4), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def labelled(folder, classes=("cat", "dog"), n=12):
    """`n` training images per class and 2 test images; an image's value tells class and number."""
    for label, name in enumerate(classes):
        for i in range(n):
            put(folder / "train" / name / f"{i:02d}.png", 100 * label + i)
        for i in range(2):
            put(folder / "test" / name / f"{i:02d}.bmp", 100 * label + 50 + i)
    return f"image_folder:{folder}"


def flat(folder, n=12):
    for i in range(n):
        put(folder / "train" / f"{i:02d}.png", i)
        put(folder / "test" / f"{i:02d}.png", 100 + i)
    return f"image_folder:{folder}"


def values(examples):
    return examples.images[:, 0, 0, 0].astype(int)


def test_class_folders(tmp_path):
    name = labelled(tmp_path)
    domain = data.get_domain(name)
    assert (domain.name, domain.class_names, domain.image_shape) == (
        name,
        ("cat", "dog"),
        (4, 6, 1),
    )
    train, validation, test = (data.load(name, split) for split in data.SPLITS)
    assert tuple(map(len, (train, validation, test))) == (20, 4, 4)
    for examples in (train, validation, test):
        assert examples.images.shape[1:] == (4, 6, 1) and examples.labels.dtype == np.int64
        np.testing.assert_array_equal(examples.labels, values(examples) // 100)
    shown = np.concatenate([values(train), values(validation)])
    np.testing.assert_array_equal(np.sort(shown), [*range(12), *range(100, 112)])
    assert 0 < train.labels[:10].sum() < 10, "classes are mixed"
    np.testing.assert_array_equal(data.load(name, "train").images, train.images)
    assert data.load_unlabelled(name, "train").labels is None
    few = data.load_few_labelled(name, 2, seed=0)
    np.testing.assert_array_equal(few.labels, [0, 0, 1, 1])


def test_without_class_folders(tmp_path):
    name = flat(tmp_path)
    assert data.get_domain(name).class_names == ()
    for split, size in zip(data.SPLITS, (10, 2, 12), strict=True):
        examples = data.load(name, split)
        assert len(examples) == size and examples.labels is None
        assert len(set(values(examples))) == size
    assert len(data.load_unlabelled(name, "train", size=3, validation_size=0)) == 3
    with pytest.raises(InputError, match=r"2 labelled examples.*has no labels.*class folders"):
        data.load_few_labelled(name, 2, seed=0)


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


def test_the_first_image_gives_the_shape(tmp_path):
    name = flat(tmp_path, n=3)
    put(tmp_path / "train" / "00.png", (10, 20, 30), size=(5, 3), mode="RGB")
    assert data.get_domain(name).image_shape == (3, 5, 3)
    train = data.load(name, "train", validation_size=0)
    assert sorted(image[0, 0].tolist() for image in train.images) == [
        [1] * 3,
        [2] * 3,
        [10, 20, 30],
    ]
    assert data.load(name, "test").images.shape == (3, 3, 5, 3)


def test_color_among_gray_images_is_not_lost_silently(tmp_path):
    name = flat(tmp_path, n=3)
    put(tmp_path / "train" / "01.png", "red", mode="RGB")
    with pytest.raises(InputError, match=r"01\.png: stored in color.*Save .*00\.png in color"):
        data.load(name, "train")


def test_pixels_are_read_when_loaded(tmp_path):
    name = labelled(tmp_path)
    (tmp_path / "train" / "dog" / "05.png").write_text("no image")
    assert data.get_domain(name).class_names == ("cat", "dog")
    assert len(data.load(name, "test")) == 4
    with pytest.raises(InputError, match=r"cannot read .*dog/05\.png: not an image.*Replace"):
        data.load(name, "train")


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


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.rename(f.parent / "elsewhere"), "there is no folder .*PATH/train/CLASS"),
        (lambda f: (f / "train").rename(f / "Train"), "there is no folder .*train"),
        (lambda f: (f / "test").rename(f / "val"), "there is no folder .*test"),
        (lambda f: remove(f / "train"), "no images in .*train"),
        (lambda f: remove(f / "test"), "no images in .*test"),
        (lambda f: (f / "test" / "cow").mkdir(), "differ: cat, dog against cat, cow, dog"),
        (lambda f: put(f / "train" / "a.png", 0), r"beside them \(a\.png\)"),
        (lambda f: (f / "train" / "cat" / "00.png").write_text("x"), r"00\.png: not an image"),
    ],
)
def test_other_layouts(spoil, message, tmp_path):
    name = labelled(tmp_path / "data")
    spoil(tmp_path / "data")
    with pytest.raises(InputError, match=message):
        data.load(name, "test")


def test_labels_in_one_split_only(tmp_path):
    labelled(tmp_path / "a")
    flat(tmp_path / "b")
    (tmp_path / "a" / "test").rename(tmp_path / "unused")
    (tmp_path / "b" / "test").rename(tmp_path / "a" / "test")
    with pytest.raises(InputError, match="differ: cat, dog against none"):
        data.get_domain(f"image_folder:{tmp_path / 'a'}")


def test_one_class_or_no_path(tmp_path):
    with pytest.raises(InputError, match="cat is the only class folder"):
        data.get_domain(labelled(tmp_path, ["cat"]))
    with pytest.raises(InputError, match="without a path"):
        data.get_domain("image_folder:")
    with pytest.raises(InputError, match="or image_folder:PATH"):
        data.get_domain("image_folders")
