import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from keras_i2i.data.examples import Reader, StoredExamples, Unreadable, UnreadableError
from keras_i2i.data.storage import Storage, mixed
from keras_i2i.errors import InputError


class Shelf:
    """Stored examples of `n` images that count how often each is decoded."""

    def __init__(self, n=4, masks=False, name="shelf"):
        self.decoded, self.name, self.version = [0] * n, name, 1
        self.lock = threading.Lock()
        self.examples = StoredExamples(
            Reader(
                image=self.image,
                channels=3,
                unreadable=Unreadable(0, "shelf"),
                labels=None if masks else np.arange(n),
                image_and_mask=self.image_and_mask if masks else None,
                key=lambda position: f"{self.name} {position} {self.version}",
            ),
            np.arange(n),
        )

    def image(self, position):
        if position == 3:
            raise UnreadableError(f"{position}.png: torn")
        with self.lock:
            self.decoded[position] += 1
        return np.full((position + 1, 2, 3), 10 * self.version + position, np.uint8)

    def image_and_mask(self, position):
        image = self.image(position)
        return image, image[..., 0] // 10


def storages(tmp_path):
    return {
        "none": Storage(),
        "memory": Storage(cache="memory"),
        "disk": Storage(cache="disk", cache_dir=tmp_path / "deep" / "cache"),
    }


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize(("cache", "times"), [("none", 3), ("memory", 1), ("disk", 1)])
def test_a_cache_changes_nothing_but_how_often_images_are_decoded(cache, times, masks, tmp_path):
    shelf = Shelf(masks=masks)
    examples = storages(tmp_path)[cache].applied_to(shelf.examples, "shelf")
    assert examples.has_masks == masks
    for _ in range(3):
        for position in range(3):
            image, label = examples.read(position)
            expected = Shelf(masks=masks).examples.read(position)
            np.testing.assert_array_equal(image, expected[0])
            np.testing.assert_array_equal(label, expected[1])
            assert image.dtype == np.uint8 and label.dtype == expected[1].dtype
    assert shelf.decoded == [times] * 3 + [0]
    with pytest.raises(UnreadableError, match=r"^3\.png: torn"):
        examples.read(3)


@pytest.mark.parametrize(("cache", "times"), [("memory", 1), ("disk", 1)])
def test_an_image_is_known_from_reading_it_with_its_mask(cache, times, tmp_path):
    shelf = Shelf(masks=True)
    examples = storages(tmp_path)[cache].applied_to(shelf.examples, "shelf")
    examples.read(1)
    image, label = examples.without_labels().read(1)
    assert label is None and image.shape == (2, 2, 3) and shelf.decoded[1] == times
    examples.without_labels().read(2)
    assert examples.read(2)[1].shape == (3, 2), "the mask is read although the image was there"


def test_the_disk_serves_another_run_and_memory_does_not(tmp_path):
    for cache, total in (("memory", 2), ("disk", 1)):
        shelf = Shelf()
        for _ in range(2):
            storages(tmp_path)[cache].applied_to(shelf.examples, "shelf").read(2)
        assert shelf.decoded[2] == total


def test_the_disk_confuses_neither_data_sets_nor_versions_nor_channels(tmp_path):
    storage = storages(tmp_path)["disk"]
    first, second = Shelf(), Shelf(name="other")
    for shelf in (first, second):
        storage.applied_to(shelf.examples, "shelf").read(0)
    assert second.decoded[0] == 1
    first.version = 2
    assert storage.applied_to(first.examples, "shelf").read(0)[0].max() == 20
    gray = dataclasses.replace(
        first.examples.reader, channels=1, image=lambda _: np.zeros((1, 1, 1), np.uint8)
    )
    gray = dataclasses.replace(first.examples, reader=gray)
    assert storage.applied_to(gray, "shelf").read(0)[0].shape == (1, 1, 1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no array"),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:20]),
        lambda path: np.save(path, np.zeros((2, 2, 3))),
        lambda path: np.save(path, np.zeros(3, np.uint8)),
        lambda path: np.save(path, np.zeros((2, 2), np.uint8)),
    ],
)
def test_a_damaged_cache_file_is_rebuilt(damage, tmp_path):
    shelf = Shelf()
    examples = storages(tmp_path)["disk"].applied_to(shelf.examples, "shelf")
    image, _ = examples.read(1)
    (path,) = tmp_path.rglob("*.npy")
    whole = path.read_bytes()
    damage(path)
    np.testing.assert_array_equal(examples.read(1)[0], image)
    assert shelf.decoded[1] == 2 and path.read_bytes() == whole
    assert list(tmp_path.rglob("*.npy")) == [path], "nothing half written is left"


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_many_threads_read_the_same_examples(cache, tmp_path):
    shelf = Shelf(masks=True)
    examples = storages(tmp_path)[cache].applied_to(shelf.examples, "shelf")
    with ThreadPoolExecutor(8) as pool:
        for image, mask in pool.map(examples.read, [0, 1, 2] * 50):
            np.testing.assert_array_equal(image[..., 0] // 10, mask)
            assert len(image) == image[0, 0, 0] - 9


def test_readers_of_the_same_images_share_the_disk_without_knowing_of_each_other(tmp_path):
    """As the streams of one training do: all of the target's images, and a few with labels."""
    shelves = [Shelf(n=300) for _ in range(2)]
    storage = storages(tmp_path)["disk"]
    readers = [storage.applied_to(shelf.examples, "shelf") for shelf in shelves]
    together = threading.Barrier(2)

    def read_all(examples):
        for position in range(4, 100):
            together.wait()
            assert len(examples.read(position)[0]) == position + 1

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(read_all, readers))


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    storage = Storage(cache="disk", cache_dir=tmp_path / "file")
    with pytest.raises(InputError, match=r"cache .*file cannot be written.*cache_dir"):
        storage.applied_to(Shelf().examples, "shelf").read(0)


def test_examples_without_a_key_are_not_cached_on_disk(tmp_path):
    reader = dataclasses.replace(Shelf().examples.reader, key=None)
    examples = StoredExamples(reader, np.arange(4))
    with pytest.raises(InputError, match="shelf cannot be cached on disk"):
        storages(tmp_path)["disk"].applied_to(examples, "shelf")
    assert storages(tmp_path)["memory"].applied_to(examples, "shelf").read(0)[0].max() == 10


def test_unreadable_examples_are_counted_anew_up_to_the_limit(capsys):
    shelf = Shelf()
    for _ in range(2):
        examples = Storage(max_unreadable=1).applied_to(shelf.examples, "shelf")
        assert [position for position, _, _ in examples.readable()] == [0, 1, 2]
    assert capsys.readouterr().out.count("3.png: torn") == 2
    strict = Storage(max_unreadable=0).applied_to(shelf.examples, "shelf, train split")
    with pytest.raises(InputError, match=r"shelf, train split: 1 images cannot.*\n  3\.png: torn"):
        strict.read_near(3)


@pytest.mark.parametrize("counts", [(2, 2), (10, 3), (50, 7, 101)])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_a_split_takes_its_share_of_each_class_and_leaves_some(counts, share):
    labels = np.repeat(np.arange(len(counts)), counts)
    train, test = Storage(test_share=share).split(labels)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(labels)))
    for label, count in enumerate(counts):
        taken = (labels[test] == label).sum()
        assert 1 <= taken <= count - 1
        assert taken in (1, count - 1) or abs(taken - share * count) <= 0.5


def test_a_split_depends_on_its_seed_only():
    labels = np.zeros(40)
    first, again, other = (Storage(split_seed=seed).split(labels)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert len(other) == len(first) == 8 and set(other) != set(first)


def test_a_mixed_order_spreads_classes_evenly():
    counts = (1000, 100, 10, 1)
    labels = np.repeat(np.arange(4), counts)
    order = mixed(labels)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(labels)))
    np.testing.assert_array_equal(order, mixed(labels))
    for start in range(0, len(labels) - 111, 111):
        found = np.bincount(labels[order[start : start + 111]], minlength=3)
        assert abs(found[0] - 100) <= 3 and abs(found[1] - 10) <= 2 and found[2] <= 3
    assert set(labels[order[: len(labels) // 2]]) == {0, 1, 2, 3}
    one = mixed(np.zeros(100))
    assert abs(np.corrcoef(one, np.arange(100))[0, 1]) < 0.3, "without classes, a shuffle"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_unreadable": -1}, "max_unreadable -1; expected 0 or more"),
        ({"cache": "ram"}, "cache 'ram'; expected one of none, memory, disk"),
        ({"cache": "disk"}, "'disk' without cache_dir"),
        ({"test_share": 0}, "test_share 0;"),
        ({"test_share": 1.0}, "test_share 1.0;"),
        ({"test_share": float("nan")}, "test_share nan;"),
        ({"split_seed": -1}, "split_seed -1"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(InputError, match=message):
        Storage(**settings)
