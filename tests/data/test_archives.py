"""Files in zip archives or folders."""

import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from keras_i2i.data.archives import Part, check_pairs
from keras_i2i.data.examples import UnreadableError
from keras_i2i.errors import InputError

from .published_files import write_folder, write_zip

PART = Part("letters", "left", ".txt", ("1.zip", "2.zip"), "a friend")


@pytest.fixture
def manual(tmp_path):
    return tmp_path / "downloads" / "manual"


def read(tmp_path):
    return {name: file.open().read() for name, file in PART.find(tmp_path).items()}


def test_names_are_sorted_and_only_those_of_the_part(tmp_path, manual):
    write_zip(manual / "2.zip", {"left/b.txt": b"2", "left/a/c.txt": b"3", "right/a.txt": b"no"})
    write_zip(manual / "letters" / "1.zip", {"top/left/a.txt": b"1", "left/a.png": b"no"})
    assert list(read(tmp_path).items()) == [("a", b"1"), ("a/c", b"3"), ("b", b"2")]


def test_what_file_systems_leave_behind_is_left_out(tmp_path, manual):
    hidden = {"left/._a.txt": b"", "__MACOSX/left/a.txt": b"", "left/.cache/a.txt": b""}
    write_zip(manual / "1.zip", {"left/a.txt": b"1"} | hidden)
    assert read(tmp_path) == {"a": b"1"}
    write_folder(manual / "letters", {"left/a.txt": b"2", "left/._a.txt": b""})
    assert read(tmp_path) == {"a": b"2"}, "the folder goes before archives"


def test_home_is_known(tmp_path, manual, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_zip(manual / "1.zip", {"left/a.txt": b"1"})
    assert read("~") == {"a": b"1"}


def test_many_threads(tmp_path, manual):
    contents = {f"left/{n:03}.txt": bytes([n]) * 10_000 for n in range(100)}
    write_zip(manual / "1.zip", contents)
    files = list(PART.find(tmp_path).values())
    start = threading.Barrier(8)

    def all_of_them(_):
        start.wait()
        return [file.open().read() for file in files]

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(all_of_them, range(8)):
            assert found == list(contents.values())


def test_nothing_there(tmp_path, manual):
    write_zip(manual / "1.zip", {"right/a.txt": b"no"})
    with pytest.raises(
        InputError, match=r"letters: found no left/\.\.\.\.txt.* 1.zip to 2.zip from"
    ):
        PART.find(tmp_path)


@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_archive_cut_short(keep, tmp_path, manual):
    write_zip(manual / "1.zip", {"left/a.txt": b"1" * 100})
    content = (manual / "1.zip").read_bytes()
    (manual / "1.zip").write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InputError, match=r"1\.zip is damaged, perhaps cut short .*Delete it and"):
        PART.find(tmp_path)


def test_member_that_is_damaged(tmp_path, manual):
    path = manual / "1.zip"
    write_zip(path, {"left/a.txt": b"1" * 100, "left/b.txt": b"2"})
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("left/a.txt").header_offset
    content = bytearray(path.read_bytes())
    content[offset + 40] ^= 0xFF
    path.write_bytes(content)
    files = PART.find(tmp_path)
    with pytest.raises(UnreadableError, match=r"1\.zip/left/a\.txt: "):
        files["a"].open()
    assert files["b"].open().read() == b"2"


def test_file_that_vanished(tmp_path, manual):
    write_folder(manual / "letters", {"left/a.txt": b"1"})
    (file,) = PART.find(tmp_path).values()
    assert str(file.open()) == file.name == str(manual / "letters" / "left" / "a.txt")
    file.path.unlink()
    for access in (file.open, file.key):
        with pytest.raises(UnreadableError, match=r"left/a\.txt: .*No such file"):
            access()


def test_pairs(tmp_path, manual):
    write_folder(manual / "letters", {"left/a.txt": b"1", "left/b.txt": b"2"})
    files = PART.find(tmp_path)
    check_pairs(files, dict(files))
    with pytest.raises(InputError, match=r"b\.txt has no label file of the same name, 1 of 2"):
        check_pairs(files, {"a": files["a"]})
    with pytest.raises(InputError, match=r"b\.txt has no image of the same name, 1 of 2"):
        check_pairs({"a": files["a"]}, files)


def test_a_file_is_known_by_its_name_within_the_data_set(tmp_path, manual):
    content = b"0123456789" * 10
    write_zip(manual / "1.zip", {"top/left/a/b.txt": content})
    (archived,) = PART.find(tmp_path).values()
    write_folder(manual / "letters", {"left/a/b.txt": content})
    (extracted,) = PART.find(tmp_path).values()
    for file in (archived, extracted):
        stored = file.stored()
        assert (stored.name, stored.size) == ("left/a/b", 100)
        assert stored.content(12) == b"012345678901" and stored.content(1000) == content
    (manual / "letters" / "left" / "a" / "b.txt").unlink()
    with pytest.raises(UnreadableError, match=r"b\.txt"):
        extracted.stored()
