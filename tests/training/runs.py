"""What tests of whole runs share: training without drawing, and comparing runs bit for bit."""

import contextlib
import functools
import io
import json
import shutil
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_i2i import data
from keras_i2i.evaluation import embeddings, figures
from keras_i2i.models import AdversarialModel
from keras_i2i.training import callbacks
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.train import train


@contextlib.contextmanager
def nothing_drawn():
    """An evaluation in numbers alone: drawing takes longer than all the rest."""

    def empty(*args, path, **kwargs):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "image_grid", "confusions", "per_class", "training_curves", "tsne_maps",
            "segmentation_panels", "iou_bars",
        ):  # fmt: skip
            patch.setattr(figures, name, empty)
        patch.setattr(embeddings, "tsne", lambda source, target, seed: None)
        yield


def learning_eagerly():
    """All models learn eagerly: tracing a step takes longer than a few of them."""
    return _learning(eagerly=True)


def learning_in_graphs():
    """All models learn as a user's do, in graphs, also among others that learn eagerly."""
    return _learning(eagerly=False)


@contextlib.contextmanager
def _learning(eagerly):
    def learning(build):
        @functools.wraps(build)
        def built(*args, **kwargs):
            model = build(*args, **kwargs)
            model.run_eagerly = eagerly
            return model

        return built

    with pytest.MonkeyPatch.context() as patch:
        for name in ("build_model", "build_classifier"):
            patch.setattr(Experiment, name, learning(getattr(Experiment, name)))
        yield


def write_images(folder, sizes, seed=0, start=0):
    """Writes PNGs of these (height, width), bright in one half, called 00.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number, size in enumerate(sizes, start=start):
        pixels = rng.integers(0, 100, (*size, 3), "uint8")
        pixels[: size[0] // 2] += np.uint8(100)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")


def starter(tmp_path_factory, defaults):
    """`start(**fields)`: an experiment of these defaults with a folder of its own."""

    def start(**fields):
        run_dir = str(tmp_path_factory.mktemp("runs") / "run")
        return Experiment(**{**defaults, "run_dir": run_dir, **fields})

    return start


def continue_quietly(experiment):
    """Trains on without drawing; returns what was said."""
    lines = []
    with nothing_drawn():
        train(experiment, lines.append)
    return lines


class Spy:
    """What reaches `fit` and `train_step` of the models of a run."""

    def __init__(self, patch):
        self.fits, self.steps = [], []
        fit, train_step = AdversarialModel.fit, AdversarialModel.train_step

        def spied_fit(model, batches, **kwargs):
            assert "y" not in kwargs
            assert "validation_data" not in kwargs
            self.fits.append((type(model).__name__, batches))
            return fit(model, batches, **kwargs)

        def spied_step(model, batch):
            self.steps.append((type(model).__name__, tf.nest.map_structure(tuple_of_shape, batch)))
            return train_step(model, batch)

        patch.setattr(AdversarialModel, "fit", spied_fit)
        patch.setattr(AdversarialModel, "train_step", spied_step)


def tuple_of_shape(tensor):
    return tensor.shape


def weights_of(path):
    """All that a `.keras` file holds of a model and its optimizer, name → array."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    assert len(found) > 10
    return found


def same_weights(first, second):
    """Whether two `.keras` files hold the same numbers, bit for bit."""
    first, second = weights_of(first), weights_of(second)
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def history_of(run, step, seed=0):
    """What a step logged, without what a clock decides."""
    entries = json.loads(run.history(step, seed).read_text())
    return [{name: e[name] for name in e if name != "seconds"} for e in entries]


def results_of(run):
    """metrics.json without what a clock, the machine or the folder's name decides."""
    metrics = json.loads(run.metrics.read_text())
    for result in metrics["per_seed"]:
        for entries in result["history"].values():
            for entry in entries:
                del entry["seconds"]
    without = ("seconds", "command", "flags", "provenance")
    return {name: metrics[name] for name in metrics if name not in without}


def assert_same_run(run, other, steps):
    """Two finished runs have the same models and histories of these steps, and the same results."""
    for step in steps:
        assert same_weights(run.model(step, 0), other.model(step, 0)), step
        assert history_of(run, step) == history_of(other, step)
    assert results_of(run) == results_of(other)


class Trained(RunDirectory):
    """A finished run, what `train` returned and said, and what a `Spy` saw."""

    def __init__(self, experiment):
        super().__init__(experiment.run_dir, experiment)
        self.lines = []
        with pytest.MonkeyPatch.context() as patch, nothing_drawn():
            self.spy = Spy(patch)
            self.returned = train(experiment, self.lines.append)


def interrupt_in_an_epoch(patch, title, epoch, batch):
    whole = callbacks.Progress.on_train_batch_end

    def interrupted(self, index, logs=None):
        whole(self, index, logs)
        if self.title.startswith(title) and (self._base, index) == (
            epoch * self.steps_per_epoch,
            batch,
        ):
            raise KeyboardInterrupt

    patch.setattr(callbacks.Progress, "on_train_batch_end", interrupted)


def interrupted_run(experiment, finished, before, title, epoch, batch=0):
    """A run with these steps of a finished one's, stopped by Ctrl-C in the step of that title."""
    run = RunDirectory.create(experiment)
    shutil.copytree(finished.path / "history", run.path / "history")
    for step in before:
        shutil.copy(finished.model(step, 0), run.model(step, 0))
    with pytest.MonkeyPatch.context() as patch:
        interrupt_in_an_epoch(patch, title, epoch, batch)
        with pytest.raises(KeyboardInterrupt):
            train(experiment, lambda line: None)
    return run


def assert_all_of(images, labels, examples):
    """That all are images of these examples, with their labels; returns which ones."""
    known = np.asarray(data.preprocess(examples.images, images.shape[1:]))
    seen = set()
    for number, image in enumerate(images):
        where = np.flatnonzero((known == image.numpy()).all(axis=(1, 2, 3)))
        assert len(where)
        if labels is not None:
            assert int(labels[number]) in examples.labels[where]
        seen |= set(where.tolist())
    return seen


def alternate(model, steps):
    """Eagerly: tracing takes longer than a few steps."""
    for step in steps:
        rng = np.random.default_rng(step)
        x, y = rng.uniform(-1, 1, (2, 4, 16, 16, 1)).astype("float32")
        batch = {"source": x, "target": y, "source_labels": rng.integers(0, 10, 4)}
        model._alternate({name: tf.constant(value) for name, value in batch.items()})


def state(model):
    """Every variable of training, by what it is."""
    parts = {
        "model": model.variables,
        "optimizer": model.optimizer.variables,
        "discriminator_optimizer": model.discriminator_optimizer.variables,
        "seed_generator": [model.seed_generator.state],
    }
    return {
        f"{part}/{number}/{variable.path}": np.array(variable.numpy())
        for part, variables in parts.items()
        for number, variable in enumerate(variables)
    }


def equal(first, second):
    """For each variable, whether it is the same bit for bit."""
    assert len(first) == len(second)
    pairs = zip(first.values(), second.values(), strict=True)
    return [np.array_equal(one, other) for one, other in pairs]
