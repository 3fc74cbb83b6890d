"""A user's own image files: read by a model as target images, and translated."""

import csv
import glob
import io
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

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
    probability of each class. With a model that translates, also `out_dir/translations/*.png`, one
    for each file: the image as the model sees it, translated target to source, and, taken for a
    source image, source to target. They are numbered like the rows of the table.

    Every file is tried before anything is written. Images are in memory a batch at a time.

    Args:
        pattern: a file, a glob pattern (`**` for any depth), or a folder, of which the files are
            taken whose ending names an image format. See `open_image` for what can be read.
        model: offers `image_shape` and `classify`; with `can_translate`, also `translate`.
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
    writer.writerow(["file", "predicted", "probability", *class_names])
    for start, batch in _batches(files, model.image_shape):
        probabilities = keras.ops.convert_to_numpy(
            keras.ops.softmax(model.classify(batch, domain="target"))
        )
        for file, row in zip(files[start:], probabilities, strict=False):
            best = row.argmax()
            cells = [class_names[best], *(f"{value:.4f}" for value in (row[best], *row))]
            writer.writerow([file, *cells])
        if getattr(model, "can_translate", False):
            _save_translations(model, batch, files, start, Path(out_dir, "translations"))
    return write_text(Path(out_dir, "predictions.csv"), table.getvalue())


def find_images(pattern: str | os.PathLike) -> list[Path]:
    """The files that a pattern means, sorted.

    Raises:
        InputError: there are none.
    """
    path = Path(pattern).expanduser()
    if path.is_dir():
        Image.init()
        endings = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
        files = [file for file in path.iterdir() if file.suffix.lower() in endings]
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


def open_image(path: str | os.PathLike) -> Image.Image:
    """Opens one image file as 8-bit RGB, upright.

    EXIF orientation is applied; of an animation the first frame is taken; transparency becomes
    white, as on the page that most programs show behind it. Numbers beyond 8 bits are scaled, not
    cut: 16-bit ones from 0..65535, floats from 0..1 (or 0..255 if any is above 1).

    Raises:
        InputError: not an image, damaged, or so large that it may be a decompression bomb.
    """
    try:
        with warnings.catch_warnings():
            # Pillow only warns between its limit and twice that.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(
            f"{path}: more than {Image.MAX_IMAGE_PIXELS:,} pixels, perhaps a file made to fill the "
            "memory; make it smaller"
        ) from None
    except Exception as error:  # Decoders raise almost anything for damaged files.
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(f"{path}: {reason}") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # "I;16" and its relatives among them.
        values = np.asarray(image).astype("float32")
        top = 65535 if image.mode.startswith("I") else 1 if values.max() <= 1 else 255
        scaled = np.round(255 * np.clip(np.nan_to_num(values) / top, 0, 1))
        return Image.fromarray(scaled.astype("uint8")).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _batches(files: Sequence[Path], image_shape: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the position of a batch's first file, and its images as the model wants them."""
    for start in range(0, len(files), BATCH):
        batch = [_prepared(file, image_shape) for file in files[start : start + BATCH]]
        yield start, np.concatenate(batch)


def _prepared(file: Path, image_shape: Sequence[int]) -> np.ndarray:
    image = open_image(file)
    # Averaging whole blocks first spares `preprocess` a photograph in floats.
    factor = min(image.height // (2 * image_shape[0]), image.width // (2 * image_shape[1]))
    if factor > 1:
        image = image.reduce(factor)
    return np.asarray(preprocess(np.asarray(image)[np.newaxis], image_shape))


def _save_translations(
    model: Any, batch: np.ndarray, files: Sequence[Path], start: int, folder: Path
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    panels = zip(
        to_uint8(batch),
        to_uint8(model.translate(batch, "target_to_source")),
        to_uint8(model.translate(batch, "source_to_target")),
        strict=True,
    )
    for number, images in enumerate(panels, start=start):
        # The number keeps names apart, the cleaning keeps them inside the folder.
        stem = re.sub(r"[^\w-]+", "_", files[number].stem)[:40]
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
