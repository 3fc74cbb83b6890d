"""Files that are either whole or absent, and files in zip archives."""

import contextlib
import copy
import errno
import json
import math
import os
import re
import sys
import threading
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# What the system says where there is no room, or nothing may be written.
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_TEMPORARY = re.compile(r"\..+\.\d+(\.\w+)?")  # as `replacing` names them

_BLOCK = 2**16  # bytes


@contextlib.contextmanager
def replacing(path: str | os.PathLike):
    """A temporary path that takes the place of `path` once the block has ended well.

    Whoever reads `path` sees the old file or the whole new one, never half of it, also after the
    power was lost. Folders are made if need be.

    Raises:
        OSError: it names `path`, where the system named no file.
    """
    path = Path(path)
    # In the same folder: a rename is atomic only within one file system. With the same ending:
    # Keras looks at it. Neither processes nor threads that write the same file share one.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{threading.get_ident()}{path.suffix}")
    try:
        _make_folder(path.parent)
        yield temporary
        # A disk may do the rename first and the writing later, or never.
        _to_disk(temporary)
        os.replace(temporary, path)
        _to_disk(path.parent)
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    """Makes a folder and those it lies in, such that they would survive a power loss."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    """Returns when a file's content, or a folder's list of files, would survive a power loss."""
    if path.is_dir() and os.name != "posix":
        return  # others cannot open folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files that killed processes left in a folder.

    Nobody else may be writing there.
    """
    for path in folder.glob(".*"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of a file in a zip archive, in blocks.

    An archive may lie about the size of a file in it, and `ZipFile.read` notices only once all of
    it is in memory. Here no more is there than two blocks, and no more comes out than was said.

    Args:
        archive: open for reading.
        member: which file; `member.file_size` is what the archive says.

    Raises:
        zipfile.BadZipFile: there is more than that, or it is damaged, or packed otherwise than by
            deflate: zipfile unpacks what is packed by other means without a limit.
        OSError, EOFError, RuntimeError, zlib.error: it cannot be read or unpacked.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(
            f"packed by method {member.compress_type} of zip; expected 0 or 8 (stored or deflated)"
        )
    left = member.file_size
    # zipfile would drop what is beyond the size.
    uncut = copy.copy(member)
    uncut.file_size = sys.maxsize
    with archive.open(uncut) as file:
        while block := file.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise zipfile.BadZipFile(
                    f"it unpacks to more than the {member.file_size:,} bytes that its archive says"
                )
            yield block


def cannot_write(error: BaseException) -> bool:
    """Whether an error says that a disk is full, or may no longer be written.

    Libraries turn the system's errors into their own, with its words in their messages.
    """
    if getattr(error, "errno", None) in _CANNOT_WRITE:
        return True
    return any(os.strerror(code) in str(error) for code in _CANNOT_WRITE)


# Control characters, halves of characters that no encoding has, line and paragraph separators.
_NOT_IN_A_LINE = ("Cc", "Cs", "Zl", "Zp")


def fits_in_a_line(text: str) -> bool:
    """Whether text can stand in a line of a file, and comes back out of it as it was."""
    return not any(unicodedata.category(character) in _NOT_IN_A_LINE for character in text)


def in_utf8(text: str) -> str:
    r"""`text` as it can be written: a byte NN of a file's name that is no UTF-8 becomes \udcNN."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Writes UTF-8 text as a whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    return Path(path)


def write_json(path: str | os.PathLike, data: Any) -> Path:
    """Writes strict JSON atomically: NumPy becomes plain Python, NaN and infinities become null."""
    return write_text(path, json.dumps(jsonable(data), indent=2, allow_nan=False) + "\n")


def jsonable(data: Any) -> Any:
    """`data` with NumPy values as plain Python and numbers that are not finite as None."""
    if isinstance(data, dict):
        return {str(key): jsonable(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [jsonable(value) for value in data]
    if isinstance(data, np.ndarray | np.generic):
        return jsonable(data.tolist())
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, os.PathLike):
        return os.fspath(data)
    return data
