import errno
import json
import os
import threading
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data.published_files import write_lying_zip

from keras_i2i.files import remove_leftovers, unpacked, write_json, write_text


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


def test_what_is_put_in_place_is_on_the_disk_before(tmp_path, monkeypatch):
    path, done = tmp_path / "a.txt", []
    fsync, replace = os.fsync, os.replace

    def spied_fsync(descriptor):
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def spied_replace(source, target):
        done.append((str(source), str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spied_fsync)
    monkeypatch.setattr(os, "replace", spied_replace)
    write_text(path, "new")
    temporary = str(tmp_path / f".a.{os.getpid()}{threading.get_ident()}.txt")
    assert done == [temporary, (temporary, str(path)), str(tmp_path)]


def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        write_text(tmp_path / "a.txt", "new")
    assert error.value.filename == str(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    kept = ["a.txt", ".lock", ".hidden.txt", "b.12.txt"]
    for name in (*kept, ".a.12.txt", ".model.3.keras", ".name.77"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    remove_leftovers(tmp_path / "none")


def unpacked_all(path):
    with zipfile.ZipFile(path) as archive:
        return [b"".join(unpacked(archive, member)) for member in archive.infolist()]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_in_an_archive_are_unpacked_in_blocks(method, tmp_path):
    random = np.random.default_rng(0)
    contents = [random.bytes(size) for size in (0, 1, 2**16 - 1, 2**16, 2**16 + 1, 200_000)]
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        for number, content in enumerate([*contents, bytes(10**6)]):
            archive.writestr(str(number), content)
        archive.mkdir("folder")
    assert unpacked_all(tmp_path / "a.zip") == [*contents, bytes(10**6), b""]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("said", [0, 1000, 2**16, 2**25 - 1])
def test_a_file_that_is_larger_than_its_archive_says_is_refused(said, method, tmp_path):
    write_lying_zip(tmp_path / "a.zip", {"a": bytes(2**25)}, said, method)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        tracemalloc.start()
        with pytest.raises(zipfile.BadZipFile, match=f"more than the {said:,} bytes that|CRC"):
            for _ in unpacked(archive, archive.getinfo("a")):
                pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10**6


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_is_packed_by_other_means_is_not_unpacked(method, tmp_path):
    write_lying_zip(tmp_path / "a.zip", {"a": bytes(2**20)}, 1000, method)
    with pytest.raises(zipfile.BadZipFile, match=rf"by method {method} of zip; expected 0 or 8"):
        unpacked_all(tmp_path / "a.zip")
