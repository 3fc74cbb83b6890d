"""A folder of image files as a domain, `image_folder:PATH`.

    PATH/train/cat/any_name.jpg ...       or without labels      PATH/train/any_name.jpg ...
    PATH/train/dog/...                                           PATH/test/...
    PATH/test/cat/... PATH/test/dog/...

Class folders are the classes, in sorted order; the same layout is read by `tfds.ImageFolder`.
What is hidden, its name beginning with a dot, is left out.

Images are brought to one shape: that of the first training image in sorted order. The others are
resized to its size. Where it is in color, gray ones become color; where it is gray, all must be.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from keras_i2i.data.domain import Domain, Examples
from keras_i2i.data.image_files import find_image_files, native_shape, read_images
from keras_i2i.errors import InputError

PREFIX = "image_folder:"

_LAYOUT = (
    "Expected PATH/train/CLASS/*.png and PATH/test/CLASS/*.png, or PATH/train/*.png and "
    "PATH/test/*.png without labels; any image format will do."
)


def domain(name: str) -> Domain:
    """Returns the domain `image_folder:PATH`.

    Names of folders and the first training image are read now; the rest waits for `load`. The
    validation split is 10,000 images, but at most a sixth of those for training.

    Args:
        name: "image_folder:" and a path, absolute or from the working directory; ~ is the home.

    Returns:
        A domain called `name`. Without class folders its `class_names` are () and the labels of
        its examples None.

    Raises:
        InputError: a folder is missing or has another layout, there are no training images, the
            first one cannot be read, or the classes of train and test differ.
    """
    path = name.removeprefix(PREFIX)
    if not path:
        raise InputError(f"Got domain {name!r} without a path. {_LAYOUT}")
    folder = Path(path).expanduser()
    for part in (folder, folder / "train", folder / "test"):
        if not part.is_dir():
            raise InputError(f"{name}: there is no folder {part}. {_LAYOUT}")
    classes, test_classes = _class_names(folder / "train"), _class_names(folder / "test")
    if classes != test_classes:
        raise InputError(
            f"{name}: the class folders of train and test differ: {', '.join(classes) or 'none'} "
            f"against {', '.join(test_classes) or 'none'}. {_LAYOUT}"
        )
    if len(classes) == 1:
        raise InputError(
            f"{name}: {classes[0]} is the only class folder; expected at least two, or images "
            "without class folders. Add a class, or move the images up one level."
        )
    files, _ = _list(name, folder / "train", classes, first=True)
    shape = native_shape(files[0])
    return Domain(
        name=name,
        class_names=classes,
        image_shape=shape,
        read=functools.partial(_read, name, folder, classes, shape, files[0]),
        validation_size=10_000,
        validation_share=1 / 6,
    )


def _class_names(part: Path) -> tuple[str, ...]:
    folders = (path.name for path in part.iterdir() if path.is_dir())
    return tuple(sorted(name for name in folders if not name.startswith(".")))


def _list(name, part, classes, *, first=False) -> tuple[list[Path], list[int]]:
    """Returns the image files of a split, sorted, and their labels; with `first`, of one class."""
    files, labels = find_image_files(part), []
    if files and classes:
        raise InputError(
            f"{name}: {part} holds both class folders ({', '.join(classes)}) and images beside "
            f"them ({files[0].name}). Move each image into the folder of its class."
        )
    for label, class_name in enumerate(classes):
        of_class = find_image_files(part / class_name)
        files += of_class
        labels += [label] * len(of_class)
        if first and files:
            break
    if not files:
        raise InputError(f"{name}: there are no images in {part}. {_LAYOUT}")
    return files, labels


def _read(name, folder, classes, shape, first, split, data_dir) -> Examples:
    del data_dir  # The images lie where the name says.
    files, labels = _list(name, folder / split, classes)
    # Files are sorted by class, and often by origin.
    order = np.random.default_rng(0).permutation(len(files))
    try:
        images = read_images([files[position] for position in order], shape)
    except InputError as error:
        gray = f" Save {first} in color to have all read in color." if shape[2] == 1 else ""
        raise InputError(
            f"{name}: cannot read {error}. Replace or remove it; images are read in the size and "
            f"color of the first one, {first}, {'x'.join(map(str, shape))}.{gray}"
        ) from None
    return Examples(images, np.array(labels, np.int64)[order] if classes else None)
