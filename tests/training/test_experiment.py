"""`Experiment`: what it refuses, and that the models get all of it."""

import dataclasses
import os

import keras
import numpy as np
import pytest
from PIL import Image

from keras_i2i import data, models, networks
from keras_i2i.errors import InputError
from keras_i2i.models import PRESETS, TERMS
from keras_i2i.optimizers import Adam, ConstantThenLinear, LossScaleOptimizer
from keras_i2i.training.checks import unread
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.methods import ADAPTATIONS, BASELINES, METHODS, READ_BY
from keras_i2i.training.train import steps_of

from .conftest import TINY, tiny

BAD = [
    ({"source": "mnits"}, "--source: Got domain 'mnits'", "Did you mean mnist?"),
    ({"target": "upsp"}, "--target: Got domain 'upsp'", "Did you mean usps?"),
    ({"target": ""}, "--target: Got domain ''; expected one of printed_digits, handwritten_digits"),
    (
        {"method": "i2i"},
        "--method must be one of i2i_adapt, cyclegan, dtn, lstnet, source_only",
        "'i2i'",
    ),
    (
        {"preset": "dann"},
        "--preset of --method=i2i_adapt must be one of i2i_adapt, fcns_in_the_wild, adda",
        "or empty. Received: 'dann'",
    ),
    ({"encoder": "resnet"}, "--encoder must be one of lenet, densenet, ", "Received: 'resnet'"),
    ({"encoder_sharing": "some"}, "--encoder_sharing must be one of all, ", "Received: 'some'"),
    ({"feature_objective": "gan"}, "--feature_objective must be one of ", "Received: 'gan'"),
    ({"image_objective": "gan"}, "--image_objective must be one of ", "Received: 'gan'"),
    ({"pixel_loss": "l3"}, "--pixel_loss must be one of ", "Received: 'l3'"),
    ({"schedule": "step"}, "--schedule must be one of constant, cosine, linear. Received: 'step'"),
    ({"run_dir": ""}, "--run_dir is missing: name a folder for the run, like runs/first."),
    ({"seeds": [1, 1]}, "--seeds must be different numbers ≥ 0. Received: [1, 1]"),
    ({"seeds": [0, -1]}, "--seeds must be different numbers ≥ 0. Received: [0, -1]"),
    ({"seeds": []}, "--seeds must be different numbers ≥ 0. Received: []"),
    (
        {"image_size": 40},
        "--image_size must be a multiple of 16 with --method=i2i_adapt. Received: 40",
    ),
    ({"image_size": 0}, "--image_size must be at least 16. Received: 0"),
    ({"channels": 2}, "--channels must be one of 1, 3. Received: 2"),
    ({"batch_size": 0}, "--batch_size must be at least 1. Received: 0"),
    ({"flip": 1.5}, "--flip must be at most 1. Received: 1.5"),
    ({"fit": "pad"}, "--fit must be one of stretch, crop. Received: 'pad'"),
    ({"crop_place": "center"}, "--crop_place=center needs --crop_size or --fit=crop"),
    ({"cache": "tape"}, "--cache must be one of none, memory, disk. Received: 'tape'"),
    ({"test_share": 1.0}, "--test_share must be below 1. Received: 1.0"),
    ({"max_unreadable": -1}, "--max_unreadable must be at least 0. Received: -1"),
    (
        {"load_size": 32, "crop_size": 48},
        "--crop_size must be at most --load_size. Received: 48 beside 32",
    ),
    (
        {"output_stride": 8, "freeze_batch_norm": True, "encoder_weights": "imagenet"},
        "--encoder_weights, --output_stride, --freeze_batch_norm go with a backbone as --encoder: "
        "resnet18, ",
    ),
    ({"encoder": "resnet18", "output_stride": 4}, "--output_stride must be one of 8, 16, 32."),
    ({"encoder": "resnet18"}, "--image_size must be at least 32 with --encoder=resnet18. Received"),
    (
        {"encoder": "resnet18", "image_size": 48},
        "--image_size must be a multiple of --output_stride=32. Received: 48",
    ),
    ({"encoder_preprocessing": "caffe"}, "--encoder_preprocessing must be one of unit, symmetric"),
    ({"encoder_learning_rate": -1.0}, "--encoder_learning_rate must be at least 0. Received: -1.0"),
    ({"pooling": "max"}, "--pooling must be one of flatten, average. Received: 'max'"),
    (
        {"feature_discriminator": "patch"},
        "--feature_discriminator must be one of dense, convolutional. Received: 'patch'",
    ),
    ({"generator": "vgg"}, "--generator must be one of unet, resnet. Received: 'vgg'"),
    ({"patch": 34}, "--patch must be one of 23, 70. Received: 34"),
    ({"generator_stages": 0}, "--generator_stages must be at least 1. Received: 0"),
    (
        {"method": "cyclegan", "generator_stages": 5, "image_size": 48},
        "--image_size must be a multiple of 32 with --generator_stages=5. Received: 48",
    ),
    (
        {"method": "cyclegan", "patch": 70},
        "--image_size must be at least 24 with --patch=70. Received: 16",
    ),
    (
        {"method": "cyclegan", "generator": "resnet", "dropout": 0.5},
        "--dropout goes with --generator=unet. Received: --generator=resnet",
    ),
    (
        {"method": "cyclegan", "generator": "resnet", "image_skip": True},
        "--image_skip goes with --generator=unet. Received: --generator=resnet",
    ),
    (
        {"method": "cyclegan", "dropout_at_inference": True},
        "--dropout_at_inference needs a --dropout above 0, like 0.5. Received: --dropout=0",
    ),
    (
        {
            "method": "lstnet",
            "encoder": "domain_transfer",
            "image_size": 16,
            "target_image_size": 28,
        },
        "--image_size and --target_image_size must be multiples of 8 with "
        "--encoder=domain_transfer. Received: 16 and 28",
    ),
    ({"source": "rendered_streets"}, "need labels of one kind, but only one of them has masks"),
    (
        {"source": "rendered_streets", "target": "night_streets", "method": "cyclegan"},
        "segmentation goes with --method=i2i_adapt, source_only or target_only. Received: "
        "--method=cyclegan",
    ),
    (
        {
            "source": "rendered_streets",
            "target": "night_streets",
            "loss_weights": {"information": 1.0},
        },
        "--loss_weights: information asks for classes that are used alike",
    ),
    (
        {
            "source": "rendered_streets",
            "target": "night_streets",
            "adaptation": "sum",
            "target_labels_per_class": 2,
            "encoder": "domain_transfer",
            "target_channels": 3,
        },
        "Segmentation goes with --adaptation=joint",
        "--target_labels_per_class does not go with segmentation.",
        "--encoder of a segmentation must be lenet, densenet or a backbone. Received: 'domain_tra",
        "--target_image_size and --target_channels do not go with segmentation.",
    ),
    (
        {"source": "rendered_streets", "target": "night_streets", "preset": "fcns_in_the_wild"},
        "--feature_discriminator must be convolutional for segmentation, unless --loss_weights has "
        "feature=0.",
    ),
    ({"clip_norm": -0.5}, "--clip_norm must be at least 0. Received: -0.5"),
    (
        {"mixed_precision": "float8"},
        "--mixed_precision must be one of bfloat16, float16. Received: 'float8'",
    ),
    ({"steps_per_execution": 0}, "--steps_per_execution must be at least 1. Received: 0"),
    (
        {"steps_per_epoch": 4, "steps_per_execution": 3},
        "--steps_per_execution must divide the steps of an epoch, 4 by --steps_per_epoch and "
        "--steps. Received: 3",
        "--steps_per_execution must divide the steps of an epoch, 4 by --steps_per_epoch and "
        "--classifier_steps. Received: 3",
    ),
    (
        {"classifier_steps": 1, "steps_per_execution": 2},
        "1 by --steps_per_epoch and --classifier_steps. Received: 2",
    ),
    ({"profile": "2"}, "--profile must be FIRST,LAST, two steps from 1 to 4 like 11,20. Received"),
    ({"profile": "0,2"}, "Received: '0,2'"),
    ({"profile": "3,2"}, "Received: '3,2'"),
    ({"profile": "1,5"}, "Received: '1,5'"),
    ({"profile": "1,2,3"}, "Received: '1,2,3'"),
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
    ({"discriminator_learning_rate": -1.0}, "--discriminator_learning_rate must be at least 0"),
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
    ({"preset": "cyclegan", "adaptation": "joint"}, "--adaptation=joint does not go with"),
    ({"adaptation": "guess"}, "--adaptation must be one of joint, on_translated_source, reads_tr"),
    ({"preset": "adda", "adaptation": "sum"}, "--adaptation=sum translates source to target", "--"),
    (
        {"preset": "fcns_in_the_wild", "adaptation": "reads_translated_target"},
        "--adaptation=reads_translated_target translates target to source, for which one of the "
        "terms translation, cycle must have a weight.",
    ),
    (
        {"encoder": "generate_to_adapt"},
        "--encoder of --method=i2i_adapt must be lenet, densenet or a backbone where it translates",
    ),
    (
        {"target_channels": 3},
        "--target_image_size and --target_channels do not go with --method=i2i",
    ),
    ({"target_image_size": 8}, "--target_image_size must be at least 16, or 0. Received: 8"),
    ({"target_channels": 2}, "--target_channels must be one of 0, 1, 3. Received: 2"),
    ({"dropout": 1.0}, "--dropout must be below 1. Received: 1.0"),
    ({"levels": 2.5}, "--levels must be at most 2. Received: 2.5"),
    ({"invert": 1.5}, "--invert must be at most 1. Received: 1.5"),
    ({"pool_size": -1}, "--pool_size must be at least 0. Received: -1"),
    ({"generator_width": 0.0}, "--generator_width must be above 0. Received: 0.0"),
    ({"translation_pixels": -1.0}, "--translation_pixels must be at least 0. Received: -1.0"),
    (
        {"method": "cyclegan", "preset": "drcn"},
        "--preset of --method=cyclegan must be one of cyclegan, or empty. Received: 'drcn'",
    ),
    (
        {"method": "dtn", "preset": "cyclegan"},
        "--preset of --method=dtn must be one of digits, faces, or empty. Received: 'cyclegan'",
    ),
    (
        {"method": "cyclegan", "target_image_size": 32},
        "--target_image_size and --target_channels do not go with --method=cyclegan, whose domains "
        "have one shape. Received: (32, 32, 1) beside (16, 16, 1)",
    ),
    (
        {"method": "cyclegan", "image_size": 20},
        "--image_size must be a multiple of 8 with --method=cyclegan. Received: 20",
    ),
    (
        {"method": "dtn", "target_image_size": 28},
        "--target_image_size must be a multiple of 8 with --method=dtn. Received: 28",
    ),
    (
        {"method": "lstnet", "image_size": 28, "target_image_size": 20},
        "--image_size and --target_image_size: LSTNet needs square images",
        "Received: (28, 28, 1) and (20, 20, 1)",
    ),
    (
        {"method": "cyclegan", "adaptation": "joint"},
        "--adaptation of --method=cyclegan must be one of sum, on_translated_source, "
        "reads_translated_target. Received: 'joint'",
    ),
    (
        {"method": "dtn", "adaptation": "sum"},
        "--adaptation of --method=dtn must be one of on_translated_source. Received: 'sum'",
    ),
    (
        {"method": "cyclegan", "loss_weights": {"task": 1.0}},
        "--loss_weights: unknown terms task. Known are: translation, cycle, identity",
    ),
    (
        {"method": "dtn", "loss_weights": {"cycle": 1.0}},
        "--loss_weights: unknown terms cycle. Known are: translation, constancy, identity, total_v",
    ),
    (
        {"method": "lstnet", "loss_weights": {"translation": 1.0}},
        "--loss_weights: unknown terms translation. Known are: translation_to_source, ",
    ),
    (
        {
            "method": "lstnet",
            "loss_weights": {
                "translation_to_source": 0.0,
                "cycle_source": 0.0,
                "cycle_target": 0.0,
            },
        },
        "--adaptation=reads_translated_target translates target to source, for which one of the "
        "terms translation_to_source, cycle_source, cycle_target must have a weight.",
    ),
    (
        {"method": "lstnet", "image_objective": "wasserstein"},
        "--image_objective of --method=lstnet must be one of non_saturating, minimax, or empty",
    ),
    (
        {"method": "lstnet", "translated_copy": True},
        "--translated_copy needs a classifier that learns from it: "
        "--adaptation=on_translated_source or sum. Received: --adaptation=reads_translated_target",
    ),
]


READERS = [
    ("i2i_adapt", {"pool_size": 50, "generator_width": 0.5, "image_skip": True, "dropout": 0.5}),
    ("cyclegan", {"warm_start": True, "target_labels_per_class": 1, "decoder_width": 0.5}),
    ("cyclegan", {"feature_objective": "minimax", "encoder_sharing": "none"}),
    ("lstnet", {"warm_start": True, "patch": 70, "generator": "resnet", "generator_stages": 4}),
    ("lstnet", {"encoder_file": "f.keras", "feature_discriminator": "convolutional"}),
    ("dtn", {"image_objective": "wasserstein", "pixel_loss": "l2", "dropout_at_inference": True}),
    ("source_only", {"translated_copy": True}),
    ("target_only", {"target_labels_per_class": 2, "encoder_file": "f.keras"}),
]


@pytest.mark.parametrize(("method", "fields"), READERS)
def test_a_flag_that_the_method_does_not_read_is_refused_with_those_that_do(
    method, fields, make_experiment
):
    with pytest.raises(InputError) as error:
        make_experiment(method=method, **fields)
    assert sorted(str(error.value).splitlines()) == sorted(
        f"--{name} is read by --method={', '.join(READ_BY[name])}. Received: --method={method}"
        for name in fields
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_table_of_readers_says_what_is_read(method, make_experiment):
    looked_at = set()

    class Watched(Experiment):
        def __getattribute__(self, name):
            looked_at.add(name)
            return super().__getattribute__(name)

    watched = Watched(**vars_of(make_experiment(method=method)))
    looked_at.clear()
    steps_of(watched)
    watched.build_model(0, watched.build_classifier("source"))
    # Read where it trains, or read for all methods.
    elsewhere = {"select", "target_labels_per_class", "translated_copy"}
    read = {name for name, methods in READ_BY.items() if method in methods}
    assert looked_at & set(READ_BY) - elsewhere == read - elsewhere


@pytest.mark.parametrize("method", BASELINES)
def test_a_baseline_passes_over_what_a_methods_config_says_of_the_method(method, make_experiment):
    given = {
        "warm_start": True, "decoder_width": 0.5, "loss_weights": {"task": 2.0}, "pool_size": 50,
        "adaptation": "sum", "schedule": "cosine", "image_objective": "least_squares",
        "select": "target_entropy",
    }  # fmt: skip
    experiment = make_experiment(method=method, **given)
    assert set(unread(experiment)) == {*given, "steps", "discriminator_width"}


def vars_of(experiment):
    return {field.name: getattr(experiment, field.name) for field in dataclasses.fields(experiment)}


def identify(fields):
    return ",".join(f"{name}={value}" for name, value in fields.items())


@pytest.mark.parametrize("case", BAD, ids=lambda case: identify(case[0])[:60])
def test_a_bad_field_is_named_with_what_was_given_and_expected(case):
    fields, *messages = case
    with pytest.raises(InputError) as error:
        Experiment(**{**TINY, **fields})
    for message in messages:
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("x", ["--method", "--loss_weights"]),
        ("i2i_adapt", ["--image_size", "--loss_weights"]),
        ("lstnet", ["--loss_weights"]),
        ("cyclegan", ["--image_size", "--loss_weights"]),
    ],
)
def test_all_that_is_wrong_is_listed_at_once_each_on_its_line(method, names):
    with pytest.raises(InputError) as error:
        Experiment(
            method=method,
            source="x",
            target="y",
            seeds=[0, 0],
            image_size=30,
            batch_size=0,
            learning_rate=-1.0,
            steps=150,
            loss_weights={"x": 1.0},
        )
    lines = str(error.value).splitlines()
    names += [
        "--source", "--target", "--run_dir", "--seeds", "--batch_size", "--learning_rate",
        "--steps",
    ]  # fmt: skip
    assert sorted(line.split()[0].rstrip(":") for line in lines) == sorted(names)


def test_every_good_field_of_the_table_alone_is_accepted(make_experiment):
    # What a bad one is next to: so that the table fails for its own fields only.
    assert make_experiment().num_classes == 10
    assert make_experiment(steps=1, classifier_steps=2).steps == 1
    assert make_experiment(target_labels_per_class=1, loss_weights={"target_task": 2.0})


UNLABELLED = [
    ({"method": "i2i_adapt"}, "--method=i2i_adapt needs a --source with labels."),
    ({"method": "source_only"}, "--method=source_only needs labels; image_folder:"),
    ({"method": "target_only"}, "--method=target_only needs labels; image_folder:"),
    ({"method": "dtn"}, "--method=dtn needs --encoder_file, because --source=image_folder:"),
    ({"target_labels_per_class": 1}, "--target_labels_per_class needs labels; image_folder:"),
    ({"method": "cyclegan", "adaptation": "sum"}, "--adaptation=sum needs labels; --source=image"),
    (
        {"method": "cyclegan", "translated_copy": True},
        "--translated_copy needs a classifier that learns from it: "
        "--adaptation=on_translated_source or sum. Received: --adaptation=nothing, without labels",
    ),
]


@pytest.fixture
def unlabelled(tmp_path):
    """The name of a domain without labels."""
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        Image.fromarray(np.zeros((20, 20), "uint8")).save(tmp_path / split / "1.png")
    return f"image_folder:{tmp_path}"


@pytest.mark.parametrize("case", UNLABELLED, ids=lambda case: identify(case[0]))
def test_what_needs_labels_is_refused_without_them(case, unlabelled):
    fields, message = case
    with pytest.raises(InputError) as error:
        Experiment(**tiny(source=unlabelled, target=unlabelled, **fields))
    assert message in str(error.value)


@pytest.mark.parametrize("method", ["cyclegan", "lstnet", "dtn"])
def test_without_labels_a_translator_can_still_be_trained(method, unlabelled, make_experiment):
    fields = {"source": unlabelled, "target": unlabelled, "method": method}
    experiment = make_experiment(**fields, **({"encoder_file": "f"} if method == "dtn" else {}))
    assert experiment.adapts_by is None
    assert (experiment.num_classes, experiment.target_has_labels) == (0, False)
    assert steps_of(experiment) == ["translator"]


def test_a_target_without_labels_has_no_ceiling(unlabelled, make_experiment):
    experiment = make_experiment(target=unlabelled)
    assert steps_of(experiment) == ["source_only", "adapted"]


@pytest.fixture
def labelled_test(tmp_path):
    """The name of a domain of digits of which only those for the test have labels."""
    for folder in ("train", *(f"test/{digit}" for digit in range(10))):
        path = tmp_path / "labelled_test" / folder
        path.mkdir(parents=True)
        Image.fromarray(np.zeros((20, 20), "uint8")).save(path / "1.png")
    return f"image_folder:{tmp_path / 'labelled_test'}"


def test_a_target_with_labels_for_the_test_alone_is_measured_on_and_not_learned(
    labelled_test, make_experiment
):
    experiment = make_experiment(target=labelled_test)
    assert experiment.target_has_labels
    assert steps_of(experiment) == ["source_only", "adapted"]
    for fields in ({"method": "target_only"}, {"target_labels_per_class": 1}):
        with pytest.raises(
            InputError, match=r"needs labels; image_folder:.* has none to learn from"
        ):
            make_experiment(target=labelled_test, **fields)


def test_a_source_with_labels_for_the_test_alone_is_refused(labelled_test, make_experiment):
    with pytest.raises(InputError, match="training images need labels too, or neither"):
        make_experiment(source=labelled_test)


def test_a_source_that_lacks_what_the_target_has_is_refused(unlabelled):
    with pytest.raises(InputError, match="need the same classes in the same order"):
        Experiment(**{**TINY, "source": unlabelled})


def test_the_problems_of_a_method_are_all_listed_at_once():
    with pytest.raises(InputError) as error:
        Experiment(
            **tiny(method="cyclegan", image_size=20, target_channels=3),
            adaptation="joint",
            loss_weights={"task": 1.0},
            target_labels_per_class=2,
            encoder_file="f.keras",
        )
    assert [line.split()[0].rstrip(":") for line in str(error.value).splitlines()] == [
        "--loss_weights", "--target_labels_per_class", "--encoder_file", "--image_size",
        "--target_image_size", "--adaptation",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({}, ["source_only", "target_only", "adapted"]),
        ({"ceiling": False}, ["source_only", "adapted"]),
        ({"method": "source_only"}, ["source_only"]),
        (
            {"method": "cyclegan"},
            ["source_only", "target_only", "translator", "on_translated_source", "sum"],
        ),
        (
            {"method": "dtn", "translated_copy": True, "ceiling": False},
            ["source_only", "translator", "translated_copy", "on_translated_source"],
        ),
        (
            {"adaptation": "reads_translated_target", "ceiling": False},
            ["source_only", "translator"],
        ),
        ({"preset": "cyclegan", "ceiling": False}, ["source_only", "translator"]),
    ],
)
def test_a_run_has_the_steps_that_its_adaptation_takes(fields, steps, make_experiment):
    assert steps_of(make_experiment(**fields)) == steps


@pytest.mark.parametrize(
    ("method", "terms", "presets"),
    [
        ("i2i_adapt", TERMS, models.PRESETS),
        ("cyclegan", models.cyclegan.TERMS, ["cyclegan"]),
        (
            "dtn",
            models.domain_transfer_network.TERMS,
            models.domain_transfer_network.PRESETS,
        ),
        ("lstnet", models.lstnet.TERMS, ["lstnet"]),
    ],
)
def test_a_method_knows_its_models_terms_and_offers_what_exists(method, terms, presets):
    known = METHODS[method]
    assert tuple(known.terms) == tuple(terms)
    assert tuple(known.presets) == tuple(presets)
    for preset in presets:
        assert set(known.weights(preset)) <= set(terms)
    assert set(known.adaptations) <= set(ADAPTATIONS)
    assert known.encoder in networks.ENCODERS
    for direction, needed in known.directions.items():
        assert direction in ("source_to_target", "target_to_source")
        assert set(needed) <= set(terms)


def test_every_method_is_held_against_its_model():
    assert set(METHODS) == {"i2i_adapt", "cyclegan", "dtn", "lstnet"}
    assert not set(METHODS) & set(BASELINES)


SMALLEST = {
    "cyclegan": {},
    "lstnet": {"image_size": 28, "target_image_size": 16},
    "dtn": {"channels": 3, "target_channels": 1},
}


@pytest.mark.parametrize("method", SMALLEST)
def test_every_term_of_a_method_can_have_its_own_weight(method, make_experiment):
    weights = {term: 0.5 + number for number, term in enumerate(METHODS[method].terms)}
    experiment = make_experiment(method=method, loss_weights=weights, **SMALLEST[method])
    model = experiment.build_model(0, experiment.build_classifier("source"))
    assert model.loss_weights == weights
    assert model.image_shape == experiment.image_shape
    assert model.target_shape == experiment.target_shape
    assert model.get_config()["discriminator_width"] == 0.02
    assert experiment.build_classifier("target").image_shape == experiment.target_shape


def test_a_direction_that_a_method_promises_is_one_that_its_model_has(make_experiment):
    for method, fields in (("lstnet", SMALLEST["lstnet"]), ("i2i_adapt", {})):
        for direction, terms in METHODS[method].directions.items():
            for term in terms:
                weights = dict.fromkeys(METHODS[method].terms, 0.0) | {term: 1.0}
                ways = {"source_to_target": "on_translated_source"}
                experiment = make_experiment(
                    method=method,
                    loss_weights=weights,
                    adaptation=ways.get(direction, "reads_translated_target"),
                    **fields,
                )
                assert direction in experiment.build_model(0).directions


def test_cyclegan_is_built_as_the_experiment_says(make_experiment):
    experiment = make_experiment(
        method="cyclegan", dropout=0.3, dropout_at_inference=True, pool_size=5,
        generator_width=0.05, image_skip=True,
    )  # fmt: skip
    model = experiment.build_model(7)
    config = model.get_config()
    assert (config["dropout"], config["dropout_at_inference"]) == (0.3, True)
    assert config["image_skip"]
    assert (config["pool_size"], config["generator_width"], config["seed"]) == (5, 0.05, 7)
    assert type(model.image_objective).__name__ == "LeastSquares"
    assert experiment.encoder_name == "generate_to_adapt"


@pytest.mark.parametrize(
    ("method", "objective"),
    [("lstnet", ""), ("lstnet", "minimax"), ("cyclegan", "non_saturating")],
)
def test_the_objective_on_images_is_the_methods_own_or_the_one_asked_for(
    method, objective, make_experiment
):
    model = make_experiment(
        method=method, image_objective=objective, **SMALLEST[method]
    ).build_model(0)
    kind = {"": "NonSaturating", "minimax": "Minimax", "non_saturating": "NonSaturating"}
    found = model.objective if method == "lstnet" else model.image_objective
    assert type(found).__name__ == kind[objective]


def test_an_experiment_cannot_be_changed(make_experiment):
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_experiment().steps = 2


def test_two_experiments_share_no_list(make_experiment):
    first, second = make_experiment(), make_experiment()
    first.seeds.append(1)
    assert second.seeds == [0]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_model_has_the_presets_weights_with_the_overrides(preset, make_experiment):
    experiment = make_experiment(preset=preset, loss_weights={"cycle": 0.7})
    model = experiment.build_model(0, experiment.build_classifier("source"))
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


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_the_discriminators_may_have_a_rate_of_their_own(schedule, make_experiment):
    fields = {"schedule": schedule, "learning_rate": 0.5, "discriminator_learning_rate": 0.125}
    model = make_experiment(**fields).build_model(0)
    assert float(model.optimizer.learning_rate) == 0.5
    assert float(model.discriminator_optimizer.learning_rate) == 0.125


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


def test_a_linear_schedule_is_constant_at_first_and_ends_at_0(make_experiment):
    model = make_experiment(
        schedule="linear", steps=10, discriminator_steps=2, generator_steps=3, learning_rate=0.5
    ).build_model(0)
    for optimizer, updates in ((model.optimizer, 30), (model.discriminator_optimizer, 60)):
        schedule = optimizer._learning_rate
        rates = np.array([float(schedule(step)) for step in range(updates + 2)])
        assert np.all(rates[: updates // 2 + 1] == 0.5)
        falls = -np.diff(rates[updates // 2 : updates + 1])
        np.testing.assert_allclose(falls, 0.5 / (updates / 2), rtol=1e-4)
        assert rates[updates] == rates[updates + 1] == 0


def test_a_linear_schedule_survives_its_config():
    schedule = ConstantThenLinear(0.5, 10)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert isinstance(again, ConstantThenLinear)
    assert [float(again(step)) for step in range(11)] == [float(schedule(s)) for s in range(11)]


def test_weights_are_averaged_for_the_generators_only(make_experiment):
    model = make_experiment(ema_momentum=0.9).build_model(0)
    assert (model.optimizer.use_ema, model.optimizer.ema_momentum) == (True, 0.9)
    assert not model.discriminator_optimizer.use_ema


def test_a_classifier_is_built_as_the_experiment_says(make_experiment):
    model = make_experiment(
        channels=3, encoder_width=0.2, classifier_learning_rate=0.25, learning_rate=9.0
    ).build_classifier("source")
    config = model.get_config()
    assert (config["image_shape"], config["num_classes"]) == ((16, 16, 3), 10)
    assert (config["encoder"], config["encoder_width"]) == ("lenet", 0.2)
    assert model.optimizer.learning_rate.numpy() == np.float32(0.25)


def test_augmentation_is_passed_on(make_experiment):
    augmentation = make_experiment(rotation=10.0, scale=0.1, translation=0.06).augmentation
    assert augmentation == data.Augmentation(rotation=10.0, scale=0.1, translation=0.06)
    augmentation = make_experiment(
        translation_pixels=2.0, levels=1.5, invert=0.5, flip=0.25
    ).augmentation
    assert augmentation == data.Augmentation(pixels=2.0, levels=1.5, invert=0.5, flip=0.25)


def test_geometry_is_passed_on(make_experiment):
    assert make_experiment().geometry == data.Geometry()
    options = {"load_size": 40, "crop_size": 32, "fit": "crop", "crop_place": "center"}
    assert make_experiment(**options).geometry == data.Geometry(**options)


def test_storage_is_passed_on_and_caches_in_the_runs_folder(make_experiment):
    assert make_experiment().storage == data.Storage()
    storage = make_experiment(
        max_unreadable=3, cache="disk", test_share=0.5, split_seed=7, run_dir="runs/x"
    ).storage
    assert storage == data.Storage(3, "disk", os.path.join("runs/x", "cache"), 0.5, 7)
    assert make_experiment(cache="memory").storage == data.Storage(cache="memory")


BACKBONE = {
    "encoder": "resnet18",
    "image_size": 64,
    "channels": 3,
    "output_stride": 16,
    "anti_gridding": True,
    "freeze_batch_norm": True,
    "encoder_preprocessing": "imagenet",
}


def test_a_backbone_is_built_as_the_experiment_says(make_experiment):
    experiment = make_experiment(
        **BACKBONE,
        pooling="average",
        feature_discriminator="convolutional",
        learning_rate=1e-3,
        classifier_learning_rate=4e-3,
        encoder_learning_rate=1e-4,
        loss_weights={"translation": 0.0, "identity": 0.0, "cycle": 0.0},
    )
    classifier, model = experiment.build_classifier("source"), experiment.build_model(0)
    for encoder in (classifier.encoder, model.source_encoder):
        assert encoder.input_shape == (None, 64, 64, 3)
        assert encoder.output_shape[1:3] == (4, 4)
        layers = {layer.name: layer for layer in encoder.layers}
        assert {"preprocessing", "anti_gridding_2_conv", "anti_gridding_1_conv"} <= set(layers)
        frozen = [layer for name, layer in layers.items() if name.endswith("_bn")]
        assert frozen and not any(layer.trainable for layer in frozen)
        # Width 0.1: the last stack has 51 filters instead of 512.
        assert encoder.output_shape[-1] == 51
    assert (classifier.pooling, model.pooling) == ("average", "average")
    assert model.feature_discriminator == "convolutional"
    assert classifier.encoder_rate == pytest.approx(1e-4 / 4e-3)
    assert model.encoder_rate == pytest.approx(1e-4 / 1e-3)
    for one in (classifier, model):
        assert isinstance(one.optimizer, Adam)
    same = {v.learning_rate_factor for v in model.source_encoder.trainable_variables}
    assert same == {model.encoder_rate}


def test_an_encoder_learns_at_the_rate_of_the_rest_unless_it_has_its_own(make_experiment):
    experiment = make_experiment(preset="fcns_in_the_wild")
    assert experiment.build_model(0).encoder_rate == 1.0
    assert experiment.build_classifier("source").encoder_rate == 1.0


STREETS = {
    "source": "rendered_streets",
    "target": "night_streets",
    "channels": 3,
    "loss_weights": {"feature": 0.0},
}


@pytest.mark.parametrize("encoder", [{"image_size": 32}, {**BACKBONE, "output_stride": 8}])
def test_domains_with_masks_are_segmented(encoder, make_experiment):
    experiment = make_experiment(**{**STREETS, **encoder})
    assert experiment.segments
    assert steps_of(experiment) == ["source_only", "target_only", "adapted"]
    classifier, model = experiment.build_classifier("source"), experiment.build_model(0)
    for one in (classifier, model):
        assert one.has_masks
        assert one.num_classes == len(data.get_domain("rendered_streets").class_names)
        assert one.encoder_of("target").input_shape == (None, None, None, 3)
        assert one.image_shape == experiment.image_shape
    stride = encoder.get("output_stride", 16)
    assert model.stride_of(model.source_encoder) == stride


def test_digits_are_not_segmented(make_experiment):
    experiment = make_experiment()
    assert not experiment.segments
    assert not experiment.build_classifier("source").has_masks


@pytest.mark.parametrize("method", BASELINES)
def test_a_baseline_may_segment(method, make_experiment):
    experiment = make_experiment(**{**STREETS, "loss_weights": {}}, method=method, image_size=32)
    assert steps_of(experiment) == [method]
    assert experiment.build_classifier("target").has_masks


def test_cyclegans_networks_for_larger_images_are_built_as_the_experiment_says(make_experiment):
    experiment = make_experiment(
        method="cyclegan", generator="resnet", patch=70, image_size=32, channels=3
    )
    config = experiment.build_model(0).get_config()
    assert (config["generator"], config["patch"]) == ("resnet", 70)
    experiment = make_experiment(method="cyclegan", generator_stages=4)
    assert experiment.build_model(0).get_config()["generator_stages"] == 4


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_the_classifiers_have_a_schedule_of_their_own(schedule, make_experiment):
    experiment = make_experiment(
        classifier_schedule=schedule, classifier_learning_rate=0.5, classifier_steps=4
    )
    optimizer = experiment.build_classifier("source").optimizer
    assert float(optimizer.learning_rate) == pytest.approx(0.5)
    optimizer.iterations.assign(3)
    assert (float(optimizer.learning_rate) < 0.3) == (schedule != "constant")


@pytest.mark.parametrize("method", [*METHODS, *BASELINES])
@pytest.mark.parametrize("precision", ["", "bfloat16", "float16"])
def test_every_model_computes_in_the_precision_asked_for(method, precision, make_experiment):
    experiment = make_experiment(method=method, mixed_precision=precision, clip_norm=2.0)
    classifier = experiment.build_classifier("source")
    models = [classifier]
    if method in METHODS:
        models.append(experiment.build_model(0, classifier))
    for model in models:
        assert model.dtype_policy.name == (f"mixed_{precision}" if precision else "float32")
        computing = {layer.compute_dtype for layer in model._flatten_layers(include_self=False)}
        assert computing == ({"float32", precision} if precision else {"float32"})
        assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
        players = [model.optimizer]
        if model is not classifier:  # which has no discriminators
            players.append(model.discriminator_optimizer)
        for optimizer in players:
            if precision == "float16":
                assert isinstance(optimizer, LossScaleOptimizer)
                optimizer = optimizer.inner_optimizer
            assert optimizer.global_clipnorm == 2.0


def test_a_backbone_computes_in_the_precision_asked_for(make_experiment):
    experiment = make_experiment(**BACKBONE, mixed_precision="bfloat16")
    encoder = experiment.reader_options(experiment.image_shape, 1e-3)["encoder"]
    convolutions = [n for n in encoder.layers if isinstance(n, keras.layers.Conv2D)]
    assert {layer.compute_dtype for layer in convolutions} == {"bfloat16"}
    assert keras.config.dtype_policy().name == "float32"


def test_steps_run_as_the_experiment_says(make_experiment):
    experiment = make_experiment(jit_compile=True, steps_per_execution=2)
    for model in (experiment.build_model(0), experiment.build_classifier("source")):
        assert model.jit_compile is True
        assert model.steps_per_execution == 2
    usual = make_experiment().build_model(0)
    assert usual.jit_compile is False
    assert usual.steps_per_execution == 1
    assert usual.optimizer.global_clipnorm is None


def test_profiled_steps(make_experiment):
    assert make_experiment().profiled_steps is None
    assert make_experiment(profile="2,4").profiled_steps == (2, 4)
    baseline = make_experiment(method="source_only", classifier_steps=8, profile="7,8")
    assert baseline.profiled_steps == (7, 8)
