"""Flags: one for each field, and a flagfile that says all of an experiment."""

import dataclasses
import re

import pytest
from absl import flags as absl_flags

from keras_i2i.errors import InputError
from keras_i2i.training import flags
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.methods import ADAPTATIONS, BASELINES, METHODS, NOT_PASSED_OVER

from .conftest import tiny

FIELDS = [field.name for field in dataclasses.fields(Experiment)]

# Not one field at its default, but for those that nobody gives a baseline.
UNUSUAL = {
    "method": "source_only",
    "select": "soft_neighbourhood_density",
    "preset": "drcn",
    "adaptation": "sum",
    "transductive": True,
    "source": "usps",
    "target": "mnist",
    "run_dir": "runs/with space=and, commas",
    "data_dir": "/data/tfds",
    "seeds": [3, 1, 2],
    "image_size": 48,
    "channels": 3,
    "target_image_size": 64,
    "target_channels": 1,
    "source_size": 1800,
    "target_size": 2000,
    "source_validation_size": 0,
    "target_validation_size": 7,
    "load_size": 256,
    "crop_size": 224,
    "crop_place": "center",
    "fit": "crop",
    "test_share": 0.3,
    "split_seed": 4,
    "max_unreadable": 0,
    "cache": "memory",
    "flip": 0.5,
    "rotation": 12.5,
    "scale": 0.1,
    "translation": 1 / 3,
    "translation_pixels": 2.5,
    "levels": 1.25,
    "invert": 0.25,
    "steps": 600,
    "steps_per_epoch": 200,
    "batch_size": 32,
    "learning_rate": 3e-5,
    "discriminator_learning_rate": 1e-5,
    "beta_1": 0.9,
    "schedule": "cosine",
    "learning_rate_factor": 0.3,
    "ema_momentum": 0.999,
    "discriminator_steps": 2,
    "generator_steps": 3,
    "classifier_steps": 400,
    "classifier_learning_rate": 1e-7,
    "classifier_schedule": "linear",
    "warm_start": True,
    "ceiling": False,
    "encoder": "densenet121",
    "encoder_weights": "my weights/d.weights.h5",
    "encoder_preprocessing": "imagenet",
    "output_stride": 8,
    "anti_gridding": True,
    "freeze_batch_norm": True,
    "encoder_learning_rate": 2e-6,
    "pooling": "average",
    "feature_discriminator": "convolutional",
    "generator": "resnet",
    "generator_stages": 4,
    "patch": 70,
    "encoder_sharing": "all_but_batch_norm",
    "encoder_width": 0.5,
    "decoder_width": 0.25,
    "discriminator_width": 0.125,
    "generator_width": 0.75,
    "dropout": 0.5,
    "dropout_at_inference": True,
    "image_skip": True,
    "pool_size": 50,
    "loss_weights": {"cycle": 0.1 + 0.2, "information": 1e-05, "task": 2.0},
    "feature_objective": "non_saturating",
    "image_objective": "least_squares",
    "pixel_loss": "l2",
    "clip_norm": 2.5,
    "mixed_precision": "float16",
    "jit_compile": True,
    "steps_per_execution": 4,
    "profile": "11,20",
    "keep_checkpoints": 5,
    "checkpoint_minutes": 2.5,
    "checkpoint_steps": 250,
    "deterministic": True,
    "strategy": "multiworker",
    "communication": "ring",
    "sync_batch_norm": True,
}


@pytest.fixture
def from_arguments(fresh_flags):
    """`from_arguments(*arguments)`: what `train.py` with these makes of them."""
    read = flags.define_experiment_flags()

    def from_arguments(*arguments):
        fresh_flags(["train.py", *arguments])
        return read()

    return from_arguments


@pytest.fixture
def flagfile(tmp_path):
    """`flagfile(text)`: a file of a tiny experiment with that text in place of or after its own."""

    def flagfile(text, **fields):
        path = tmp_path / "flags.cfg"
        path.write_text(flags.to_flagfile(Experiment(**tiny(**fields))) + text)
        return path

    return flagfile


def test_every_field_is_not_at_its_default_in_one_of_the_experiments():
    usual = Experiment(source="mnist", target="usps", run_dir="x")
    assert sorted({*UNUSUAL, *NOT_PASSED_OVER}) == sorted(FIELDS)
    for name in FIELDS:
        given = [fields[name] for fields in (UNUSUAL, *OTHERS.values()) if name in fields]
        assert given and all(value != getattr(usual, name) for value in given if name != "method")


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_has_a_flag_with_help_and_its_default(name, from_arguments):
    flag = absl_flags.FLAGS[name]
    default = Experiment(source="mnist", target="usps", run_dir="x")
    assert len(flag.help) > 10
    assert flag.help[0].isupper() or flag.help[0].isdigit()
    assert flag.help.rstrip(" .")[-1].isalnum()
    if name not in ("source", "target", "run_dir"):
        read = from_arguments("--source=mnist", "--target=usps", "--run_dir=x")
        assert getattr(read, name) == getattr(default, name)


@pytest.mark.parametrize("field", dataclasses.fields(Experiment), ids=FIELDS)
def test_the_help_names_every_choice_that_a_flag_leaves(field, from_arguments):
    choices = field.metadata["choices"] or ()
    choices = choices() if callable(choices) else choices
    words = re.findall(r"\w+", absl_flags.FLAGS[field.name].help)
    assert [choice for choice in choices if choice != "" and str(choice) not in words] == []


@pytest.mark.parametrize("name", METHODS)
def test_the_help_names_every_method_with_its_presets_terms_and_adaptations(name, from_arguments):
    method, flag = METHODS[name], absl_flags.FLAGS
    assert f"{name}, {method.help}" in flag["method"].help
    presets = ", ".join(f"{preset} ({text})" for preset, text in method.presets.items())
    assert f"{name}: {presets}" in flag["preset"].help
    assert f"{name}: {', '.join(method.terms)}" in flag["loss_weights"].help


def test_the_help_explains_every_adaptation_and_baseline(from_arguments):
    for name, meaning in ADAPTATIONS.items():
        assert f"{name}: {meaning}" in absl_flags.FLAGS["adaptation"].help
    for name, meaning in BASELINES.items():
        assert f"{name}, {meaning}" in absl_flags.FLAGS["method"].help


OTHERS = {
    "i2i_adapt": {"target_labels_per_class": 5, "select": "target_entropy", "warm_start": True},
    "cyclegan": {
        "method": "cyclegan", "adaptation": "sum", "translated_copy": True, "pool_size": 50,
        "dropout": 0.25, "dropout_at_inference": True, "schedule": "linear",
    },
    "lstnet": {
        "method": "lstnet", "image_size": 28, "target_image_size": 16, "translation_pixels": 2.0,
        "adaptation": "on_translated_source",
    },
    "dtn": {
        "method": "dtn", "preset": "faces", "encoder_file": "my faces/f.keras",
        "target_channels": 3, "generator_width": 0.5,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "fields", [{}, UNUSUAL, *OTHERS.values()], ids=["defaults", "unusual", *OTHERS]
)
def test_a_flagfile_gives_the_same_experiment_back(fields, tmp_path, from_arguments):
    experiment = Experiment(**tiny(**fields))
    path = tmp_path / "flags.cfg"
    path.write_text(flags.to_flagfile(experiment))

    assert flags.from_flagfile(path) == experiment
    assert from_arguments(f"--flagfile={path}") == experiment
    assert flags.to_flagfile(flags.from_flagfile(path)) == path.read_text()


def test_a_later_flag_overrides_the_flagfile(flagfile, from_arguments):
    experiment = from_arguments(f"--flagfile={flagfile('')}", "--seeds=4,5", "--noceiling")
    assert (experiment.seeds, experiment.ceiling) == ([4, 5], False)


def test_numbers_keep_their_exact_value(flagfile):
    rates = [2e-4, 0.1 + 0.2, 1 / 3, 1e-30, 1.2e-38, 123456789.123456789]
    for rate in rates:
        assert flags.from_flagfile(flagfile("", learning_rate=rate)).learning_rate == rate


def test_comments_and_empty_lines_of_a_flagfile_are_skipped(flagfile, make_experiment):
    assert flags.from_flagfile(flagfile("\n# --seeds=9\n\n")) == make_experiment()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--seeds=a", "--seeds must be numbers, like 0,1,2. Received: a"),
        ("--seeds=0,,1", "--seeds must be numbers, like 0,1,2. Received: 0,,1"),
        ("--seeds=0.5", "--seeds must be numbers, like 0,1,2. Received: 0.5"),
        ("--seeds=", "--seeds must be different numbers ≥ 0. Received: []"),
        ("--loss_weights=foo", "must read like task=1,feature=0.2. Received: 'foo'"),
        ("--loss_weights=task=1,cycle=x", "must read like task=1,feature=0.2. Received: 'cycle=x'"),
        ("--loss_weights=task=", "must read like task=1,feature=0.2. Received: 'task='"),
        ("--loss_weights=tusk=1", "unknown terms tusk. Known are: task, feature, translation"),
    ],
)
def test_a_bad_list_says_what_is_expected(argument, message, flagfile, from_arguments):
    with pytest.raises(InputError) as error:
        from_arguments(f"--flagfile={flagfile('')}", argument)
    assert message in str(error.value)
    with pytest.raises(InputError) as error:
        flags.from_flagfile(flagfile(argument))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--lerning_rate=1", "unknown flag --lerning_rate; was it written by another version?"),
        ("--steps=many", "--steps is a int. Received: 'many'"),
        ("--steps=1.5", "--steps is a int. Received: '1.5'"),
        ("--learning_rate=fast", "--learning_rate is a float. Received: 'fast'"),
        ("--ceiling=maybe", "--ceiling is a bool. Received: 'maybe'"),
    ],
)
def test_a_bad_line_of_a_runs_flagfile_is_named_with_its_file(line, message, flagfile):
    path = flagfile(line)
    with pytest.raises(InputError) as error:
        flags.from_flagfile(path)
    assert str(error.value) == f"{path}: {message}"


@pytest.mark.parametrize("name", ["seeds", "loss_weights", "steps"])
def test_a_flag_that_a_runs_flagfile_lacks_has_its_default(name, flagfile):
    path = flagfile("", seeds=[7], loss_weights={"task": 3.0}, steps=2)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith(f"--{name}=")))
    default = getattr(Experiment(source="mnist", target="usps", run_dir="x"), name)
    assert getattr(flags.from_flagfile(path), name) == default


def test_spaces_around_items_do_not_matter(flagfile, from_arguments):
    experiment = from_arguments(
        f"--flagfile={flagfile('')}", "--loss_weights=task=1, cycle = 0.5", "--seeds=1, 2"
    )
    assert experiment.loss_weights == {"task": 1.0, "cycle": 0.5}
    assert experiment.seeds == [1, 2]
