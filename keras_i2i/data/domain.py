"""What a domain is: labelled images, cut into training, validation and test splits."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from keras_i2i.errors import InputError

SPLITS = ("train", "validation", "test")
DIGITS = tuple("0123456789")


@dataclasses.dataclass(frozen=True)
class Examples:
    """Images in memory, with their labels unless these were dropped or are unknown.

    Attributes:
        images: uint8, shape (n, height, width, channels), values in [0, 255].
        labels: int64, shape (n,), positions in the domain's `class_names`; None without labels.
    """

    images: np.ndarray
    labels: np.ndarray | None

    def __post_init__(self):
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise InputError(
                f"Got images of shape {self.images.shape} and type {self.images.dtype}; "
                "expected uint8 of shape (n, height, width, channels)."
            )
        if self.labels is not None and self.labels.shape != self.images.shape[:1]:
            raise InputError(
                f"Got labels of shape {self.labels.shape} for {len(self.images)} images; "
                "expected one label per image."
            )

    def __len__(self) -> int:
        return len(self.images)

    def without_labels(self) -> Examples:
        """Returns the same images with `labels` None."""
        return Examples(self.images, None)

    def take(self, n: int) -> Examples:
        """Returns the first `n` examples.

        Raises:
            InputError: there are fewer than `n`, or `n` is not positive.
        """
        if not 0 < n <= len(self):
            raise InputError(f"Got size {n}; expected at least 1 and at most {len(self)}.")
        return self[:n]

    def __getitem__(self, where: slice | np.ndarray) -> Examples:
        return Examples(self.images[where], None if self.labels is None else self.labels[where])


@dataclasses.dataclass(frozen=True)
class Domain:
    """A set of images from one source, as published: a training and a test part.

    Validation examples are never published apart: they are the last of the training part, so
    training and validation are disjoint for every `validation_size`.

    Attributes:
        name: what `--source` and `--target` call it.
        class_names: one per label, in label order; () where labels are unknown, and then those of
            its examples are None.
        image_shape: native (height, width, channels).
        read: takes "train" or "test" and the data directory, returns that part. Its order is the
            same every time and already mixed, so that any run of it is a fair sample.
        validation_size: how many training examples the validation split takes by default.
        validation_share: the default takes no more than this share of the training examples.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    read: Callable[[str, str | os.PathLike | None], Examples]
    validation_size: int
    validation_share: float = 1 / 3

    def load(
        self,
        split: str,
        *,
        data_dir: str | os.PathLike | None = None,
        size: int | None = None,
        validation_size: int | None = None,
    ) -> Examples:
        """Reads one split.

        Args:
            split: "train", "validation" or "test".
            data_dir: where tfds keeps its data sets; None for tfds's own default. The domains
                that come with the libraries do not look at it.
            size: keep the first `size` examples only.
            validation_size: how many training examples make the validation split; 0 leaves all
                of them to "train". None for the domain's default. Give the same number for
                "train" and "validation", or they overlap.

        Raises:
            InputError: an unknown split, sizes that do not fit, or data that cannot be read.
        """
        if split not in SPLITS:
            raise InputError(f"Got split {split!r}; expected one of {', '.join(SPLITS)}.")
        if split == "test":
            examples = self.read("test", data_dir)
        else:
            examples = self._carve(split, self.read("train", data_dir), validation_size)
        if size is None:
            return examples
        try:
            return examples.take(size)
        except InputError as error:
            raise InputError(f"{self.name}, {split} split: {error}") from None

    def _carve(self, split: str, published: Examples, validation_size: int | None) -> Examples:
        if validation_size is None:
            validation_size = min(self.validation_size, int(self.validation_share * len(published)))
        if not 0 <= validation_size < len(published):
            raise InputError(
                f"{self.name}: got validation_size {validation_size}; expected at least 0 and less "
                f"than the {len(published)} published training examples it is taken from."
            )
        if split == "validation" and validation_size == 0:
            raise InputError(
                f"{self.name}: with validation_size 0 there is no validation split; "
                "give a larger validation_size or use another split."
            )
        boundary = len(published) - validation_size
        return published[:boundary] if split == "train" else published[boundary:]
