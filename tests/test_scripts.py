"""`train.py` and `evaluate.py` as a user starts them."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_i2i.training.experiment import Experiment

ROOT = pathlib.Path(__file__).parents[1]
SMALL = [
    "--image_size=16",
    "--batch_size=4",
    "--steps=2",
    "--steps_per_epoch=1",
    "--classifier_steps=1",
    "--encoder_width=0.1",
    "--decoder_width=0.02",
    "--discriminator_width=0.02",
    "--image_objective=least_squares",  # The quickest to trace.
    "--noceiling",
]


def start(script, *arguments):
    return subprocess.Popen(
        [sys.executable, ROOT / script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "CUDA_VISIBLE_DEVICES": "-1"},
    )


def finish(process):
    """Exit code, output and errors."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the quickstart, shrunken; at the same time one that cannot start, and `--help`."""
    folder = tmp_path_factory.mktemp("scripts")
    quickstart = f"--flagfile={ROOT / 'configs' / 'quickstart.cfg'}"
    good = start("train.py", quickstart, f"--run_dir={folder / 'run'}", *SMALL)
    bad = start("train.py", "--source=mnits", "--batch_size=0", "--seeds=1,1")
    asked = start("train.py", "--help")
    finished = {"good": finish(good), "bad": finish(bad), "asked": finish(asked)}
    return {"dir": folder / "run", **finished}


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
    """The run evaluated again, and a user's image read with it, at the same time."""
    photos = tmp_path_factory.mktemp("photos")
    pixels = np.zeros((40, 50, 3), "uint8")
    pixels[8:32, 22:28] = 255
    Image.fromarray(pixels).save(photos / "one.png")
    before = json.loads((run["dir"] / "metrics.json").read_text())
    again = start("evaluate.py", f"--run={run['dir']}")
    images = start("evaluate.py", f"--run={run['dir']}", f"--images={photos}/*.png")
    return {"before": before, "again": finish(again), "images": finish(images)}


def test_help_lists_every_flag(run):
    _, out, _ = run["asked"]
    for name in (*Experiment.__dataclass_fields__, "only"):
        assert f"--{name}:" in out or f"--[no]{name}:" in out


def test_training_ends_well_and_leaves_its_files(run):
    code, out, err = run["good"]
    assert code == 0, err
    assert "Traceback" not in err
    metrics = json.loads((run["dir"] / "metrics.json").read_text())
    assert metrics["method"] == "i2i_adapt"
    for name in ("flags.cfg", "model.keras", "source_only.keras", "report.html"):
        assert (run["dir"] / name).stat().st_size > 0
    assert "printed_digits → handwritten_digits" in out
    assert f"Report: {run['dir'] / 'report.html'}" in out


def test_training_warns_of_nothing(run):
    _, _, err = run["good"]
    assert "Warning:" not in err
    assert "remapper" not in err


def test_mistakes_end_in_a_list_of_them(run):
    code, out, err = run["bad"]
    assert code == 1
    assert "Traceback" not in err
    assert "error: " in err
    for part in (
        "--source: Got domain 'mnits'",
        "Did you mean mnist?",
        "--target: ",
        "--batch_size must be at least 1. Received: 0",
        "--seeds must be different numbers ≥ 0. Received: [1, 1]",
        "--run_dir is missing",
    ):
        assert part in err
    assert out == ""


def test_evaluating_again_gives_the_same_numbers(run, evaluated):
    code, out, err = evaluated["again"]
    assert code == 0, err
    assert json.loads((run["dir"] / "metrics.json").read_text()) == evaluated["before"]
    assert "Report: " in out


def test_a_users_image_is_read_and_translated(run, evaluated):
    code, out, err = evaluated["images"]
    assert code == 0, err
    path = run["dir"] / "images" / "predictions.csv"
    assert out.rstrip().endswith(f"Predictions: {path}")
    (row,) = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    assert pathlib.Path(row["file"]).name == "one.png"
    assert row["predicted"] in "0123456789"
    assert 0.1 <= float(row["probability"]) <= 1
    (translation,) = (path.parent / "translations").iterdir()
    with Image.open(translation) as image:
        assert image.size[0] > 2 * image.size[1]
