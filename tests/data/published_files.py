"""Tiny files in published formats."""

import io
import zipfile
import zlib

import numpy as np
from PIL import Image

from keras_i2i.data.cityscapes import LABELS


def png(pixels, mode=None):
    """An image file's content; mode "P": with the palette of Cityscapes's labels."""
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette([value for label in LABELS[:34] for value in label.color])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def scene(seed, shape=(8, 16)):
    """An image, and a mask of random label numbers."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (*shape, 3), np.uint8), random.integers(0, 34, shape, np.uint8)


def write_zip(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def write_lying_zip(path, files, said, method=zipfile.ZIP_DEFLATED):
    """A zip archive that says that each of its files has `said` bytes, and is right of no more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
            member = archive.getinfo(name)
            member.file_size, member.CRC = said, zlib.crc32(content[:said])


def write_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


def contents(*parts):
    """The images and masks of stored examples, all of them different, as bytes."""
    read = [(image.tobytes(), mask.tobytes()) for p in parts for _, image, mask in p.readable()]
    assert len(set(read)) == len(read) == sum(map(len, parts))
    return set(read)
