"""Office-31: 31 kinds of office objects in three domains, of which images are of many sizes.

K. Saenko, B. Kulis, M. Fritz and T. Darrell, "Adapting Visual Category Models to New Domains", ECCV
2010. `office31_amazon`: 2,817 product photographs; `office31_webcam`: 795 images of a web camera;
`office31_dslr`: 498 images of a reflex camera. The user puts the published archive,
`domain_adaptation_images.tar.gz` (its authors' page: "Domain Adaptation Project"), into
DATA_DIR/downloads/manual. It holds

    amazon/images/back_pack/frame_0001.jpg ...     webcam/images/...     dslr/images/...

The names `office31.tar.gz`, `office31.zip` and `domain_adaptation_images.zip` are known too, and
folders `office31` or `domain_adaptation_images`; `images/` may be missing, and there may be folders
above. tfds keeps the files, as published, in records; fewer images of a class will do as well.

NO IMAGE IS HELD OUT: Office-31 has no published split, "train" and "test" are both all images.
That is its protocol, called transductive: a method trains on all source images with labels and all
target images without, and is tested on the latter with their labels. The target's accuracy is one
on images seen in training, if without labels; with few labels, whose images the test leaves out, on
the rest of them. A ceiling has learnt the labels that it is tested on. The source's test accuracy
says nothing; for that there is the validation split, by default a tenth of "train", which training
then leaves out.
"""

from __future__ import annotations

import functools
import io
import pathlib
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator

import tensorflow_datasets as tfds

from keras_i2i.data import published
from keras_i2i.data.archives import check_size
from keras_i2i.data.domain import Domain
from keras_i2i.data.examples import StoredExamples
from keras_i2i.errors import InputError
from keras_i2i.files import unpacked

CLASS_NAMES = (
    "back_pack",
    "bike",
    "bike_helmet",
    "bookcase",
    "bottle",
    "calculator",
    "desk_chair",
    "desk_lamp",
    "desktop_computer",
    "file_cabinet",
    "headphones",
    "keyboard",
    "laptop_computer",
    "letter_tray",
    "mobile_phone",
    "monitor",
    "mouse",
    "mug",
    "paper_notebook",
    "pen",
    "phone",
    "printer",
    "projector",
    "punchers",
    "ring_binder",
    "ruler",
    "scissors",
    "speaker",
    "stapler",
    "tape_dispenser",
    "trash_can",
)

_PLACES = (
    "office31",
    "domain_adaptation_images",
    "domain_adaptation_images.tar.gz",
    "domain_adaptation_images.zip",
    "office31.tar.gz",
    "office31.zip",
)
_HOME = "https://faculty.cc.gatech.edu/~judy/domainadapt/"


# Unregistered: nobody asks tfds for it by name, and importing this module twice does no harm.
class Office31(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Prepares a domain of Office-31, a config, from its archive or folder."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=name) for name in ("amazon", "webcam", "dslr")
    ]

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=CLASS_NAMES),
                    "file": tfds.features.Text(),
                }
            ),
            homepage=_HOME,
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # Nothing to download.
        folder = published.manual_dir(self)
        for place in _PLACES:
            if (folder / place).exists():
                return {"train": self._generate_examples(folder / place)}
        raise InputError(
            f"Office-31 is not prepared under data_dir {self.data_dir_root}, and its archive is "
            f"missing. Get the published domain_adaptation_images.tar.gz (its authors' page, "
            f"'Domain Adaptation Project': {_HOME}) and put it into {folder}, or give the data_dir "
            "that holds it."
        )

    def _generate_examples(self, path):
        for name, class_name, content in parse_archive(path, self.builder_config.name):
            # As a file, tfds keeps the content as it is.
            yield name, {"image": io.BytesIO(content), "label": class_name, "file": name}


def parse_archive(path: pathlib.Path, domain: str) -> Iterator[tuple[str, str, bytes]]:
    """Yields `(file name, class name, content)` of a domain's images from an archive or a folder.

    A file name begins with the domain: "amazon/back_pack/frame_0001.jpg".

    Raises:
        InputError: the archive is cut short or of another layout, a class has no images, or there
            are others than the 31.
    """
    pattern = re.compile(
        rf"(?:^|/){domain}/(?:images/)?([^/]+)/([^/.][^/]*\.(?:jpe?g|png|bmp))$", re.IGNORECASE
    )
    missing = set(CLASS_NAMES)
    try:
        for name, size, read in _files(path):
            if match := pattern.search(name):
                class_name, file = match.groups()
                if class_name not in CLASS_NAMES:
                    raise InputError(
                        f"{path}: {name} lies in a folder of none of the 31 classes; expected "
                        f"{domain}/images/CLASS/*.jpg with CLASS one of {', '.join(CLASS_NAMES)}. "
                        "Remove it, or replace all by the published archive."
                    )
                missing.discard(class_name)
                check_size(name, size)
                yield f"{domain}/{class_name}/{file}", class_name, read()
    except (OSError, EOFError, RuntimeError, zlib.error, tarfile.TarError, zipfile.BadZipFile) as e:
        raise InputError(
            f"{path} is damaged, perhaps cut short ({e}). Replace it by the published archive."
        ) from e
    if missing:
        raise InputError(
            f"{path} holds no images of {', '.join(sorted(missing))} in {domain}; expected all 31 "
            f"classes as {domain}/images/CLASS/*.jpg. Add them, or replace all by the published "
            "archive."
        )


def _files(path: pathlib.Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Yields each file's name, its size, and what reads it at once; of an archive or a folder."""
    if path.is_dir():
        for file in path.rglob("*"):
            yield file.relative_to(path).as_posix(), file.stat().st_size, file.read_bytes
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                blocks = unpacked(archive, member)
                yield member.filename, member.file_size, functools.partial(b"".join, blocks)
    else:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.isfile():
                    yield member.name, member.size, archive.extractfile(member).read


def _read(domain, split, data_dir) -> StoredExamples:
    del split  # Both are all images, see above.
    make_builder = functools.partial(Office31, config=domain, file_format="array_record")
    return published.read_stored(make_builder, "train", data_dir)


AMAZON, WEBCAM, DSLR = (
    Domain(
        name=f"office31_{domain}",
        class_names=CLASS_NAMES,
        image_shape=None,
        read=functools.partial(_read, domain),
        validation_size=1000,
        validation_share=1 / 10,
        transductive=True,
    )
    for domain in ("amazon", "webcam", "dslr")
)
