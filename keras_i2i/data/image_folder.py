"""A folder of image files as a domain, `image_folder:PATH`.

    PATH/train/cat/any_name.jpg ...       or without labels      PATH/train/any_name.jpg ...
    PATH/train/dog/...                                           PATH/val/...
    PATH/val/cat/... PATH/val/dog/...                            PATH/test/...
    PATH/test/cat/... PATH/test/dog/...

Class folders are the classes, in sorted order; the same layout is read by `tfds.ImageFolder`.
What is hidden, its name beginning with a dot, is left out. `train`, `val` and `test` have the same
class folders; one that is empty stands for a class without images there.

Class folders may be missing in `train` alone, as the labels of a target often are:
PATH/train/any_name.jpg and PATH/test/cat/any_name.jpg. Then `val` has them or not, as you like.

`val` may also be called `validation` or `valid`, and may be missing: then the validation split is
taken from `train`. `test` may be missing: then `Storage.test_share` of the images of each class in
`train`, drawn by `Storage.split_seed`, become the test split. So they do of PATH itself where there
is no `train`, as in PATH/cat, PATH/dog. A class then needs at least two images. Names decide what
is drawn, so a split stays as long as no file is added, removed or renamed; but a file that was
drawn and of which another copy was not, byte for byte, goes to `train`: no test image is learnt.

Images may be of any kind that `image_files` reads, and of any size. They are decoded when asked
for. All come as gray if the training images are stored as gray, else all in color; of many training
images a hundred are asked. An image in color among gray ones becomes gray by luma.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_i2i.data import fingerprints
from keras_i2i.data.domain import Domain
from keras_i2i.data.examples import (
    Reader,
    Stored,
    StoredExamples,
    Unreadable,
    UnreadableError,
)
from keras_i2i.data.image_files import (
    common_channels,
    file_key,
    find_image_files,
    read_image,
    stored_file,
)
from keras_i2i.data.storage import Storage, mixed
from keras_i2i.errors import InputError

PREFIX = "image_folder:"

VALIDATION_FOLDERS = ("val", "validation", "valid")

_LAYOUT = (
    "Expected PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, or PATH/CLASS/*.jpg to have it "
    "split. Images without labels lie there without CLASS: all of them, or, beside labelled ones "
    "in PATH/test, those in PATH/train."
)


def domain(name: str, storage: Storage | None = None) -> Domain:
    """Returns the domain `image_folder:PATH`.

    Names of folders are read now, and whether there are images in them; the rest waits for `load`.
    Without a folder for it the validation split is 10,000 images, but at most a sixth of those for
    training.

    Args:
        name: "image_folder:" and a path, absolute or from the working directory; ~ is the home.
        storage: its `test_share` and `split_seed` cut a folder without a test part; None for the
            defaults.

    Returns:
        A domain called `name`. Splits without class folders have examples without labels; if none
        has any, its `class_names` are ().

    Raises:
        InputError: a folder is missing, holds no images or too few to be split, has images beside
            class folders, only one class folder or two that differ in case only, or the classes of
            the splits differ.
    """
    parts = find_parts(name, PREFIX, _LAYOUT)
    classes = {split: subfolders(part) for split, part in parts.items()}
    class_names = _common_classes(name, parts, classes)
    for split, part in parts.items():
        to_split = split == "train" and "test" not in parts
        _check_images(name, part, classes[split], to_split)
    return Domain(
        name=name,
        class_names=class_names,
        image_shape=None,
        read=functools.partial(_read, name, parts, classes, storage or Storage()),
        validation_size=10_000,
        validation_share=1 / 6,
        own_validation="validation" in parts,
        labelled_train=classes["train"] == class_names,
    )


def find_parts(name: str, prefix: str, layout: str) -> dict[str, Path]:
    """Finds the folders of a domain's splits.

    Args:
        name: of the domain, `prefix` and a path.
        prefix: what its name begins with.
        layout: what is expected there, for messages.

    Returns:
        The folder of "train" and, if there are any, those of "validation" and "test". Without a
        folder `train` it is the path itself that is "train".

    Raises:
        InputError: there is no such folder, `test` or `val` but no `train`, or more than one folder
            for validation.
    """
    path = name.removeprefix(prefix)
    if not path:
        raise InputError(f"Got domain {name!r} without a path. {layout}")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"{name}: there is no folder {folder}. {layout}")
    there = subfolders(folder)
    if "train" not in there:
        if {"test", "val", "validation"}.intersection(there):  # `valid` may be a class.
            raise InputError(f"{name}: there is no folder {folder / 'train'}. {layout}")
        return {"train": folder}
    validation = [part for part in VALIDATION_FOLDERS if part in there]
    if len(validation) > 1:
        raise InputError(
            f"{name}: {folder} has the folders {' and '.join(validation)}; expected one for "
            "validation. Remove the others."
        )
    parts = {"train": folder / "train"}
    if validation:
        parts["validation"] = folder / validation[0]
    if "test" in there:
        parts["test"] = folder / "test"
    return parts


def subfolders(folder: Path) -> tuple[str, ...]:
    """The names of the folders in a folder, sorted, without hidden ones."""
    with os.scandir(folder) as entries:
        return tuple(sorted(e.name for e in entries if e.is_dir() and e.name[0] != "."))


def train_may_lack_labels(labelled: set[str]) -> bool:
    """Whether labels may be missing in "train", and so in "validation".

    Args:
        labelled: the splits that have some.
    """
    return "test" in labelled and "train" not in labelled


def check_image_count(name: str, folder: Path, needed: int, layout: str) -> None:
    """Checks that a folder holds images, and two where training and test are to have some.

    Raises:
        InputError: it does not.
    """
    found = find_image_files(folder, at_most=needed)
    if not found:
        raise InputError(f"{name}: there are no images in {folder}. {layout}")
    if len(found) < needed:
        raise InputError(
            f"{name}: {found[0]} is the only image in its folder; without a folder `test` some are "
            "set aside for the test split, so at least two are needed. Add images, or the folders "
            "`train` and `test`."
        )


def split_apart(
    name: str, storage: Storage, files: Sequence[Path], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Does what `Storage.split` does, and keeps copies of one file together, in training.

    Args:
        name: of the domain.
        storage: says how to split.
        files: the images, in the order of `labels`.
        labels: their classes.

    Raises:
        InputError: nothing of a class would be left for the test.
    """
    train, test = storage.split(labels)
    stored = [_stored_or_none(file) for file in files]
    copies = fingerprints.repeated_files([stored[p] for p in test], [stored[p] for p in train])
    if not copies:
        return train, test
    moved = test[[position for position, _ in copies]]
    kept = np.setdiff1d(test, moved)
    for label in np.setdiff1d(labels[test], labels[kept]):
        position, twin = next(pair for pair in copies if labels[test[pair[0]]] == label)
        copy, original = files[test[position]], files[train[twin]]
        raise InputError(
            f"{name}: all images of {copy.parent} that were set aside for the test are copies of "
            f"training images: {copy} has the content of {original}. Remove the copies, or give "
            "another --split_seed or --test_share."
        )
    return np.union1d(train, moved), kept


def _stored_or_none(file: Path) -> Stored | None:
    try:
        return stored_file(file, file.parent)
    except UnreadableError:
        return None


def _common_classes(
    name: str, parts: dict[str, Path], classes: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Returns the class folders that those splits have which have any; checks that they agree."""
    known = next((split for split, names in classes.items() if names), "train")
    class_names = classes[known]
    may_lack = train_may_lack_labels({split for split, names in classes.items() if names})
    for split, names in classes.items():
        if names != class_names and (names or not may_lack):
            raise InputError(
                f"{name}: the class folders of {parts[known].name} and {parts[split].name} differ: "
                f"{', '.join(class_names)} against {', '.join(names) or 'none'}. {_LAYOUT}"
            )
    if len(class_names) == 1:
        raise InputError(
            f"{name}: {class_names[0]} is the only class folder; expected at least two, or images "
            "without class folders. Add a class, or move the images up one level."
        )
    alike: dict[str, str] = {}
    for class_name in class_names:
        other = alike.setdefault(class_name.casefold(), class_name)
        if other != class_name:
            raise InputError(
                f"{name}: the class folders {other} and {class_name} differ in upper and lower "
                "case only. Merge them, or rename one."
            )
    return class_names


def _check_images(name: str, part: Path, classes: tuple[str, ...], to_split: bool) -> None:
    """Checks that the images of a split lie where they should, and that there are enough."""
    if classes and (beside := find_image_files(part, at_most=1)):
        raise InputError(
            f"{name}: {part} holds both class folders ({', '.join(classes)}) and images beside "
            f"them ({beside[0].name}). Move each image into the folder of its class."
        )
    folders = [part / class_name for class_name in classes] or [part]
    if not to_split:
        # A folder that holds something, but no image, is a mistake still.
        folders = [folder for folder in folders if not _is_empty(folder)] or [part]
    for folder in folders:
        check_image_count(name, folder, 2 if to_split else 1, _LAYOUT)


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return all(entry.name[0] == "." for entry in entries)


def _read(name, parts, classes, storage, split, data_dir) -> StoredExamples:
    del data_dir  # The images lie where the name says.
    root = Path(name.removeprefix(PREFIX)).expanduser()
    files, labels = _list(parts["train"], classes["train"])
    channels = common_channels(files)
    home = split if split in parts else "train"
    if home != "train":
        files, labels = _list(parts[home], classes[home])
    positions = np.arange(len(files))
    if home == "train" and "test" not in parts:
        train, test = split_apart(name, storage, files, labels)
        positions = train if split == "train" else test
    positions = positions[mixed(labels[positions])]
    files = [files[position] for position in positions]
    reader = Reader(
        image=lambda position: read_image(files[position], channels),
        channels=channels,
        unreadable=Unreadable(storage.max_unreadable, name),
        labels=labels[positions] if classes[home] else None,
        key=lambda position: file_key(files[position]),
        stored=lambda position: (stored_file(files[position], root),),
    )
    return StoredExamples(reader, np.arange(len(files)), labelled=bool(classes[home]))


def _list(part: Path, classes: tuple[str, ...]) -> tuple[list[Path], np.ndarray]:
    """Returns the image files of a split, sorted by class and name, and their labels, or zeros."""
    of_classes = [find_image_files(part / name) for name in classes] or [find_image_files(part)]
    labels = np.repeat(np.arange(len(of_classes)), [len(files) for files in of_classes])
    return [file for files in of_classes for file in files], labels
