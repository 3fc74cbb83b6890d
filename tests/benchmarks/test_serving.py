"""The benchmark of serving, shrunken: an untrained model, a few calls."""

import importlib.util
import json
import pathlib

import keras
import pytest

from keras_i2i.training.experiment import Experiment
from keras_i2i.training.run_directory import RunDirectory

pytestmark = pytest.mark.slow

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "serving.py"


@pytest.fixture(scope="module")
def serving():
    spec = importlib.util.spec_from_file_location("serving", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with an untrained classifier in its place."""
    experiment = Experiment(
        run_dir=str(tmp_path_factory.mktemp("runs") / "run"),
        method="source_only",
        source="printed_digits",
        target="handwritten_digits",
        image_size=16,
        encoder_width=0.1,
        ceiling=False,
    )
    run = RunDirectory.create(experiment)
    keras.utils.set_random_seed(0)
    experiment.build_classifier("source").save(run.model("source_only", 0))
    return run


@pytest.fixture(scope="module")
def result(serving, run, tmp_path_factory):
    """What the script writes; only onnxruntime, which starts at once, gets a process of its own."""
    real, out = serving.run_child, tmp_path_factory.mktemp("out") / "serving.json"

    def run_child(function, way, place, *arguments):
        if way == "onnxruntime":
            return real(function, way, place, *arguments)
        return getattr(serving, function)(way, place, *arguments, began=0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "run_child", run_child)
        serving.main(
            [f"--run={run.path}", "--images=20", "--seconds=0", "--starts=1", f"--out={out}"]
        )
    return json.loads(out.read_text())


def test_every_way_is_measured_and_agrees(serving, result):
    assert set(result["ways"]) == set(serving.WAYS)
    assert result["images"] == 20
    for way, found in result["ways"].items():
        moments = found["cold_start_seconds"]
        assert 0 <= moments["imported"] <= moments["loaded"] <= moments["answered"], way
        assert 0 < found["latency_ms"] <= found["latency_ms_p95"], way
        assert found["images_per_second"] > 0
        assert found["largest_difference"] < 1e-5, way
        assert found["accuracy"] == result["ways"]["model.classify"]["accuracy"], way
    assert result["ways"]["onnxruntime"]["cold_start_seconds"]["answered"] < 60


def test_sizes(result, run):
    sizes = result["megabytes"]
    assert set(sizes) == {"saved_model", "classify.onnx", "classify.tflite", "source_only.keras"}
    there = run.model("source_only", 0).stat().st_size / 1e6
    assert sizes["source_only.keras"] == pytest.approx(there, abs=1e-3)
    assert 0 < sizes["classify.onnx"] < sizes["saved_model"]


def test_the_table_has_a_line_for_each_way(serving, result):
    lines = serving.table(result).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:8]] == list(serving.WAYS)
    assert {line.count("|") for line in lines[:8]} == {7}
    assert "classify.onnx 0." in lines[-1]
