"""Makes two folders of real photographs without a download, to try `image_folder:` with.

    python examples/photo_folders.py FOLDER [--seed 0] [--train 150] [--test 40]

    FOLDER/day/train/CLASS/0000.jpg ...       labelled: the photographs as they are
    FOLDER/day/test/CLASS/0000.jpg ...
    FOLDER/dusk/train/0000.png ...            unlabelled: as a cheap camera sees them at dusk
    FOLDER/dusk/test/CLASS/0000.png ...       labelled, to measure with

The classes are five things in the three photographs that come with scikit-learn and matplotlib: a
flag, a flower, a pagoda, sky and trees. An image is a patch of one, of 60 to 160 pixels a side.
Patches for training and for the test are cut from disjoint regions of the photographs. Day and dusk
share the regions, but each draws patches of its own.

The photographs are china.jpg by danielbuechele and flower.jpg by vultilion, both from Flickr under
CC BY 2.0 (https://creativecommons.org/licenses/by/2.0), and grace_hopper.jpg, a portrait by the US
Navy in the public domain.
"""

import argparse
import pathlib
import sys

import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_image

# For each class its photograph, and the boxes that its patches are cut from: left, top, right,
# bottom, in pixels.
REGIONS = {
    "flag": {
        "photograph": "grace_hopper.jpg",
        "train": [(0, 137, 150, 345)],
        "test": [(0, 0, 165, 137)],
    },
    "flower": {
        "photograph": "flower.jpg",
        "train": [(172, 90, 325, 355)],
        "test": [(325, 95, 445, 340)],
    },
    "pagoda": {
        "photograph": "china.jpg",
        "train": [(90, 105, 215, 335)],
        "test": [(215, 105, 325, 335)],
    },
    "sky": {
        "photograph": "china.jpg",
        "train": [(0, 0, 150, 88), (330, 0, 640, 85)],
        "test": [(340, 85, 560, 195)],
    },
    "trees": {
        "photograph": "china.jpg",
        "train": [(0, 345, 90, 427), (400, 310, 500, 427), (578, 230, 640, 427)],
        "test": [(90, 350, 185, 427), (500, 295, 578, 427)],
    },
}
SHORTEST, LONGEST = 60, 160


def main(arguments=None):
    """Reads the command line and makes the folders."""
    parser = argparse.ArgumentParser(
        description="Makes two folders of real photographs without a download: FOLDER/day, "
        "labelled, and FOLDER/dusk, which has labels in its test part only."
    )
    parser.add_argument("folder", type=pathlib.Path, help="a new or empty folder")
    for option, default, least, meaning in (
        ("--seed", 0, 0, "the same seed gives the same files"),
        ("--train", 150, 1, "training images per class"),
        ("--test", 40, 1, "test images per class"),
    ):
        meaning = f"{meaning}; default: {default}"
        parser.add_argument(option, type=_at_least(least), default=default, help=meaning)
    given = parser.parse_args(arguments)
    if given.folder.exists() and not (given.folder.is_dir() and not any(given.folder.iterdir())):
        sys.exit(
            f"{given.folder} is there and not an empty folder; expected an empty or a new one. "
            "Give another name, or remove it first."
        )
    make_folders(given.folder, given.seed, given.train, given.test)
    print(f"Made {given.folder / 'day'} and {given.folder / 'dusk'}.")


def make_folders(folder, seed, train, test):
    """Writes `train` and `test` images per class to FOLDER/day and to FOLDER/dusk."""
    rng = np.random.default_rng(seed)
    photographs = load_photographs()

    def patch(name, split):
        return photographs[REGIONS[name]["photograph"]].crop(draw_box(rng, REGIONS[name][split]))

    for split, count in {"train": train, "test": test}.items():
        for name in REGIONS:
            for number in range(count):
                path = folder / "day" / split / name / f"{number:04d}.jpg"
                save(patch(name, split), path, quality=92)
    # Shuffled, so that a number tells nothing of the class.
    for number, name in enumerate(rng.permutation(np.repeat(list(REGIONS), train))):
        save(at_dusk(rng, patch(name, "train")), folder / "dusk" / "train" / f"{number:04d}.png")
    for name in REGIONS:
        for number in range(test):
            path = folder / "dusk" / "test" / name / f"{number:04d}.png"
            save(at_dusk(rng, patch(name, "test")), path)


def load_photographs():
    """Returns the photographs by file name, as RGB images."""
    with get_sample_data("grace_hopper.jpg") as file:
        photographs = {"grace_hopper.jpg": Image.open(file).convert("RGB")}
    for name in ("china.jpg", "flower.jpg"):
        photographs[name] = Image.fromarray(load_sample_image(name))
    return photographs


def draw_box(rng, regions):
    """Draws a box of any size and aspect that lies within one of the regions."""
    left, top, right, bottom = regions[rng.integers(len(regions))]
    width = rng.integers(SHORTEST, min(LONGEST, right - left), endpoint=True)
    height = rng.integers(SHORTEST, min(LONGEST, bottom - top), endpoint=True)
    x = rng.integers(left, right - width, endpoint=True)
    y = rng.integers(top, bottom - height, endpoint=True)
    return x, y, x + width, y + height


def at_dusk(rng, image):
    """Returns an RGB image as a cheap camera sees it at dusk; each one a little differently.

    In the order in which it comes about: a soft lens that darkens the corners, little light and
    that blue, a sensor with grain, and blacks that are gray.
    """
    soft = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 1.4)))
    light = np.asarray(soft, np.float32) / 255
    height, width, _ = light.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light *= (1 - rng.uniform(0.2, 0.5) * (x**2 + y**2) / 2)[..., None]
    light *= rng.uniform(0.45, 0.75) * rng.uniform((0.65, 0.8, 1), (0.85, 0.95, 1.15))
    light += rng.normal(0, rng.uniform(0.015, 0.04), light.shape)
    light += rng.uniform((0.06, 0.08, 0.14), (0.1, 0.12, 0.2))
    return Image.fromarray((255 * light.clip(0, 1)).round().astype(np.uint8))


def save(image, path, **options):
    """Writes an image file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def _at_least(least):
    def number(text):
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"got {value}; expected at least {least}")
        return value

    return number


if __name__ == "__main__":
    main()
