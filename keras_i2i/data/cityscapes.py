"""Cityscapes: streets of 27 cities from a moving car, 1024 x 2048, a label for each pixel.

M. Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016. The
user registers at www.cityscapes-dataset.com and puts `leftImg8bit_trainvaltest.zip` and
`gtFine_trainvaltest.zip` into DATA_DIR/downloads/manual or its folder `cityscapes`; or the folders
`leftImg8bit` and `gtFine` that they hold into that folder:

    leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png
    gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png

"train" is the published training part, 2,975 images. "test" is the published validation part, 500
images: the labels of the published test part are withheld, and papers report on these. The
validation split is a sixth of "train", 495 images.

The files are read where they lie. tfds has a builder for them too, but it extracts the archives and
copies all of it into records, three times the space, and takes no folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_i2i.data.archives import Part, StoredFile, check_pairs
from keras_i2i.data.domain import Domain
from keras_i2i.data.examples import (
    IGNORED,
    Reader,
    StoredExamples,
    Unreadable,
    UnreadableError,
)
from keras_i2i.data.image_files import opened, read_image


class Label(NamedTuple):
    """One of the labels that the data set tells apart.

    Attributes:
        id: its number in the label files; -1 has none.
        name: in English.
        class_id: the class that is trained and measured; `IGNORED` for none.
        color: RGB.
    """

    id: int
    name: str
    class_id: int
    color: tuple[int, int, int]


# The published table; GTA5 uses it too. Where two share a color, the first is meant.
LABELS = (
    Label(0, "unlabeled", IGNORED, (0, 0, 0)),
    Label(1, "ego vehicle", IGNORED, (0, 0, 0)),
    Label(2, "rectification border", IGNORED, (0, 0, 0)),
    Label(3, "out of roi", IGNORED, (0, 0, 0)),
    Label(4, "static", IGNORED, (0, 0, 0)),
    Label(5, "dynamic", IGNORED, (111, 74, 0)),
    Label(6, "ground", IGNORED, (81, 0, 81)),
    Label(7, "road", 0, (128, 64, 128)),
    Label(8, "sidewalk", 1, (244, 35, 232)),
    Label(9, "parking", IGNORED, (250, 170, 160)),
    Label(10, "rail track", IGNORED, (230, 150, 140)),
    Label(11, "building", 2, (70, 70, 70)),
    Label(12, "wall", 3, (102, 102, 156)),
    Label(13, "fence", 4, (190, 153, 153)),
    Label(14, "guard rail", IGNORED, (180, 165, 180)),
    Label(15, "bridge", IGNORED, (150, 100, 100)),
    Label(16, "tunnel", IGNORED, (150, 120, 90)),
    Label(17, "pole", 5, (153, 153, 153)),
    Label(18, "polegroup", IGNORED, (153, 153, 153)),
    Label(19, "traffic light", 6, (250, 170, 30)),
    Label(20, "traffic sign", 7, (220, 220, 0)),
    Label(21, "vegetation", 8, (107, 142, 35)),
    Label(22, "terrain", 9, (152, 251, 152)),
    Label(23, "sky", 10, (70, 130, 180)),
    Label(24, "person", 11, (220, 20, 60)),
    Label(25, "rider", 12, (255, 0, 0)),
    Label(26, "car", 13, (0, 0, 142)),
    Label(27, "truck", 14, (0, 0, 70)),
    Label(28, "bus", 15, (0, 60, 100)),
    Label(29, "caravan", IGNORED, (0, 0, 90)),
    Label(30, "trailer", IGNORED, (0, 0, 110)),
    Label(31, "train", 16, (0, 80, 100)),
    Label(32, "motorcycle", 17, (0, 0, 230)),
    Label(33, "bicycle", 18, (119, 11, 32)),
    Label(-1, "license plate", IGNORED, (0, 0, 142)),
)

_CLASSES = [label for label in LABELS if label.class_id != IGNORED]
CLASS_NAMES = tuple(label.name for label in _CLASSES)
PALETTE = tuple(label.color for label in _CLASSES)

_CLASS_OF_ID = np.full(256, IGNORED, np.uint8)
for _label in _CLASSES:
    _CLASS_OF_ID[_label.id] = _label.class_id


def _color_code(colors) -> np.ndarray:
    red, green, blue = np.moveaxis(np.asarray(colors, np.int32), -1, 0)
    return red << 16 | green << 8 | blue


_CODES = np.sort(_color_code(PALETTE))
_CLASS_OF_CODE = np.argsort(_color_code(PALETTE)).astype(np.uint8)


def read_mask(file: StoredFile) -> np.ndarray:
    """Reads a label file: numbers or palette indices, each a label's `id`; or labels' colors.

    Returns:
        uint8 (h, w), positions in `CLASS_NAMES` or `IGNORED`.

    Raises:
        UnreadableError: it is no image, damaged, or of another kind.
    """
    with opened(file.open()) as image:
        mode = image.mode
        values = np.asarray(image.convert("RGB") if mode == "RGBA" else image)
    if mode in ("L", "P"):
        return _CLASS_OF_ID[values]
    if mode not in ("RGB", "RGBA"):
        raise UnreadableError(
            f"{file.name}: stored as {mode}; expected label numbers (8 bits, gray or with a "
            "palette) or colors (RGB)"
        )
    codes = _color_code(values)
    place = np.searchsorted(_CODES, codes).clip(max=len(_CODES) - 1)
    return np.where(_CODES[place] == codes, _CLASS_OF_CODE[place], np.uint8(IGNORED))


def open_scenes(
    name: str, images: Sequence[StoredFile], masks: Sequence[StoredFile]
) -> StoredExamples:
    """Opens images and their label files, in an order that is mixed and always the same.

    A mask whose size is not its image's is resized to it, nearest neighbour, if the aspect ratios
    differ by less than 2 %; else the two cannot be read.
    """

    def image(position):
        return read_image(images[position].open(), 3)

    def image_and_mask(position):
        pixels, mask = image(position), read_mask(masks[position])
        (height, width), (mask_height, mask_width) = pixels.shape[:2], mask.shape
        if (mask_height, mask_width) == (height, width):
            return pixels, mask
        if abs(mask_width * height / (mask_height * width) - 1) >= 0.02:
            raise UnreadableError(
                f"{masks[position].name}: {mask_height} x {mask_width} pixels; expected the shape "
                f"of its image {images[position].name}, {height} x {width}"
            )
        resized = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
        return pixels, np.asarray(resized)

    def key(position):
        return f"{images[position].key()}\n{masks[position].key()}"

    def stored(position):
        return images[position].stored(), masks[position].stored()

    # The limit is `Storage`'s default; a run sets its own.
    reader = Reader(
        image, 3, Unreadable(10, name), image_and_mask=image_and_mask, key=key, stored=stored
    )
    return StoredExamples(reader, np.random.default_rng(0).permutation(len(images)))


_HOME = "www.cityscapes-dataset.com (registration required)"
_IMAGES, _MASKS = (
    Part("cityscapes", folder, suffix, (f"{folder}_trainvaltest.zip",), _HOME)
    for folder, suffix in (
        ("leftImg8bit", "_leftImg8bit.png"),
        ("gtFine", "_gtFine_labelIds.png"),
    )
)


def _read(split, data_dir) -> StoredExamples:
    published_as = {"train": "train/", "test": "val/"}[split]
    images, masks = (
        {name: file for name, file in part.find(data_dir).items() if name.startswith(published_as)}
        for part in (_IMAGES, _MASKS)
    )
    check_pairs(images, masks)
    return open_scenes("cityscapes", list(images.values()), list(masks.values()))


CITYSCAPES = Domain(
    name="cityscapes",
    class_names=CLASS_NAMES,
    image_shape=(1024, 2048, 3),
    read=_read,
    validation_size=500,
    validation_share=1 / 6,
    has_masks=True,
    palette=PALETTE,
)
