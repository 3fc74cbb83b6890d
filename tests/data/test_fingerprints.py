"""What data are known by, and images that two splits have in common."""

import dataclasses
import hashlib

import numpy as np
import pytest

from keras_i2i import data
from keras_i2i.data import fingerprints
from keras_i2i.data.examples import (
    Examples,
    Reader,
    Stored,
    StoredExamples,
    Unreadable,
    UnreadableError,
)
from keras_i2i.data.fingerprints import fingerprint, repeated


def in_memory(n=6, seed=0, labels=True):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (n, 3, 4, 1), np.uint8)
    return Examples(images, random.integers(0, 3, n) if labels else None)


class Files:
    """Files in memory that count what is read of them; None stands for one that is gone."""

    def __init__(self, *contents, prefix=""):
        self.contents, self.prefix, self.read = contents, prefix, []

    def stored(self, position):
        content = self.contents[position]
        if content is None:
            raise UnreadableError("gone")

        def start(count):
            self.read.append((position, count))
            return content[:count]

        return (Stored(f"{self.prefix}{position}.jpg", len(content), start),)

    def examples(self, labels=None, **fields):
        reader = Reader(
            lambda position: pytest.fail("nothing need be decoded"),
            3,
            Unreadable(0, "photos"),
            labels=labels,
            stored=self.stored,
        )
        reader = dataclasses.replace(reader, **fields)
        return StoredExamples(reader, np.arange(len(self.contents)), labelled=labels is not None)


LONG = bytes(range(256)) * 100  # more than is read at first


class TestAFingerprint:
    def test_is_the_same_for_the_same_images_and_labels(self):
        first, again = fingerprint(in_memory()), fingerprint(in_memory())
        assert first == again
        assert first["images"] == 6 and first["of"] == "pixels and labels"
        assert len(first["sha256"]) == 64

    @pytest.mark.parametrize("dtype", [">i8", "int32", "uint8"])
    def test_does_not_depend_on_how_a_machine_stores_labels(self, dtype):
        examples = in_memory()
        labels = examples.labels.astype(dtype)
        assert fingerprint(Examples(examples.images, labels)) == fingerprint(examples)

    def test_does_not_depend_on_how_images_lie_in_memory(self):
        examples = in_memory()
        turned = Examples(np.asfortranarray(examples.images), examples.labels)
        assert fingerprint(turned) == fingerprint(examples)

    def test_is_that_of_the_pixels_then_the_labels(self):
        images = np.arange(4, dtype=np.uint8).reshape(2, 2, 1, 1)
        expected = hashlib.sha256(
            b"(2, 2, 1, 1)" + bytes([0, 1, 2, 3]) + bytes([5, *7 * [0], 1, *7 * [0]])
        ).hexdigest()
        assert fingerprint(Examples(images, np.array([5, 1])))["sha256"] == expected

    def test_differs_with_a_pixel_a_label_the_order_the_shape_or_what_is_known(self):
        examples = in_memory()
        changed = [examples, examples.without_labels(), examples[:5], examples[::-1]]
        images = examples.images.copy()
        images[-1, -1, -1, -1] ^= 1
        changed.append(Examples(images, examples.labels))
        changed.append(Examples(examples.images, (examples.labels + 1) % 3))
        changed.append(Examples(examples.images.reshape(6, 4, 3, 1), examples.labels))
        assert len({fingerprint(one)["sha256"] for one in changed}) == len(changed)

    def test_of_masks(self):
        images = np.zeros((2, 3, 4, 1), np.uint8)
        masks = np.zeros((2, 3, 4), np.uint8)
        first = fingerprint(Examples(images, masks))
        masks[1, 2, 3] = 1
        assert fingerprint(Examples(images, masks))["sha256"] != first["sha256"]

    def test_of_files_is_that_of_names_and_contents(self):
        first, other = Files(b"abc", b"defg").examples(), Files(b"abc", b"defh").examples()
        assert fingerprint(first)["of"] == "names and contents"
        assert fingerprint(first)["sha256"] != fingerprint(other)["sha256"]

    def test_of_files_that_are_large_is_that_of_names_and_sizes(self, monkeypatch):
        monkeypatch.setattr(fingerprints, "_READ", 6)
        files = Files(b"abc", b"defg")
        first = fingerprint(files.examples(np.array([0, 1])))
        assert first["of"] == "names and sizes and labels"
        assert files.read == [], "what is large is not read"
        others = [
            files.examples(np.array([1, 1])),
            files.examples(),
            files.examples(np.array([0, 1]))[::-1],
            Files(b"abc", b"defgh").examples(np.array([0, 1])),
            Files(b"abc", b"defg", prefix="a/").examples(np.array([0, 1])),
        ]
        assert len({first["sha256"], *(fingerprint(one)["sha256"] for one in others)}) == 6

    def test_names_and_sizes_are_told_apart(self, monkeypatch):
        one = Files(b"a" * 11, prefix="2 ")
        other = Files(b"a" * 1, prefix="12 ")
        monkeypatch.setattr(fingerprints, "_READ", 0)
        assert fingerprint(one.examples()) != fingerprint(other.examples())

    def test_a_mask_counts_where_there_are_masks(self):
        images, masks = Files(b"abc"), Files(b"d", prefix="mask ")

        def both(position):
            return images.stored(position) + masks.stored(position)

        plain = images.examples(stored=both, image_and_mask=lambda position: None)
        masked = dataclasses.replace(plain, labelled=True)
        assert fingerprint(plain) == fingerprint(images.examples())
        assert fingerprint(masked)["sha256"] != fingerprint(plain)["sha256"]

    def test_a_file_that_cannot_be_read_counts_by_its_name(self):
        def broken(count):
            raise OSError("disk on fire")

        torn = Files(b"abc").examples(stored=lambda position: (Stored("0.jpg", 3, broken),))
        assert fingerprint(torn)["sha256"] not in (
            None,
            fingerprint(Files(b"abc").examples())["sha256"],
        )

    def test_a_file_that_is_gone_changes_it(self):
        whole, torn = Files(b"abc", b"d").examples(), Files(b"abc", None).examples()
        assert fingerprint(torn)["sha256"] != fingerprint(whole)["sha256"]

    def test_nobody_can_tell_of_a_reader_that_does_not(self):
        examples = Files(b"abc").examples(stored=None)
        assert fingerprint(examples) == {"images": 1, "sha256": None, "of": "nothing"}


class TestRepeatedImages:
    def test_in_memory(self):
        examples, others = in_memory(6), in_memory(5, seed=1)
        assert repeated(examples, others) == []
        images = np.concatenate([others.images, examples.images[[4, 1, 4]]])
        assert repeated(examples, Examples(images, None)) == [(1, 6), (4, 5)]

    def test_one_pixel_makes_another(self):
        examples = in_memory(1)
        images = examples.images.copy()
        images[0, 0, 0, 0] ^= 1
        assert repeated(examples, Examples(images, None)) == []

    def test_of_another_shape_are_others(self):
        black = Examples(np.zeros((1, 2, 3, 1), np.uint8), None)
        assert repeated(black, Examples(np.zeros((1, 3, 2, 1), np.uint8), None)) == []

    def test_in_files(self):
        examples = Files(LONG, b"abc", b"abd", LONG + b"x").examples()
        others = Files(b"no", LONG + b"x", b"abd", LONG[:-1] + b"y", b"abd").examples()
        assert repeated(examples, others) == [(2, 2), (3, 1)]

    def test_no_more_of_files_is_read_than_it_takes(self):
        ends_otherwise = LONG[:-1] + b"?"
        files, others = Files(b"abcdef", b"abc", LONG), Files(b"ab", b"abd", ends_otherwise)
        assert repeated(files.examples(), others.examples()) == []
        start = fingerprints._START
        # Nothing of what is alone in its size, all of what begins alike.
        assert files.read == [(1, start), (2, start), (2, len(LONG))]

    def test_files_that_are_gone_are_like_no_other(self):
        files = Files(None, b"a").examples(), Files(None, b"a").examples()
        assert repeated(*files) == [(1, 1)]

    def test_files_that_cannot_be_read_are_like_no_other(self):
        def broken(count):
            raise OSError("disk on fire")

        torn = Files(b"abc").examples(stored=lambda position: (Stored("0.jpg", 3, broken),))
        assert repeated(torn, Files(b"abc").examples()) == []

    def test_positions_are_those_of_the_split(self):
        examples = Files(b"a", b"b", b"c", b"d").examples()
        assert repeated(examples[np.array([3, 1])], examples[np.array([2, 1, 0])]) == [(1, 1)]

    def test_memory_and_files_are_not_compared(self):
        both = in_memory(), Files(b"abc").examples()
        assert repeated(*both) == repeated(*both[::-1]) == []

    def test_nobody_can_tell_of_a_reader_that_does_not(self):
        assert repeated(Files(b"a").examples(stored=None), Files(b"a").examples()) == []


@pytest.mark.parametrize("name", ["printed_digits", "handwritten_digits"])
def test_what_comes_with_the_libraries_has_no_image_twice(name):
    train, validation, test = (data.load(name, split) for split in data.SPLITS)
    assert repeated(test, train) == repeated(test, validation) == repeated(validation, train) == []
