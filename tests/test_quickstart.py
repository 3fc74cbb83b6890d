"""The promise of the README's first command, kept in full. Minutes: `pytest -m slow`."""

import dataclasses
import pathlib

import pytest

from keras_i2i.training.flags import from_flagfile
from keras_i2i.training.train import train

CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "quickstart.cfg"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_adaptation_gains_at_least_20_points(tmp_path, seed):
    experiment = dataclasses.replace(
        from_flagfile(CONFIG), run_dir=str(tmp_path / "run"), seeds=[seed]
    )
    metrics = train(experiment)
    (before,) = metrics["source_only"]["target_test_accuracy"]
    (after,) = metrics["adapted"]["target_test_accuracy"]
    assert after - before >= 0.20
