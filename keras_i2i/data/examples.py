"""Images with their labels: in memory, or wherever they are stored, decoded when asked for.

Both kinds are sequences of examples, cut by slices and index arrays. A label is a class for the
whole image, or a mask with a class for each pixel.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator

import numpy as np

from keras_i2i.errors import InputError
from keras_i2i.files import in_utf8

# What a mask says of pixels that count for nothing: neither in a loss nor in a measure.
IGNORED = 255


class UnreadableError(InputError):
    """One example cannot be read; the message begins with the name of its file or record."""


class _Sequence:
    """What both kinds of examples share."""

    def take(self, n: int):
        """Returns the first `n` examples.

        Raises:
            InputError: there are fewer than `n`, or `n` is not positive.
        """
        if not 0 < n <= len(self):
            raise InputError(f"Got size {n}; expected at least 1 and at most {len(self)}.")
        return self[:n]

    def read_near(self, position: int) -> tuple[np.ndarray, np.ndarray | np.int64 | None]:
        """Reads an example, or one beside it where it cannot be read."""
        return self.read(position)

    def readable(self) -> Iterator[tuple[int, np.ndarray, np.ndarray | np.int64 | None]]:
        """Reads all in order, as (position, image, label), leaving out what cannot be read."""
        for position in range(len(self)):
            yield (position, *self.read(position))


@dataclasses.dataclass(frozen=True)
class Examples(_Sequence):
    """Images in memory, all of one shape, with their labels unless dropped or unknown.

    Attributes:
        images: uint8, shape (n, height, width, channels), values in [0, 255].
        labels: int64, shape (n,), positions in the domain's `class_names`; or masks, uint8, shape
            (n, height, width), the same for each pixel, or `IGNORED`; None without labels.
    """

    images: np.ndarray
    labels: np.ndarray | None

    def __post_init__(self):
        for name, array in (("images", self.images), ("labels", self.labels)):
            if not isinstance(array, np.ndarray) and (name, array) != ("labels", None):
                raise InputError(
                    f"Got {name} as {type(array).__name__}; expected a NumPy array. Use np.asarray."
                )
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            floats = self.images.dtype.kind == "f"
            raise InputError(
                f"Got images of shape {self.images.shape} and type {self.images.dtype}; "
                "expected uint8 of shape (n, height, width, channels)."
                + (" Of floats from 0 to 1 make them by np.round(255 * images)." if floats else "")
            )
        if self.labels is None or self.labels.shape == self.images.shape[:1]:
            return
        if self.labels.shape != self.images.shape[:3] or self.labels.dtype != np.uint8:
            raise InputError(
                f"Got labels of shape {self.labels.shape} and type {self.labels.dtype} for "
                f"{len(self.images)} images of shape {self.images.shape[1:]}; expected one label "
                "per image, or one uint8 mask of its height and width."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, where: slice | np.ndarray) -> Examples:
        return Examples(self.images[where], None if self.labels is None else self.labels[where])

    @property
    def has_masks(self) -> bool:
        """Whether labels are masks."""
        return self.labels is not None and self.labels.ndim == 3

    @property
    def channels(self) -> int:
        """1 or 3."""
        return self.images.shape[-1]

    def read(self, position: int) -> tuple[np.ndarray, np.ndarray | np.int64 | None]:
        """Returns one image and its label, mask or None."""
        return self.images[position], None if self.labels is None else self.labels[position]

    def without_labels(self) -> Examples:
        """Returns the same images with `labels` None."""
        return Examples(self.images, None)

    def with_zero_labels(self) -> Examples:
        """Returns the same images, all with label 0: for batches that must have labels."""
        return Examples(self.images, np.zeros(len(self), np.int64))


@dataclasses.dataclass(frozen=True)
class StoredExamples(_Sequence):
    """Images of any size that lie in files or records and are decoded when asked for.

    Examples that cannot be read are passed over, up to a limit: see `read_near`.

    Attributes:
        reader: knows all of the stored examples.
        positions: int64, shape (n,): which of the reader's, in this order.
        labelled: False where labels are not to be had, or were dropped.
    """

    reader: Reader
    positions: np.ndarray
    labelled: bool = True

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, where: slice | np.ndarray) -> StoredExamples:
        return dataclasses.replace(self, positions=self.positions[where])

    @property
    def has_masks(self) -> bool:
        """Whether labels are masks."""
        return self.labelled and self.reader.has_masks

    @property
    def channels(self) -> int:
        """1 or 3, for all images."""
        return self.reader.channels

    @property
    def labels(self) -> np.ndarray | None:
        """int64 (n,); None without labels, or where they are masks, which `read` gives."""
        known = self.labelled and self.reader.labels is not None
        return self.reader.labels[self.positions] if known else None

    def without_labels(self) -> StoredExamples:
        """Returns the same images without labels or masks."""
        return dataclasses.replace(self, labelled=False)

    def with_zero_labels(self) -> StoredExamples:
        """Returns the same images, all with label 0: for batches that must have labels."""
        zeros = np.zeros(self.positions.max() + 1, np.int64)
        reader = dataclasses.replace(self.reader, labels=zeros, image_and_mask=None)
        return dataclasses.replace(self, reader=reader, labelled=True)

    def read(self, position: int) -> tuple[np.ndarray, np.ndarray | np.int64 | None]:
        """Reads one example.

        Returns:
            image: uint8 (h, w, channels), upright.
            label: int64, or a uint8 mask (h, w), or None.

        Raises:
            UnreadableError: it cannot be read.
            InputError: the reader gives something else.
        """
        where = int(self.positions[position])
        if self.labelled and self.reader.has_masks:
            image, label = self.reader.image_and_mask(where)
            self._check(label, np.shape(image)[:2], "a mask", where)
        else:
            image = self.reader.image(where)
            label = self.reader.labels[where] if self.labelled else None
        self._check(image, (*np.shape(image)[:2], self.channels), "an image", where)
        return image, label

    def _check(self, array, shape, what, where):
        strange = getattr(array, "dtype", None) != np.uint8 or array.shape != shape
        sides = ", ".join(["height", "width", *map(str, shape[2:])])
        if strange or 0 in shape:
            raise InputError(
                f"{self.reader.unreadable.what}: got {what} of shape {np.shape(array)} and type "
                f"{getattr(array, 'dtype', type(array).__name__)} at position {where}; expected "
                f"uint8 of shape ({sides}), not empty."
            )

    def read_near(self, position: int) -> tuple[np.ndarray, np.ndarray | np.int64 | None]:
        """Reads an example or, if it cannot be read, the next one that can: always the same.

        Raises:
            InputError: more are unreadable than `reader.unreadable` puts up with.
        """
        for step in range(len(self)):
            at = (position + step) % len(self)
            try:
                return self.read(at)
            except UnreadableError as error:
                self.reader.unreadable.add(int(self.positions[at]), error)
        raise InputError("None of the images can be read.")

    def readable(self) -> Iterator[tuple[int, np.ndarray, np.ndarray | np.int64 | None]]:
        """Reads all in order, as (position, image, label), leaving out what cannot be read.

        Raises:
            InputError: more are unreadable than `reader.unreadable` puts up with.
        """
        for position in range(len(self)):
            try:
                yield (position, *self.read(position))
            except UnreadableError as error:
                self.reader.unreadable.add(int(self.positions[position]), error)


@dataclasses.dataclass(frozen=True)
class Stored:
    """A file, or a record, as it lies there.

    Attributes:
        name: within its data set, on every machine the same.
        size: in bytes.
        content: number → the first so many bytes, or all if there are no more. Raises `OSError`,
            or `UnreadableError`.
    """

    name: str
    size: int
    content: Callable[[int], bytes]


@dataclasses.dataclass(frozen=True)
class Reader:
    """How a data set's stored examples are read, one at a time, from any thread.

    Attributes:
        image: position → uint8 (h, w, channels), upright. Raises `UnreadableError`.
        channels: 1 or 3.
        labels: int64 (n,), classes; None if unknown or masks.
        image_and_mask: position → both, of one size, the mask uint8 (h, w); None if there are no
            masks. Raises `UnreadableError`.
        unreadable: what could not be read so far.
        key: position → text that no other example has, in this or another data set, nor this one
            after a change of its file; None if nobody can tell. Raises `UnreadableError`.
        stored: position → what an example is read from, `Stored`: its image and, if it has one,
            its mask; None if nobody can tell. Raises `UnreadableError` where it is gone.
    """

    image: Callable[[int], np.ndarray]
    channels: int
    unreadable: Unreadable
    labels: np.ndarray | None = None
    image_and_mask: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None
    key: Callable[[int], str] | None = None
    stored: Callable[[int], tuple[Stored, ...]] | None = None

    @property
    def has_masks(self) -> bool:
        """Whether examples come with masks."""
        return self.image_and_mask is not None


class Unreadable:
    """Counts the examples that cannot be read, names each once, and says when it is too many.

    It can be told from many threads.

    Args:
        limit: how many to put up with.
        what: where the examples are, for the message.
        warn: called with a line for each.
    """

    def __init__(self, limit: int, what: str, warn: Callable[[str], None] = print):
        self.limit, self.what, self.warn = limit, what, warn
        self.errors: dict[int, str] = {}
        self._lock = threading.Lock()

    def add(self, position: int, error: Exception) -> None:
        """Notes one.

        Raises:
            InputError: it is one too many, or there was one too many before.
        """
        with self._lock:
            # Whoever goes on after one too many meets the same error, however many may follow.
            if len(self.errors) <= self.limit and position not in self.errors:
                # Names of files may be of bytes that no terminal, and no log, can be given.
                self.errors[position] = in_utf8(str(error))
                if len(self.errors) <= self.limit:
                    self.warn(f"warning: left out, it cannot be read: {self.errors[position]}")
            if len(self.errors) > self.limit:
                named = "\n  ".join(list(self.errors.values())[:10])
                raise InputError(
                    f"{self.what}: {len(self.errors)} images cannot be read, and --max_unreadable="
                    f"{self.limit} allows no more:\n  {named}\nRepair or remove them, or raise "
                    "--max_unreadable to leave them out."
                )
