"""A folder of image files with masks as a domain, `segmentation_folder:PATH`.

    PATH/classes.txt
    PATH/palette.txt                                             if masks are colors
    PATH/train/images/any_name.jpg ...    or to have it split    PATH/images/any_name.jpg ...
    PATH/train/masks/any_name.png ...                            PATH/masks/any_name.png ...
    PATH/val/images ... PATH/val/masks ...
    PATH/test/images ... PATH/test/masks ...

How `train`, `val` and `test` are called, may be missing and are made is told in `image_folder`; a
split is drawn here without regard to classes. Without any `masks` folder the domain is unlabelled,
and needs neither of the text files. `masks` may also be missing in `train` alone, as those of a
target often are; then `val` has some or not, as you like.

`classes.txt` has the name of a class on each line: first that of index 0, then that of index 1.
After them may come lines `ignore: N`. A pixel of index 255 or N counts for nothing.

    road
    sky
    ignore: 7

A mask has the name of its image, but for the ending, and its height and width, the image turned as
its EXIF orientation says. It is stored without loss, mostly as PNG, and gives each pixel's class

- by index: gray of 1 to 16 bits, or colors by palette, of which the stored index counts, or
- by color: RGB, where `palette.txt` tells the colors.

`palette.txt` has a line `R G B` or `NAME R G B` for each line of `classes.txt`, in that order, each
number from 0 to 255. After them may come lines `ignore: R G B`. Figures show these colors too.
"""

from __future__ import annotations

import colorsys
import contextlib
import dataclasses
import functools
from pathlib import Path

import numpy as np
from PIL import Image

from keras_i2i.data.domain import Domain
from keras_i2i.data.examples import IGNORED, Reader, StoredExamples, Unreadable, UnreadableError
from keras_i2i.data.image_files import (
    common_channels,
    file_key,
    find_image_files,
    opened,
    read_image,
    stored_file,
)
from keras_i2i.data.image_folder import (
    check_image_count,
    find_parts,
    split_apart,
    subfolders,
    train_may_lack_labels,
)
from keras_i2i.data.storage import Storage, mixed
from keras_i2i.errors import InputError

PREFIX = "segmentation_folder:"

_LAYOUT = (
    "Expected PATH/classes.txt, PATH/train/images, PATH/train/masks, PATH/test/images and "
    "PATH/test/masks, or PATH/classes.txt, PATH/images and PATH/masks to have it split. Images "
    "without labels have no masks: all of them, or, beside labelled ones in PATH/test, those in "
    "PATH/train."
)
_CLASSES_FORMAT = (
    "Expected the name of a class on each line, first that of index 0, then that of index 1 and so "
    "on, no line empty; after them, if need be, lines `ignore: N` with an index that counts for "
    "nothing. Index 255 always does."
)
_PALETTE_FORMAT = (
    "Expected a line `R G B` or `NAME R G B` for each class of classes.txt, in its order, each "
    "number from 0 to 255, no color twice; after them, if need be, lines `ignore: R G B` with a "
    "color that counts for nothing."
)
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")
_NAMED = 3


def domain(name: str, storage: Storage | None = None) -> Domain:
    """Returns the domain `segmentation_folder:PATH`.

    Names of folders, the text files and one mask's palette are read now; the rest waits for `load`.
    Without a folder for it the validation split is 10,000 images, but at most a sixth of those for
    training.

    Args:
        name: "segmentation_folder:" and a path, absolute or from the working directory; ~ is the
            home.
        storage: its `test_share` and `split_seed` cut a folder without a test part; None for the
            defaults.

    Returns:
        A domain called `name`. Its palette is that of `palette.txt`, else that of its first mask,
        else one of distinct colors. Splits without masks have examples without labels; if none has
        any, its `class_names` are ().

    Raises:
        InputError: a folder is missing, holds no images or too few to be split, masks are missing
            where they may not, or a text file is missing or has another format. While reading a
            split: images and masks do not belong together by their names.
    """
    parts = find_parts(name, PREFIX, _LAYOUT)
    for split, part in parts.items():
        images = part / "images"
        if not images.is_dir():
            raise InputError(f"{name}: there is no folder {images}. {_LAYOUT}")
        needed = 2 if split == "train" and "test" not in parts else 1
        check_image_count(name, images, needed, _LAYOUT)
    masked = {split for split, part in parts.items() if "masks" in subfolders(part)}
    if masked and masked != set(parts) and not train_may_lack_labels(masked):
        given = next(part for split, part in parts.items() if split in masked)
        without = next(part for split, part in parts.items() if split not in masked)
        raise InputError(
            f"{name}: there is a folder {given / 'masks'}, but none {without / 'masks'}. Give "
            "masks to all splits, to none, or to `test` and not to `train`."
        )
    path = Path(name.removeprefix(PREFIX)).expanduser()
    legend = _read_legend(name, path) if masked else None
    labelled = "test" if train_may_lack_labels(masked) else "train"
    return Domain(
        name=name,
        class_names=legend.class_names if legend else (),
        image_shape=None,
        read=functools.partial(_read, name, parts, masked, legend, storage or Storage()),
        validation_size=10_000,
        validation_share=1 / 6,
        has_masks=bool(masked),
        palette=_palette(name, legend, parts[labelled]) if legend else None,
        own_validation="validation" in parts,
        labelled_train=labelled == "train",
    )


def distinct_colors(count: int) -> tuple[tuple[int, int, int], ...]:
    """Returns as many RGB colors as wished, from 0 to 255, no two alike, the same every time."""
    colors: dict[tuple[int, int, int], None] = {}
    number = 0
    while len(colors) < count:
        # Hues in steps of the golden ratio never come near an earlier one soon.
        hue, row = number * 0.618034 % 1, number // 8
        value, saturation = (1, 0.65, 0.85)[row % 3], (0.85, 0.9, 0.4)[row % 3]
        color = colorsys.hsv_to_rgb(hue, saturation, value)
        colors.setdefault(tuple(round(255 * part) for part in color))
        number += 1
    return tuple(colors)


@dataclasses.dataclass(frozen=True)
class _Legend:
    """What a mask's indices and colors mean.

    Attributes:
        class_names: one per index.
        ignored: indices that count for nothing.
        colors: one per index; None without `palette.txt`.
        ignored_colors: colors that count for nothing.
    """

    class_names: tuple[str, ...]
    ignored: tuple[int, ...]
    colors: tuple[tuple[int, int, int], ...] | None = None
    ignored_colors: tuple[tuple[int, int, int], ...] = ()

    # In these tables 0 stands for what is unknown, and everything else is one more than in a mask.

    @functools.cached_property
    def by_index(self) -> np.ndarray:
        table = np.zeros(2**16, np.uint16)
        table[: len(self.class_names)] = np.arange(len(self.class_names)) + 1
        table[[*self.ignored, IGNORED]] = IGNORED + 1
        return table

    @functools.cached_property
    def by_color(self) -> np.ndarray:
        table = np.zeros(2**24, np.uint16)
        for index, (red, green, blue) in enumerate(self.colors):
            table[red | green << 8 | blue << 16] = self.by_index[index]
        for red, green, blue in self.ignored_colors:
            table[red | green << 8 | blue << 16] = IGNORED + 1
        return table

    def read_mask(self, path: Path) -> np.ndarray:
        """Reads a mask: uint8 (h, w), classes or `IGNORED`. Raises `UnreadableError`."""
        with opened(path) as image:
            if image.mode in ("RGB", "RGBA"):
                if self.colors is None:
                    raise UnreadableError(
                        f"{path}: a mask in color, and no palette.txt tells what the colors mean. "
                        f"{_PALETTE_FORMAT}"
                    )
                # Four bytes, as one number; the alpha is left out.
                codes = np.asarray(image.convert("RGBA")).view("<u4")[..., 0] & 0xFFFFFF
                table = self.by_color
            else:
                codes, table = _indices(path, image), self.by_index
        found = table[codes]
        if not found.all():
            values, counts = np.unique(codes[found == 0], return_counts=True)
            most = counts.argmax()
            raise UnreadableError(f"{path}: {self._unknown(table, values[most], counts[most])}")
        return (found - 1).astype(np.uint8)

    def _unknown(self, table, value, count) -> str:
        pixels = f"{count} pixel{'s' if count > 1 else ''}"
        if table is self.by_index:
            return (
                f"index {value} in {pixels}; expected 0 to {len(self.class_names) - 1}, as "
                f"classes.txt has {len(self.class_names)} classes, or one that is ignored"
            )
        color = " ".join(str(value >> shift & 255) for shift in (0, 8, 16))
        return f"color {color} in {pixels}, which is not in palette.txt"


def _indices(path: Path, image: Image.Image) -> np.ndarray:
    """The indices that a file stores: unsigned, (h, w)."""
    if image.mode in ("1", "P"):
        return np.asarray(image).astype(np.uint8)
    if image.mode == "L":
        # Pillow stretches gray of 2 and 4 bits to 0..255.
        stored = str(image.tile[0].args) if image.tile else ""
        stretched = 85 if "L;2" in stored else 17 if "L;4" in stored else 1
        return np.asarray(image) // np.uint8(stretched)
    if image.mode.startswith("I"):
        values, most = np.asarray(image), 2**16 - 1
        return np.where((values < 0) | (values > most), most, values).astype(np.uint16)
    raise UnreadableError(
        f"{path}: an image of mode {image.mode}; expected gray, a palette or RGB, without loss"
    )


def _read_lines(name: str, path: Path, expected: str) -> tuple[list[str], list[str]]:
    """Returns the lines of a text file, and what comes after `ignore:` in its last ones."""
    if not path.is_file():
        raise InputError(f"{name}: there is no file {path}. {expected}")
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{name}: {path} is not UTF-8 text. {expected}") from None
    lines = [line.strip() for line in lines]
    ignored = [line.removeprefix("ignore:") for line in lines if line.startswith("ignore:")]
    entries = lines[: len(lines) - len(ignored)]
    if not all(entries) or any(line.startswith("ignore:") for line in entries):
        raise InputError(f"{name}: {path} has an empty line, or one after `ignore:`. {expected}")
    return entries, ignored


def _numbers(name: str, path: Path, texts: list[str], count: int, expected: str):
    """Each text's `count` numbers from 0 to 255, as a tuple of tuples."""
    result = []
    for text in texts:
        parts = text.split()
        if len(parts) != count or not all(p.isdecimal() and int(p) < 256 for p in parts):
            raise InputError(f"{name}: {path} has {text.strip()!r}. {expected}")
        result.append(tuple(map(int, parts)))
    return tuple(result)


def _read_legend(name: str, folder: Path) -> _Legend:
    path = folder / "classes.txt"
    classes, ignored = _read_lines(name, path, _CLASSES_FORMAT)
    if not 2 <= len(classes) <= IGNORED or len(set(classes)) < len(classes):
        raise InputError(
            f"{name}: {path} has {len(classes)} names, {len(set(classes))} of them different; "
            f"expected 2 to {IGNORED}, all different. {_CLASSES_FORMAT}"
        )
    indices = _numbers(name, path, ignored, 1, _CLASSES_FORMAT)
    legend = _Legend(tuple(classes), tuple(index for (index,) in indices))
    path = folder / "palette.txt"
    if not path.exists():
        return legend
    lines, ignored = _read_lines(name, path, _PALETTE_FORMAT)
    names = [" ".join(line.split()[:-3]) for line in lines]
    expected_names = [" ".join(class_name.split()) for class_name in classes]
    colors = _numbers(
        name, path, [" ".join(line.split()[-3:]) for line in lines], 3, _PALETTE_FORMAT
    )
    ignored_colors = _numbers(name, path, ignored, 3, _PALETTE_FORMAT)
    if len(colors) != len(classes):
        raise InputError(
            f"{name}: {path} has {len(colors)} colors for {len(classes)} classes. {_PALETTE_FORMAT}"
        )
    for given, class_name in zip(names, expected_names, strict=True):
        if given not in ("", class_name):
            raise InputError(
                f"{name}: {path} names {given!r} where classes.txt has {class_name!r}. "
                f"{_PALETTE_FORMAT}"
            )
    if len({*colors, *ignored_colors}) < len(colors) + len(ignored_colors):
        raise InputError(f"{name}: {path} has a color twice. {_PALETTE_FORMAT}")
    return dataclasses.replace(legend, colors=colors, ignored_colors=ignored_colors)


def _palette(name: str, legend: _Legend, part: Path) -> tuple[tuple[int, int, int], ...]:
    """The legend's colors, else those that the first mask has for the classes, else any."""
    if legend.colors:
        return legend.colors
    count, colors = len(legend.class_names), ()
    for file in find_image_files(part / "masks")[:1]:
        with contextlib.suppress(UnreadableError), opened(file) as image:
            if image.mode == "P":
                flat = image.getpalette()[: 3 * count]
                colors = tuple(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
            elif image.mode in ("RGB", "RGBA"):
                raise InputError(
                    f"{name}: masks in color, such as {file}, need a file palette.txt beside "
                    f"classes.txt. {_PALETTE_FORMAT}"
                )
    # A palette that merely repeats the indices as gray would show nothing.
    usable = len(set(colors)) == count and colors != tuple((i, i, i) for i in range(count))
    return colors if usable else distinct_colors(count)


def _read(name, parts, masked, legend, storage, split, data_dir) -> StoredExamples:
    del data_dir  # The images lie where the name says.
    root = Path(name.removeprefix(PREFIX)).expanduser()
    pairs = _list(name, parts["train"], "train" in masked)
    channels = common_channels([image for image, _ in pairs])
    home = split if split in parts else "train"
    if home != "train":
        pairs = _list(name, parts[home], home in masked)
    positions = np.arange(len(pairs))
    if home == "train" and "test" not in parts:
        images = [image for image, _ in pairs]
        train, test = split_apart(name, storage, images, np.zeros(len(pairs)))
        positions = train if split == "train" else test
    positions = positions[mixed(np.zeros(len(positions)))]
    pairs = [pairs[position] for position in positions]
    legend = legend if home in masked else None

    def image_and_mask(position: int) -> tuple[np.ndarray, np.ndarray]:
        image_file, mask_file = pairs[position]
        image, mask = read_image(image_file, channels), legend.read_mask(mask_file)
        if image.shape[:2] != mask.shape:
            sizes = [f"{height} x {width}" for height, width in (image.shape[:2], mask.shape)]
            raise UnreadableError(
                f"{image_file}: {sizes[0]} pixels, but its mask {mask_file} has {sizes[1]}"
            )
        return image, mask

    def key(position: int) -> str:
        return "\n".join([repr(legend), *(file_key(file) for file in pairs[position] if file)])

    reader = Reader(
        image=lambda position: read_image(pairs[position][0], channels),
        channels=channels,
        unreadable=Unreadable(storage.max_unreadable, name),
        image_and_mask=image_and_mask if legend else None,
        key=key,
        stored=lambda position: tuple(stored_file(f, root) for f in pairs[position] if f),
    )
    return StoredExamples(reader, np.arange(len(pairs)), labelled=legend is not None)


def _list(name: str, part: Path, masked: bool) -> list[tuple[Path, Path | None]]:
    """Returns each image file of a split with its mask's, sorted by name."""
    images = _by_stem(name, part / "images")
    if not masked:
        return [(file, None) for file in images.values()]
    masks = _by_stem(name, part / "masks")
    lossy = [file for file in masks.values() if file.suffix.lower() in _LOSSY]
    if lossy:
        raise InputError(
            f"{name}: the masks {_named(lossy)} are JPEG files, which change the classes along "
            "their borders. Export them as PNG."
        )
    alone = [file for stem, file in images.items() if stem not in masks]
    idle = [file for stem, file in masks.items() if stem not in images]
    if alone or idle:
        problems = [f"images without a mask: {_named(alone)}"] * bool(alone)
        problems += [f"masks without an image: {_named(idle)}"] * bool(idle)
        raise InputError(
            f"{name}: {part} has {'; '.join(problems)}. A mask has the name of its image, but for "
            "the ending. Rename or remove them."
        )
    return [(file, masks[stem]) for stem, file in images.items()]


def _by_stem(name: str, folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    twice = []
    for file in find_image_files(folder):
        if files.setdefault(file.stem, file) != file:
            twice += [files[file.stem], file]
    if twice:
        raise InputError(
            f"{name}: {folder} has files of the same name, but for the ending: {_named(twice)}. A "
            "mask belongs to the image of its name; rename or remove one of each."
        )
    return files


def _named(files: list[Path]) -> str:
    """The first few names, and how many there are in all."""
    names = ", ".join(file.name for file in files[:_NAMED])
    return names if len(files) <= _NAMED else f"{names} and {len(files) - _NAMED} more"
