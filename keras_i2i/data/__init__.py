"""Domains by name. A new domain is one file and one line here.

A folder of one's own images is a domain too: `image_folder:PATH` with classes or
`segmentation_folder:PATH` with masks; see `image_folder.py` and `segmentation_folder.py`.
"""

from __future__ import annotations

import collections
import difflib
import os
import pkgutil

import numpy as np

from keras_i2i.data import image_folder, segmentation_folder
from keras_i2i.data.augmentation import Augmentation
from keras_i2i.data.batches import (
    Share,
    evaluation_batches,
    in_memory,
    input_errors,
    labelled_batches,
    unpaired_batches,
)
from keras_i2i.data.domain import SPLITS, Domain
from keras_i2i.data.examples import IGNORED, Examples, StoredExamples
from keras_i2i.data.geometry import Geometry
from keras_i2i.data.preprocessing import preprocess, to_uint8
from keras_i2i.data.storage import Storage
from keras_i2i.data.translated_copy import read_translated_copy, write_translated_copy
from keras_i2i.errors import InputError

__all__ = [
    "DOMAINS",
    "IGNORED",
    "SPLITS",
    "Augmentation",
    "Domain",
    "Examples",
    "Geometry",
    "Share",
    "Storage",
    "StoredExamples",
    "check_same_classes",
    "evaluation_batches",
    "get_domain",
    "in_memory",
    "input_errors",
    "labelled_batches",
    "load",
    "load_few_labelled",
    "load_unlabelled",
    "preprocess",
    "read_translated_copy",
    "to_uint8",
    "unpaired_batches",
    "write_translated_copy",
]


class _Domains(collections.UserDict):
    """Name → domain, imported when it is first asked for: each needs other libraries to be read."""

    def __getitem__(self, name: str) -> Domain:
        domain = super().__getitem__(name)
        if isinstance(domain, str):
            domain = self[name] = pkgutil.resolve_name(f"keras_i2i.data.{domain}")
        return domain


# Where each is: module and constant.
DOMAINS = _Domains(
    {
        "printed_digits": "printed_digits:PRINTED_DIGITS",
        "handwritten_digits": "handwritten_digits:HANDWRITTEN_DIGITS",
        "mnist": "mnist:MNIST",
        "usps": "usps:USPS",
        "svhn": "svhn:SVHN",
        "mnist_m": "mnist_m:MNIST_M",
        "rendered_streets": "street_scenes:RENDERED_STREETS",
        "night_streets": "street_scenes:NIGHT_STREETS",
        "office31_amazon": "office31:AMAZON",
        "office31_dslr": "office31:DSLR",
        "office31_webcam": "office31:WEBCAM",
        "gta5": "gta5:GTA5",
        "cityscapes": "cityscapes:CITYSCAPES",
    }
)


_FOLDERS = {module.PREFIX: module for module in (image_folder, segmentation_folder)}


def get_domain(name: str, storage: Storage | None = None) -> Domain:
    """Returns the domain called `name`.

    Args:
        name: one of `DOMAINS`; "image_folder:PATH" or "segmentation_folder:PATH" is a folder.
        storage: how folders are split; None for the default.

    Raises:
        InputError: there is none of that name, or the folder cannot be used.
    """
    if name in DOMAINS:
        return DOMAINS[name]
    for prefix, module in _FOLDERS.items():
        if str(name).startswith(prefix):
            return module.domain(name, storage or Storage())
    similar = difflib.get_close_matches(str(name), DOMAINS, n=1)
    hint = f" Did you mean {similar[0]}?" if similar else ""
    raise InputError(
        f"Got domain {name!r}; expected one of {', '.join(DOMAINS)}, or "
        f"{'PATH or '.join(_FOLDERS)}PATH for a folder of images.{hint}"
    )


def load(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike | None = None,
    size: int | None = None,
    validation_size: int | None = None,
    storage: Storage | None = None,
) -> Examples | StoredExamples:
    """Reads one split of a domain with its labels; see `Domain.load`."""
    return get_domain(name, storage).load(
        split, data_dir=data_dir, size=size, validation_size=validation_size, storage=storage
    )


def load_unlabelled(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike | None = None,
    size: int | None = None,
    validation_size: int | None = None,
    storage: Storage | None = None,
) -> Examples | StoredExamples:
    """Reads one split of a domain without its labels.

    The only way training code reads a target domain's training images: the labels are gone
    before anything else sees them.
    """
    return load(
        name,
        split,
        data_dir=data_dir,
        size=size,
        validation_size=validation_size,
        storage=storage,
    ).without_labels()


def load_few_labelled(
    name: str,
    per_class: int,
    *,
    seed: int,
    data_dir: str | os.PathLike | None = None,
    size: int | None = None,
    validation_size: int | None = None,
    storage: Storage | None = None,
) -> Examples | StoredExamples:
    """Draws `per_class` labelled training examples of every class.

    With the same seed a smaller draw is part of a larger one, so that a curve over `per_class`
    compares like with like.

    Returns:
        `per_class` x number of classes examples, sorted by label.

    Raises:
        InputError: a class has fewer than `per_class` training examples, or the domain has no
            labels.
    """
    domain = get_domain(name, storage)
    examples = domain.load(
        "train", data_dir=data_dir, size=size, validation_size=validation_size, storage=storage
    )
    if per_class < 1:
        raise InputError(f"Got {per_class} labelled examples per class; expected at least 1.")
    if examples.labels is None:
        raise InputError(
            f"Got {per_class} labelled examples per class, but {name} has no labels. Put its "
            "images into class folders, or ask for none."
        )
    mixed = np.random.default_rng(seed).permutation(len(examples))
    chosen = []
    for label, class_name in enumerate(domain.class_names):
        of_class = mixed[examples.labels[mixed] == label]
        if len(of_class) < per_class:
            raise InputError(
                f"Got {per_class} labelled examples per class; {name} has only {len(of_class)} "
                f"training examples of class {class_name!r}. Ask for fewer, or raise its size."
            )
        chosen.append(of_class[:per_class])
    return examples[np.concatenate(chosen)]


def check_same_classes(source: str, target: str, storage: Storage | None = None) -> None:
    """Checks that two domains, given by name, have the same classes in the same order.

    A target without labels, an image folder without class folders, may have any.

    Raises:
        InputError: they have not; the message names the classes found on one side only.
    """
    domains = {name: get_domain(name, storage) for name in (source, target)}
    classes = {name: domain.class_names for name, domain in domains.items()}
    if classes[target] == ():
        return
    if len({domain.has_masks for domain in domains.values()}) > 1:
        raise InputError(
            f"{source} and {target} need labels of one kind, but only one of them has masks. "
            "Choose two domains for classification or two for segmentation."
        )
    if classes[target] == classes[source]:
        return
    only = {
        name: [c for c in classes[name] if c not in classes[other]]
        for name, other in ((source, target), (target, source))
    }
    differences = [f"only in {name}: {', '.join(names)}" for name, names in only.items() if names]
    raise InputError(
        f"{source} and {target} need the same classes in the same order, but "
        + ("; ".join(differences) or "their order differs")
        + ". Choose two domains that share their classes."
    )
