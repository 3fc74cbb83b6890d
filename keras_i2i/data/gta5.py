"""GTA5: 24,966 frames of a video game, streets of a city, 1052 x 1914, a label for each pixel.

S. Richter, V. Vineet, S. Roth and V. Koltun, "Playing for Data: Ground Truth from Computer Games",
ECCV 2016. The labels are Cityscapes's. The user puts `01_images.zip` ... `10_images.zip` and
`01_labels.zip` ... `10_labels.zip` (about 57 GB), or those of some of these numbers, into
DATA_DIR/downloads/manual or its folder `gta5`; or what they hold into that folder:

    images/00001.png ...     labels/00001.png ...

The files are read where they lie. Label files are palette images, an index being the number of a
label; colors (RGB) will do as well, but then a license plate, ignored by its number, is a car.
Of a few published frames the label file has another size than the image; see `open_scenes`.

"test" is the frames with the highest numbers, 500 of them but at most a sixth, and "train" all
others. The papers that adapt from GTA5 train on all frames and test on none: theirs is the test of
the target. The published split into 12,403, 6,382 and 6,181 frames (`split.mat`) is not used.
"""

from __future__ import annotations

from keras_i2i.data.archives import Part, check_pairs
from keras_i2i.data.cityscapes import CLASS_NAMES, PALETTE, open_scenes
from keras_i2i.data.domain import Domain
from keras_i2i.data.examples import StoredExamples

_TEST_SIZE = 500
_HOME = "the page of 'Playing for Data' (download.visinf.tu-darmstadt.de/data/from_games)"
_IMAGES, _MASKS = (
    Part("gta5", kind, ".png", tuple(f"{number:02}_{kind}.zip" for number in range(1, 11)), _HOME)
    for kind in ("images", "labels")
)


def _read(split, data_dir) -> StoredExamples:
    images, masks = _IMAGES.find(data_dir), _MASKS.find(data_dir)
    check_pairs(images, masks)
    boundary = len(images) - min(_TEST_SIZE, max(1, len(images) // 6))
    frames = slice(boundary, None) if split == "test" else slice(boundary)
    return open_scenes("gta5", list(images.values())[frames], list(masks.values())[frames])


GTA5 = Domain(
    name="gta5",
    class_names=CLASS_NAMES,
    image_shape=(1052, 1914, 3),
    read=_read,
    validation_size=500,
    validation_share=1 / 6,
    has_masks=True,
    palette=PALETTE,
)
