"""A user's own image files: read by a model as target images, and translated."""

import csv
import glob
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from keras_i2i.data.image_files import find_image_files, open_image
from keras_i2i.data.preprocessing import preprocess, to_uint8
from keras_i2i.errors import InputError
from keras_i2i.files import write_text

BATCH = 64
SHOWN_HEIGHT = 128
GAP = 4


def read_images(
    pattern: str | os.PathLike,
    model: Any,
    class_names: Sequence[str],
    out_dir: str | os.PathLike,
) -> Path:
    """Classifies image files as target images and translates them.

    Writes `out_dir/predictions.csv`: file, predicted class, its probability, and a column for the
    probability of each class; of a model without a classifier only the files. With a model that
    translates, also `out_dir/translations/*.png`, one for each file: the image as the model sees
    it, translated target to source, and, taken for a source image, source to target, as far as the
    model has these ways; domains of two shapes are seen twice. They are numbered like the rows of
    the table.

    Every file is tried before anything is written. Images are in memory a batch at a time.

    Args:
        pattern: a file, a glob pattern (`**` for any depth), or a folder, of which the files are
            taken whose ending names an image format. See `data.image_files.open_image` for what can
            be read.
        model: offers `image_shape_of`, `can_classify` and `directions`, and accordingly `classify`
            and `translate`.
        class_names: one name per class.
        out_dir: the run's folder.

    Returns:
        The path of predictions.csv.

    Raises:
        InputError: nothing matches, or some of what matches is not an image.
    """
    files = find_images(pattern)
    bad = []
    for file in files:
        try:
            open_image(file)
        except InputError as error:
            bad.append(str(error))
    if bad:
        raise InputError(
            f"Cannot read {len(bad)} of the {len(files)} files of {os.fspath(pattern)!r}: "
            f"{'; '.join(bad)}. Remove or convert them, or give a pattern that leaves them out."
        )

    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    known = ["predicted", "probability", *class_names] if model.can_classify else []
    writer.writerow(["file", *known])
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        rows = _predictions(model, batch, class_names) if known else [[]] * len(batch)
        for file, row in zip(batch, rows, strict=True):
            writer.writerow([file, *row])
        if model.directions:
            _save_translations(model, batch, start, Path(out_dir, "translations"))
    return write_text(Path(out_dir, "predictions.csv"), table.getvalue())


def _predictions(
    model: Any, files: Sequence[Path], class_names: Sequence[str]
) -> Iterator[list[str]]:
    """For each file the class, its probability, and the probability of every class."""
    logits = model.classify(_prepared(files, model.image_shape_of("target")), domain="target")
    for row in keras.ops.convert_to_numpy(keras.ops.softmax(logits)):
        best = row.argmax()
        yield [class_names[best], *(f"{value:.4f}" for value in (row[best], *row))]


def find_images(pattern: str | os.PathLike) -> list[Path]:
    """The files that a pattern means, sorted.

    Raises:
        InputError: there are none.
    """
    path = Path(pattern).expanduser()
    if path.is_dir():
        files = find_image_files(path)
    elif path.exists():  # Before globbing: a file's name may contain brackets.
        files = [path]
    else:
        files = [Path(name) for name in glob.glob(str(path), recursive=True)]
    files = sorted(file for file in files if file.is_file())
    if not files:
        raise InputError(
            f"No image files match {os.fspath(pattern)!r}. Expected a file, a folder of images, or "
            "a pattern in quotes such as 'photos/*.png'."
        )
    return files


def _prepared(files: Sequence[Path], image_shape: Sequence[int]) -> np.ndarray:
    """The files' images as a model wants them, (n, H, W, C) in [-1, 1]."""
    images = []
    for file in files:
        image = open_image(file)
        # Averaging whole blocks first spares `preprocess` a photograph in floats.
        factor = min(image.height // (2 * image_shape[0]), image.width // (2 * image_shape[1]))
        if factor > 1:
            image = image.reduce(factor)
        images.append(np.asarray(preprocess(np.asarray(image)[np.newaxis], image_shape)))
    return np.concatenate(images)


def _save_translations(model: Any, files: Sequence[Path], start: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    views, panels = {}, []
    for direction in ("target_to_source", "source_to_target"):
        if direction in model.directions:
            shape = model.image_shape_of(direction.split("_to_")[0])
            if shape not in views:
                views[shape] = _prepared(files, shape)
                panels.append(views[shape])
            panels.append(model.translate(views[shape], direction))
    panels = zip(*map(to_uint8, panels), strict=True)
    for number, images in enumerate(panels, start=start):
        # The number keeps names apart, the cleaning keeps them inside the folder.
        stem = re.sub(r"[^\w-]+", "_", files[number - start].stem)[:40]
        _side_by_side(images).save(folder / f"{number + 1:05d}_{stem}.png")


def _side_by_side(images: Sequence[np.ndarray]) -> Image.Image:
    """Images in a row, enlarged by whole pixels to a size at which one can see them."""
    panels = []
    for image in images:
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        factor = max(1, SHOWN_HEIGHT // picture.height)
        size = (picture.width * factor, picture.height * factor)
        panels.append(picture.resize(size, Image.Resampling.NEAREST))
    width = sum(panel.width for panel in panels) + GAP * (len(panels) - 1)
    row = Image.new("RGB", (width, max(panel.height for panel in panels)), "white")
    left = 0
    for panel in panels:
        row.paste(panel, (left, 0))
        left += panel.width + GAP
    return row
