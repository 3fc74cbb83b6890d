import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from keras_i2i.data.examples import (
    IGNORED,
    Examples,
    Reader,
    StoredExamples,
    Unreadable,
    UnreadableError,
)
from keras_i2i.errors import InputError

COUNT = 8
CLASSES = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def mask_of(shape, number):
    mask = np.full(shape, number % 3, np.uint8)
    mask[0, 0] = IGNORED
    return mask


def in_memory(kind="classes"):
    """Images that show their own number, with labels of some kind."""
    images = (
        np.zeros((COUNT, 2, 3, 1), np.uint8) + np.arange(COUNT, dtype=np.uint8)[:, None, None, None]
    )
    masks = np.stack([mask_of((2, 3), number) for number in range(COUNT)])
    return Examples(images, {"classes": CLASSES, "masks": masks, "none": None}[kind])


def stored(kind="classes", torn=(), limit=10, warn=None):
    """The same, of many sizes; those whose numbers are `torn` cannot be read."""

    def image(number):
        if number in torn:
            raise UnreadableError(f"{number}.png: torn")
        return np.full((2, 3 + number, 1), number, np.uint8)

    def image_and_mask(number):
        return image(number), mask_of((2, 3 + number), number)

    reader = Reader(
        image=image,
        channels=1,
        unreadable=Unreadable(limit, "photos", warn or (lambda line: None)),
        labels=CLASSES if kind == "classes" else None,
        image_and_mask=image_and_mask if kind == "masks" else None,
    )
    return StoredExamples(reader, np.arange(COUNT), labelled=kind != "none")


def number_of(image):
    assert image.dtype == np.uint8 and (image == image.flat[0]).all()
    return int(image.flat[0])


def numbers(examples):
    return [number_of(image) for _, image, _ in examples.readable()]


BOTH = pytest.mark.parametrize("make", [in_memory, stored])
KINDS = pytest.mark.parametrize("kind", ["classes", "masks", "none"])


def check_label(kind, image, label):
    """A label tells of the image it comes with."""
    number = number_of(image)
    if kind == "none":
        assert label is None
    elif kind == "classes":
        assert label == CLASSES[number] and label.dtype == np.int64
    else:
        np.testing.assert_array_equal(label, mask_of(image.shape[:2], number))
        assert label.dtype == np.uint8


# --------------------------------------------------------------------------------------- both kinds


@BOTH
@KINDS
def test_what_they_say_of_themselves(make, kind):
    examples = make(kind)
    assert (len(examples), examples.channels) == (COUNT, 1)
    assert examples.has_masks == (kind == "masks")
    if kind == "classes":
        np.testing.assert_array_equal(examples.labels, CLASSES)
        assert examples.labels.dtype == np.int64
    elif kind == "none" or make is stored:
        assert examples.labels is None
    else:
        assert examples.labels.shape == (COUNT, 2, 3)


@BOTH
@KINDS
def test_read_gives_an_image_and_its_label(make, kind):
    examples = make(kind)
    for position in range(COUNT):
        image, label = examples.read(position)
        assert number_of(image) == position and image.ndim == 3
        check_label(kind, image, label)


@BOTH
@KINDS
def test_readable_reads_all_in_order(make, kind):
    for expected, (position, image, label) in enumerate(make(kind).readable()):
        assert position == expected == number_of(image)
        check_label(kind, image, label)
    assert expected == COUNT - 1


@BOTH
@KINDS
@pytest.mark.parametrize(
    "where",
    [
        slice(2, 5),
        slice(None, None, -3),
        slice(20, None),
        np.array([6, 1, 1, 4]),
        np.arange(COUNT) % 2 == 1,
        np.array([], int),
    ],
    ids=str,
)
def test_cuts(make, kind, where):
    expected = np.arange(COUNT)[where].tolist()
    cut = make(kind)[where]
    assert type(cut) is type(make()) and len(cut) == len(expected)
    assert numbers(cut) == expected
    for position, image, label in cut.readable():
        assert number_of(cut.read(position)[0]) == expected[position]
        check_label(kind, image, label)
    if kind == "classes":
        np.testing.assert_array_equal(cut.labels, CLASSES[where])
    # A cut of a cut counts from its own beginning.
    assert numbers(cut[1:]) == expected[1:]


@BOTH
def test_take(make):
    assert numbers(make().take(1)) == [0]
    assert numbers(make()[5:].take(2)) == [5, 6]
    assert len(make().take(COUNT)) == COUNT
    for size in (0, -1, COUNT + 1):
        with pytest.raises(
            InputError, match=f"^Got size {size}; expected at least 1 and at most 8"
        ):
            make().take(size)


@BOTH
@KINDS
def test_without_labels(make, kind):
    examples = make(kind)
    without = examples[2:].without_labels()
    assert type(without) is type(examples) and numbers(without) == list(range(2, COUNT))
    assert without.labels is None and not without.has_masks
    assert without.read(0)[1] is None and without[1:].read(0)[1] is None
    assert all(label is None for _, _, label in without.readable())
    assert examples.has_masks == (kind == "masks"), "the others keep theirs"
    check_label(kind, *examples.read(0))


@BOTH
@KINDS
def test_with_zero_labels(make, kind):
    zeros = make(kind)[3:].with_zero_labels()
    assert numbers(zeros) == list(range(3, COUNT)) and not zeros.has_masks
    np.testing.assert_array_equal(zeros.labels, np.zeros(COUNT - 3))
    assert zeros.labels.dtype == np.int64
    assert zeros.read(2)[1] == 0 and zeros[1:].labels.sum() == 0
    assert len(zeros[np.array([4, 0])].labels) == 2


# ---------------------------------------------------------------------------------------- in memory


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 1, 1, 1)), None, r"images of shape \(2, 1, 1, 1\) and type float64; .*uint8"),
        (np.zeros((2, 1, 1), np.uint8), None, r"shape \(2, 1, 1\) and type uint8"),
        (np.zeros((2, 1, 1, 1), np.uint8), np.zeros(3, int), r"labels of shape \(3,\).* 2 images"),
        (np.zeros((2, 4, 5, 1), np.uint8), np.zeros((2, 4, 4), np.uint8), r"shape \(2, 4, 4\)"),
        (np.zeros((2, 4, 5, 1), np.uint8), np.zeros((2, 4, 5), int), "int64 .*one uint8 mask of"),
    ],
)
def test_examples_check_their_arrays(images, labels, message):
    with pytest.raises(InputError, match=message):
        Examples(images, labels)


# ------------------------------------------------------------------------------------------- stored


def test_what_cannot_be_read_says_so():
    examples = stored(torn=(5,))[4:]
    with pytest.raises(UnreadableError, match=r"^5\.png: torn$"):
        examples.read(1)
    assert examples.reader.unreadable.errors == {}, "whoever passes it over, counts it"


@KINDS
def test_readable_leaves_out_what_cannot_be_read(kind):
    lines = []
    examples = stored(kind, torn=(0, 3, 7), warn=lines.append)
    assert [position for position, _, _ in examples.readable()] == [1, 2, 4, 5, 6]
    expected = [f"warning: left out, it cannot be read: {n}.png: torn" for n in (0, 3, 7)]
    assert lines == expected
    assert numbers(examples[2:5]) == [2, 4]
    assert lines == expected, "each is named once, whichever cut it is read from"


@KINDS
def test_read_near_takes_the_next_that_can_be_read(kind):
    lines = []
    examples = stored(kind, torn=(2, 3, 7), warn=lines.append)
    for _ in range(2):
        near = [examples.read_near(position) for position in range(COUNT)]
        # From the end it goes on at the beginning.
        assert [number_of(image) for image, _ in near] == [0, 1, 4, 4, 4, 5, 6, 0]
        for image, label in near:
            check_label(kind, image, label)
    assert [line[-11:] for line in lines] == ["2.png: torn", "3.png: torn", "7.png: torn"]


def test_read_near_stays_within_its_cut():
    examples = stored(torn=(4, 5))
    assert number_of(examples[3:6].read_near(1)[0]) == 3
    assert number_of(examples[np.array([6, 4, 1])].read_near(1)[0]) == 1
    with pytest.raises(InputError, match="None of the images can be read"):
        examples[4:6].read_near(0)


# ------------------------------------------------------------------------------------ up to a limit

TOO_MANY = (
    "photos: 3 images cannot be read, and --max_unreadable=2 allows no more:\n"
    "  0.png: torn\n  3.png: torn\n  7.png: torn\n"
    "Repair or remove them, or raise --max_unreadable to leave them out."
)


def test_every_read_beyond_the_limit_raises_the_same():
    lines = []
    examples = stored(torn=(0, 3, 7), limit=2, warn=lines.append)
    assert number_of(examples.read_near(0)[0]) == 1
    assert number_of(examples.read_near(3)[0]) == 4
    for _ in range(2):
        # 7 again and again; but also those that were put up with before.
        for position in (7, 0, 3):
            with pytest.raises(InputError) as error:
                examples.read_near(position)
            assert str(error.value) == TOO_MANY
        with pytest.raises(InputError) as error:
            list(examples.readable())
        assert str(error.value) == TOO_MANY
    assert number_of(examples.read_near(1)[0]) == 1, "what can be read, still can"
    assert len(lines) == 2


def test_the_limit_itself_is_put_up_with():
    assert len(numbers(stored(torn=(0, 3, 7), limit=3))) == 5
    assert len(numbers(stored(limit=0))) == COUNT
    with pytest.raises(
        InputError, match=r"photos: 1 images .*=0 allows no more:\n  3\.png: torn\n"
    ):
        numbers(stored(torn=(3,), limit=0))


def test_the_message_names_ten():
    unreadable = Unreadable(12, "photos", lambda line: None)
    for position in range(12):
        unreadable.add(position, UnreadableError(f"{position}.png: torn"))
    with pytest.raises(InputError) as error:
        unreadable.add(12, UnreadableError("12.png: torn"))
    message = str(error.value)
    assert "13 images" in message and "9.png" in message and "10.png" not in message


def test_many_threads_count_as_one():
    limit, count, threads = 5, 40, 8
    lines, start = [], threading.Barrier(threads)
    unreadable = Unreadable(limit, "photos", lines.append)

    def add_all(thread):
        start.wait()
        raised = []
        for position in np.random.default_rng(thread).permutation(count):
            try:
                unreadable.add(int(position), UnreadableError(f"{position}.png: torn"))
            except InputError as error:
                raised.append(str(error))
        return raised

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(add_all, range(threads)))
    assert len(lines) == len(set(lines)) == limit
    assert len({message for raised in results for message in raised}) == 1
    # No thread gets past the limit: it meets `limit` different ones at most, before it raises.
    assert all(len(raised) >= count - limit for raised in results)


def test_warnings_are_printed(capsys):
    Unreadable(1, "photos").add(0, UnreadableError("0.png: torn"))
    assert capsys.readouterr().out == "warning: left out, it cannot be read: 0.png: torn\n"
