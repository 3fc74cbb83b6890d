"""Every config: read as `train.py` reads it, and its model through a step and a file.

Flags and commands in documents too.
"""

import dataclasses
import pathlib
import re
import shlex

import keras
import numpy as np
import pytest
from absl import flags as absl_flags
from PIL import Image

from keras_i2i import networks
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.flags import define_experiment_flags
from keras_i2i.training.methods import BASELINES
from keras_i2i.training.train import steps_of

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "configs"
CONFIGS = sorted(FOLDER.glob("*.cfg"))
DOCUMENT = ROOT / "docs" / "your_own_images.md"
# Those of the commands that are no fields of an experiment.
OTHER_FLAGS = {"flagfile", "only", "run", "images", "out", "seed", "to"}


@pytest.fixture
def read_flags():
    """`read_flags(*arguments)`: the experiment of a command line, through absl's own reading."""
    flags = absl_flags.FLAGS
    before = set(flags)
    read_experiment = define_experiment_flags()

    def read_flags(*arguments):
        flags.unparse_flags()
        flags(["train.py", *arguments])
        return read_experiment()

    yield read_flags
    for name in set(flags) - before:
        delattr(flags, name)
    flags.unparse_flags()


@pytest.fixture
def read(read_flags, tmp_path, monkeypatch):
    """`read(path)`: the experiment of a config.

    In a folder that has what `image_folder:PATH` domains name, without labels.
    """
    monkeypatch.chdir(tmp_path)
    for path in CONFIGS:
        for name in re.findall(r"^--\w+=image_folder:(.+)$", path.read_text("utf-8"), re.M):
            for split in ("train", "test"):
                write_image(tmp_path / name / split / "1.png")
    return lambda path: read_flags(f"--flagfile={path}")


def write_image(path, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8)).save(path)


def test_there_are_configs_and_a_quickstart():
    assert FOLDER / "quickstart.cfg" in CONFIGS
    assert len(CONFIGS) > 1


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_an_experiment_with_a_folder_of_its_name(path, read):
    experiment = read(path)
    assert isinstance(experiment, Experiment)
    assert experiment.run_dir == f"runs/{path.stem}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("method", BASELINES)
def test_a_config_with_labels_trains_a_baseline_too(path, method, read, read_flags):
    if read(path).num_classes:
        assert read_flags(f"--flagfile={path}", f"--method={method}").method == method


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


def test_the_quickstart_of_segmentation_needs_none_either(read):
    experiment = read(FOLDER / "quickstart_segmentation.cfg")
    assert (experiment.source, experiment.target) == ("rendered_streets", "night_streets")
    assert experiment.segments


@pytest.mark.parametrize(
    ("pattern", "classes", "segments"), [("office31_*", 31, False), ("gta5_*", 19, True)]
)
def test_configs_of_data_that_are_not_there_are_read_all_the_same(pattern, classes, segments, read):
    experiments = [read(path) for path in FOLDER.glob(f"{pattern}.cfg")]
    assert len({(e.source, e.target, e.encoder) for e in experiments}) == len(experiments) >= 2
    for experiment in experiments:
        assert (experiment.num_classes, experiment.segments) == (classes, segments)
        assert experiment.encoder in networks.BACKBONES


@pytest.mark.parametrize("path", [*CONFIGS, DOCUMENT], ids=lambda path: path.stem)
def test_flags_that_are_named_exist(path):
    known = OTHER_FLAGS.copy()
    for field in dataclasses.fields(Experiment):
        known |= {field.name, f"no{field.name}"} if field.type is bool else {field.name}
    named = set(re.findall(r"--(\w+)", path.read_text(encoding="utf-8")))
    assert named and named <= known


def commands(path):
    """The commands `python train.py ...` of a document, each as its arguments."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^python train\.py (.+)$", text, re.M)]


@pytest.mark.parametrize("arguments", commands(DOCUMENT), ids=lambda arguments: arguments[0])
def test_a_command_of_the_document_is_an_experiment_on_folders_as_it_shows_them(
    arguments, read_flags, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    names = dict(re.fullmatch(r"--(\w+)=(\w+_folder:.+)", a).groups() for a in arguments[:2])
    for role, name in names.items():
        kind, folder = name.split(":")
        inside = {"source": ("cup", "lamp"), "target": (".",)}[role]
        if kind == "segmentation_folder":
            inside = ("images", "masks")
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "classes.txt").write_text("road\nsky\n")
        for part in inside:
            for number in range(2):
                mode = "L" if part == "masks" else "RGB"
                write_image(tmp_path / folder / part / f"{number}.png", mode)
    experiment = read_flags(*arguments)
    assert experiment.num_classes == 2
    small = shrunken(experiment)
    small.build_model(0, small.build_classifier("source"))


# Configs that differ in data, duration, rates or how much terms weigh have the same model; it is
# tried once.
NOT_OF_THE_MODEL = (
    "source", "target", "run_dir", "data_dir", "seeds", "steps", "steps_per_epoch",
    "classifier_steps", "source_size", "target_size", "source_validation_size",
    "target_validation_size", "batch_size", "rotation", "scale", "translation",
    "translation_pixels", "encoder_width", "decoder_width", "generator_width",
    "discriminator_width", "ceiling", "keep_checkpoints", "translated_copy", "learning_rate",
    "classifier_learning_rate", "discriminator_learning_rate", "schedule", "classifier_schedule",
    "loss_weights", "load_size", "crop_size", "fit", "flip", "levels", "invert",
    "test_share", "split_seed", "max_unreadable", "cache", "encoder_weights",
    "encoder_preprocessing",
)  # fmt: skip


def kind_of(experiment):
    """What models of different networks and losses differ in."""
    return experiment.method, experiment.preset, experiment.encoder, experiment.segments


def model_of(experiment):
    """All that makes a difference to a model."""
    fields = dataclasses.asdict(experiment)
    kept = {name: fields[name] for name in fields if name not in NOT_OF_THE_MODEL}
    terms = {term: weight > 0 for term, weight in sorted(experiment.loss_weights.items())}
    return str((kept, terms, experiment.num_classes))


@pytest.mark.parametrize("alike", [kind_of, pytest.param(model_of, marks=pytest.mark.slow)])
def test_the_models_of_configs_learn_a_step_and_survive_their_file(
    alike, read, shallow_backbones, tmp_path
):
    tried = set()
    for path in CONFIGS:
        experiment = read(path)
        if alike(experiment) not in tried:
            tried.add(alike(experiment))
            learn_and_reload(experiment, tmp_path / path.stem)
    assert len(tried) >= 3


def shrunken(experiment):
    """The same model, untrained: few filters, shallow U-Nets, images as its backbone allows."""
    if experiment.encoder in networks.BACKBONES:
        experiment = dataclasses.replace(experiment, image_size=32)
    if experiment.method == "cyclegan":
        experiment = dataclasses.replace(experiment, generator_stages=1)
    other = "decoder" if experiment.method == "i2i_adapt" else "generator"
    return dataclasses.replace(
        experiment,
        encoder_width=0.1,
        encoder_weights="",
        encoder_preprocessing="",
        discriminator_width=0.02,
        load_size=0,
        crop_size=0,
        **{f"{other}_width": 0.02},
    )


def learn_and_reload(experiment, folder):
    small = shrunken(experiment)
    folder.mkdir()
    if small.encoder_file:
        images = keras.Input(small.image_shape)
        features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, 8)(images))
        keras.Model(images, features).save(folder / "encoder.keras")
        small = dataclasses.replace(small, encoder_file=str(folder / "encoder.keras"))
    keras.utils.set_random_seed(0)
    source_only = small.build_classifier("source") if small.num_classes else None
    model = small.build_model(0, source_only)
    rng = np.random.default_rng(0)
    batch = {
        domain: rng.uniform(-1, 1, (2, *model.image_shape_of(domain))).astype("float32")
        for domain in ("source", "target")
    }
    size = (2, *small.image_shape[:2]) if small.segments else 2
    labels = rng.integers(0, max(small.num_classes, 1), size)
    learn(model, batch, labels)

    again = reloaded(model, folder / "model.keras")
    assert again.directions == model.directions
    for domain, images in batch.items():
        assert again.can_reconstruct(domain) == model.can_reconstruct(domain)
        if model.can_classify:
            same(model, again, lambda model, x=images, d=domain: model.classify(x, d))
    for direction in model.directions:
        images = batch[direction.split("_to_")[0]]
        same(model, again, lambda model, x=images, way=direction: model.translate(x, way))
    assert model.can_classify or model.can_translate

    if "on_translated_source" in steps_of(small):
        classifier = small.build_classifier("target")
        classifier.train_on_translations(again.mapping("source", "target"))
        before = [np.array(value) for value in again.get_weights()]
        learn(classifier, batch["source"], labels)
        assert all(map(np.array_equal, before, again.get_weights()))
        images = batch["target"]
        same(
            classifier,
            reloaded(classifier, folder / "classifier.keras"),
            lambda model: model.classify(images),
        )


def learn(model, batch, labels):
    """One step: finite losses, and weights that move."""
    model.run_eagerly = True  # Tracing takes longer than the step.
    before = [np.array(variable) for variable in map(keras.ops.copy, model.trainable_variables)]
    losses = model.train_on_batch(batch, labels, return_dict=True)
    assert set(losses) >= {"loss", *model.terms}
    assert all(np.isfinite(value) for value in losses.values())
    assert not all(map(np.array_equal, before, (v.numpy() for v in model.trainable_variables)))


def reloaded(model, path):
    model.save(path)
    return keras.saving.load_model(path)


def same(model, again, function):
    np.testing.assert_array_equal(function(again), function(model))
