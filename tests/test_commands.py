"""The commands say what they know at once: they import Keras and the like only to do their work."""

import json
import pathlib
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
HEAVY = {
    "PIL", "keras", "keras_cv", "matplotlib", "scipy", "sklearn", "tensorflow",
    "tensorflow_datasets",
}  # fmt: skip

# In a process of its own, one for all: here, other tests have imported everything.
FRESH = """
import contextlib, io, json, pkgutil, runpy, sys
from absl import app, flags

app.define_help_flags()

def answered(command, *arguments):
    before, out = set(flags.FLAGS), io.StringIO()
    sys.argv = [command, *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            if command.endswith(".py"):
                runpy.run_path(command, run_name="__main__")
            else:
                pkgutil.resolve_name(command)()
        except SystemExit as end:
            code = end.code
    # A process runs one command; here the next declares flags of the same names.
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()
    loaded = sorted({name.partition(".")[0] for name in sys.modules})
    return {"code": code, "out": out.getvalue(), "loaded": loaded}

print(json.dumps([answered(*line) for line in json.loads(sys.argv[1])]))
"""
TRAIN, EVALUATE, EXPORT, LABEL = (
    SCRIPTS[f"keras-i2i-{name}"] for name in ("train", "evaluate", "export", "label")
)
LINES = {
    ("train.py", "--help"): (0, "--learning_rate: Adam's"),
    ("evaluate.py", "--help"): (0, "--run: The --run_dir of a training"),
    (TRAIN, "--help"): (0, "--learning_rate: Adam's"),
    (EVALUATE, "--help"): (0, "--run: The --run_dir of a training"),
    (EXPORT, "--help"): (0, "<saved_model|onnx|tflite>"),
    (EXPORT, "--helpshort"): (0, "Writes a run's model for servers: `keras-i2i-export --run"),
    (LABEL, "--help"): (0, "Names versions for TF Serving: `keras-i2i-label --base"),
    (TRAIN, "--list_configs"): (0, "quickstart.cfg"),
    (TRAIN, "--flagfile=quikstart.cfg"): (1, "Did you mean quickstart.cfg"),
    (EVALUATE, "--seed=many"): (1, "--seed must be an integer. Received: 'many'"),
    (EVALUATE, "--run=no/such/folder"): (1, "no/such/folder holds no run"),
    (EXPORT, "--run=runs/first"): (1, "--to is missing"),
    (LABEL, "--label=stable:1"): (1, "--base is missing"),
    (LABEL, "--base=served/digits", "--label=stable"): (1, "--label must read like stable:1"),
}


@pytest.fixture(scope="module")
def answers():
    done = subprocess.run(
        [sys.executable, "-c", FRESH, json.dumps(list(LINES))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(LINES, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_what_needs_no_keras_does_not_wait_for_it(line, answers):
    code, text = LINES[line]
    assert answers[line]["code"] == code
    assert text in answers[line]["out"]
    assert not HEAVY & set(answers[line]["loaded"])
