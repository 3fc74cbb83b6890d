"""What a domain is: labelled images, cut into training, validation and test splits."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

from keras_i2i.data.examples import Examples, StoredExamples
from keras_i2i.data.storage import Storage
from keras_i2i.errors import InputError

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
            InputError: an unknown split, sizes that do not fit, or data that cannot be read.
        """
        if split not in SPLITS:
            raise InputError(f"Got split {split!r}; expected one of {', '.join(SPLITS)}.")
        carves = split != "test" and not (self.own_validation and validation_size is None)
        examples = self.read("train" if carves else split, data_dir)
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
