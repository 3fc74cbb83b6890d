"""A translated copy of a data set, written once as an image folder and read ever after.

    FOLDER/train/CLASS/00000000.png ...   named by their position in the examples translated
    FOLDER/train.json                     written last: the copy is complete, of what, and which
                                          examples are not in it because they cannot be read

While a copy is being written it is FOLDER/train.partial.json that tells of what. Every file is
whole or absent, so a copy that was interrupted continues where it stopped. The folder is also read
by `tfds.ImageFolder`, which takes gray images for color unless it is told their shape, and by the
domain `image_folder:FOLDER` once there is a test split.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from keras_i2i.data.batches import read_prepared
from keras_i2i.data.examples import Examples, StoredExamples, UnreadableError
from keras_i2i.data.geometry import Geometry
from keras_i2i.data.image_files import native_shape, read_images
from keras_i2i.errors import InputError
from keras_i2i.files import replacing, write_json

_NAME_LENGTH = 50
# Of stored examples so many are looked at to tell them from others.
_FINGERPRINTED = 16


def write_translated_copy(
    folder: str | os.PathLike,
    examples: Examples | StoredExamples,
    translate: Callable[[np.ndarray], np.ndarray],
    class_names: Sequence[str],
    *,
    split: str = "train",
    batch_size: int = 256,
    image_shape: tuple[int, int, int] | None = None,
    geometry: Geometry | None = None,
    anew: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Translates labelled images and writes them as FOLDER/SPLIT/CLASS/NUMBER.png.

    Interrupted at any time and called again with the same arguments, it leaves the same folder bit
    for bit, and translates only batches of which a file is missing. A finished copy returns at
    once. Whether it is a copy of these examples is checked; by which `translate` it was made cannot
    be: give each model a folder of its own.

    Args:
        folder: made if need be; several splits may share one.
        examples: with labels, not masks. Stored ones are read a batch at a time; those that cannot
            be read are left out.
        translate: takes uint8 images (n, h, w, c), n at most `batch_size`, and returns uint8 images
            (n, H, W, C), C 1 or 3, of the same shape for every batch. See `to_uint8`.
        class_names: one per label. Their folders are called after them, see `class_folders`.
        split: letters, digits and underscores.
        batch_size: images translated at once.
        image_shape: (h, w, c) to which images are brought before they are translated, as in
            `in_memory`; None to hand them over as they are, which stored ones cannot be.
        geometry: how they are brought to `image_shape`; None for `Geometry()`.
        anew: whether an unfinished copy is begun again, and its files replaced: for a `translate`
            at random, whose images depend on how often it was called.
        progress: called as `progress(done, total)`, in images, after each batch, also one that was
            there already.

    Returns:
        `folder`, as a path.

    Raises:
        InputError: the examples have masks or no labels or none are there, a label has no class
            name, a number or the split's name is out of its range, stored examples come without
            `image_shape` or too many cannot be read, `translate` returned something else, or the
            folder holds a copy of other examples, or files of another origin.
    """
    folder, total = Path(folder).expanduser(), len(examples)
    _check_arguments(examples, class_names, batch_size, image_shape)
    record = {
        "count": total,
        "class_names": list(class_names),
        "class_folders": class_folders(class_names),
        "fingerprint": fingerprint(examples),
    }
    part, finished, partial = _paths(folder, split)
    for path in (finished, partial):
        if path.exists():
            _check_same(path, record)
    if finished.exists():
        partial.unlink(missing_ok=True)
        return folder
    if not partial.exists():
        if part.exists() and any(part.iterdir()):
            raise InputError(
                f"{part} is not empty, and there is no {partial.name} that would make its content "
                "an unfinished copy. Give another folder or another split, or remove it."
            )
        write_json(partial, record)

    homes = [part / name for name in record["class_folders"]]
    for home in homes:  # Also for classes without images: the labels of tfds count the folders.
        home.mkdir(parents=True, exist_ok=True)
    files = [homes[label] / f"{i:08d}.png" for i, label in enumerate(examples.labels)]
    shape = next((native_shape(file) for file in files if file.exists()), None)
    left_out = []
    with ThreadPoolExecutor() as pool:  # Compression runs outside of Python's lock.
        for start in range(0, total, batch_size):
            batch = range(start, min(start + batch_size, total))
            if anew or not all(files[i].exists() for i in batch):
                images, readable = _read(examples[batch.start : batch.stop], image_shape, geometry)
                kept = [start + i for i in readable]
                left_out += sorted(set(batch) - set(kept))
                if kept:
                    images = np.asarray(translate(images))
                    shape = _checked_shape(images, len(kept), shape)
                    list(pool.map(_write_png, [files[i] for i in kept], images))
            if progress is not None:
                progress(batch.stop, total)
    if shape is None:
        raise InputError(f"None of the {total} images to translate can be read.")
    _remove_leftovers(folder, split)
    unreadable = {"left_out": left_out} if left_out else {}
    write_json(finished, record | unreadable | {"image_shape": shape})
    partial.unlink()
    return folder


def read_translated_copy(folder: str | os.PathLike, split: str = "train") -> Examples:
    """Reads a finished copy.

    Returns:
        The translated images, in the order of the examples that were translated, with their labels;
        without those that could not be read then.

    Raises:
        InputError: there is no copy, it is not finished, or files are missing, damaged or strange.
    """
    part, finished, partial = _paths(Path(folder).expanduser(), split)
    if not finished.exists():
        problem = "is not finished" if partial.exists() else f"does not exist: no {finished}"
        raise InputError(
            f"The translated copy {part} {problem}. Write it with write_translated_copy, which "
            "continues where it was interrupted."
        )
    record = _read_record(finished)
    advice = f"Remove {finished} and {part}, and write the copy anew."
    files: list = [None] * record["count"]
    labels = np.zeros(record["count"], np.int64)
    for label, name in enumerate(record["class_folders"]):
        for file in (part / name).glob("[!.]*"):
            known = re.fullmatch(r"\d{8}\.png", file.name) and int(file.stem) < len(files)
            if not known or files[int(file.stem)] is not None:
                raise InputError(f"{file} is not part of the translated copy. {advice}")
            files[int(file.stem)], labels[int(file.stem)] = file, label
    there = [position for position, file in enumerate(files) if file is not None]
    missing = sorted(set(range(len(files))) - set(there) - set(record.get("left_out", ())))
    if missing:
        raise InputError(
            f"Of the {len(files)} images of the translated copy {part} {len(missing)} are missing, "
            f"the first of them {missing[0]:08d}.png. {advice}"
        )
    try:
        images = read_images([files[i] for i in there], tuple(record["image_shape"]), resize=False)
    except InputError as error:
        raise InputError(f"The translated copy is damaged: {error}. {advice}") from None
    return Examples(images, labels[there])


def class_folders(class_names: Sequence[str]) -> list[str]:
    """Names for the folders of classes: safe, and no two alike.

    Whatever is not a letter, a digit, an underscore or a hyphen becomes an underscore, so a name
    has no separator and no dot; it is cut to 50 characters. A name that is empty or taken, in
    letters of any case, gets the class's number at its end.
    """
    folders: list[str] = []
    taken = set()
    for number, class_name in enumerate(class_names):
        name = re.sub(r"[^\w-]", "_", str(class_name))[:_NAME_LENGTH]
        while not name or name.casefold() in taken:
            name = f"{name}_{number}"
        taken.add(name.casefold())
        folders.append(name)
    return folders


def fingerprint(examples: Examples | StoredExamples) -> str:
    """The SHA-256, in hexadecimal, of labelled examples: their shape, labels and pixels.

    Of stored examples it is their number, labels and the pixels of a few, spread evenly. Where they
    are stored does not count: data may be moved.
    """
    stored = isinstance(examples, StoredExamples)
    shape = (len(examples),) if stored else examples.images.shape
    digest = hashlib.sha256(repr(shape).encode())
    digest.update(np.ascontiguousarray(examples.labels, dtype="<i8"))
    if not stored:
        digest.update(np.ascontiguousarray(examples.images))
        return digest.hexdigest()
    for position in np.unique(np.linspace(0, len(examples) - 1, _FINGERPRINTED).astype(int)):
        try:
            image, _ = examples.read(position)
        except UnreadableError:
            continue  # It has its turn to be counted.
        digest.update(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()


def _read(examples, image_shape, geometry) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images that can be read and where they stand in `examples`."""
    if image_shape is None:
        return examples.images, np.arange(len(examples))
    return read_prepared(examples, image_shape, geometry)


def _check_arguments(examples, class_names, batch_size, image_shape):
    if examples.has_masks:
        raise InputError(
            "Got examples with masks; expected one label per image, whose class names a folder."
        )
    if isinstance(examples, StoredExamples) and image_shape is None:
        raise InputError(
            "Got stored examples, of many sizes; give the image_shape to bring them to."
        )
    if examples.labels is None or not len(examples):
        raise InputError(
            f"Got {len(examples)} examples {'without' if examples.labels is None else 'with'} "
            "labels; expected at least one, with labels. Use load(...)."
        )
    if examples.labels.min() < 0 or examples.labels.max() >= len(class_names):
        raise InputError(
            f"Got labels from {examples.labels.min()} to {examples.labels.max()} and "
            f"{len(class_names)} class names; expected one name per class."
        )
    if batch_size < 1:
        raise InputError(f"Got batch_size {batch_size}; expected at least 1.")


def _paths(folder: Path, split: str) -> tuple[Path, Path, Path]:
    """Returns the split's folder, and the records of a finished and of an unfinished copy."""
    if not re.fullmatch(r"\w+", split):
        raise InputError(f"Got split {split!r}; expected letters, digits and underscores.")
    return folder / split, folder / f"{split}.json", folder / f"{split}.partial.json"


def _read_record(path: Path) -> dict:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        # Looked up here, so that nobody else has to expect them missing.
        _ = int(record["count"]), list(record["class_folders"]), record["fingerprint"]
        if not path.name.endswith(".partial.json"):
            _ = [int(record["image_shape"][axis]) for axis in range(3)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); it tells of what the folder "
            f"beside it is a translated copy. Remove both and write the copy anew."
        ) from None
    return record


def _check_same(path: Path, record: dict) -> None:
    there = _read_record(path)
    for key, value in record.items():
        if there.get(key) != value:
            raise InputError(
                f"{path} tells of a translated copy of other examples: its {key} is "
                f"{there.get(key)}, but now it would be {value}. Give another folder or another "
                f"split, or remove {path} and the folder beside it."
            )


def _checked_shape(images: np.ndarray, count: int, shape) -> tuple[int, int, int]:
    """Returns the shape of one translated image; it must be `shape` if there is one."""
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or len(images) != count
        or images.shape[3] not in (1, 3)
        or images.shape[1:] != (shape or images.shape[1:])
    ):
        wanted = "(height, width, 1 or 3)" if shape is None else shape
        raise InputError(
            f"translate returned {images.dtype} of shape {images.shape}; expected {count} uint8 "
            f"images of shape {wanted}. Turn [-1, 1] into uint8 with to_uint8."
        )
    return images.shape[1:]


def _write_png(path: Path, image: np.ndarray) -> None:
    with replacing(path) as temporary:
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(temporary, "PNG")


def _remove_leftovers(folder: Path, split: str) -> None:
    """Removes the hidden halves of files that a killed process was about to replace.

    tfds would take them for images.
    """
    for pattern in (f"{split}/*/.*.png", f".{split}.*.json"):
        for path in folder.glob(pattern):
            path.unlink()
