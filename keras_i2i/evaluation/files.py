"""Files that are either whole or absent."""

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Writes UTF-8 text so that no reader ever sees half of it; makes the folder if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a rename is atomic only within one file system.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        # Names of files need not be valid text; surrogateescape gives back their own bytes.
        with open(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide the report from colleagues.
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


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
