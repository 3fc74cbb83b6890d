"""`Experiment`: what it refuses, and that the models get all of it."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_i2i.errors import InputError
from keras_i2i.models import PRESETS, TERMS
from keras_i2i.training.experiment import Experiment

from .conftest import TINY

BAD = [
    ({"source": "mnits"}, "--source: Got domain 'mnits'", "Did you mean mnist?"),
    ({"target": "upsp"}, "--target: Got domain 'upsp'", "Did you mean usps?"),
    ({"target": ""}, "--target: Got domain ''; expected one of printed_digits, handwritten_digits"),
    ({"method": "i2i"}, "--method must be one of i2i_adapt, source_only, target_only", "'i2i'"),
    ({"preset": "dann"}, "--preset must be one of i2i_adapt, fcns_in_the_wild, adda", "'dann'"),
    ({"encoder": "resnet"}, "--encoder must be one of lenet, densenet. Received: 'resnet'"),
    ({"encoder_sharing": "some"}, "--encoder_sharing must be one of all, ", "Received: 'some'"),
    ({"feature_objective": "gan"}, "--feature_objective must be one of ", "Received: 'gan'"),
    ({"image_objective": "gan"}, "--image_objective must be one of ", "Received: 'gan'"),
    ({"pixel_loss": "l3"}, "--pixel_loss must be one of ", "Received: 'l3'"),
    ({"schedule": "step"}, "--schedule must be one of constant, cosine. Received: 'step'"),
    ({"run_dir": ""}, "--run_dir is missing: name a folder for the run, like runs/first."),
    ({"seeds": [1, 1]}, "--seeds must be different numbers ≥ 0. Received: [1, 1]"),
    ({"seeds": [0, -1]}, "--seeds must be different numbers ≥ 0. Received: [0, -1]"),
    ({"seeds": []}, "--seeds must be different numbers ≥ 0. Received: []"),
    ({"image_size": 40}, "--image_size must be a multiple of 16. Received: 40"),
    ({"image_size": 0}, "--image_size must be at least 16. Received: 0"),
    ({"channels": 2}, "--channels must be one of 1, 3. Received: 2"),
    ({"batch_size": 1}, "--batch_size must be at least 2. Received: 1"),
    ({"source_size": -1}, "--source_size must be at least 0. Received: -1"),
    ({"target_validation_size": -2}, "--target_validation_size must be at least -1. Received: -2"),
    ({"target_labels_per_class": -1}, "--target_labels_per_class must be at least 0. Received: -1"),
    ({"rotation": -1.0}, "--rotation must be at least 0. Received: -1.0"),
    ({"scale": 1.0}, "--scale must be below 1. Received: 1.0"),
    ({"steps": 0}, "--steps must be at least 1. Received: 0"),
    ({"steps_per_epoch": 0}, "--steps_per_epoch must be at least 1. Received: 0"),
    ({"steps": 5}, "--steps must be a multiple of --steps_per_epoch=2, or less. Received: 5"),
    ({"classifier_steps": 3}, "--classifier_steps must be a multiple of --steps_per_epoch=2"),
    ({"learning_rate": -1e-4}, "--learning_rate must be above 0. Received: -0.0001"),
    ({"learning_rate": 0.0}, "--learning_rate must be above 0. Received: 0.0"),
    ({"learning_rate": float("nan")}, "--learning_rate must be above 0. Received: nan"),
    ({"classifier_learning_rate": 0.0}, "--classifier_learning_rate must be above 0"),
    ({"beta_1": 1.0}, "--beta_1 must be below 1. Received: 1.0"),
    ({"ema_momentum": 1.5}, "--ema_momentum must be below 1. Received: 1.5"),
    ({"encoder_width": 0.0}, "--encoder_width must be above 0. Received: 0.0"),
    ({"discriminator_steps": 0}, "--discriminator_steps must be at least 1. Received: 0"),
    ({"generator_steps": 0}, "--generator_steps must be at least 1. Received: 0"),
    ({"keep_checkpoints": 0}, "--keep_checkpoints must be at least 1. Received: 0"),
    ({"loss_weights": {"tusk": 1.0, "art": 2.0}}, "--loss_weights: unknown terms art, tusk. Known"),
    # These would otherwise show only after the baseline has been trained.
    ({"loss_weights": {"task": -1.0}}, "--loss_weights", "task", "-1.0"),
    ({"loss_weights": {"task": float("nan")}}, "--loss_weights", "task", "nan"),
    ({"loss_weights": {t: 0.0 for t in TERMS}}, "--loss_weights", "positive"),
    ({"loss_weights": {"target_task": 1.0}}, "target_task", "--target_labels_per_class"),
    ({"preset": "adda", "encoder_sharing": "all"}, "--encoder_sharing", "adda"),
    ({"preset": "cyclegan", "warm_start": True}, "--warm_start", "cyclegan"),
]


def identify(fields):
    return ",".join(f"{name}={value}" for name, value in fields.items())


@pytest.mark.parametrize("case", BAD, ids=lambda case: identify(case[0])[:60])
def test_a_bad_field_is_named_with_what_was_given_and_expected(case):
    fields, *messages = case
    with pytest.raises(InputError) as error:
        Experiment(**{**TINY, **fields})
    for message in messages:
        assert message in str(error.value)


def test_all_that_is_wrong_is_listed_at_once_each_on_its_line():
    with pytest.raises(InputError) as error:
        Experiment(
            method="x",
            source="x",
            target="y",
            seeds=[0, 0],
            image_size=30,
            batch_size=1,
            learning_rate=-1.0,
            steps=150,
            loss_weights={"x": 1.0},
        )
    lines = str(error.value).splitlines()
    names = [line.split()[0].rstrip(":") for line in lines]
    assert sorted(names) == sorted(
        [
            "--method", "--source", "--target", "--run_dir", "--seeds", "--image_size",
            "--batch_size", "--learning_rate", "--steps", "--loss_weights",
        ]
    )  # fmt: skip


def test_every_good_field_of_the_table_alone_is_accepted(make_experiment):
    # What a bad one is next to: so that the table fails for its own fields only.
    assert make_experiment().num_classes == 10
    assert make_experiment(steps=1, classifier_steps=2).steps == 1
    assert make_experiment(target_labels_per_class=1, loss_weights={"target_task": 2.0})


def test_an_experiment_cannot_be_changed(make_experiment):
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_experiment().steps = 2


def test_two_experiments_share_no_list(make_experiment):
    first, second = make_experiment(), make_experiment()
    first.seeds.append(1)
    assert second.seeds == [0]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_model_has_the_presets_weights_with_the_overrides(preset, make_experiment):
    model = make_experiment(preset=preset, loss_weights={"cycle": 0.7}).build_model(0)
    weights = {**dict.fromkeys(TERMS, 0.0), **PRESETS[preset]["loss_weights"], "cycle": 0.7}
    assert model.loss_weights == weights
    assert model.freeze_source == PRESETS[preset].get("freeze_source", False)
    assert model.encoder_sharing == PRESETS[preset].get("encoder_sharing", "all")


def test_few_labels_give_their_term_weight_1_unless_it_has_one(make_experiment):
    fields = {"preset": "fcns_in_the_wild", "target_labels_per_class": 1}
    weights = make_experiment(**fields).build_model(0).loss_weights
    assert weights["target_task"] == 1.0
    fields["loss_weights"] = {"target_task": 0.3}
    weights = make_experiment(**fields).build_model(0).loss_weights
    assert weights["target_task"] == 0.3


def test_a_model_is_built_as_the_experiment_says(make_experiment):
    experiment = make_experiment(
        channels=3,
        encoder_sharing="none",
        encoder_width=0.2,
        decoder_width=0.03,
        discriminator_width=0.04,
        learning_rate=3e-3,
        beta_1=0.7,
        feature_objective="non_saturating",
        image_objective="least_squares",
        pixel_loss="l2",
        discriminator_steps=2,
        generator_steps=3,
    )
    model = experiment.build_model(5)
    config, compiled = model.get_config(), model.get_compile_config()
    assert config["image_shape"] == experiment.image_shape == (16, 16, 3)
    assert config["num_classes"] == 10
    assert config["encoder"] == "lenet"
    assert config["encoder_sharing"] == "none"
    assert config["seed"] == 5
    assert [config[f"{what}_width"] for what in ("encoder", "decoder", "discriminator")] == [
        0.2, 0.03, 0.04,
    ]  # fmt: skip
    for optimizer in (model.optimizer, model.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.Adam)
        assert optimizer.learning_rate.numpy() == np.float32(3e-3)
        assert optimizer.beta_1 == 0.7
        assert not optimizer.use_ema
    assert model.optimizer is not model.discriminator_optimizer
    assert type(model.feature_objective).__name__ == "NonSaturating"
    assert type(model.image_objective).__name__ == "LeastSquares"
    assert compiled["pixel_loss"] == "l2"
    assert (model.discriminator_steps, model.generator_steps) == (2, 3)


def test_a_cosine_schedule_ends_at_0_with_each_players_last_update(make_experiment):
    model = make_experiment(
        schedule="cosine", steps=10, discriminator_steps=2, generator_steps=3, learning_rate=0.5
    ).build_model(0)
    for optimizer, updates in ((model.optimizer, 30), (model.discriminator_optimizer, 60)):
        schedule = optimizer._learning_rate
        rates = [float(schedule(step)) for step in range(updates + 1)]
        assert rates[0] == 0.5
        assert rates[updates // 2] == pytest.approx(0.25)
        assert rates[-2] > 0
        assert rates[-1] == 0


def test_weights_are_averaged_for_the_generators_only(make_experiment):
    model = make_experiment(ema_momentum=0.9).build_model(0)
    assert (model.optimizer.use_ema, model.optimizer.ema_momentum) == (True, 0.9)
    assert not model.discriminator_optimizer.use_ema


def test_a_classifier_is_built_as_the_experiment_says(make_experiment):
    model = make_experiment(
        channels=3, encoder_width=0.2, classifier_learning_rate=0.25, learning_rate=9.0
    ).build_classifier()
    config = model.get_config()
    assert (config["image_shape"], config["num_classes"]) == ((16, 16, 3), 10)
    assert (config["encoder"], config["encoder_width"]) == ("lenet", 0.2)
    assert model.optimizer.learning_rate.numpy() == np.float32(0.25)


def test_augmentation_is_passed_on(make_experiment):
    augmentation = make_experiment(rotation=10.0, scale=0.1, translation=0.06).augmentation
    assert dataclasses.astuple(augmentation) == (10.0, 0.1, 0.06)
