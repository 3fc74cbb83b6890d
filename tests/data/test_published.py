"""Data sets that tfds prepares: MNIST and SVHN as it does, USPS and MNIST-M by our builders."""

import bz2
import io
import tarfile
import urllib.error

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download.checksums import compute_url_info

from keras_i2i import data
from keras_i2i.data import mnist_m, published, usps
from keras_i2i.data.examples import Examples
from keras_i2i.errors import InputError


def random_examples(n, shape, seed=0):
    random = np.random.default_rng(seed)
    return Examples(random.integers(0, 256, (n, *shape), np.uint8), np.arange(n) % 10)


def contents(*parts):
    """The set of (image, label) pairs in examples: tfds keeps these, in an order of its own."""
    return {
        (image.tobytes(), int(label))
        for examples in parts
        for image, label in zip(examples.images, examples.labels, strict=True)
    }


def check_splits(name, data_dir, train, test):
    loaded = {s: data.load(name, s, data_dir=data_dir, validation_size=8) for s in data.SPLITS}
    assert len(loaded["validation"]) == 8
    assert contents(loaded["train"], loaded["validation"]) == contents(train)
    assert not contents(loaded["train"]) & contents(loaded["validation"])
    assert contents(loaded["test"]) == contents(test)
    everything = data.load(name, "train", data_dir=data_dir, validation_size=0)
    assert contents(everything) == contents(train) and len(everything) == len(train)
    for split, examples in loaded.items():
        assert examples.images.dtype == np.uint8 and examples.labels.dtype == np.int64
        assert examples.images.shape[1:] == data.get_domain(name).image_shape
        again = data.load(name, split, data_dir=data_dir, validation_size=8)
        np.testing.assert_array_equal(again.images, examples.images)
    assert data.load_unlabelled(name, "train", data_dir=data_dir).labels is None


@pytest.mark.parametrize("name", ["mnist", "svhn"])
def test_data_sets_of_tfds(name, tmp_path):
    shape = data.get_domain(name).image_shape
    parts = {"train": random_examples(40, shape), "test": random_examples(12, shape, seed=1)}
    features = {
        "image": tfds.features.Image(shape=shape),
        "label": tfds.features.ClassLabel(num_classes=10),
    }
    columns = {s: {"image": e.images, "label": e.labels} for s, e in parts.items()}
    if name == "svhn":
        features["id"] = tfds.features.Text()
        for part in columns.values():
            part["id"] = [str(i) for i in range(len(part["label"]))]
    tfds_name, version = {"mnist": ("mnist", "3.0.1"), "svhn": ("svhn_cropped", "3.1.0")}[name]
    tfds.dataset_builders.store_as_tfds_dataset(
        name=tfds_name,
        version=version,
        features=tfds.features.FeaturesDict(features),
        split_datasets={s: tf.data.Dataset.from_tensor_slices(c) for s, c in columns.items()},
        data_dir=tmp_path,
    )
    check_splits(name, tmp_path, **parts)

    (record,) = (tmp_path / tfds_name / version).glob("*test.tfrecord*")
    record.write_bytes(record.read_bytes()[:-100])
    with pytest.raises(InputError, match=rf"{tfds_name}.*cannot be read.*Delete the folder"):
        data.load(name, "test", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("mnist", "train-images-idx3-ubyte.gz"),
        ("svhn", "train_32x32.mat"),
        ("usps", "usps.bz2 and usps.t.bz2"),
    ],
)
def test_no_data_and_no_network(name, files, tmp_path):
    with pytest.raises(InputError) as raised:
        data.load(name, "test", data_dir=tmp_path)
    message = str(raised.value)
    assert str(tmp_path) in message and "does not answer (<urlopen error no network" in message
    assert files in message and str(tmp_path / "downloads" / "manual") in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "error",
    [
        OSError("Not enough disk space. Needed: 21 MiB\nand more"),
        PermissionError(13, "Permission denied"),
        tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
        tfds.download.DownloadError("Failed to get url. HTTP code: 404."),
    ],
)
def test_preparation_that_fails(error, tmp_path, monkeypatch):
    def fail(builder, download_config):
        raise error

    monkeypatch.setattr("urllib.request.urlopen", lambda request, timeout: io.BytesIO())
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(InputError, match=r"mnist could not be prepared under .*enough space") as r:
        data.load("mnist", "train", data_dir=tmp_path)
    assert str(tmp_path) in str(r.value)
    assert str(error).splitlines()[0] in str(r.value) and "\n" not in str(r.value)


def test_server_that_refuses_the_question_is_left_to_the_download(tmp_path, monkeypatch):
    def refuse(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 405, "no HEAD", {}, io.BytesIO())

    def download(builder, download_config):
        raise tfds.download.DownloadError("the download was tried")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", download)
    with pytest.raises(InputError, match="the download was tried"):
        data.load("mnist", "train", data_dir=tmp_path)


def test_manual_folder_is_where_tfds_looks(tmp_path, monkeypatch):
    assert published.manual_folder(tmp_path) == tmp_path / "downloads" / "manual"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert published.manual_folder("~/data") == tmp_path / "data" / "downloads" / "manual"
    builder = mnist_m.MnistM()
    assert published.manual_folder(None) == published.manual_dir(builder)


# USPS


def libsvm(examples):
    lines = []
    for image, label in zip(examples.images, examples.labels, strict=True):
        # Three digits after the point, as published: enough to tell 256 values apart.
        values = np.round(image.ravel() / 127.5 - 1, 3)
        pixels = " ".join(f"{i}:{value:g}" for i, value in enumerate(values, start=1))
        lines.append(f"{label + 1} {pixels} \n")
    return "".join(lines)


def put_usps(data_dir, monkeypatch, files):
    """Puts `files`, name to content, where the user would, and makes them the published ones."""
    folder = data_dir / "downloads" / "manual"
    folder.mkdir(parents=True)
    urls = {info.filename: url for url, info in usps.Usps.url_infos.items()}
    infos = {}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        infos[urls[name]] = compute_url_info(folder / name)
    monkeypatch.setattr(usps.Usps, "url_infos", infos)


def test_usps(tmp_path, monkeypatch):
    parts = {"train": random_examples(40, (16, 16, 1)), "test": random_examples(12, (16, 16, 1), 1)}
    train, test = (bz2.compress(libsvm(parts[s]).encode()) for s in ("train", "test"))
    put_usps(tmp_path, monkeypatch, {"usps.bz2": train, "usps.t.bz2": test})
    check_splits("usps", tmp_path, **parts)


def test_usps_pixels_lie_row_by_row(tmp_path):
    pixels = [f"{i}:-1" for i in range(1, 257)]
    pixels[1], pixels[16], pixels[255] = "2:1", "17:0", "256:0.504"
    path = tmp_path / "usps.bz2"
    path.write_bytes(bz2.compress(f"10 {' '.join(pixels)}\n".encode()))
    ((image, label),) = usps.parse_libsvm(path)
    assert label == 9 and image.dtype == np.uint8 and image.shape == (16, 16, 1)
    expected = np.zeros((16, 16, 1))
    expected[0, 1], expected[1, 0], expected[15, 15] = 255, 128, 192
    np.testing.assert_array_equal(image, expected)


def test_usps_file_that_is_not_the_published_one(tmp_path):
    folder = tmp_path / "downloads" / "manual"
    folder.mkdir(parents=True)
    for name in ("usps.bz2", "usps.t.bz2"):
        (folder / name).write_bytes(b"something else")
    with pytest.raises(InputError, match=r"not the published one.*usps(\.t)?\.bz2.*Delete it") as r:
        data.load("usps", "test", data_dir=tmp_path)
    assert str(folder) in str(r.value)
    assert not (tmp_path / "usps" / "1.0.0").exists()


def test_usps_file_cut_short(tmp_path, monkeypatch):
    content = bz2.compress(libsvm(random_examples(40, (16, 16, 1))).encode())
    put_usps(tmp_path, monkeypatch, {"usps.bz2": content[:-50], "usps.t.bz2": content})
    with pytest.raises(InputError, match=r"manual/usps.bz2 is damaged.*Delete it and download"):
        data.load("usps", "train", data_dir=tmp_path)


GOOD_LINE = "3 " + " ".join(f"{i}:0.5" for i in range(1, 257))


@pytest.mark.parametrize(
    "line",
    [
        GOOD_LINE.replace("3 ", "0 ", 1),
        GOOD_LINE.replace("3 ", "11 ", 1),
        GOOD_LINE.replace("3 ", "three ", 1),
        GOOD_LINE.replace("7:0.5", "7:1.5", 1),
        GOOD_LINE.replace("7:0.5", "7:nan", 1),
        GOOD_LINE.replace(" 7:0.5", "", 1),
        GOOD_LINE.replace(" 7:0.5", " 8:0.5", 1),
        GOOD_LINE.replace(" 7:0.5", " 0.5", 1),
        GOOD_LINE[:100],
        "",
        "5",
    ],
)
def test_usps_line_of_another_form(line, tmp_path):
    path = tmp_path / "usps.bz2"
    path.write_bytes(bz2.compress(f"{GOOD_LINE}\n{line}\n".encode()))
    with pytest.raises(InputError, match=r"usps\.bz2 is damaged after line [12] .*1:value"):
        list(usps.parse_libsvm(path))


# MNIST-M


def put_mnist_m(data_dir, parts, *, change=lambda files: None):
    """Writes the archive where the user would; `change` may spoil its files, name to content."""
    files = {}
    for split, examples in parts.items():
        folder, lines = f"mnist_m/mnist_m_{split}", []
        for i, image in enumerate(examples.images):
            picture = io.BytesIO()
            Image.fromarray(image).save(picture, "PNG")
            files[f"{folder}/{i:08}.png"] = picture.getvalue()
            lines.append(f"{i:08}.png {examples.labels[i]}\n")
        files[f"{folder}_labels.txt"] = "".join(lines).encode()
    change(files)
    path = data_dir / "downloads" / "manual" / "mnist_m.tar.gz"
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        for name in ("mnist_m", "mnist_m/mnist_m_train", "mnist_m/mnist_m_test"):
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def colored():
    shape = mnist_m.MNIST_M.image_shape
    return {"train": random_examples(40, shape), "test": random_examples(12, shape, seed=1)}


def test_mnist_m(tmp_path, colored):
    put_mnist_m(tmp_path, colored)
    check_splits("mnist_m", tmp_path, **colored)
    assert len(data.load("mnist_m", "validation", data_dir=tmp_path)) == 40 // 6


def test_mnist_m_missing(tmp_path):
    with pytest.raises(InputError, match=r"is missing\. Get the published") as raised:
        data.load("mnist_m", "train", data_dir=tmp_path)
    assert str(tmp_path / "downloads" / "manual" / "mnist_m.tar.gz") in str(raised.value)


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_mnist_m_cut_short(keep, tmp_path, colored):
    path = put_mnist_m(tmp_path, colored)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(InputError, match=r"mnist_m.tar.gz is damaged or has another layout"):
        data.load("mnist_m", "train", data_dir=tmp_path)
    assert not (tmp_path / "mnist_m" / "1.0.0").exists()


TRAIN = "mnist_m/mnist_m_train"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop(f"{TRAIN}_labels.txt"), "labels.txt"),
        (lambda f: f.pop(f"{TRAIN}/00000003.png"), "1 images named in .* are missing"),
        (lambda f: f.update({f"{TRAIN}/00000099.png": f[f"{TRAIN}/00000003.png"]}), "00000099.png"),
        (lambda f: f.update({f"{TRAIN}/00000003.png": b"no picture"}), "not an image"),
        (lambda f: f.update({f"{TRAIN}_labels.txt": b"00000000.png\n"}), "values to unpack"),
        (lambda f: f.update({f"{TRAIN}_labels.txt": b"00000000.png 10\n"}), "label 10"),
    ],
)
def test_mnist_m_of_another_layout(change, message, tmp_path, colored):
    path = put_mnist_m(tmp_path, colored, change=change)
    with pytest.raises(InputError, match=rf"another layout \(.*{message}.*Replace it"):
        list(mnist_m.parse_archive(path, "train"))
