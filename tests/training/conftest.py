"""Tiny runs: 16x16 digits that come with the libraries, networks of a few filters, a few steps."""

import contextlib
import dataclasses

import keras
import pytest
from absl import flags as absl_flags

from keras_i2i import data
from keras_i2i.training import train as train_module
from keras_i2i.training import watching
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.methods import READ_BY

TRAIN_IMAGES, TEST_IMAGES = 300, 40
TINY = {
    "source": "printed_digits",
    "target": "handwritten_digits",
    "run_dir": "runs/tiny",
    "image_size": 16,
    "batch_size": 4,
    "steps": 4,
    "steps_per_epoch": 2,
    "classifier_steps": 4,
    "encoder_width": 0.1,
    "decoder_width": 0.02,
    "discriminator_width": 0.02,
}
# Two epochs, the least that can be interrupted and continued.
BRIEF = {"steps": 2, "steps_per_epoch": 1, "classifier_steps": 2}


def tiny(**fields):
    """The fields of a tiny `Experiment`, also of another method than I2I-Adapt."""
    usual = dict(TINY)
    if fields.get("method") in READ_BY["generator_width"]:
        usual["generator_width"] = usual.pop("decoder_width")
    return {**usual, **fields}


@contextlib.contextmanager
def small_data(target_labels=lambda labels: labels, target_test_labels=lambda labels: labels):
    """A few images of each domain, also in curves and grids.

    Args:
        target_labels: what becomes of the target's *training* labels.
        target_test_labels: what becomes of its test labels.
    """

    def domain(name, labels=lambda labels: labels, test_labels=lambda labels: labels):
        whole = data.get_domain(name)

        def read(split, data_dir):
            if split == "test":
                examples = whole.read(split, data_dir).take(TEST_IMAGES)
                return data.Examples(examples.images, test_labels(examples.labels))
            examples = whole.read(split, data_dir).take(TRAIN_IMAGES)
            return data.Examples(examples.images, labels(examples.labels))

        return dataclasses.replace(whole, read=read)

    source = domain(TINY["source"])
    target = domain(TINY["target"], target_labels, target_test_labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.DOMAINS, source.name, source)
        patch.setitem(data.DOMAINS, target.name, target)
        patch.setattr(watching, "_CURVE_IMAGES", 10)
        patch.setattr(watching, "_GRID_IMAGES", 3)
        patch.setattr(watching, "_MONITOR_IMAGES", 20)
        patch.setattr(watching, "_VALIDATOR_IMAGES", 12)
        patch.setattr(train_module, "_WEIGHT_IMAGES", 50)
        yield


@pytest.fixture
def make_experiment():
    """`make_experiment(**fields)`: a tiny `Experiment`."""
    return lambda **fields: Experiment(**tiny(**fields))


@pytest.fixture
def fresh_flags():
    """Absl's flags; those that a test declares are gone after it."""
    flags = absl_flags.FLAGS
    before = set(flags)
    yield flags
    for name in set(flags) - before:
        delattr(flags, name)
    flags.unparse_flags()


@pytest.fixture
def make_model(make_experiment):
    """`make_model(seed)`: all of I2I-Adapt, with averaged weights: every kind of state there is."""

    def make_model(seed=0):
        keras.utils.set_random_seed(seed)
        experiment = make_experiment(ema_momentum=0.9, schedule="cosine", steps=8)
        return experiment.build_model(seed)

    return make_model
