"""What a domain is: labelled images, cut into training, validation and test splits."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from keras_i2i.data.examples import IGNORED, Examples, StoredExamples
from keras_i2i.data.storage import Storage
from keras_i2i.errors import InputError
from keras_i2i.files import fits_in_a_line

SPLITS = ("train", "validation", "test")
DIGITS = tuple("0123456789")


@dataclasses.dataclass(frozen=True)
class Domain:
    """A set of images from one source: a training and a test part, perhaps one for validation.

    Without a part for it, or wherever `validation_size` is given, the validation split is the last
    of the training part, so training and validation are disjoint for every `validation_size`.

    Attributes:
        name: what `--source` and `--target` call it.
        class_names: one per label, in label order; () where no part has labels, and then those of
            all examples are None.
        image_shape: native (height, width, channels); None where images are of many sizes.
        read: takes "train" or "test", with `own_validation` also "validation", and the data
            directory; returns that part. Its order is the same every time and already mixed, so
            that any run of it is a fair sample.
        validation_size: how many training examples the validation split takes by default.
        validation_share: the default takes no more than this share of the training examples.
        has_masks: whether labels are masks, a class for each pixel: segmentation.
        palette: of a domain with masks, an RGB color for each class.
        own_validation: whether there is a part for validation. It is then the validation split,
            whole, unless `validation_size` is given.
        transductive: whether the test part holds the training images themselves, as in a protocol
            that tests a method on the target images that it has learnt from without labels.
        labelled_train: False where the test part has labels and the training part has none; a part
            for validation may then have some or not. `class_names`, `has_masks` and `palette` tell
            of the test part's.

    Raises:
        InputError: class names are no text, empty, or the same; or one does not fit in a line, as
            of files, logs and tables.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    read: Callable[[str, str | os.PathLike | None], Examples | StoredExamples]
    validation_size: int
    validation_share: float = 1 / 3
    has_masks: bool = False
    palette: tuple[tuple[int, int, int], ...] | None = None
    own_validation: bool = False
    labelled_train: bool = True
    transductive: bool = False

    def __post_init__(self):
        names = self.class_names
        strange = [n for n in names if not (isinstance(n, str) and n and fits_in_a_line(n))]
        if strange:
            raise InputError(
                f"{self.name}: got the class name {strange[0]!r}; expected text of one line, "
                "without control characters. Rename the class."
            )
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{self.name}: got the class name {twice!r} twice. Rename one.")

    def load(
        self,
        split: str,
        *,
        data_dir: str | os.PathLike | None = None,
        size: int | None = None,
        validation_size: int | None = None,
        storage: Storage | None = None,
    ) -> Examples | StoredExamples:
        """Reads one split.

        Args:
            split: "train", "validation" or "test".
            data_dir: where tfds keeps its data sets; None for tfds's own default. The domains
                that come with the libraries do not look at it.
            size: keep the first `size` examples only.
            validation_size: how many training examples make the validation split; 0 leaves all
                of them to "train". None for the domain's default, which is the validation split
                it was published with, if any. Give the same number for "train" and "validation",
                or they overlap.
            storage: how stored images are held; None for its defaults. Domains whose images lie in
                memory do not look at it.

        Returns:
            `Examples`, or `StoredExamples` where images are of many sizes: those are only listed
            now and decoded when asked for.

        Raises:
            InputError: an unknown split, sizes that do not fit, data that cannot be read, or
                examples that are not as the domain says they are.
        """
        if split not in SPLITS:
            raise InputError(f"Got split {split!r}; expected one of {', '.join(SPLITS)}.")
        carves = split != "test" and not (self.own_validation and validation_size is None)
        part = "train" if carves else split
        try:
            examples = self.read(part, data_dir)
            examples = self._checked(part, examples)
        except InputError as error:
            if self.name in str(error):
                raise
            raise InputError(f"{self.name}, {part} split: {error}") from error
        if isinstance(examples, StoredExamples):
            storage = storage or Storage()
            examples = storage.applied_to(examples, f"{self.name}, {split} split")
        if carves:
            examples = self._carve(split, examples, validation_size)
        if size is None:
            return examples
        try:
            return examples.take(size)
        except InputError as error:
            raise InputError(f"{self.name}, {split} split: {error}") from None

    def _checked(self, split, examples):
        """Checks what can be told without decoding an image; returns it with labels as int64."""
        if not isinstance(examples, Examples | StoredExamples):
            raise InputError(
                f"Got {type(examples).__name__} from its `read`; expected Examples, or "
                "StoredExamples."
            )
        if not len(examples):
            raise InputError("Got no images; expected at least one. Add some.")
        if examples.channels not in (1, 3):
            raise InputError(
                f"Got images of {examples.channels} channels; expected 1 (gray) or 3 (RGB)."
            )
        if isinstance(examples, Examples):
            self._check_images(examples.images)
        self._check_labels(split, examples)
        if isinstance(examples, Examples) and examples.labels is not None:
            kind = np.uint8 if self.has_masks else np.int64
            return Examples(examples.images, examples.labels.astype(kind, copy=False))
        return examples

    def _check_images(self, images):
        if self.image_shape is not None and images.shape[1:] != tuple(self.image_shape):
            raise InputError(
                f"Got images of shape {images.shape[1:]}; expected {tuple(self.image_shape)}, the "
                "domain's image_shape."
            )
        if 0 in images.shape:
            raise InputError(f"Got images of shape {images.shape}; expected some pixels.")
        # Whatever a model learns from these, it is nothing.
        if len(images) > 1 and all(np.array_equal(image, images[0]) for image in images):
            raise InputError(
                f"Got {len(images)} images that are all the same; expected different ones. Floats "
                "from 0 to 1 that were cast to uint8 are all black: multiply them by 255 before."
            )

    def _check_labels(self, split, examples):
        known = len(self.class_names)
        labelled = examples.has_masks or examples.labels is not None
        if not labelled:
            if known and (self.labelled_train or split == "test"):
                raise InputError(
                    f"Got no labels, but the domain has {known} class names. Give labels, or a "
                    "domain without class names."
                )
            return
        if not known:
            raise InputError("Got labels, but the domain has no class names. Give both or neither.")
        if examples.has_masks != self.has_masks:
            kinds = ["one label per image", "masks"]
            raise InputError(
                f"Got {kinds[examples.has_masks]}, but the domain's has_masks is {self.has_masks}; "
                f"expected {kinds[self.has_masks]}."
            )
        labels = examples.labels
        if labels is None:  # Stored masks, of which each is looked at when it is read.
            return
        if labels.dtype.kind not in "iu":
            raise InputError(
                f"Got labels of type {labels.dtype}; expected whole numbers from 0 to {known - 1}, "
                "positions in class_names."
            )
        if examples.has_masks:
            counts = sum(np.bincount(mask.ravel(), minlength=256) for mask in labels)
            strange = [int(value) for value in np.flatnonzero(counts) if known <= value != IGNORED]
            if strange:
                raise InputError(
                    f"Got masks with the values {', '.join(map(str, strange[:10]))}; expected 0 to "
                    f"{known - 1}, positions in class_names, or {IGNORED} where nothing counts."
                )
        elif labels.min() < 0 or labels.max() >= known:
            raise InputError(
                f"Got labels from {labels.min()} to {labels.max()}; expected 0 to {known - 1}, "
                "positions in class_names. Count from 0, or name the other classes."
            )

    def _carve(
        self, split: str, published: Examples | StoredExamples, validation_size: int | None
    ) -> Examples | StoredExamples:
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
