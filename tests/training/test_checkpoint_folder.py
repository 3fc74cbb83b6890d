"""Checkpoint files: whole or absent whenever the process is killed, and never trusted unseen."""

import errno
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from keras_i2i.errors import InputError
from keras_i2i.training import checkpoint_folder
from keras_i2i.training.checkpoint_folder import CheckpointFolder

DYING = pathlib.Path(__file__).with_name("dying.py")


def arrays(step):
    """Of several types and shapes; a few hundred bytes, so that each can be tried."""
    rng = np.random.default_rng(step)
    return {
        "step": np.asarray(step),
        "weight": rng.normal(size=(3, 2)).astype("float32"),
        "state": rng.integers(0, 2**32, 2, "uint32"),
        "empty": np.zeros((0, 4), "float32"),
    }


def assert_equal(content, step):
    expected = arrays(step)
    assert content.keys() == expected.keys()
    for name, array in expected.items():
        assert content[name].dtype == array.dtype
        np.testing.assert_array_equal(content[name], array)


@pytest.fixture
def folder(tmp_path):
    """Of steps 2, 4 and 6, with what it said as `lines`."""
    lines = []
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=3, log=lines.append)
    folder.lines = lines
    for step in (2, 4, 6):
        folder.write(step, arrays(step))
    return folder


def test_what_was_written_is_read(folder):
    assert folder.newest() == 6
    for step in (2, 4, 6):
        assert_equal(folder.read(step), step)
    assert folder.lines == []


def test_an_empty_folder_has_none(tmp_path):
    folder = CheckpointFolder(tmp_path / "none", keep=2)
    assert folder.newest() == 0
    assert not folder.path.exists()


def test_only_the_last_are_kept_by_number(folder):
    folder.write(10_000_000, arrays(8))
    assert folder.steps() == [4, 6, 10_000_000]
    assert len(list(folder.path.iterdir())) == 3


def test_they_are_files_that_numpy_reads(folder):
    with np.load(folder.file(4)) as content:
        assert_equal(dict(content), 4)


def flipped(file, position, bit):
    """Turns one bit of an open file."""
    (byte,) = os.pread(file.fileno(), 1, position)
    os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), position)


def test_whatever_bit_turns_it_is_found_out(folder):
    path, rng = folder.file(6), np.random.default_rng(0)
    size = path.stat().st_size
    assert size > 1000
    with open(path, "r+b") as file:
        for position in range(size):
            bit = int(rng.integers(8))
            flipped(file, position, bit)
            assert checkpoint_folder._problem(path) == "its content is not what was written"
            flipped(file, position, bit)
    assert checkpoint_folder._problem(path) is None


def test_wherever_it_ends_it_is_found_out(folder):
    path = folder.file(6)
    whole = path.stat().st_size
    for size in (whole + 1, *reversed(range(whole))):
        os.truncate(path, size)
        assert checkpoint_folder._problem(path) == "its content is not what was written"


@pytest.mark.slow
def test_so_is_any_bit_of_a_large_file(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=1)
    rng = np.random.default_rng(0)
    folder.write(1, {"weights": rng.normal(size=500_000)})
    with open(folder.file(1), "r+b") as file:
        for position in rng.integers(0, folder.file(1).stat().st_size, 300):
            bit = int(rng.integers(8))
            for damaged in (True, False):
                flipped(file, int(position), bit)
                assert bool(checkpoint_folder._problem(folder.file(1))) == damaged


def test_a_damaged_one_is_named_stepped_over_and_laid_aside(folder):
    file = folder.file(6)
    file.write_bytes(file.read_bytes()[:-100])
    assert folder.newest() == 4
    assert folder.lines == [
        f"warning: the checkpoint {file} is damaged (its content is not what was written); "
        "going on from step 4 instead."
    ]
    # It does not count among those that are kept, nor is it looked at again.
    assert folder.steps() == [2, 4]
    assert pathlib.Path(f"{file}.damaged").exists()
    folder.write(6, arrays(6))
    assert folder.steps() == [2, 4, 6]
    assert folder.newest() == 6
    assert len(folder.lines) == 1


def test_where_all_are_damaged_it_says_so_and_begins_anew(folder):
    for step in folder.steps():
        folder.file(step).write_bytes(b"")
    assert folder.newest() == 0
    assert len(folder.lines) == 3
    assert all(line.endswith("; beginning anew.") for line in folder.lines)


def test_a_disk_that_cannot_read_one_is_damage_too(folder, monkeypatch):
    def broken(path, mode):
        if path == folder.file(6):
            raise OSError(errno.EIO, "Input/output error")
        return open(path, mode)

    monkeypatch.setattr(checkpoint_folder, "open", broken, raising=False)
    assert folder.newest() == 4
    assert "(the disk cannot read it: Input/output error)" in folder.lines[0]


def test_one_that_may_not_be_read_is_no_damage(folder, monkeypatch):
    def forbidden(path, mode):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(checkpoint_folder, "open", forbidden, raising=False)
    with pytest.raises(PermissionError):
        folder.newest()
    assert folder.steps() == [2, 4, 6]


def test_one_that_is_not_there_or_damaged_cannot_be_read(folder):
    with pytest.raises(InputError, match=r"step_0000003\.npz cannot be read: it is not there"):
        folder.read(3)
    folder.file(4).write_bytes(b"half")
    with pytest.raises(InputError, match=r"cannot be read: its content is not what was written"):
        folder.read(4)


def test_a_full_disk_leaves_those_before_and_no_half(folder, monkeypatch):
    def full(path, **content):
        pathlib.Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    before = sorted(folder.path.iterdir())
    monkeypatch.setattr(checkpoint_folder.np, "savez", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        folder.write(8, arrays(8))
    assert error.value.filename == str(folder.file(8))
    assert sorted(folder.path.iterdir()) == before


def test_killed_at_any_line_while_writing_it_loses_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # as in dying.py
    # In a process without TensorFlow, which forks one that is killed for each line.
    folder.keep = 2
    folder.write(8, arrays(8))
    copies = tmp_path / "copies"
    said = subprocess.run(
        [sys.executable, DYING, folder.path, copies], capture_output=True, text=True, check=True
    )
    kills = int(said.stdout)
    assert kills > 30
    found = {}
    for number in range(kills):
        left = CheckpointFolder(copies / str(number), keep=2, log=lambda line: pytest.fail(line))
        # Until the new one is in place, both of those before it are there.
        whole = left.steps()
        assert whole in ([6, 8], [6, 8, 10], [8, 10])
        for step in whole:
            assert checkpoint_folder._problem(left.file(step)) is None
        assert_equal({**left.read(8)}, 8)
        newest = left.newest()
        found.setdefault(newest, []).append(number)
        assert {path.name for path in left.path.iterdir()} == {
            left.file(step).name for step in whole[-2:]
        }
        left.write(10, arrays(10))
        assert left.steps() == [8, 10]
        shutil.rmtree(left.path)
    # Some died before the new one was in place, some after.
    assert set(found) == {8, 10}
    assert max(found[8]) < min(found[10])
