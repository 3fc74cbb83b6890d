"""Office-31, from tiny archives of the published names and layout."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from keras_i2i.data import fingerprints
from keras_i2i.data.office31 import AMAZON, CLASS_NAMES, DSLR, WEBCAM, Office31, parse_archive
from keras_i2i.errors import InputError

DOMAINS = {"amazon": AMAZON, "webcam": WEBCAM, "dslr": DSLR}


def jpeg(*seed):
    random = np.random.default_rng(seed)
    # Sizes of all kinds, as in the webcam's images.
    pixels = random.integers(0, 256, (*random.integers(8, 17, 2), 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=60)
    return file.getvalue()


@pytest.fixture(scope="module")
def files():
    """Two images of each class and domain, by their published names."""
    return {
        f"domain_adaptation_images/{domain}/images/{name}/frame_{n:04}.jpg": jpeg(d, label, n)
        for d, domain in enumerate(DOMAINS)
        for label, name in enumerate(CLASS_NAMES)
        for n in (1, 2)
    }


def rename(files, old, new):
    return {name.replace(old, new): content for name, content in files.items()}


def put(data_dir, place, files):
    path = data_dir / "downloads" / "manual" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if place.endswith(".tar.gz"):
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    elif place.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    return path


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content))).tobytes()


def expected(files, domain):
    return {
        (decoded(content), CLASS_NAMES.index(name.split("/")[-2]))
        for name, content in files.items()
        if f"{domain}/images" in name
    }


def contents(*parts):
    return {(image.tobytes(), int(label)) for p in parts for _, image, label in p.readable()}


def test_classes_in_their_published_order():
    assert len(CLASS_NAMES) == 31 and list(CLASS_NAMES) == sorted(CLASS_NAMES)
    assert AMAZON.class_names == WEBCAM.class_names == DSLR.class_names == CLASS_NAMES
    assert [domain.name for domain in DOMAINS.values()] == [f"office31_{name}" for name in DOMAINS]


def test_published_archive(files, tmp_path):
    put(tmp_path, "domain_adaptation_images.tar.gz", files)
    for name, domain in DOMAINS.items():
        everything = domain.load("train", data_dir=tmp_path, validation_size=0)
        assert len(everything) == 62 and everything.channels == 3
        assert contents(everything) == expected(files, name)
        assert contents(domain.load("test", data_dir=tmp_path)) == expected(files, name)
        assert everything.labels.dtype == np.int64
        np.testing.assert_array_equal(np.bincount(everything.labels), 2)
        assert everything.without_labels().labels is None
    train, validation = (AMAZON.load(s, data_dir=tmp_path) for s in ("train", "validation"))
    assert len(validation) == 6, "a tenth"
    assert contents(train, validation) == expected(files, "amazon")
    assert not contents(train) & contents(validation)
    # Mixed, the same every time, and labels known without decoding are those that are read.
    assert len(set(train.labels[:20])) > 8
    again = AMAZON.load("train", data_dir=tmp_path)
    np.testing.assert_array_equal(again.labels, train.labels)
    assert again.read(3)[1] == train.labels[3]
    keys = {train.reader.key(position) for position in range(62)}
    assert len(keys) == 62


@pytest.mark.parametrize(
    ("place", "old", "new"),
    [
        ("office31.tar.gz", "/images", ""),
        ("office31.zip", "domain_adaptation_images/", ""),
        ("domain_adaptation_images.zip", "domain_adaptation_images/", "office/31/"),
        ("office31", "domain_adaptation_images/", ""),
        ("domain_adaptation_images", "domain_adaptation_images/", ""),
    ],
)
def test_layouts_seen_elsewhere(place, old, new, files, tmp_path):
    junk = {"amazon/images/pen/._frame_0001.jpg": b"", "amazon/images/pen/Thumbs.db": b""}
    path = put(tmp_path, place, rename(files, old, new) | junk)
    found = {
        (decoded(content), CLASS_NAMES.index(c)) for _, c, content in parse_archive(path, "dslr")
    }
    assert found == expected(files, "dslr")
    names = {name for name, _, _ in parse_archive(path, "amazon")}
    assert len(names) == 62 and "amazon/pen/frame_0002.jpg" in names


def test_records_hold_the_published_bytes(files, tmp_path):
    put(tmp_path, "office31.zip", files)
    WEBCAM.load("train", data_dir=tmp_path)
    builder = Office31(config="webcam", data_dir=tmp_path, file_format="array_record")
    encoded = {"image": tfds.decode.SkipDecoding()}
    for record in builder.as_data_source("train", decoders=encoded):
        name = record["file"].decode().replace("webcam/", "webcam/images/")
        assert record["image"] == files[f"domain_adaptation_images/{name}"]


def test_images_are_known_by_their_published_bytes_and_meant_to_be_learnt(files, tmp_path):
    put(tmp_path, "office31.zip", files)
    train, test = (
        WEBCAM.load(split, data_dir=tmp_path, validation_size=0) for split in ("train", "test")
    )
    (stored,) = train.reader.stored(0)
    name = stored.name.replace("webcam/", "webcam/images/")
    content = files[f"domain_adaptation_images/{name}"]
    assert (stored.size, stored.content(10**6)) == (len(content), content)
    assert len(fingerprints.repeated(test, train)) == len(test)
    assert WEBCAM.transductive


def test_damaged_image_is_named_and_passed_over(files, tmp_path):
    name = "domain_adaptation_images/dslr/images/mug/frame_0001.jpg"
    put(tmp_path, "office31.zip", files | {name: b"no image"})
    examples = DSLR.load("test", data_dir=tmp_path)
    assert len(list(examples.readable())) == 61
    (error,) = examples.reader.unreadable.errors.values()
    assert error == "dslr/mug/frame_0001.jpg: not an image"


def test_damaged_records(files, tmp_path):
    put(tmp_path, "office31.zip", files)
    DSLR.load("test", data_dir=tmp_path)
    (record,) = (tmp_path / "office31" / "dslr").rglob("*.array_record*")
    record.write_bytes(record.read_bytes()[:-1000])
    with pytest.raises(
        InputError, match=r"office31/dslr/1\.0\.0 cannot be read .*Delete the folder"
    ):
        DSLR.load("test", data_dir=tmp_path)


def test_missing(tmp_path):
    with pytest.raises(InputError, match=r"archive is missing\. Get the published domain_") as r:
        AMAZON.load("train", data_dir=tmp_path)
    assert "'Domain Adaptation Project'" in str(r.value)
    assert f"put it into {tmp_path / 'downloads' / 'manual'}" in str(r.value)


@pytest.mark.parametrize("place", ["office31.tar.gz", "office31.zip"])
@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_cut_short(place, keep, files, tmp_path):
    path = put(tmp_path, place, files)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InputError, match=rf"{place} is damaged, perhaps cut short .*Replace it"):
        AMAZON.load("train", data_dir=tmp_path)
    assert not (tmp_path / "office31" / "amazon" / "1.0.0").exists()


def test_class_without_images(files, tmp_path):
    kept = {name: c for name, c in files.items() if "amazon/images/p" not in name}
    put(tmp_path, "office31.zip", kept)
    message = "no images of paper_notebook, pen, phone, printer, projector, punchers in amazon"
    with pytest.raises(InputError, match=message):
        AMAZON.load("train", data_dir=tmp_path)
    assert len(DSLR.load("test", data_dir=tmp_path)) == 62


def test_folder_of_no_class(files, tmp_path):
    put(tmp_path, "office31.zip", files | {"amazon/images/teapot/frame_0001.jpg": b""})
    with pytest.raises(InputError, match=r"teapot/frame_0001.jpg lies in a folder of none of the"):
        AMAZON.load("train", data_dir=tmp_path)
