"""Files from strangers run nothing, fill no memory, and write nowhere but where they should."""

import contextlib
import csv
import functools
import io
import os
import pathlib
import re
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from data.published_files import png, write_lying_zip, write_zip
from PIL import Image, ImageFile, TiffImagePlugin

from keras_i2i import data
from keras_i2i.data import archives, geometry, image_files, mnist_m, office31
from keras_i2i.data.archives import Part
from keras_i2i.data.examples import Unreadable, UnreadableError
from keras_i2i.errors import InputError
from keras_i2i.evaluation import figures, user_images
from keras_i2i.networks.saved import load_model, load_weights

PACKAGE = pathlib.Path(data.__file__).parents[1]
SOURCES = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}


# Models


def test_files_of_keras_are_loaded_in_one_place_and_nothing_runs_code():
    for load in r"\bsaving\.load_model\(", r"\.load_weights\(":
        loads = [path.name for path, text in SOURCES.items() if re.search(load, text)]
        assert loads == ["saved.py"], load
    for path, text in SOURCES.items():
        for word in (
            r"enable_unsafe_deserialization\(", r"safe_mode=False", r"allow_pickle=True",
            r"\bimport pickle\b", r"\beval\(", r"\bexec\(", r"\.extractall\(", r"shell=True",
        ):  # fmt: skip
            assert not re.search(word, text), (path, word)


def test_code_in_a_file_is_not_run(tmp_path):
    images = keras.Input((4, 4, 1))
    model = keras.Model(images, keras.layers.Lambda(lambda x: x + 1)(images))
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(InputError, match="It has Python code in it, as of a Lambda layer") as error:
        load_model(tmp_path / "lambda.keras")
    assert len(str(error.value).splitlines()) == 1


def test_formats_without_a_safe_mode_are_not_loaded(tmp_path, monkeypatch):
    def load(*args, **kwargs):
        raise AssertionError("Keras was asked")

    (tmp_path / "old.keras").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with zipfile.ZipFile(tmp_path / "model.h5", "w") as archive:
        archive.writestr("config.json", "{}")
    (tmp_path / "folder.keras").mkdir()
    monkeypatch.setattr(keras.saving, "load_model", load)
    for name in ("old.keras", "model.h5", "folder.keras", "none.keras"):
        with pytest.raises(
            InputError, match=f"{name} is no model that Keras can read: It is no .k"
        ):
            load_model(tmp_path / name)


def test_a_file_of_something_else_than_a_model_is_refused(tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    layer = keras.saving.serialize_keras_object(keras.layers.ReLU())
    parts["config.json"] = str(layer).replace("'", '"').replace("None", "null").encode()
    write_zip(tmp_path / "layer.keras", parts)
    with pytest.raises(InputError, match=r"layer\.keras is no model that Keras can read: "):
        load_model(tmp_path / "layer.keras")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_file_that_lies_about_sizes_is_not_loaded(method, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.saving, "load_model", lambda *args, **_: pytest.fail("it was asked"))
    names = "metadata.json", "config.json", "model.weights.h5"
    write_lying_zip(tmp_path / "m.keras", dict.fromkeys(names, bytes(2**25)), 1000, method)
    words = (
        "more than the 1,000 bytes that" if method == zipfile.ZIP_DEFLATED else "by method 12 of"
    )
    with little_memory(), pytest.raises(InputError, match=rf"m\.keras is no .*{words}"):
        load_model(tmp_path / "m.keras")


def packed(group):
    group.create_dataset("0", data=np.zeros(2**23, "float32"), compression="gzip")


def larger_than_said(group):
    """A hundred numbers, of which the only chunk unpacks to 32 MB."""
    array = group.create_dataset("0", (100,), "float32", chunks=(100,), compression="gzip")
    array.id.write_direct_chunk((0,), zlib.compress(bytes(2**25)))


def never_written(group):
    group.create_dataset("0", (2**23,), "float32", fillvalue=1)


def of_objects(group):
    group.create_dataset("0", (9,), h5py.vlen_dtype("float32"))


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
@pytest.mark.parametrize("write", [packed, larger_than_said, never_written, of_objects])
def test_weights_that_would_fill_the_memory_are_not_read(write, suffix, tmp_path, monkeypatch):
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    path = tmp_path / f"m{suffix}"
    network.save_weights(tmp_path / "m.weights.h5")
    load_weights(network, tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5", "a") as file:
        group = file["layers/dense/vars"]
        del group["0"]
        write(group)
    network.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    parts["model.weights.h5"] = (tmp_path / "m.weights.h5").read_bytes()
    write_zip(tmp_path / "m.keras", parts)

    monkeypatch.setattr(keras.saving, "load_model", lambda *args, **_: pytest.fail("it was asked"))
    monkeypatch.setattr(network, "load_weights", lambda path: pytest.fail("it was asked"))
    load = load_model if suffix == ".keras" else functools.partial(load_weights, network)
    words = "It unpacks to 33,554,4.. b" if write is never_written else "It has weights that are p"
    with little_memory(), pytest.raises(InputError, match=rf"m{suffix} .* can read: {words}"):
        load(path)


# Images


def chunk(name, content):
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png_of_zeros(side):
    """A PNG file of that many bits squared, all of them 0; whole, and a thousandth as large."""
    packed, row = zlib.compressobj(9), bytes(1 + (side + 7) // 8)
    parts = [packed.compress(row) for _ in range(side)]
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    content = b"".join([*parts, packed.flush()])
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", content)
        + chunk(b"IEND", b"")
    )


def gif_of(side):
    return b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0) + b"\x2c" + struct.pack(
        "<HHHHB", 0, 0, side, side, 0
    ) + b"\x08\x01\x00\x00\x3b"  # fmt: skip


def bmp_of(side):
    return b"BM" + struct.pack(
        "<IHHIIiiHHIIiiII", 10**9, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0
    )


def webp_of(side):
    size = struct.pack("<I", (side - 1) | (side - 1) << 14)
    body = b"WEBPVP8L" + struct.pack("<I", 14) + b"\x2f" + size + b"\x07\x10\x11\xfd\x0fDD\xff\x03"
    return b"RIFF" + struct.pack("<I", len(body)) + body


BOMBS = {
    "bomb.png": lambda: png_of_zeros(8200),
    "bomb.gif": lambda: gif_of(60_000),
    "bomb.bmp": lambda: bmp_of(60_000),
    "bomb.ppm": lambda: b"P6 60000 60000 255\n" + bytes(99),
    "bomb.webp": lambda: webp_of(16383),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_its_header(name, tmp_path, monkeypatch):
    def load(self):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    (tmp_path / name).write_bytes(BOMBS[name]())
    assert (tmp_path / name).stat().st_size < 100_000
    for read in (
        image_files.open_image,
        image_files.native_shape,
        lambda path: image_files.read_image(path, 3),
        lambda path: image_files.read_images([path], (8, 8, 1)),
    ):
        with pytest.raises(UnreadableError, match=f"{name}: more than 67,108,864 pixels, perhaps"):
            read(tmp_path / name)


SHORT, LONG, SLONG8 = 3, 4, 17
WIDTH, HEIGHT = 322, 323  # of a tile


def tiff_of(side, *sides, pixels=b""):
    """A gray BigTIFF file with deflated tiles of a size that `sides` say: (tag, type, value)."""
    content = zlib.compress(pixels)
    entries = [
        (256, SHORT, side), (257, SHORT, side), (258, SHORT, 8), (259, SHORT, 8), (262, SHORT, 1),
        *sides, (324, LONG, 16), (325, LONG, len(content)),
    ]  # fmt: skip
    directory = [struct.pack("<HHQQ", tag, kind, 1, value) for tag, kind, value in entries]
    header = b"II" + struct.pack("<HHHQ", 43, 8, 0, 16 + len(content))
    return header + content + struct.pack("<Q", len(entries)) + b"".join(directory) + bytes(8)


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ([(WIDTH, SHORT, 8192), (HEIGHT, LONG, 8208)], "tiles of more than 67,108,864 pixels, per"),
        ([(WIDTH, LONG, 9000), (WIDTH, LONG, 16), (HEIGHT, SHORT, 9000)], "it says twice, or in"),
        ([(WIDTH, LONG, 16), (WIDTH, LONG, 9000), (HEIGHT, SHORT, 9000)], "it says twice, or in"),
        ([(WIDTH, SLONG8, 9000), (HEIGHT, SLONG8, 9000)], "it says twice, or in an odd way"),
    ],
    ids=["large", "large first", "large last", "odd"],
)
def test_large_tiles_of_a_small_image_are_refused(sides, message, tmp_path, monkeypatch):
    def load(self):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", load)
    (tmp_path / "tiles.tif").write_bytes(tiff_of(16, *sides))
    with pytest.raises(UnreadableError, match=rf"tiles\.tif: {message}"):
        image_files.open_image(tmp_path / "tiles.tif")


def test_tiles_that_are_larger_than_the_image_are_read(tmp_path):
    tile = np.arange(64 * 64).reshape(64, 64).astype("uint8")
    sides = (WIDTH, SHORT, 64), (HEIGHT, LONG, 64)
    (tmp_path / "tiles.tif").write_bytes(tiff_of(16, *sides, pixels=tile.tobytes()))
    read = image_files.read_image(tmp_path / "tiles.tif", 1)
    np.testing.assert_array_equal(read[..., 0], tile[:16, :16])


# In kilobytes, by Linux: what `resource` says of a process begins with what its parent had.
MEASURED = """
import re, sys
from keras_i2i.data.image_files import open_image
def most():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
before = most()
try:
    open_image(sys.argv[1])
except ValueError as error:
    print(error)
print(most() - before)
"""


@pytest.mark.slow
def test_a_bomb_takes_no_memory(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of_zeros(60_000))  # 450 MB of bits, 3.6 GB as gray
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, path], capture_output=True, text=True, timeout=300
    )
    message, grown = done.stdout.splitlines()
    assert "bomb.png: more than 67,108,864 pixels" in message
    assert int(grown) < 20_000  # kilobytes


def test_a_narrow_strip_is_not_scaled_up_beyond_memory(monkeypatch):
    monkeypatch.setattr(geometry, "MOST_PIXELS", 1000)
    cropped = data.Geometry(fit="crop")
    image = np.zeros((1, 40, 3), "uint8")
    assert cropped.whole(image, (4, 4, 3)).shape == (4, 160, 3)
    with pytest.raises(InputError, match=r"more than 1,000 pixels: 8 x 320. Cut it into shorter"):
        cropped.whole(image, (8, 8, 3))
    whole = tf.function(
        lambda image: cropped.whole(image, (8, 8, 3)),
        input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)],
    )
    assert whole(image[:, :9]).shape == (8, 72, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="scaled up, has more than 1,000 pixe"):
        whole(image)


# Archives

PICTURE = png(np.zeros((32, 32, 3), "uint8"))
PART = Part("letters", "left", ".png", ("1.zip",), "a friend")
EVIL = ["../../evil.png", "/tmp/evil.png", "left/../../../evil.png", "C:\\evil.png", "CON"]


def everything_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_names_in_a_zip_archive_are_no_paths(tmp_path):
    home = tmp_path / "deep" / "home"
    write_zip(
        home / "downloads" / "manual" / "1.zip", dict.fromkeys([*EVIL, "left/a.png"], PICTURE)
    )
    before = everything_in(tmp_path)
    found = PART.find(home)
    # What looks as if it lay elsewhere has a name, and is read where it is: in the archive.
    assert {file.open().read() for file in found.values()} == {PICTURE}
    assert "a" in found
    assert everything_in(tmp_path) == before


def test_a_file_in_an_archive_that_would_fill_the_memory_is_not_unpacked(tmp_path, monkeypatch):
    write_zip(tmp_path / "downloads" / "manual" / "1.zip", {"left/a.png": bytes(5000)})
    monkeypatch.setattr(archives, "MOST_BYTES", 4999)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *args: pytest.fail("it was unpacked"))
    with pytest.raises(UnreadableError, match=r"left/a.png: 5,000 bytes, more than the 4,999 that"):
        PART.find(tmp_path)["a"].open()


def tar_of(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
            else:
                member.type, member.linkname = content
            archive.addfile(member, io.BytesIO(content if isinstance(content, bytes) else b""))
    return path


def test_links_and_paths_in_a_tar_archive_lead_nowhere(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(np.full((32, 32, 3), 9, "uint8")))
    folder = "mnist_m/mnist_m_train"
    labels = {f"{folder}_labels.txt": b"a.png 1\n"}
    before = everything_in(tmp_path)
    good = tar_of(tmp_path / "m.tar.gz", labels | {f"{folder}/a.png": PICTURE, EVIL[0]: PICTURE})
    ((name, image, label),) = mnist_m.parse_archive(good, "train")
    assert (name, image.max(), label) == ("a.png", 0, 1)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        link = tar_of(good, labels | {f"{folder}/a.png": (kind, str(secret))})
        with pytest.raises(InputError, match=r"mnist_m_train/a\.png is no regular file"):
            list(mnist_m.parse_archive(link, "train"))
        office = tar_of(good, {"amazon/images/bike/a.jpg": (kind, str(secret))})
        with pytest.raises(InputError, match="holds no images of back_pack, bike"):
            list(office31.parse_archive(office, "amazon"))
    good.unlink()
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("ending", ["tar.gz", "zip"])
def test_large_files_in_the_archives_of_office31_and_mnist_m(ending, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 99)
    path = tmp_path / f"office31.{ending}"
    files = {"amazon/images/bike/a.jpg": bytes(100)}
    if ending == "zip":
        write_zip(path, files)
    else:
        tar_of(path, files)
        folder = "mnist_m/mnist_m_test"
        digits = {f"{folder}_labels.txt": b"a.png 1\n", f"{folder}/a.png": bytes(100)}
        with pytest.raises(
            InputError, match=r"mnist_m_test/a\.png: 100 bytes, more than the 99 that"
        ):
            list(mnist_m.parse_archive(tar_of(tmp_path / "m.tar.gz", digits), "test"))
    with pytest.raises(
        InputError, match=r"bike/a\.jpg: 100 bytes, more than the 99 that an image f"
    ):
        list(office31.parse_archive(path, "amazon"))


@contextlib.contextmanager
def little_memory():
    """What is read in the block has never a megabyte in memory, as far as Python knows."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_archives_that_lie_about_sizes_fill_no_memory(method, tmp_path):
    files = {"amazon/images/bike/a.jpg": bytes(2**25)}
    path = tmp_path / "downloads" / "manual" / "1.zip"
    write_lying_zip(path, files, 1000, method)
    part = Part("bikes", "bike", ".jpg", ("1.zip",), "a friend")
    words = (
        "more than the 1,000 bytes that" if method == zipfile.ZIP_DEFLATED else "by method 12 of"
    )
    with little_memory():
        with pytest.raises(UnreadableError, match=rf"a\.jpg: .*{words}"):
            part.find(tmp_path)["a"].open()
        with pytest.raises(InputError, match=rf"1\.zip is damaged, .*{words}"):
            list(office31.parse_archive(path, "amazon"))


# Names


class Names:
    """A model of two classes that does nothing."""

    directions, can_classify = (), True

    def image_shape_of(self, domain):
        return (8, 8, 3)

    def classify(self, images, domain):
        return np.zeros((len(images), 2), np.float32)


def test_files_with_names_of_any_bytes_are_read(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    names = [b"\xff\xfe.png", b"-rf.png", b"a\nb.png", "日本.png".encode(), b"=1+1.png"]
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(PICTURE)
    table = user_images.read_images(folder, Names(), ["a", "b"], tmp_path / "out")
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
    written = ["\\udcff\\udcfe.png", "-rf.png", "a\nb.png", "日本.png", "=1+1.png"]
    assert sorted(row["file"] for row in rows) == sorted(f"{folder}/{name}" for name in written)


def test_files_that_cannot_be_read_are_named_whatever_their_bytes(capsys):
    unreadable = Unreadable(1, "photos")
    unreadable.add(0, UnreadableError("\udcff.png: torn"))
    assert capsys.readouterr().out == "warning: left out, it cannot be read: \\udcff.png: torn\n"
    with pytest.raises(InputError) as error:
        unreadable.add(1, UnreadableError("\udcfe.png: torn"))
    str(error.value).encode("utf-8")


def test_names_of_classes_are_drawn_as_they_are(tmp_path):
    names = ["$\\frac{", "$5", "<b>&</b>"]
    figures.per_class({"adapted": np.array([0.5, 1.0, 0.2])}, names, path=tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 100
