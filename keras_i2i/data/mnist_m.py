"""MNIST-M: MNIST's digits blended over photographs, 32 x 32, color.

Y. Ganin and V. Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML 2015. The
published set has 59,001 images for training and 9,001 for testing. It has no lasting place to
download it from, so the user puts `mnist_m.tar.gz` into DATA_DIR/downloads/manual; it holds

    mnist_m/mnist_m_train/00000000.png ...     mnist_m/mnist_m_train_labels.txt
    mnist_m/mnist_m_test/00000000.png ...      mnist_m/mnist_m_test_labels.txt

and a label file has lines like `00000000.png 5`. An archive with fewer images will do as well:
the validation split is 10,000 images, but at most a sixth of those for training.
"""

import functools
import pathlib
import tarfile
import zlib

import tensorflow_datasets as tfds

from keras_i2i.data import published
from keras_i2i.data.archives import check_size
from keras_i2i.data.domain import DIGITS, Domain
from keras_i2i.data.image_files import read_image
from keras_i2i.errors import InputError

_ARCHIVE = "mnist_m.tar.gz"
_SHAPE = (32, 32, 3)


# Unregistered: nobody asks tfds for it by name, and importing this module twice does no harm.
class MnistM(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Prepares MNIST-M from its archive."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=_SHAPE),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="http://yaroslav.ganin.net/",
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # Nothing to download.
        path = published.manual_dir(self) / _ARCHIVE
        if not path.exists():
            raise InputError(
                f"MNIST-M is not prepared under data_dir {self.data_dir_root} and {path} is "
                f"missing. Get the published {_ARCHIVE} (its authors' page: "
                "http://yaroslav.ganin.net/) and put it there, or give the data_dir that holds it."
            )
        return {split: self._generate_examples(path, split) for split in ("train", "test")}

    def _generate_examples(self, path, split):
        for name, image, label in parse_archive(path, split):
            yield name, {"image": image, "label": label}


def parse_archive(path: pathlib.Path, split: str):
    """Yields `(file name, image uint8 (32, 32, 3), digit)` of one split, "train" or "test".

    Raises:
        InputError: the archive is cut short, or not of the published layout.
    """
    folder = f"mnist_m/mnist_m_{split}"
    try:
        with tarfile.open(path, "r:gz") as archive:
            lines = _content(archive, f"{folder}_labels.txt").decode("ascii").splitlines()
            labels = {name: int(label) for name, label in map(str.split, lines)}
            for member in archive:
                parent, _, name = member.name.rpartition("/")
                if parent != folder:
                    continue
                label = labels.pop(name)
                image = read_image(published.NamedBytes(_content(archive, member), name), 3)
                if image.shape != _SHAPE or not 0 <= label <= 9:
                    raise ValueError(f"{name} has shape {image.shape} and label {label}")
                yield name, image, label
            if labels:
                raise ValueError(f"{len(labels)} images named in {folder}_labels.txt are missing")
    except (
        ValueError,
        KeyError,
        EOFError,
        OSError,
        zlib.error,
        tarfile.TarError,
    ) as error:
        raise InputError(
            f"{path} is damaged or has another layout ({error}). Expected {folder}/00000000.png "
            f"and so on, 32 x 32 pixels, and {folder}_labels.txt with lines like '00000000.png 5'. "
            "Replace it by the published archive."
        ) from error


def _content(archive, member):
    """A regular file in the archive; raises an `InputError` if it is too large."""
    member = archive.getmember(member) if isinstance(member, str) else member
    if not member.isfile():
        raise ValueError(f"{member.name} is no regular file")
    check_size(member.name, member.size)
    return archive.extractfile(member).read()


MNIST_M = Domain(
    name="mnist_m",
    class_names=DIGITS,
    image_shape=_SHAPE,
    read=functools.partial(published.read, MnistM),
    validation_size=10_000,
    validation_share=1 / 6,
)
