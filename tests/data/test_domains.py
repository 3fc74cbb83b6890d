"""What holds for every domain, and the functions that find domains by name."""

import dataclasses

import numpy as np
import pytest

from keras_i2i import data
from keras_i2i.data.domain import Domain
from keras_i2i.data.examples import (
    Examples,
    Reader,
    StoredExamples,
    Unreadable,
    UnreadableError,
)
from keras_i2i.data.storage import Storage
from keras_i2i.errors import InputError

EMBEDDED = {"printed_digits": (5000, 500, 1000), "handwritten_digits": (1097, 200, 500)}


def numbered(n, classes=2):
    """`n` one-pixel images showing their own position."""
    images = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)
    return Examples(images, np.arange(n) % classes)


def numbered_domain(n=60, **settings):
    parts = {"train": numbered(n), "test": numbered(7)}
    settings = {"validation_size": 10, **settings}
    return Domain("numbered", ("even", "odd"), (1, 1, 1), lambda s, _: parts[s], **settings)


DIGITS = {"printed_digits", "handwritten_digits", "mnist", "usps", "svhn", "mnist_m"}
OBJECTS = {"office31_amazon", "office31_dslr", "office31_webcam"}
STREETS = {"rendered_streets", "night_streets", "gta5", "cityscapes"}


def test_registry_names_each_domain_by_its_own_name():
    assert set(data.DOMAINS) == DIGITS | OBJECTS | STREETS
    for name, domain in data.DOMAINS.items():
        assert data.get_domain(name) is domain
        assert domain.name == name
        assert domain.image_shape is None or domain.image_shape[2] in (1, 3)
        assert domain.has_masks == (name in STREETS) and domain.labelled_train
        assert len(domain.palette or ()) == (len(domain.class_names) if name in STREETS else 0)
        assert len(set(domain.class_names)) == len(domain.class_names) >= 2
    assert {data.get_domain(name).class_names for name in DIGITS} == {tuple("0123456789")}
    assert len({data.get_domain(name).class_names for name in OBJECTS}) == 1


def test_unknown_domain_is_told_the_known_and_the_likely():
    with pytest.raises(InputError, match=r"'mnsit'.*printed_digits.*Did you mean mnist\?"):
        data.get_domain("mnsit")


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_domain(name):
    domain = data.get_domain(name)
    splits = [data.load(name, split) for split in data.SPLITS]
    assert tuple(map(len, splits)) == EMBEDDED[name]
    for split, examples in zip(data.SPLITS, splits, strict=True):
        assert examples.images.dtype == np.uint8
        assert examples.images.shape[1:] == domain.image_shape
        assert examples.images.min() == 0 and examples.images.max() > 200
        assert examples.labels.dtype == np.int64
        counts = np.bincount(examples.labels, minlength=10)
        assert counts.min() > 0.9 * len(examples) / 10, "every class has its share"
        again = data.load(name, split)
        np.testing.assert_array_equal(again.images, examples.images)
        np.testing.assert_array_equal(again.labels, examples.labels)
        # Mixed: a first part holds all classes in about equal shares.
        assert np.bincount(examples.take(100).labels, minlength=10).min() >= 3


@pytest.mark.parametrize("name", EMBEDDED)
@pytest.mark.parametrize("split", data.SPLITS)
def test_load_unlabelled_drops_labels_and_nothing_else(name, split):
    unlabelled = data.load_unlabelled(name, split, size=50)
    assert unlabelled.labels is None
    np.testing.assert_array_equal(unlabelled.images, data.load(name, split, size=50).images)


def test_validation_is_the_end_of_the_published_training_part():
    domain = numbered_domain()
    for given, size in ((None, 10), (0, 0), (25, 25), (59, 59)):
        train = domain.load("train", validation_size=given).images.ravel()
        np.testing.assert_array_equal(train, np.arange(60 - size))
        if size:
            validation = domain.load("validation", validation_size=given).images.ravel()
            np.testing.assert_array_equal(validation, np.arange(60 - size, 60))
    assert len(domain.load("test", validation_size=25)) == 7


def test_default_validation_is_at_most_its_share():
    domain = numbered_domain(validation_size=50, validation_share=1 / 6)
    assert len(domain.load("validation")) == 10
    assert len(domain.load("validation", validation_size=50)) == 50


def test_size_takes_the_first():
    examples = numbered_domain().load("train", size=5)
    np.testing.assert_array_equal(examples.images.ravel(), np.arange(5))
    np.testing.assert_array_equal(examples.labels, [0, 1, 0, 1, 0])


def stored(n, start=0):
    """`n` images of many sizes, showing their own number; the fourth cannot be read."""

    def image(position):
        if position == 3:
            raise UnreadableError(f"{start + 3}.png: torn")
        return np.full((1, 1 + position, 1), start + position, np.uint8)

    reader = Reader(image, 1, Unreadable(0, "?"), labels=np.arange(n) % 2)
    return StoredExamples(reader, np.arange(n))


def stored_domain(**settings):
    parts = {"train": stored(60), "validation": stored(5, 100), "test": stored(7, 200)}
    settings = {"validation_size": 10, **settings}
    return Domain("stored", ("even", "odd"), None, lambda split, _: parts[split], **settings)


def shown(examples):
    return [int(image.max()) for _, image, _ in examples.readable()]


def test_stored_examples_are_cut_like_those_in_memory():
    domain = stored_domain()
    assert shown(domain.load("train")) == [0, 1, 2, *range(4, 50)]
    assert shown(domain.load("validation")) == list(range(50, 60))
    assert shown(domain.load("validation", validation_size=58)) == [2, *range(4, 60)]
    assert len(domain.load("train", size=5)) == 5
    np.testing.assert_array_equal(domain.load("test").labels, np.arange(7) % 2)


def test_a_validation_split_of_its_own_leaves_training_whole():
    domain = stored_domain(own_validation=True)
    assert len(domain.load("train")) == 60
    assert shown(domain.load("validation")) == [100, 101, 102, 104]
    # Carved all the same, if a number is given.
    assert len(domain.load("train", validation_size=0)) == 60
    assert len(domain.load("train", validation_size=4)) == 56
    assert shown(domain.load("validation", validation_size=4)) == [56, 57, 58, 59]
    parts = {"train": numbered(60), "validation": numbered(5), "test": numbered(7)}
    domain = numbered_domain(own_validation=True)
    domain = dataclasses.replace(domain, read=lambda split, _: parts[split])
    assert [len(domain.load(split)) for split in data.SPLITS] == [60, 5, 7]


def test_storage_is_applied_to_each_split(capsys):
    domain = stored_domain()
    with pytest.raises(InputError, match=r"stored, train split: 1 images.*max_unreadable=0"):
        shown(domain.load("train", storage=Storage(max_unreadable=0)))
    for split in ("train", "test"):  # Each counts its own.
        shown(domain.load(split, storage=Storage(max_unreadable=1)))
    assert capsys.readouterr().out.count("torn") == 2
    examples = domain.load("test", storage=Storage(cache="memory"))
    assert examples.read(0)[0] is examples.read(0)[0]
    np.testing.assert_array_equal(
        numbered_domain().load("test", storage=Storage(cache="memory")).images.ravel(), np.arange(7)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "dev"}, "'dev'.*train, validation, test"),
        ({"split": "train", "size": 51}, "numbered, train split: Got size 51.*at most 50"),
        ({"split": "train", "size": 0}, "Got size 0"),
        ({"split": "train", "validation_size": 60}, "validation_size 60.*less than the 60"),
        ({"split": "train", "validation_size": -1}, "validation_size -1"),
        ({"split": "validation", "validation_size": 0}, "no validation split"),
    ],
)
def test_impossible_sizes_and_splits(settings, message):
    with pytest.raises(InputError, match=message):
        numbered_domain().load(**settings)


def test_few_labelled():
    few = data.load_few_labelled("handwritten_digits", 3, seed=1)
    np.testing.assert_array_equal(few.labels, np.repeat(np.arange(10), 3))
    train = data.load("handwritten_digits", "train")
    known = {
        image.tobytes(): label for image, label in zip(train.images, train.labels, strict=True)
    }
    for image, label in zip(few.images, few.labels, strict=True):
        assert known[image.tobytes()] == label
    again = data.load_few_labelled("handwritten_digits", 3, seed=1)
    np.testing.assert_array_equal(again.images, few.images)
    other = data.load_few_labelled("handwritten_digits", 3, seed=2)
    assert (other.images != few.images).any()
    more = data.load_few_labelled("handwritten_digits", 5, seed=1)
    np.testing.assert_array_equal(
        more.images.reshape(10, 5, -1)[:, :3], few.images.reshape(10, 3, -1)
    )


def test_few_labelled_needs_enough_of_each_class():
    with pytest.raises(InputError, match=r"Got 20 labelled.*only .* of class '0'"):
        data.load_few_labelled("handwritten_digits", 20, seed=0, size=100)
    with pytest.raises(InputError, match="Got 0 labelled"):
        data.load_few_labelled("handwritten_digits", 0, seed=0)


def test_same_classes(monkeypatch):
    data.check_same_classes("mnist", "usps")
    monkeypatch.setitem(data.DOMAINS, "numbered", numbered_domain())
    with pytest.raises(InputError, match=r"only in mnist: 0, 1, .*; only in numbered: even, odd"):
        data.check_same_classes("mnist", "numbered")
