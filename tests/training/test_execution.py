"""Runs in half precision, several steps at a time, profiled: they resume as others do."""

import pytest
from tensorboard.backend.event_processing import plugin_asset_util
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from keras_i2i.training.experiment import Experiment
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.train import load_model

from .conftest import TINY, small_data
from .runs import Trained, assert_same_run, continue_quietly, interrupted_run

STEPS = ("source_only", "adapted")
FIELDS = {
    "preset": "fcns_in_the_wild",
    "mixed_precision": "float16",
    "clip_norm": 1.0,
    "ema_momentum": 0.5,
    "schedule": "linear",
    "steps_per_execution": 2,
    "steps_per_epoch": 4,
    "ceiling": False,
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """`start(**fields)`: an experiment in a folder of its own."""
    with small_data():
        yield lambda **fields: Experiment(
            **{**TINY, **FIELDS, "run_dir": str(tmp_path_factory.mktemp("runs") / "run"), **fields}
        )


@pytest.fixture(scope="module")
def finished(start):
    """A run of which the last two of four steps were profiled."""
    return Trained(start(profile="3,4"))


@pytest.mark.slow
def test_an_interrupted_run_ends_as_if_it_had_not_been(start, finished):
    experiment = start(checkpoint_steps=1)
    # Two steps come back to Python together, and are saved together, within the only epoch.
    run = interrupted_run(experiment, finished, ["source_only"], "adapted", epoch=0, batch=3)
    assert "adapted, seed 0: continuing from step 2." in continue_quietly(experiment)
    assert_same_run(run, finished, STEPS)


def test_the_flagfile_has_all_of_it(finished):
    flags = finished.flagfile.read_text().splitlines()
    assert {
        "--mixed_precision=float16", "--clip_norm=1.0", "--steps_per_execution=2",
        "--profile=3,4", "--jit_compile=false",
    } <= set(flags)  # fmt: skip


def test_a_saved_model_keeps_its_precision_and_scales(finished):
    model = load_model(finished, "adapted", 0)
    assert model.dtype_policy.name == "mixed_float16"
    for optimizer in (model.optimizer, model.discriminator_optimizer):
        assert 0 < float(optimizer.dynamic_scale) <= 2.0**15
        assert 0 <= int(optimizer.iterations.numpy()) <= 4
    assert int(model.optimizer.step_counter.numpy()) <= 4


def test_the_methods_steps_are_profiled_where_tensorboard_looks(finished):
    folder = finished.tensorboard("adapted", 0) / "train"
    assert "profile" in plugin_asset_util.ListPlugins(str(folder))
    (run,) = plugin_asset_util.ListAssets(str(folder), "profile")
    (file,) = (folder / "plugins" / "profile" / run.rstrip("/")).glob("*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(file.read_bytes())
    names = {event.name for plane in space.planes for event in plane.event_metadata.values()}
    assert {"Profiled batch", "multi_step_on_iterator"} <= names
    assert any("MatMul" in name for name in names)
    assert not (finished.tensorboard("source_only", 0) / "train" / "plugins").exists()


def test_another_profile_is_no_other_run(start, finished):
    RunDirectory.create(start(run_dir=str(finished.path), profile=""))
    RunDirectory.create(start(run_dir=str(finished.path), profile="3,4"))
