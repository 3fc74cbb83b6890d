"""Image files of the kinds that people have, as 8-bit images.

Each function reads one file at a time and can be called from many threads.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from keras_i2i.data.examples import Stored, UnreadableError
from keras_i2i.errors import InputError

# Still images. Pillow opens more, and would run other programs for some (EPS).
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")

# A pixel takes up to some twenty bytes while its image is decoded, turned and put on white, and
# several images may be in work at once: nobody shall fill the memory by a file of a few bytes.
MOST_PIXELS = 2**26  # 8192 x 8192
MOST_BYTES = 2**29  # of a file, which is in memory as a whole

_HEADERS = 100

# Of TIFF: the tags of a tile's width and height, and the types SHORT and LONG.
_TILE_SIDES = (322, 323)
_TILE_TYPES = (3, 4)

# How an image is turned upright, by its EXIF orientation.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def find_image_files(folder: str | os.PathLike, at_most: int | None = None) -> list[Path]:
    """The files in a folder whose ending names an image format that can be read, sorted.

    Hidden files, whose names begin with a dot, are left out; subfolders are not looked into.

    Args:
        folder: where to look.
        at_most: stop once that many are found, whichever they are; None for all.
    """
    endings = _endings()
    with os.scandir(folder) as entries:
        names = (
            entry.name
            for entry in entries
            if os.path.splitext(entry.name)[1].lower() in endings
            and not entry.name.startswith(".")
            and entry.is_file()
        )
        names = sorted(itertools.islice(names, at_most))
    folder = Path(folder)
    return [folder / name for name in names]


def open_image(path: str | os.PathLike) -> Image.Image:
    """Opens one image file as 8-bit RGB, upright.

    EXIF orientation is applied; of an animation the first frame is taken; transparency becomes
    white, as on the page that most programs show behind it. Numbers beyond 8 bits are scaled, not
    cut: 16-bit ones from 0..65535, floats from 0..1 (or 0..255 if any is above 1). What is NaN
    becomes black, and like infinities it does not say which of these ranges it is.

    Raises:
        UnreadableError: not an image, damaged, or of more than `MOST_PIXELS`, which the file's
            header tells before there is memory for them.
    """
    return _decode(path)[0].convert("RGB")


def read_image(path: str | os.PathLike, channels: int) -> np.ndarray:
    """Reads one image file at its own size; how is told by `open_image`.

    Args:
        path: the file.
        channels: 1 or 3. Gray becomes color by repetition, color becomes gray by luma
            (0.299 R + 0.587 G + 0.114 B).

    Returns:
        uint8, shape (height, width, channels), values in [0, 255]. Read-only.

    Raises:
        UnreadableError: as for `open_image`.
    """
    image = np.asarray(_decode(path)[0].convert("L" if channels == 1 else "RGB"))
    return image[..., np.newaxis] if channels == 1 else image


def native_shape(path: str | os.PathLike) -> tuple[int, int, int]:
    """The (height, width, channels) of an image file: upright, 1 channel if stored as gray, else 3.

    Raises:
        UnreadableError: as for `open_image`.
    """
    image, gray = _decode(path)
    return (image.height, image.width, 1 if gray else 3)


def common_channels(files: Sequence[str | os.PathLike]) -> int:
    """How many channels images have in common: 1 if all are stored as gray, else 3.

    Only headers are read, and of more than 100 files only those of 100, always the same. Files that
    cannot be read are not counted; where none can, it is 3.
    """
    if len(files) > _HEADERS:
        chosen = np.random.default_rng(0).choice(len(files), _HEADERS, replace=False)
        files = [files[position] for position in chosen]
    grays = []
    for file in files:
        with contextlib.suppress(UnreadableError), opened(file) as image:
            grays.append(_is_gray(image))
        if grays and not grays[-1]:
            break
    return 1 if grays and all(grays) else 3


def file_key(path: str | os.PathLike) -> str:
    """Text that changes with the file: its absolute path, time of change and size.

    Raises:
        UnreadableError: there is no such file any more.
    """
    try:
        state = os.stat(path)
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from None
    return f"{os.path.abspath(path)}\n{state.st_mtime_ns}\n{state.st_size}"


def stored_file(path: str | os.PathLike, folder: str | os.PathLike) -> Stored:
    """A file of a data set that lies in a folder.

    Raises:
        UnreadableError: there is no such file any more.
    """

    def content(count: int) -> bytes:
        with open(path, "rb") as file:
            return file.read(count)

    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from None
    return Stored(Path(path).relative_to(folder).as_posix(), size, content)


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
        UnreadableError: as for `open_image`, a file in color where `image_shape` has one channel,
            or one of another size that is not to be resized.
    """
    height, width, channels = image_shape

    def read(file):
        image, gray = _decode(file)
        if channels == 1 and not gray:
            raise UnreadableError(f"{file}: stored in color; expected a gray image")
        if image.size != (width, height):
            if not resize:
                raise UnreadableError(
                    f"{file}: {image.height} x {image.width} pixels; expected {height} x {width}"
                )
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image.convert("RGB"))[..., :channels]

    images = np.empty((len(files), *image_shape), np.uint8)
    # Threads help: Pillow's decoders run outside of Python's lock.
    with ThreadPoolExecutor() as pool:
        for position, image in enumerate(pool.map(read, files)):
            images[position] = image
    return images


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    """An image file whose header is read; whatever fails in the block is the file's fault.

    Raises:
        UnreadableError: not an image, so large (or of such large tiles) that it may be a
            decompression bomb, or the block could not do with it what it wanted.
    """
    try:
        with Image.open(path, formats=_formats()) as image:
            # Pillow only warns between its own limit and twice that.
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            if image.format == "TIFF" and _tile_pixels(image) > MOST_PIXELS:
                raise UnreadableError(
                    f"{path}: tiles of more than {MOST_PIXELS:,} pixels, perhaps a file made to "
                    "fill the memory; save it without tiles"
                )
            yield image
    except InputError:  # The block's own.
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableError(
            f"{path}: more than {MOST_PIXELS:,} pixels, perhaps a file made to fill the memory; "
            "make it smaller"
        ) from None
    except Exception as error:  # Decoders raise almost anything for damaged files.
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else error
        raise UnreadableError(f"{path}: {reason}") from None


def _tile_pixels(image: Image.Image) -> int:
    """How many pixels a tile of a TIFF file has; 0 of a file that has none.

    libtiff unpacks a tile as a whole, however small the image; strips end where the image does.

    Raises:
        ValueError: the file says it twice, or in an odd way: libtiff may read another number than
            Pillow.
    """
    file = image.fp
    file.seek(0)
    is_big = 43 in file.read(4)[2:]  # BigTIFF's version
    order = "<" if image.tag_v2.prefix == b"II" else ">"
    length = struct.Struct(order + ("Q" if is_big else "H"))
    entry = struct.Struct(order + ("HHQ8x" if is_big else "HHL4x"))  # tag, type, how many, value
    file.seek(image.tag_v2.offset)
    (entries,) = length.unpack(file.read(length.size))
    if entries >= 2**16:
        raise ValueError(f"it has a directory of {entries:,} entries")
    found = entry.iter_unpack(file.read(entries * entry.size))
    sides = [(tag, kind, number) for tag, kind, number in found if tag in _TILE_SIDES]
    is_plain = all(kind in _TILE_TYPES and number == 1 for _, kind, number in sides)
    if not is_plain or len({tag for tag, _, _ in sides}) < len(sides):
        raise ValueError("it says twice, or in an odd way, how large its tiles are")
    width, height = (image.tag_v2.get(tag, 0) for tag in _TILE_SIDES)
    return width * height


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in _FORMATS if kind in Image.OPEN)


@functools.cache
def _endings() -> frozenset[str]:
    kinds = _formats()
    return frozenset(end for end, kind in Image.registered_extensions().items() if kind in kinds)


def _decode(path) -> tuple[Image.Image, bool]:
    """Returns the image, upright, as L or RGB, and whether the file stores it as gray."""
    with opened(path) as image:
        image.load()
        return _to_8_bit(_upright(image)), _is_gray(image)


def _is_gray(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA", "La") or image.mode.startswith(("I", "F"))


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION))
    except Exception:  # EXIF data that is damaged does not say which side is up.
        return image
    return image if turn is None else image.transpose(turn)


def _to_8_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # "I;16" and its relatives among them.
        values = np.asarray(image).astype("float32")
        highest = values.max(where=np.isfinite(values), initial=0)
        top = 65535 if image.mode.startswith("I") else 1 if highest <= 1 else 255
        scaled = np.round(255 * np.clip(np.nan_to_num(values) / top, 0, 1))
        return Image.fromarray(scaled.astype("uint8"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
