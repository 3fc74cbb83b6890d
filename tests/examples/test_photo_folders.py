import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_i2i import data

SCRIPT = pathlib.Path(__file__).parents[2] / "examples" / "photo_folders.py"
CLASSES = ("flag", "flower", "pagoda", "sky", "trees")
TRAIN, TEST = 3, 2


def load_script():
    spec = importlib.util.spec_from_file_location("photo_folders", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


photo_folders = load_script()
REGIONS = [
    pytest.param(name, split, region, id=f"{name}-{split}-{i}")
    for name, of_class in photo_folders.REGIONS.items()
    for split in ("train", "test")
    for i, region in enumerate(of_class[split])
]


def make(folder, seed=0):
    photo_folders.main([str(folder), f"--seed={seed}", f"--train={TRAIN}", f"--test={TEST}"])
    return folder


def contents(folder):
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def read(file):
    with Image.open(file) as image:
        assert image.mode == "RGB"
        return np.asarray(image).astype(float)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("photos"))  # Empty, which is allowed.


def test_layout(made):
    expected = {f"dusk/train/{i:04d}.png" for i in range(TRAIN * len(CLASSES))}
    for name in CLASSES:
        expected |= {f"day/train/{name}/{i:04d}.jpg" for i in range(TRAIN)}
        expected |= {f"day/test/{name}/{i:04d}.jpg" for i in range(TEST)}
        expected |= {f"dusk/test/{name}/{i:04d}.png" for i in range(TEST)}
    assert set(contents(made)) == expected


def test_the_seed_alone_decides(made, tmp_path):
    first = contents(made)
    assert contents(make(tmp_path / "new" / "again")) == first
    other = contents(make(tmp_path / "other", seed=1))
    assert other.keys() == first.keys()
    assert all(other[name] != first[name] for name in first)


def test_no_image_twice(made):
    pixels = [read(made / name).tobytes() for name in contents(made)]
    assert len(set(pixels)) == len(pixels)


def test_sizes_vary_within_bounds(made):
    sizes = [read(made / name).shape[:2] for name in contents(made)]
    assert np.min(sizes) >= 60 and np.max(sizes) <= 160
    assert len(set(sizes)) > len(sizes) / 2


@pytest.mark.parametrize(("name", "split", "region"), REGIONS)
def test_a_region_lies_in_its_photograph_and_holds_a_patch(name, split, region):
    photograph = photo_folders.load_photographs()[photo_folders.REGIONS[name]["photograph"]]
    left, top, right, bottom = region
    assert left >= 0 and right <= photograph.width and right - left >= photo_folders.SHORTEST
    assert top >= 0 and bottom <= photograph.height and bottom - top >= photo_folders.SHORTEST


@pytest.mark.parametrize("file", ["china.jpg", "flower.jpg", "grace_hopper.jpg"])
def test_no_pixel_is_in_two_regions_of_different_parts_or_classes(file):
    photograph = photo_folders.load_photographs()[file]
    times = np.zeros((photograph.height, photograph.width), int)
    for of_class in photo_folders.REGIONS.values():
        if of_class["photograph"] == file:
            for split in ("train", "test"):
                inside = np.zeros_like(times)
                for left, top, right, bottom in of_class[split]:
                    inside[top:bottom, left:right] = 1
                times += inside
    assert times.max() == 1


def test_boxes_fill_a_region_and_do_not_leave_it():
    regions = [(10, 20, 80, 300), (200, 0, 260, 60)]
    boxes = np.array(
        [photo_folders.draw_box(np.random.default_rng(i), regions) for i in range(500)]
    )
    first = boxes[boxes[:, 0] < 200]
    second = boxes[boxes[:, 0] >= 200]
    assert 150 < len(first) < 350
    np.testing.assert_array_equal(second, np.tile(regions[1], (len(second), 1)))
    assert (first[:, :2].min(0) == (10, 20)).all()
    np.testing.assert_allclose(first[:, 2:].max(0), (80, 300), atol=2)
    assert (first[:, 2:] <= (80, 300)).all()
    assert (first[:, 3] - first[:, 1]).max() <= 160


def test_day_is_the_photograph(made):
    """A patch of the sky: pale, and brighter than one of the trees."""
    means = {
        name: np.mean([read(file).mean() for file in (made / "day" / "train" / name).iterdir()])
        for name in CLASSES
    }
    assert means["sky"] > 180 > means["flower"] > means["trees"]


def test_dusk_is_darker_bluer_and_of_less_contrast():
    photograph = photo_folders.load_photographs()["china.jpg"]
    before = np.asarray(photograph).astype(float)
    for seed in range(5):
        image = photo_folders.at_dusk(np.random.default_rng(seed), photograph)
        after = np.asarray(image).astype(float)
        assert after.shape == before.shape and image.mode == "RGB"
        assert after.mean() < 0.85 * before.mean()
        assert after.std((0, 1)).mean() < 0.85 * before.std((0, 1)).mean()
        red, _, blue = after.mean((0, 1)) - before.mean((0, 1))
        assert blue > red
        assert after[..., 2].min() > before[..., 2].min()
    other = photo_folders.at_dusk(np.random.default_rng(0), photograph)
    assert other != image


def test_day_is_a_labelled_domain(made):
    domain = data.get_domain(f"image_folder:{made / 'day'}")
    assert domain.class_names == CLASSES
    train = domain.load("train", validation_size=0)
    test = domain.load("test")
    assert np.bincount(train.labels).tolist() == [TRAIN] * len(CLASSES)
    assert np.bincount(test.labels).tolist() == [TEST] * len(CLASSES)
    assert train.channels == 3
    image, label = test.read(0)
    assert image.dtype == np.uint8 and 0 <= label < len(CLASSES)


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("mine")
    for given in (tmp_path, note):
        done = subprocess.run(
            [sys.executable, SCRIPT, given], capture_output=True, text=True, encoding="utf-8"
        )
        assert done.returncode == 1
        assert done.stderr.startswith(f"{given} is there and not an empty folder; expected")
        assert len(done.stderr.splitlines()) == 1
    assert contents(tmp_path) == {"note.txt": b"mine"}


@pytest.mark.parametrize("option", ["--train=0", "--test=-1", "--seed=-1", "--train=many"])
def test_numbers_out_of_range_are_refused(tmp_path, option, capsys):
    with pytest.raises(SystemExit):
        photo_folders.main([str(tmp_path / "new"), option])
    assert option.split("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
