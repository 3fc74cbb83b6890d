"""Files of a published data set, read where they lie: in its zip archives, or extracted.

Nothing is copied: a zip archive gives any of its files by itself.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from keras_i2i.data.examples import Stored, UnreadableError
from keras_i2i.data.image_files import MOST_BYTES, file_key
from keras_i2i.data.published import NamedBytes, manual_folder
from keras_i2i.errors import InputError
from keras_i2i.files import unpacked


@dataclasses.dataclass(frozen=True)
class StoredFile:
    """A file, by itself or in a zip archive.

    Attributes:
        name: where it lies, for messages.
        content: reads it.
        path: itself, or the archive.
        inside: its name within the data set, wherever that lies.
        size: in bytes, of one in an archive; None: the file's own.
    """

    name: str
    content: Callable[[], bytes]
    path: Path
    inside: str = ""
    size: int | None = None

    def open(self) -> NamedBytes:
        """Reads it all, from any thread.

        Raises:
            UnreadableError: it is not there any more, damaged, or too large for an image file.
        """
        try:
            return NamedBytes(self.content(), self.name)
        # RuntimeError: zipfile's word for what it cannot unpack.
        except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
            raise UnreadableError(f"{self.name}: {error}") from None

    def key(self) -> str:
        """Text that changes with the file.

        Raises:
            UnreadableError: it is not there any more.
        """
        return f"{file_key(self.path)}\n{self.name}"

    def stored(self) -> Stored:
        """What it is known by.

        Raises:
            UnreadableError: it is not there any more.
        """
        size = self.size
        if size is None:
            try:
                size = os.stat(self.path).st_size
            except OSError as error:
                raise UnreadableError(f"{self.name}: {error.strerror}") from None
        return Stored(self.inside, size, lambda count: self.open().read(count))


@dataclasses.dataclass(frozen=True)
class Part:
    """The files of one kind in a published data set.

    They lie in DATA_DIR/downloads/manual/DATA_SET/FOLDER, extracted; or, if that is not there, in
    zip archives in DATA_DIR/downloads/manual or its DATA_SET folder. Not all archives need be
    there.

    Attributes:
        data_set: its name.
        folder: that holds these files, within the archives and extracted.
        suffix: how their names end.
        archives: the names of the archives.
        home: where to get them, in words.
    """

    data_set: str
    folder: str
    suffix: str
    archives: tuple[str, ...]
    home: str

    def find(self, data_dir: str | os.PathLike | None) -> dict[str, StoredFile]:
        """Returns the files by name, without folder and suffix; sorted.

        Raises:
            InputError: there are none, or an archive is damaged.
        """
        manual = manual_folder(data_dir)
        places = (manual / self.data_set, manual)
        folder = places[0] / self.folder
        if folder.is_dir():
            found = dict(self._in_folder(folder))
        else:
            paths = [place / name for name in self.archives for place in places]
            found = dict(file for path in paths if path.exists() for file in self._in_archive(path))
        if not found:
            first, last = self.archives[0], self.archives[-1]
            names = first if first == last else f"{first} to {last}"
            raise InputError(
                f"{self.data_set}: found no {self.folder}/...{self.suffix} under {manual}. Get "
                f"{names} from {self.home} and put it into {places[0]}, as downloaded or "
                f"extracted to {folder}; or give the data_dir that holds it."
            )
        return dict(sorted(found.items()))

    def _in_folder(self, folder: Path) -> Iterator[tuple[str, StoredFile]]:
        for path in folder.rglob(f"*{self.suffix}"):
            if not path.name.startswith("."):
                name = path.relative_to(folder).as_posix().removesuffix(self.suffix)
                yield name, StoredFile(str(path), path.read_bytes, path, f"{self.folder}/{name}")

    def _in_archive(self, path: Path) -> Iterator[tuple[str, StoredFile]]:
        archive = _Archive(path)
        for member in archive.names:
            start, inside, name = f"/{member}".partition(f"/{self.folder}/")
            hidden = "/." in f"/{name}" or "__MACOSX" in start
            if inside and name.endswith(self.suffix) and not hidden:
                name = name.removesuffix(self.suffix)
                content = functools.partial(archive.read, member)
                file = StoredFile(
                    f"{path}/{member}",
                    content,
                    path,
                    f"{self.folder}/{name}",
                    archive.sizes[member],
                )
                yield name, file


class _Archive:
    """A zip archive that stays open as long as one of its files is known."""

    def __init__(self, path: Path):
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path} is damaged, perhaps cut short ({error}). Expected a zip archive. Delete "
                "it and download it again."
            ) from error
        self.names = self._zip.namelist()
        self.sizes = {info.filename: info.file_size for info in self._zip.infolist()}
        self._lock = threading.Lock()

    def read(self, name: str) -> bytes:
        member = self._zip.getinfo(name)
        check_size(name, member.file_size)
        # One at a time: threads share the handle. Decoding an image takes far longer than this.
        with self._lock:
            return b"".join(unpacked(self._zip, member))


def check_size(name: str, size: int) -> None:
    """Checks what an archive says of the size of a file in it, before the file is unpacked.

    A file of a few kilobytes may hold one of gigabytes; no reader here unpacks more than it says.

    Args:
        name: the file's, for the message.
        size: in bytes, unpacked.

    Raises:
        UnreadableError: it is more than an image file has.
    """
    if size > MOST_BYTES:
        raise UnreadableError(
            f"{name}: {size:,} bytes, more than the {MOST_BYTES:,} that an image file may have, "
            "perhaps one made to fill the memory"
        )


def check_pairs(images: dict[str, StoredFile], masks: dict[str, StoredFile]) -> None:
    """Checks that each image has a mask of the same name, and the other way round.

    Raises:
        InputError: one has not; the message names the first.
    """
    for files, others, kind, other in (
        (images, masks, "image", "label file"),
        (masks, images, "label file", "image"),
    ):
        alone = [file.name for name, file in files.items() if name not in others]
        if alone:
            raise InputError(
                f"{alone[0]} has no {other} of the same name, {len(alone)} of {len(files)} have "
                f"none. Expected one for each {kind}. Add the archives or files that are missing, "
                "or remove these."
            )
