"""A user's own image files: classified or segmented as target images, and translated."""

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

from keras_i2i.data.geometry import Geometry
from keras_i2i.data.image_files import find_image_files, open_image
from keras_i2i.data.preprocessing import to_uint8
from keras_i2i.errors import InputError
from keras_i2i.evaluation import figures
from keras_i2i.files import in_utf8, write_text

BATCH = 64
# Pixels that fit into memory with all that a network makes of them, and with the logits of a few
# dozen classes.
LARGEST = 4_000_000
SHOWN_HEIGHT = 128
GAP = 4


def read_images(
    pattern: str | os.PathLike,
    model: Any,
    class_names: Sequence[str],
    out_dir: str | os.PathLike,
    *,
    palette: Sequence[tuple[int, int, int]] | None = None,
    geometry: Geometry | None = None,
) -> Path:
    """Classifies or segments image files as target images, and translates them.

    Writes `out_dir/predictions.csv`: file, predicted class, its probability, and a column for the
    probability of each class; of a model without a classifier only the files.

    With a model that segments, the columns are the share of each class in the image's pixels, and
    for each file there are two pictures: `out_dir/segmentations/*.png`, as large as the image, has
    positions in `class_names` for pixel values, and a palette to show them in colour;
    `out_dir/panels/*.png` shows image and classes side by side and overlaid, with a legend.

    With a model that translates, also `out_dir/translations/*.png`, one for each file: the image as
    the model sees it, translated target to source, and, taken for a source image, source to target,
    as far as the model has these ways; domains of two shapes are seen twice.

    Pictures are numbered like the rows of the table. Every file is tried before anything is
    written. Images are in memory a batch at a time.

    Args:
        pattern: a file, a glob pattern (`**` for any depth), or a folder, of which the files are
            taken whose ending names an image format. See `data.image_files.open_image` for what can
            be read.
        model: offers `image_shape_of`, `can_classify` and `directions`, and accordingly `classify`
            or, if its `has_masks` is true, `segment`, and `translate`.
        class_names: one name per class.
        out_dir: the run's folder.
        palette: of a model that segments, an RGB colour in [0, 255] for each class; None for
            `figures.class_palette`.
        geometry: how tests bring images to the model's size; None: stretched to it.

    Returns:
        The path of predictions.csv.

    Raises:
        InputError: nothing matches, or some of what matches is not an image.
    """
    geometry = geometry or Geometry()
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
    segments = getattr(model, "has_masks", False)
    known = class_names if segments else ["predicted", "probability", *class_names]
    known = known if model.can_classify else ()
    writer.writerow(["file", *known])
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        if not known:
            rows = [[]] * len(batch)
        elif segments:
            rows = _shares(model, batch, start, class_names, palette, geometry, Path(out_dir))
        else:
            rows = _predictions(model, batch, class_names, geometry)
        for file, row in zip(batch, rows, strict=True):
            writer.writerow([in_utf8(str(file)), *row])
        if model.directions:
            _save_translations(model, batch, start, Path(out_dir, "translations"), geometry)
    return write_text(Path(out_dir, "predictions.csv"), table.getvalue())


def _predictions(
    model: Any, files: Sequence[Path], class_names: Sequence[str], geometry: Geometry
) -> Iterator[list[str]]:
    """For each file the class, its probability, and the probability of every class."""
    images = _prepared(files, model.image_shape_of("target"), geometry)
    logits = model.classify(images, domain="target")
    for row in keras.ops.convert_to_numpy(keras.ops.softmax(logits)):
        best = row.argmax()
        yield [class_names[best], *(f"{value:.4f}" for value in (row[best], *row))]


def _shares(
    model: Any,
    files: Sequence[Path],
    start: int,
    class_names: Sequence[str],
    palette: Sequence[tuple[int, int, int]] | None,
    geometry: Geometry,
    out_dir: Path,
) -> Iterator[list[str]]:
    """For each file every class's share of its pixels; saves the file's pictures on the way."""
    palette = palette or figures.class_palette(len(class_names))
    folder = out_dir / "segmentations"
    folder.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(files, start=start):
        image = np.asarray(open_image(file))
        try:
            classes = _classes(model, image, geometry)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
        picture, name = Image.fromarray(classes), _picture_name(number, file)
        picture.putpalette(np.array(palette, "uint8").tobytes())
        picture.save(folder / name)
        overlaid = _overlaid(image, figures.paint(classes, palette))
        row = {"image": image, "overlaid": overlaid, "classes": classes}
        figures.segmentation_panels([row], class_names, palette, path=out_dir / "panels" / name)
        counts = np.bincount(classes.ravel(), minlength=len(class_names))
        yield [f"{share:.4f}" for share in counts / classes.size]


def _classes(model: Any, image: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The class of each pixel of an image (h, w, 3), uint8 (h, w)."""
    height, width = image.shape[:2]
    scale = min(1, (LARGEST / (height * width)) ** 0.5)
    view = np.asarray(geometry.whole(image, model.image_shape_of("target"), at_most=LARGEST))
    size = max(1, round(scale * height)), max(1, round(scale * width))
    classes = model.segment(view, domain="target", size=size).argmax(axis=-1).astype("uint8")
    if classes.shape == (height, width):
        return classes
    enlarged = Image.fromarray(classes).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(enlarged)


def _overlaid(image: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """The mean of two uint8 images, rounded down; of the largest, floats would take gigabytes."""
    both = np.add(image, painted, dtype="uint16")
    both >>= 1
    return both.astype("uint8")


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


def _prepared(files: Sequence[Path], image_shape: Sequence[int], geometry: Geometry) -> np.ndarray:
    """The files' images as a model wants them, (n, H, W, C) in [-1, 1]."""
    images = []
    for file in files:
        image = open_image(file)
        # Averaging whole blocks before stretching spares it a photograph in floats.
        factor = min(image.height // (2 * image_shape[0]), image.width // (2 * image_shape[1]))
        if factor > 1 and geometry == Geometry():
            image = image.reduce(factor)
        images.append(geometry.for_test(np.asarray(image), image_shape))
    return np.stack(images)


def _save_translations(
    model: Any, files: Sequence[Path], start: int, folder: Path, geometry: Geometry
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    views, panels = {}, []
    for direction in ("target_to_source", "source_to_target"):
        if direction in model.directions:
            shape = model.image_shape_of(direction.split("_to_")[0])
            if shape not in views:
                views[shape] = _prepared(files, shape, geometry)
                panels.append(views[shape])
            panels.append(model.translate(views[shape], direction))
    panels = zip(*map(to_uint8, panels), strict=True)
    for number, images in enumerate(panels, start=start):
        name = _picture_name(number, files[number - start])
        _side_by_side(images).save(folder / name)


def _picture_name(number: int, file: Path) -> str:
    """What pictures made from a file are called."""
    # The number keeps names apart, the cleaning keeps them inside the folder.
    stem = re.sub(r"[^\w-]+", "_", file.stem)[:40]
    return f"{number + 1:05d}_{stem}.png"


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
