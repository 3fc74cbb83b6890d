"""Every config: read as `train.py` reads it, and its model through a step and a file."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest
from absl import flags as absl_flags

from keras_i2i.training.experiment import Experiment
from keras_i2i.training.flags import define_experiment_flags

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
CONFIGS = sorted(FOLDER.glob("*.cfg"))
DIRECTIONS = ("source_to_target", "target_to_source")


@pytest.fixture
def read():
    """`read(path)`: the experiment of a config, through absl's own reading of flagfiles."""
    flags = absl_flags.FLAGS
    before = set(flags)
    read_experiment = define_experiment_flags()

    def read(path):
        flags.unparse_flags()
        flags(["train.py", f"--flagfile={path}"])
        return read_experiment()

    yield read
    for name in set(flags) - before:
        delattr(flags, name)
    flags.unparse_flags()


def test_there_are_configs_and_a_quickstart():
    assert FOLDER / "quickstart.cfg" in CONFIGS
    assert len(CONFIGS) > 1


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_an_experiment_with_a_folder_of_its_name(path, read):
    experiment = read(path)
    assert isinstance(experiment, Experiment)
    assert experiment.run_dir == f"runs/{path.stem}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_says_first_what_it_is_and_how_to_run_it(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    header = lines[: next(n for n, line in enumerate(lines) if not line.startswith("#"))]
    assert len(header) >= 3
    assert f"train.py --flagfile=configs/{path.name}" in "\n".join(header)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_flag_is_given_twice(path):
    names = [
        line.partition("=")[0]
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("--")
    ]
    assert len(names) == len(set(names))


def test_the_quickstart_needs_no_download(read):
    experiment = read(FOLDER / "quickstart.cfg")
    assert (experiment.source, experiment.target) == ("printed_digits", "handwritten_digits")


# Configs that differ in data or duration alone have the same model; it is tried once.
NOT_OF_THE_MODEL = (
    "source", "target", "run_dir", "data_dir", "seeds", "steps", "steps_per_epoch",
    "classifier_steps", "source_size", "target_size", "source_validation_size",
    "target_validation_size", "batch_size", "rotation", "scale", "translation",
    "encoder_width", "decoder_width", "discriminator_width", "ceiling", "keep_checkpoints",
)  # fmt: skip


def test_the_model_of_every_config_learns_a_step_and_survives_its_file(read, tmp_path):
    tried = {}
    for path in CONFIGS:
        experiment = read(path)
        fields = dataclasses.asdict(experiment)
        key = str({name: fields[name] for name in fields if name not in NOT_OF_THE_MODEL})
        if key not in tried:
            tried[key] = path.stem
            learn_and_reload(experiment, tmp_path / f"{path.stem}.keras")
    assert len(tried) >= 3


def learn_and_reload(experiment, path):
    small = dataclasses.replace(
        experiment, encoder_width=0.1, decoder_width=0.02, discriminator_width=0.02
    )
    keras.utils.set_random_seed(0)
    model = small.build_model(0)
    model.run_eagerly = True  # Tracing takes longer than the step.
    before = [np.array(variable) for variable in map(keras.ops.copy, model.trainable_variables)]
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 2, *small.image_shape)).astype("float32")
    losses = model.train_on_batch(
        {"source": x, "target": y}, rng.integers(0, small.num_classes, 2), return_dict=True
    )
    assert set(losses) >= {"loss", *model.terms}
    assert all(np.isfinite(value) for value in losses.values())
    assert not all(map(np.array_equal, before, (v.numpy() for v in model.trainable_variables)))

    model.save(path)
    again = keras.saving.load_model(path)
    for domain in ("source", "target"):
        np.testing.assert_array_equal(again.classify(y, domain), model.classify(y, domain))
    for direction in DIRECTIONS:
        np.testing.assert_array_equal(again.translate(y, direction), model.translate(y, direction))
