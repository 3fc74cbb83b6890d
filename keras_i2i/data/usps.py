"""USPS: digits from envelopes, 16 x 16, gray; 7,291 for training, 2,007 for testing.

J. Hull, "A Database for Handwritten Text Recognition Research", IEEE PAMI, 1994; read from the
LIBSVM form in which C.-C. Chang and C.-J. Lin publish it (2.2 MiB). One image a line: a label from
1 to 10, then 256 pixels `position:value`, row by row, from -1 (background) to 1 (ink).
"""

import bz2
import functools
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.checksums import UrlInfo

from keras_i2i.data import published
from keras_i2i.data.domain import DIGITS, Domain
from keras_i2i.errors import InputError

_HOME = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/"
_SIDE = 16


# Unregistered: nobody asks tfds for it by name, and importing this module twice does no harm.
class Usps(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Prepares USPS from its two LIBSVM files."""

    VERSION = tfds.core.Version("1.0.0")
    FILES = {"train": "usps.bz2", "test": "usps.t.bz2"}  # noqa: RUF012
    # The file names let tfds find the files in its manual directory before it downloads them.
    url_infos = {  # noqa: RUF012
        _HOME + "usps.bz2": UrlInfo(
            size=1_776_120,
            checksum="a7462c2320e64605301a8a594c177b4400e414d0b1152852d518dca0c118ec32",
            filename="usps.bz2",
        ),
        _HOME + "usps.t.bz2": UrlInfo(
            size=495_910,
            checksum="15a1ac2aa80e45ac49ea5a579d32ce840eb00936478faafe1f0df46f24730792",
            filename="usps.t.bz2",
        ),
    }

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(_SIDE, _SIDE, 1)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage=_HOME,
        )

    def _split_generators(self, dl_manager):
        paths = dl_manager.download({split: _HOME + name for split, name in self.FILES.items()})
        return {split: self._generate_examples(path) for split, path in paths.items()}

    def _generate_examples(self, path):
        for i, (image, label) in enumerate(parse_libsvm(path)):
            yield i, {"image": image, "label": label}


def parse_libsvm(path):
    """Yields `(image uint8 (16, 16, 1), digit)` from a bzip2 file in USPS's LIBSVM form.

    Raises:
        InputError: the file is cut short or not of that form.
    """
    number = 0
    try:
        with bz2.open(pathlib.Path(path), "rt", encoding="ascii") as lines:
            for number, line in enumerate(lines, start=1):  # noqa: B007 (told in the error)
                label, *pixels = line.split()
                positions, values = zip(*(pixel.split(":") for pixel in pixels), strict=True)
                values = np.array(values, np.float64)
                if (
                    not 1 <= int(label) <= 10
                    or [int(position) for position in positions] != list(range(1, _SIDE**2 + 1))
                    or not np.all(np.abs(values) <= 1)
                ):
                    raise ValueError("a label, a position or a value is out of range")
                image = np.round((values + 1) / 2 * 255).astype(np.uint8)
                yield image.reshape(_SIDE, _SIDE, 1), int(label) - 1
    except (ValueError, EOFError, OSError) as error:
        raise InputError(
            f"{path} is damaged after line {number} ({error}). Expected lines of a label from 1 to "
            f"10 and {_SIDE**2} values from -1 to 1, 'label 1:value 2:value ...'. Delete it and "
            f"download it again from {_HOME}"
        ) from error


USPS = Domain(
    name="usps",
    class_names=DIGITS,
    image_shape=(_SIDE, _SIDE, 1),
    read=functools.partial(published.read, Usps),
    validation_size=2000,
)
