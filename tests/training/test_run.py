"""A run, loaded: the right models, and what is known of them. Nothing is trained for it."""

import numpy as np
import pytest

import keras_i2i
from keras_i2i.errors import InputError
from keras_i2i.files import write_json
from keras_i2i.models import Classifier, I2IAdapt, ReadsThroughTranslation
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.run import load_run
from keras_i2i.training.run_directory import RunDirectory

from .conftest import TINY, tiny


def untrained(folder, **fields):
    """A run whose models are fresh; returns it and seed → the main model's first weights."""
    experiment = Experiment(**tiny(run_dir=str(folder), ceiling=False, **fields))
    run, first = RunDirectory.create(experiment), {}
    main = "adapted" if experiment.adapts_by == "joint" else "translator"
    for seed in experiment.seeds:
        experiment.build_classifier("source").save(run.model("source_only", seed))
        model = experiment.build_model(seed)
        model.save(run.model(main, seed))
        first[seed] = model.trainable_variables[0].numpy()
    return run, first


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    return untrained(
        tmp_path_factory.mktemp("run"),
        seeds=[3, 5],
        load_size=20,
        loss_weights={"translation": 0, "identity": 0, "cycle": 0},
    )


@pytest.mark.parametrize(("seed", "expected"), [(None, 3), (3, 3), (5, 5)])
def test_models_are_those_of_the_seed(two_seeds, seed, expected):
    directory, first = two_seeds
    run = load_run(directory.path, seed=seed)
    assert run.seed == expected
    assert run.models.keys() == {"source_only", "adapted"}
    assert run.model is run.models["adapted"]
    assert isinstance(run.model, I2IAdapt) and isinstance(run.models["source_only"], Classifier)
    np.testing.assert_array_equal(run.model.trainable_variables[0], first[expected])


def test_what_is_known_of_a_run(two_seeds):
    directory, _ = two_seeds
    run = load_run(str(directory.path))
    assert run.experiment == directory.experiment
    assert run.class_names == tuple("0123456789")
    assert run.geometry == keras_i2i.Geometry(load_size=20)
    assert run.metrics is None
    assert repr(run) == (
        f"Run('{directory.path}': i2i_adapt, printed_digits → handwritten_digits, seed 3; "
        "models: source_only, adapted)"
    )


def test_metrics_are_there_once_the_run_is_finished(two_seeds):
    directory, _ = two_seeds
    results = {"method": "i2i_adapt", "per_seed": [{}, {}]}
    write_json(directory.metrics, results)
    try:
        assert load_run(directory.path).metrics == results
    finally:
        directory.metrics.unlink()


def test_the_datasets_may_have_moved(two_seeds):
    directory, _ = two_seeds
    assert load_run(directory.path, data_dir="elsewhere").experiment.data_dir == "elsewhere"


def test_a_translators_run_reads_with_its_adaptation(tmp_path):
    directory, _ = untrained(
        tmp_path / "run", method="cyclegan", adaptation="reads_translated_target"
    )
    run = keras_i2i.load_run(directory.path)
    assert isinstance(run.model, ReadsThroughTranslation)
    assert run.model is run.models["reads_translated_target"]
    assert run.model.translator is run.models["translator"]
    assert run.model.classify(np.zeros((2, 16, 16, 1), "float32")).shape == (2, 10)


def test_no_run_no_such_seed_not_finished(two_seeds, tmp_path):
    directory, _ = two_seeds
    with pytest.raises(InputError, match="holds no run"):
        load_run(tmp_path)
    with pytest.raises(InputError, match=r"one of the run's: 3, 5\. Received: 4"):
        load_run(directory.path, seed=4)
    begun = RunDirectory.create(Experiment(**{**TINY, "run_dir": str(tmp_path / "begun")}))
    with pytest.raises(InputError, match="step source_only of the run is not finished"):
        load_run(begun.path)
