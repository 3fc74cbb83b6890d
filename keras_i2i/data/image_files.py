"""Image files of any kind that Pillow reads, as 8-bit images."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from keras_i2i.errors import InputError


def find_image_files(folder: str | os.PathLike) -> list[Path]:
    """The files in a folder whose ending names an image format that can be read, sorted.

    Hidden files, whose names begin with a dot, are left out; subfolders are not looked into.
    """
    Image.init()
    endings = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    return sorted(
        file
        for file in Path(folder).iterdir()
        if file.suffix.lower() in endings and not file.name.startswith(".") and file.is_file()
    )


def open_image(path: str | os.PathLike) -> Image.Image:
    """Opens one image file as 8-bit RGB, upright.

    EXIF orientation is applied; of an animation the first frame is taken; transparency becomes
    white, as on the page that most programs show behind it. Numbers beyond 8 bits are scaled, not
    cut: 16-bit ones from 0..65535, floats from 0..1 (or 0..255 if any is above 1).

    Raises:
        InputError: not an image, damaged, or so large that it may be a decompression bomb.
    """
    with _bombs_raise():
        image, _ = _decode(path)
    return image


def native_shape(path: str | os.PathLike) -> tuple[int, int, int]:
    """The (height, width, channels) of an image file: upright, 1 channel if stored as gray, else 3.

    Raises:
        InputError: as for `open_image`.
    """
    with _bombs_raise():
        image, gray = _decode(path)
    return (image.height, image.width, 1 if gray else 3)


def read_images(
    files: Sequence[str | os.PathLike], image_shape: tuple[int, int, int], *, resize: bool = True
) -> np.ndarray:
    """Reads image files into one array; how they are read is told by `open_image`.

    Args:
        files: of any sizes.
        image_shape: (height, width, channels) of each image of the result, channels 1 or 3. Gray
            becomes color by repetition.
        resize: images of another size are resized, bilinearly, with antialiasing where they
            shrink; False refuses them.

    Returns:
        uint8, shape (number of files, height, width, channels), in the order of `files`.

    Raises:
        InputError: as for `open_image`, a file in color where `image_shape` has one channel, or one
            of another size that is not to be resized. The message names the file.
    """
    height, width, channels = image_shape

    def read(file):
        image, gray = _decode(file)
        if channels == 1 and not gray:
            raise InputError(f"{file}: stored in color; expected a gray image")
        if image.size != (width, height):
            if not resize:
                raise InputError(
                    f"{file}: {image.height} x {image.width} pixels; expected {height} x {width}"
                )
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image)[..., :channels]

    images = np.empty((len(files), *image_shape), np.uint8)
    # Threads help: Pillow's decoders run outside of Python's lock.
    with _bombs_raise(), ThreadPoolExecutor() as pool:
        for position, image in enumerate(pool.map(read, files)):
            images[position] = image
    return images


@contextlib.contextmanager
def _bombs_raise() -> Iterator[None]:
    """Pillow only warns between its limit and twice that; in this block it raises.

    Not inside of threads: all share the list of warning filters.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _decode(path) -> tuple[Image.Image, bool]:
    """Returns the image as `open_image` promises it, and whether the file stores it as gray."""
    try:
        with Image.open(path) as image:
            image.load()
            gray = image.mode in ("1", "L", "LA", "La") or image.mode.startswith(("I", "F"))
            return _to_rgb(ImageOps.exif_transpose(image)), gray
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
