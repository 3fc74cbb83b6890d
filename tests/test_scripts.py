"""`train.py` and `evaluate.py` as a user starts them."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from absl import flags as absl_flags
from PIL import Image
from serving.commands import run_in_process
from training.runs import nothing_drawn

from keras_i2i.training import main
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
SAID = ("TF_CPP_MIN_LOG_LEVEL", "TF_CPP_MAX_VLOG_LEVEL", "GRPC_VERBOSITY")
# Half of a run's time would go into t-SNE. TensorFlow is not imported before the command does it.
FEW_POINTS = """
import functools, runpy, sys
import keras_i2i_commands
from keras_i2i.training import main

def run_command(command):
    @functools.wraps(command)
    def of_few_points(problems):
        from keras_i2i.evaluation import evaluate
        evaluate.POINTS_PER_DOMAIN = 20
        command(problems)

    whole(of_few_points)

whole, main.run_command = main.run_command, run_command
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", FEW_POINTS, ROOT / script, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={
            # Other tests have told TensorFlow of this process to be quiet.
            **{name: os.environ[name] for name in os.environ if name not in SAID},
            "PYTHONIOENCODING": "utf-8",
            "CUDA_VISIBLE_DEVICES": "-1",
        },
    )


def finish(process):
    """Exit code, output and errors."""
    out, err = process.communicate(timeout=900)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the quickstart, shrunken, with everything drawn; and one that cannot start."""
    folder = tmp_path_factory.mktemp("scripts")
    quickstart = f"--flagfile={ROOT / 'configs' / 'quickstart.cfg'}"
    good = start("train.py", quickstart, f"--run_dir={folder / 'run'}", *SMALL)
    bad = start("train.py", "--source=mnits", "--batch_size=0", "--seeds=1,1")
    return {"dir": folder / "run", "good": finish(good), "bad": finish(bad)}


def test_help_lists_every_flag(monkeypatch):
    def help_instead(command, flags_parser):
        said.append(flags.main_module_help())
        sys.exit()

    flags, before, said = absl_flags.FLAGS, set(absl_flags.FLAGS), []
    monkeypatch.setattr(main.app, "run", help_instead)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit):
        main.train_main()
    for name in set(flags) - before:
        delattr(flags, name)
    (out,) = said
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
    drawn = {path.stem for path in (run["dir"] / "figures").glob("*.png") if path.stat().st_size}
    assert drawn >= {
        "tsne", "confusion", "per_class", "training",
        "translation_source_to_target", "translation_target_to_source",
    }  # fmt: skip
    assert "printed_digits → handwritten_digits" in out
    assert f"Report: {run['dir'] / 'report.html'}" in out


def test_training_lets_nobody_else_speak(run):
    _, _, err = run["good"]
    assert err == ""


def test_mistakes_end_in_a_list_of_them(run):
    code, out, err = run["bad"]
    assert code == 1
    assert "Traceback" not in err
    assert err.startswith("error: ")
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


def test_evaluating_in_another_process_gives_the_same_numbers(run):
    before = json.loads((run["dir"] / "metrics.json").read_text())
    with nothing_drawn():
        code, out, err = run_in_process(main.evaluate_main, f"--run={run['dir']}")
    assert (code, err) == (0, "")
    assert json.loads((run["dir"] / "metrics.json").read_text()) == before
    assert "Report: " in out


def test_a_users_image_is_read_and_translated(run, tmp_path):
    pixels = np.zeros((40, 50, 3), "uint8")
    pixels[8:32, 22:28] = 255
    Image.fromarray(pixels).save(tmp_path / "one.png")
    images = start(
        "evaluate.py", f"--run={run['dir']}", f"--images={tmp_path}/*.png", "--verbosity=1"
    )
    code, out, err = finish(images)
    assert code == 0, err
    assert "oneDNN" in err  # TensorFlow speaks again
    path = run["dir"] / "images" / "predictions.csv"
    assert out.rstrip().endswith(f"Predictions: {path}")
    (row,) = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    assert pathlib.Path(row["file"]).name == "one.png"
    assert row["predicted"] in "0123456789"
    assert 0.1 <= float(row["probability"]) <= 1
    (translation,) = (path.parent / "translations").iterdir()
    with Image.open(translation) as image:
        assert image.size[0] > 2 * image.size[1]
