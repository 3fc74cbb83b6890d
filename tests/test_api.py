"""The top level: what a notebook needs, and no more."""

import inspect
import json
import subprocess
import sys

import pytest

import keras_i2i

LATER = {"Experiment", "export_run", "load_run", "show", "train"}

# In a process of its own: here, other tests have imported everything.
FRESH = """
import json, random, sys
import keras, matplotlib, numpy, tensorflow
from absl import flags

def state():
    return repr([
        sorted(flags.FLAGS), keras.config.dtype_policy().name, keras.config.floatx(),
        random.getstate(), numpy.random.get_state(), dict(matplotlib.rcParams),
        matplotlib.get_backend(auto_select=False),
    ])

def own():
    return sorted(name for name in sys.modules if name.startswith("keras_i2i."))

before, modules = state(), set(sys.modules)
import keras_i2i
after, light = state(), own()
new = {name.partition(".")[0] for name in set(sys.modules) - modules}
saved = sorted(name for name in keras.saving.get_custom_objects() if name.startswith("keras_i2i>"))
listed = dir(keras_i2i)
for name in listed:
    getattr(keras_i2i, name)
print(json.dumps({
    "untouched": before == after, "untouched later": before == state(),
    "light": light, "new": sorted(new), "all": own(), "listed": listed, "saved": saved,
    "saved later": sorted(
        name for name in keras.saving.get_custom_objects() if name.startswith("keras_i2i>")
    ),
}))
"""


@pytest.fixture(scope="module")
def fresh():
    """What a new process found, before and after every name was asked for."""
    done = subprocess.run(
        [sys.executable, "-c", FRESH], capture_output=True, text=True, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_loads_no_more_than_training_by_hand_needs(fresh):
    packages = {name.split(".")[1] for name in fresh["light"]}
    assert packages == {
        "_version",
        "data",
        "errors",
        "files",
        "losses",
        "models",
        "networks",
        "optimizers",
    }
    # Keras imports some of these itself, in parts.
    heavy = {"PIL", "keras_cv", "matplotlib", "sklearn", "tensorboard", "tensorflow_datasets"}
    assert not heavy & set(fresh["new"])
    assert {"keras_i2i.training.run", "keras_i2i.serving.export"} <= set(fresh["all"])


def test_importing_is_enough_to_load_any_saved_model(fresh):
    assert {"keras_i2i>I2IAdapt", "keras_i2i>Adam"} <= set(fresh["saved"])
    assert fresh["saved"] == fresh["saved later"]


def test_importing_changes_nothing_global(fresh):
    assert fresh["untouched"] and fresh["untouched later"]


def test_dir_lists_the_public_names_and_nothing_else(fresh):
    assert fresh["listed"] == dir(keras_i2i) == sorted(keras_i2i.__all__)
    assert len(set(keras_i2i.__all__)) == len(keras_i2i.__all__)


@pytest.mark.parametrize("name", sorted(set(keras_i2i.__all__) - {"__version__"}))
def test_every_name_says_what_it_is(name):
    value = getattr(keras_i2i, name)
    assert value.__name__ == name
    assert value.__module__.startswith("keras_i2i.")
    assert len(inspect.getdoc(value)) > 30


def test_names_that_come_later_are_listed_for_editors_too():
    source = inspect.getsource(keras_i2i)
    for_editors = source.partition("if TYPE_CHECKING:")[2].partition("__all__")[0]
    for name in LATER:
        module = getattr(keras_i2i, name).__module__
        assert f"from {module} import {name}\n" in for_editors


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'keras_i2i' has no attribute 'lode_run'"):
        keras_i2i.lode_run  # noqa: B018


def test_everything_can_be_imported_at_once():
    names = {}
    exec("from keras_i2i import *", names)
    assert set(keras_i2i.__all__) <= set(names)
