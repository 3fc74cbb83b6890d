import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_i2i import data
from keras_i2i.data.examples import IGNORED, UnreadableError
from keras_i2i.data.segmentation_folder import distinct_colors
from keras_i2i.errors import InputError

COLORS = [(128, 64, 128), (70, 130, 180), (0, 0, 142)]
INDICES = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)


def save(path, pixels, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def texts(folder, classes=("road", "sky", "car"), palette=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("\n".join(classes) + "\n")
    if palette is not None:
        (folder / "palette.txt").write_text("\n".join(palette) + "\n")


def pairs(folder, n=6, start=0, masks=True):
    """`n` images; the number of each is its first pixel's, and its mask's last pixel's class."""
    for i in range(start, start + n):
        pixels = np.full((2, 3 + i, 3), (i, 10, 20), np.uint8)
        save(folder / "images" / f"{i:02d}.bmp", pixels)
        if masks:
            mask = np.zeros((2, 3 + i), np.uint8)
            mask[-1, -1] = i % 3
            save(folder / "masks" / f"{i:02d}.png", mask)


def made(folder, **settings):
    """A folder with all parts, and its name."""
    texts(folder)
    for part, n, start in (("train", 12, 0), ("val", 2, 20), ("test", 3, 30)):
        pairs(folder / part, n, start, **settings)
    return f"segmentation_folder:{folder}"


def numbers(examples):
    return sorted(int(image[0, 0, 0]) for _, image, _ in examples.readable())


def test_parts_with_masks(tmp_path):
    name = made(tmp_path)
    domain = data.get_domain(name)
    assert (domain.name, domain.class_names) == (name, ("road", "sky", "car"))
    assert domain.has_masks and domain.own_validation and domain.image_shape is None
    for split, expected in (
        ("train", range(12)),
        ("validation", range(20, 22)),
        ("test", range(30, 33)),
    ):
        examples = data.load(name, split)
        assert examples.has_masks and examples.labels is None and examples.channels == 3
        assert numbers(examples) == list(expected)
        for _, image, mask in examples.readable():
            number = image[0, 0, 0]
            assert image.shape == (2, 3 + number, 3) and image.dtype == np.uint8
            assert mask.shape == image.shape[:2] and mask.dtype == np.uint8
            assert mask[-1, -1] == number % 3 and mask.sum() == number % 3
    unlabelled = data.load_unlabelled(name, "train")
    assert not unlabelled.has_masks and unlabelled.read(0)[1] is None
    assert len(data.load(name, "validation", validation_size=5)) == 5


@pytest.mark.parametrize("below", ["", "train"])
@pytest.mark.parametrize("masks", [True, False])
def test_a_folder_without_a_test_part_is_split(below, masks, tmp_path):
    texts(tmp_path)
    pairs(tmp_path / below, 10, masks=masks)
    name, storage = f"segmentation_folder:{tmp_path}", data.Storage(test_share=0.3)
    domain = data.get_domain(name, storage)
    assert (domain.has_masks, len(domain.class_names)) == ((True, 3) if masks else (False, 0))
    parts = [data.load(name, split, storage=storage) for split in data.SPLITS]
    assert [len(part) for part in parts] == [6, 1, 3]
    assert sorted(number for part in parts for number in numbers(part)) == list(range(10))
    assert all((part.read(0)[1] is not None) == masks for part in parts)


def test_without_masks_no_text_file_is_needed(tmp_path):
    pairs(tmp_path, masks=False)
    domain = data.get_domain(f"segmentation_folder:{tmp_path}")
    assert (domain.class_names, domain.has_masks, domain.palette) == ((), False, None)


def parts_of(folder, **parts):
    """A folder whose parts have masks (True), have none (False) or are missing (None)."""
    texts(folder)
    for number, (part, masks) in enumerate(parts.items()):
        if masks is not None:
            pairs(folder / part, 6, start=10 * number, masks=masks)
    return f"segmentation_folder:{folder}"


@pytest.mark.parametrize("val", [True, False, None])
def test_masks_in_the_test_part_only(val, tmp_path):
    name = parts_of(tmp_path, train=False, val=val, test=True)
    domain = data.get_domain(name)
    assert (domain.class_names, domain.labelled_train) == (("road", "sky", "car"), False)
    assert domain.has_masks and domain.palette == distinct_colors(3)
    train, validation, test = (data.load(name, split) for split in data.SPLITS)
    assert not train.has_masks and train.labels is None and train.read(0)[1] is None
    assert numbers(train) == (list(range(6)) if val is not None else numbers(train)[:5])
    assert validation.has_masks == (validation.read(0)[1] is not None) == bool(val)
    assert test.has_masks and numbers(test) == list(range(20, 26))
    for _, image, mask in test.readable():
        assert mask.shape == image.shape[:2] and mask[-1, -1] == image[0, 0, 0] % 3
    # Taken from training images, which are without masks.
    assert not data.load(name, "validation", validation_size=3).has_masks
    data.check_same_classes(made(tmp_path / "source"), name)


def test_the_palette_is_the_test_masks_where_others_have_none(tmp_path):
    name = parts_of(tmp_path, train=False, val=True, test=True)
    save(tmp_path / "test" / "masks" / "20.png", with_palette())
    assert data.get_domain(name).palette == ((200, 200, 200), (0, 0, 0), (90, 0, 0))


def test_masks_in_the_test_part_only_need_the_classes(tmp_path):
    name = parts_of(tmp_path, train=False, test=True)
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(InputError, match=r"no file .*classes\.txt.*index 0, then"):
        data.get_domain(name)


@pytest.mark.parametrize("masks", [True, False])
def test_all_splits_or_none_with_masks(masks, tmp_path):
    domain = data.get_domain(parts_of(tmp_path, train=masks, val=masks, test=masks))
    assert (domain.has_masks, domain.labelled_train) == (masks, True)


@pytest.mark.parametrize(
    ("train", "val", "test", "message"),
    [
        (True, None, False, "a folder .*train/masks, but none .*test/masks"),
        (True, True, False, "a folder .*train/masks, but none .*test/masks"),
        (True, False, True, "a folder .*train/masks, but none .*val/masks"),
        (True, False, None, "a folder .*train/masks, but none .*val/masks"),
        (False, True, False, "a folder .*val/masks, but none .*train/masks"),
        (False, True, None, "a folder .*val/masks, but none .*train/masks"),
    ],
)
def test_masks_where_they_do_not_help(train, val, test, message, tmp_path):
    name = parts_of(tmp_path, train=train, val=val, test=test)
    with pytest.raises(InputError, match=f"{message}.*all splits, to none, or to `test` and not"):
        data.get_domain(name)


def test_masks_are_cached_on_disk_until_the_classes_change(tmp_path):
    name = made(tmp_path / "data")
    storage = data.Storage(cache="disk", cache_dir=tmp_path / "cache")

    def read():
        return [mask for _, _, mask in data.load(name, "test", storage=storage).readable()]

    first = read()
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 6
    for one, other in zip(first, read(), strict=True):
        np.testing.assert_array_equal(one, other)
    texts(tmp_path / "data", ("road", "sky", "car", "ignore: 1"))
    assert {IGNORED} <= set(np.concatenate([mask.ravel() for mask in read()]))
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 12


# ----------------------------------------------------------------------------------- kinds of masks


def one(folder, mask, classes=("road", "sky", "car"), palette=None, name="1.png", **options):
    """The mask read from a folder whose two masks are both `mask`: pixels, or a file's bytes."""
    texts(folder, classes, palette)
    for stem in "12":
        save(folder / "images" / f"{stem}.png", np.full((2, 3, 3), int(stem), np.uint8))
        path = folder / "masks" / name.replace("1", stem)
        path.parent.mkdir(exist_ok=True)
        if isinstance(mask, bytes):
            path.write_bytes(mask)
        else:
            save(path, mask, **options)
    return data.load(f"segmentation_folder:{folder}", "test").read(0)[1]


def png(rows, bits, width, color_type=0, palette=b""):
    """A PNG file of any bit depth, from packed rows of bytes."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"PLTE", palette) if palette else b"")
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + bytes(row) for row in rows)))
        + chunk(b"IEND", b"")
    )


def with_palette():
    image = Image.fromarray(INDICES, "P")
    image.putpalette([200, 200, 200, 0, 0, 0, 90, 0, 0] + [1] * 3 * 253)
    return image


@pytest.mark.parametrize("name", ["1.png", "1.tif", "1.bmp", "1.webp"])
def test_gray_masks_hold_indices(name, tmp_path):
    options = {"lossless": True, "mode": "RGB"} if name == "1.webp" else {}
    palette = [f"{i} {i} {i}" for i in (0, 1, 2)] + ["ignore: 255 255 255"]
    read = one(tmp_path, INDICES, name=name, palette=palette, **options)
    np.testing.assert_array_equal(read, INDICES)


@pytest.mark.parametrize(
    "mask",
    [
        with_palette(),
        Image.fromarray(INDICES.astype(np.uint16)),
        Image.fromarray(INDICES.astype(np.int32)),
    ],
    ids=["palette", "16 bits", "32 bits"],
)
def test_other_masks_that_hold_indices(mask, tmp_path):
    name = "1.tif" if mask.mode == "I" else "1.png"
    np.testing.assert_array_equal(one(tmp_path, mask, name=name), INDICES)


@pytest.mark.parametrize("color_type", [0, 3])
@pytest.mark.parametrize(
    ("bits", "rows", "expected"),
    [
        (1, [[0b01000000], [0b10100000]], [[0, 1, 0], [1, 0, 1]]),
        (2, [[0b00011000], [0b10010000]], [[0, 1, 2], [2, 1, 0]]),
        (4, [[0x01, 0x20], [0x21, 0x00]], [[0, 1, 2], [2, 1, 0]]),
    ],
)
def test_indices_of_few_bits_are_not_stretched(bits, rows, expected, color_type, tmp_path):
    palette = bytes(range(3 * min(2**bits, 3))) if color_type else b""
    mask = png(rows, bits, 3, color_type, palette)
    np.testing.assert_array_equal(one(tmp_path, mask), expected)


def test_black_and_white_masks(tmp_path):
    mask = Image.fromarray(INDICES == 1)
    assert mask.mode == "1"
    np.testing.assert_array_equal(one(tmp_path, mask, ("no", "yes")), INDICES == 1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("names", [("", "", ""), ("road ", "sky ", "car ")])
def test_masks_in_color(names, mode, tmp_path):
    palette = [f"{name}{r} {g} {b}" for name, (r, g, b) in zip(names, COLORS, strict=True)]
    colors = np.array([*COLORS, *[(0, 0, 0)] * 252, (1, 2, 3)], np.uint8)
    read = one(tmp_path, colors[INDICES], palette=[*palette, "ignore: 1 2 3"], mode=mode)
    np.testing.assert_array_equal(read, INDICES)
    assert data.get_domain(f"segmentation_folder:{tmp_path}").palette == tuple(COLORS)


def test_ignored_indices(tmp_path):
    mask = np.array([[0, 1, 7], [9, 255, 2]], np.uint8)
    read = one(tmp_path, mask, ("void", "sky", "car", "ignore: 7", "ignore:9", "ignore: 0"))
    np.testing.assert_array_equal(read, [[255, 1, 255], [255, 255, 2]])
    colors = np.array([COLORS])[:, [0, 1, 2]].astype(np.uint8).repeat(2, axis=0)
    palette = [" ".join(map(str, color)) for color in COLORS]
    read = one(tmp_path, colors, ("void", "sky", "car", "ignore: 0"), palette)
    np.testing.assert_array_equal(read, [[255, 1, 2]] * 2)


def test_as_many_classes_as_there_are_indices(tmp_path):
    classes = [str(index) for index in range(255)]
    mask = np.array([[0, 254, 255], [7, 8, 128]], np.uint8)
    np.testing.assert_array_equal(one(tmp_path, mask, classes), mask)


BEYOND = np.array([[0, 1, 4], [4, 3, 0]])


@pytest.mark.parametrize(
    ("mask", "settings", "message"),
    [
        (BEYOND.astype(np.uint8), {}, "index 4 in 2 pixels; expected 0 to 2"),
        ((BEYOND * 100).astype(np.uint16), {}, "index 400 in 2 pixels"),
        ((BEYOND - 1).astype(np.int32), {"name": "1.tif"}, "index 3 in 2 pixels"),
        (-BEYOND.astype(np.int32), {"name": "1.tif"}, "index 65535 in 4 pixels"),
        (
            np.full((2, 3, 3), (1, 2, 3), np.uint8),
            {"palette": ["0 0 0", "1 1 1", "2 2 2"]},
            r"color 1 2 3 in 6 pixels, which is not in palette\.txt",
        ),
        (INDICES, {"mode": "LA"}, "mode LA; expected gray, a palette or RGB"),
        (INDICES, {"mode": "F", "name": "1.tif"}, "mode F"),
        (b"no image", {}, "not an image"),
    ],
)
def test_masks_that_cannot_be_read(mask, settings, message, tmp_path):
    suffix = settings.get("name", "1.png")[1:]
    with pytest.raises(UnreadableError, match=rf"^{tmp_path}/masks/\d{suffix}: .*{message}"):
        one(tmp_path, mask, **settings)


def test_sizes_that_differ(tmp_path):
    with pytest.raises(UnreadableError, match=r"^.*images/\d\.png: 2 x 3 pixels.*has 3 x 2"):
        one(tmp_path, np.zeros((3, 2), np.uint8))


def test_a_mask_belongs_to_its_image_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = np.array([[0, 1, 2], [2, 1, 0]], np.uint8).T
    texts(tmp_path)
    for stem in "12":
        pixels = np.full((2, 3, 3), 100 * int(stem), np.uint8)
        save(tmp_path / "images" / f"{stem}.jpg", pixels, exif=exif)
        save(tmp_path / "masks" / f"{stem}.png", mask)
    image, read = data.load(f"segmentation_folder:{tmp_path}", "test").read(0)
    assert image.shape == (3, 2, 3)
    np.testing.assert_array_equal(read, mask)


# ------------------------------------------------------------------------------------------ legends


def test_the_palette_of_a_mask_colors_the_legend(tmp_path):
    one(tmp_path, with_palette())
    domain = data.get_domain(f"segmentation_folder:{tmp_path}")
    assert domain.palette == ((200, 200, 200), (0, 0, 0), (90, 0, 0))
    texts(tmp_path, palette=["1 1 1", "2 2 2", "3 3 3"])
    domain = data.get_domain(f"segmentation_folder:{tmp_path}")
    assert domain.palette == ((1, 1, 1), (2, 2, 2), (3, 3, 3))


@pytest.mark.parametrize("first", ["gray", "short palette", "gray palette", "damaged"])
def test_without_a_palette_colors_are_made_up(first, tmp_path):
    texts(tmp_path)
    pairs(tmp_path)
    image = with_palette()
    if first.endswith("palette"):
        image.putpalette([1, 2, 3] if first == "short palette" else np.arange(256).repeat(3))
        save(tmp_path / "masks" / "00.png", image)
    elif first == "damaged":
        (tmp_path / "masks" / "00.png").write_bytes(b"no image")
    assert data.get_domain(f"segmentation_folder:{tmp_path}").palette == distinct_colors(3)


@pytest.mark.parametrize(("count", "apart"), [(8, 80), (20, 40), (255, 1)])
def test_made_up_colors_can_be_told_apart(count, apart):
    colors = np.array(distinct_colors(count))
    assert colors.shape == (count, 3) and colors.min() >= 0 and colors.max() <= 255
    distances = np.linalg.norm(colors[:, np.newaxis] - colors, axis=-1)
    assert distances[~np.eye(count, dtype=bool)].min() >= apart
    assert distinct_colors(count)[:5] == distinct_colors(5)


# ----------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.rename(f.parent / "elsewhere"), "there is no folder .*PATH/train/images"),
        (lambda f: (f / "train").rename(f / "Train"), "there is no folder .*/train"),
        (lambda f: (f / "test" / "images").rename(f / "i"), "there is no folder .*test/images"),
        (lambda f: [p.unlink() for p in (f / "val" / "images").iterdir()], "no images in .*val"),
        (lambda f: (f / "val" / "masks").rename(f / "m"), "but none .*val/masks"),
        (lambda f: (f / "classes.txt").unlink(), r"no file .*classes\.txt.*index 0, then"),
        (lambda f: (f / "train/masks/03.png").unlink(), r"images without a mask: 03\.bmp\."),
        (lambda f: (f / "train/images/03.bmp").unlink(), r"masks without an image: 03\.png\."),
        (
            lambda f: [(f / f"train/masks/{i:02d}.png").unlink() for i in range(1, 6)],
            r"images without a mask: 01\.bmp, 02\.bmp, 03\.bmp and 2 more\.",
        ),
        (
            lambda f: save(f / "train/images/03.png", INDICES),
            r"train/images has files of the same name.*: 03\.bmp, 03\.png\.",
        ),
        (
            lambda f: (f / "train/masks/03.png").rename(f / "train/masks/03.jpg"),
            r"masks 03\.jpg are JPEG",
        ),
    ],
)
def test_other_layouts(spoil, message, tmp_path):
    name = made(tmp_path / "data")
    spoil(tmp_path / "data")
    with pytest.raises(InputError, match=message):
        data.load(name, "train")


def test_masks_in_color_without_a_palette(tmp_path):
    with pytest.raises(InputError, match=r"masks in color, such as .*1\.png, need a file palette"):
        one(tmp_path, np.zeros((2, 3, 3), np.uint8))
    texts(tmp_path)
    save(tmp_path / "masks" / "1.png", INDICES)
    parts = [data.load(f"segmentation_folder:{tmp_path}", split) for split in ("train", "test")]
    with pytest.raises(UnreadableError, match=r"2\.png: a mask in color, and no palette"):
        [part.read(0) for part in parts]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["road"], "has 1 names, 1 of them different; expected 2 to 255"),
        (["road", "sky", "road"], "has 3 names, 2 of them different"),
        ([str(index) for index in range(256)], "has 256 names"),
        (["road", "", "sky"], "has an empty line"),
        (["road", "ignore: 4", "sky"], "has an empty line, or one after `ignore:`"),
        (["road", "sky", "ignore: four"], "has 'four'"),
        (["road", "sky", "ignore: 256"], "has '256'"),
        (["road", "sky", "ignore: -1"], "has '-1'"),
        (["road", "sky", "ignore:"], "has ''"),
        ([], "has 0 names"),
    ],
)
def test_classes_that_cannot_be_read(classes, message, tmp_path):
    name = made(tmp_path)
    texts(tmp_path, classes)
    with pytest.raises(InputError, match=rf"classes\.txt {message}.*the name of a class on each"):
        data.get_domain(name)


@pytest.mark.parametrize(
    ("palette", "message"),
    [
        (["0 0 0", "1 1 1"], "has 2 colors for 3 classes"),
        (["0 0 0", "1 1 1", "1 1 1"], "has a color twice"),
        (["0 0 0", "1 1 1", "2 2 2", "ignore: 0 0 0"], "has a color twice"),
        (["0 0 0", "1 1 1", "2 2 256"], "has '2 2 256'"),
        (["0 0 0", "1 1 1", "2 2"], "has '2 2'"),
        (["0 0 0", "1 1 1", "#ffffff"], "has '#ffffff'"),
        (["road 0 0 0", "car 1 1 1", "sky 2 2 2"], "names 'car' where classes.txt has 'sky'"),
        (["0 0 0", "1 1 1", "2 2 2", "ignore: 3"], "has '3'"),
    ],
)
def test_palettes_that_cannot_be_read(palette, message, tmp_path):
    name = made(tmp_path)
    texts(tmp_path, palette=palette)
    with pytest.raises(InputError, match=rf"palette\.txt {message}.*Expected a line `R G B`"):
        data.get_domain(name)


def test_text_files_as_windows_writes_them(tmp_path):
    name = made(tmp_path)
    (tmp_path / "classes.txt").write_bytes("\ufeffstraße\r\nsky \r\ncar\r\n\r\n".encode())
    assert data.get_domain(name).class_names == ("straße", "sky", "car")
    (tmp_path / "classes.txt").write_bytes("straße\nsky".encode("latin-1"))
    with pytest.raises(InputError, match=r"classes\.txt is not UTF-8"):
        data.get_domain(name)


def test_copies_of_an_image_are_not_on_both_sides_of_a_split(tmp_path):
    texts(tmp_path)
    pairs(tmp_path, 10)
    first = tmp_path / "images" / "00.bmp"
    for number in range(3, 8):
        (tmp_path / "images" / f"{number:02d}.bmp").write_bytes(first.read_bytes())
        mask = (tmp_path / "masks" / "00.png").read_bytes()
        (tmp_path / "masks" / f"{number:02d}.png").write_bytes(mask)
    for seed in range(5):
        storage = data.Storage(test_share=0.4, split_seed=seed)
        train, validation, test = (
            numbers(data.load(f"segmentation_folder:{tmp_path}", split, storage=storage))
            for split in data.SPLITS
        )
        assert not {*train, *validation} & set(test)
        assert len(train) + len(validation) + len(test) == 10


def test_an_example_is_known_by_its_image_and_its_mask(tmp_path):
    examples = data.load(made(tmp_path), "test")
    image, mask = (tmp_path / file.name for file in examples.reader.stored(0))
    assert image.parent.name == "images" and mask.parent.name == "masks"
    assert image.stem == mask.stem and image.exists() and mask.exists()
