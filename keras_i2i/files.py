"""Files that are either whole or absent."""

import contextlib
import json
import math
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np


@contextlib.contextmanager
def replacing(path: str | os.PathLike):
    """A temporary path that takes the place of `path` once the block has ended well.

    Whoever reads `path` sees the old file or the whole new one, never half of it. Folders are made
    if need be.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a rename is atomic only within one file system. With the same ending:
    # Keras looks at it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
