import json
from pathlib import Path

import numpy as np
import pytest

from keras_i2i.files import write_json, write_text


def test_json_is_strict_and_plain(tmp_path):
    data = {
        "nan": float("nan"),
        "array": np.array([1.0, np.inf]),
        "scalar": np.float32(0.5),
        "count": np.int64(3),
        "flag": np.bool_(True),
        "pair": (1, {2: Path("a/b")}),
    }
    path = write_json(tmp_path / "new" / "metrics.json", data)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(path.read_text(), parse_constant=refuse) == {
        "nan": None,
        "array": [1.0, None],
        "scalar": 0.5,
        "count": 3,
        "flag": True,
        "pair": [1, {"2": "a/b"}],
    }


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_replaces_what_was_there(tmp_path):
    path = write_text(tmp_path / "a.txt", "a long text")
    write_text(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
