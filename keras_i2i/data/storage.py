"""How stored images are held: what is put up with, what is cached, where train and test part."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_i2i.data.examples import Reader, StoredExamples, Unreadable
from keras_i2i.errors import InputError
from keras_i2i.files import replacing

CACHES = ("none", "memory", "disk")


@dataclasses.dataclass(frozen=True)
class Storage:
    """The settings for images that lie in files or records.

    Attributes:
        max_unreadable: how many images of one split may be left out because they cannot be read.
        cache: "none" decodes an image each time it is asked for, "memory" only the first time,
            "disk" only if `cache_dir` does not have it decoded from an earlier run.
        cache_dir: a folder, made if need be; ~ is the home. An image of height h and width w takes
            h x w x channels bytes there, and so it does in memory. Several data sets may share
            it. A file that has changed is decoded anew; what was decoded of the old one stays
            until somebody removes it.
        test_share: where a folder has no test part, the share of the images that become it.
        split_seed: which images these are.

    Raises:
        InputError: a number out of its range, an unknown cache, or "disk" without `cache_dir`.
    """

    max_unreadable: int = 10
    cache: str = "none"
    cache_dir: str | os.PathLike | None = None
    test_share: float = 0.2
    split_seed: int = 0

    def __post_init__(self):
        if self.max_unreadable < 0:
            raise InputError(f"Got max_unreadable {self.max_unreadable}; expected 0 or more.")
        if self.cache not in CACHES:
            raise InputError(f"Got cache {self.cache!r}; expected one of {', '.join(CACHES)}.")
        if self.cache == "disk" and not self.cache_dir:
            raise InputError("Got cache 'disk' without cache_dir; give a folder to write to.")
        if not 0 < self.test_share < 1:
            raise InputError(
                f"Got test_share {self.test_share}; expected a number between 0 and 1, both "
                "excluded."
            )
        if self.split_seed < 0:
            raise InputError(f"Got split_seed {self.split_seed}; expected 0 or more.")

    def applied_to(self, examples: StoredExamples, name: str) -> StoredExamples:
        """Returns the same examples, cached as wished, with a fresh count of unreadable ones.

        Args:
            examples: as a domain reads them.
            name: what they are, for the message when too many cannot be read.

        Raises:
            InputError: these examples cannot be told apart on disk. While reading: the cache
                cannot be written.
        """
        reader = dataclasses.replace(
            examples.reader, unreadable=Unreadable(self.max_unreadable, name)
        )
        if self.cache == "memory":
            reader = _cached(reader, _Memory())
        elif self.cache == "disk":
            if reader.key is None:
                raise InputError(f"{name} cannot be cached on disk; use cache 'memory' or 'none'.")
            reader = _cached(reader, _Disk(Path(self.cache_dir).expanduser(), reader))
        return dataclasses.replace(examples, reader=reader)

    def split(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cuts examples that nobody has cut into a training and a test part, class by class.

        Of a class of n examples round(`test_share` n) become test examples, but at least one and
        at most n - 1, drawn at random by `split_seed`. So no class vanishes from either part.

        Args:
            labels: int, shape (n,), at least two of each; all the same for a cut without classes.

        Returns:
            The positions of the training and of the test examples, each ascending.
        """
        random = np.random.default_rng(self.split_seed)
        is_test = np.zeros(len(labels), bool)
        for label in np.unique(labels):
            of_class = random.permutation(np.flatnonzero(labels == label))
            count = min(max(round(self.test_share * len(of_class)), 1), len(of_class) - 1)
            is_test[of_class[:count]] = True
        return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def mixed(labels: np.ndarray) -> np.ndarray:
    """An order in which each class is spread evenly, the same every time.

    Any run of it holds each class in about its share, and the first half holds every class: a
    validation split cut off its end takes no class's only example.

    Args:
        labels: int, shape (n,); all the same for a mere shuffle.

    Returns:
        A permutation of the positions 0 to n - 1.
    """
    random = np.random.default_rng(0)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        of_class = random.permutation(np.flatnonzero(labels == label))
        # Example i of n in [i/n, (i + 1/2)/n), at random there: classes do not come in turn.
        ranks = np.arange(len(of_class)) + random.uniform(0, 0.5, len(of_class))
        place[of_class] = ranks / len(of_class)
    return np.argsort(place, kind="stable")


class _Memory:
    """Arrays by position. Setting an item of a dict is safe from any thread."""

    def __init__(self):
        self.arrays: dict[tuple[int, str], np.ndarray] = {}

    def get(self, position: int, kind: str) -> np.ndarray | None:
        return self.arrays.get((position, kind))

    def put(self, position: int, kind: str, array: np.ndarray) -> None:
        self.arrays[position, kind] = array


class _Disk:
    """A .npy file per array, called after the digest of all that it depends on."""

    def __init__(self, folder: Path, reader: Reader):
        self.folder, self.reader = folder, reader

    def get(self, position: int, kind: str) -> np.ndarray | None:
        try:
            with self._path(position, kind).open("rb") as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
        except FileNotFoundError:
            return None
        except Exception:  # Whatever is wrong with it, it will be written anew.
            return None
        shape = array.shape[2:] if array.ndim >= 2 else None
        fits = shape == (() if kind == "mask" else (self.reader.channels,))
        return array if fits and array.dtype == np.uint8 else None

    def put(self, position: int, kind: str, array: np.ndarray) -> None:
        path = self._path(position, kind)
        try:
            with replacing(path) as temporary:
                np.save(temporary, array, allow_pickle=False)
        except OSError as error:
            raise InputError(
                f"The cache {self.folder} cannot be written: {error}. Give another cache_dir, or "
                "another cache than 'disk'."
            ) from None

    def _path(self, position: int, kind: str) -> Path:
        # The channels are part of it: a folder may once have been read as gray.
        text = f"{self.reader.key(position)}\n{self.reader.channels}\n{kind}"
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        # Some file systems are slow with a million files in a folder.
        return self.folder / digest[:2] / f"{digest[2:]}.npy"


def _cached(reader: Reader, cache: _Memory | _Disk) -> Reader:
    def image(position: int) -> np.ndarray:
        found = cache.get(position, "image")
        if found is None:
            found = reader.image(position)
            cache.put(position, "image", found)
        return found

    def image_and_mask(position: int) -> tuple[np.ndarray, np.ndarray]:
        found = cache.get(position, "image"), cache.get(position, "mask")
        if found[0] is None or found[1] is None:
            found = reader.image_and_mask(position)
            cache.put(position, "image", found[0])
            cache.put(position, "mask", found[1])
        return found

    both: Callable | None = image_and_mask if reader.has_masks else None
    return dataclasses.replace(reader, image=image, image_and_mask=both)
