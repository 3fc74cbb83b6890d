"""Whole runs: what they leave, that they can be interrupted anywhere, and what they never see."""

import dataclasses
import errno
import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from keras_i2i import data
from keras_i2i.errors import InputError
from keras_i2i.evaluation.validators import VALIDATORS
from keras_i2i.models import AdversarialModel
from keras_i2i.training import callbacks, checkpoint_folder
from keras_i2i.training import train as train_module
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.strategy import Replicas
from keras_i2i.training.train import load_model, train

from .conftest import TEST_IMAGES, TINY, small_data
from .runs import (
    Trained,
    assert_all_of,
    assert_same_run,
    continue_quietly,
    history_of,
    interrupt_in_an_epoch,
    learning_eagerly,
    learning_in_graphs,
    nothing_drawn,
    same_weights,
    starter,
    weights_of,
)

STEPS = ("source_only", "target_only", "adapted")
DOMAINS = ("source", "target")

# Quick to learn, and with all that a continued run must find again: random numbers in the step
# (the gradient penalty), a schedule, averaged weights, augmentation.
QUICK = {
    "preset": "fcns_in_the_wild",
    "feature_objective": "wasserstein",
    "schedule": "cosine",
    "ema_momentum": 0.5,
    "rotation": 10.0,
    "steps": 6,
}


@pytest.fixture(scope="module", autouse=True)
def few_images_eagerly():
    with small_data(), learning_eagerly():
        yield


@pytest.fixture
def no_fit(monkeypatch):
    """A call of `fit` fails the test."""

    def fit(self, *args, **kwargs):
        raise AssertionError("A finished step is trained again.")

    monkeypatch.setattr(AdversarialModel, "fit", fit)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """`start(**fields)`: an experiment with a folder of its own."""
    return starter(tmp_path_factory, TINY)


@pytest.fixture(scope="module")
def full(start):
    """All of I2I-Adapt, in graphs."""
    with learning_in_graphs():
        return Trained(start())


@pytest.fixture(scope="module")
def quick(start):
    """The run that the interrupted ones are held against."""
    return Trained(start(**QUICK))


@pytest.fixture(scope="module")
def two_seeds(start):
    """Same as `quick`, for seeds 0 and 1, and without the ceiling."""
    return Trained(start(**QUICK, seeds=[0, 1], ceiling=False))


class TestAFinishedRun:
    def test_metrics_keep_their_contract(self, full):
        metrics = json.loads(full.metrics.read_text())
        assert metrics == json.loads(json.dumps(full.returned))
        assert metrics["method"] == "i2i_adapt"
        assert metrics["source"] == "printed_digits"
        assert metrics["target"] == "handwritten_digits"
        assert metrics["seeds"] == [0]
        (seconds,) = metrics["seconds"]
        assert 0 < seconds < 600
        for name in ("source_only", "adapted", "target_only"):
            for domain in ("target", "source"):
                (accuracy,) = metrics[name][f"{domain}_test_accuracy"]
                assert 0 <= accuracy <= 1
                assert (accuracy * TEST_IMAGES) == pytest.approx(round(accuracy * TEST_IMAGES))
        assert list(metrics["translations_read_correctly"]) == [
            "source_to_target",
            "target_to_source",
        ]
        for (share,) in metrics["translations_read_correctly"].values():
            assert 0 <= share <= 1

    def test_the_accuracies_are_those_of_the_saved_models(self, full):
        metrics = json.loads(full.metrics.read_text())
        test = data.load("handwritten_digits", "test")
        images = np.asarray(data.preprocess(test.images, (16, 16, 1)))
        for name in ("source_only", "adapted", "target_only"):
            read = load_model(full, name, 0).classify(images).argmax(-1)
            accuracy = np.mean(read == test.labels)
            assert metrics[name]["target_test_accuracy"] == [pytest.approx(accuracy)]

    def test_it_leaves_every_file_of_the_contract(self, full):
        names = {path.name for path in full.path.iterdir()}
        assert names == {
            "flags.cfg", "metrics.json", "model.keras", "source_only.keras", "target_only.keras",
            "report.html", "figures", "history", "tensorboard", "checkpoints", "provenance.json",
            ".lock",
        }  # fmt: skip
        drawn = {path.stem for path in (full.path / "figures").glob("*.png")}
        assert drawn >= {
            "tsne", "confusion", "per_class", "training",
            "translation_source_to_target", "translation_target_to_source",
        }  # fmt: skip
        for step in ("source_only", "target_only", "adapted"):
            assert any(full.checkpoints(step, 0).glob("step_*.npz"))
            assert any(full.tensorboard(step, 0).rglob("events.out.tfevents.*"))
        assert any((full.tensorboard("adapted", 0) / "images").glob("events.out.tfevents.*"))

    def test_it_says_what_it_was_made_of(self, full):
        found = json.loads(full.provenance.read_text())
        assert full.returned["provenance"] == found
        assert len(found["starts"]) == 1
        images = {d: {s: part["images"] for s, part in found["data"][d].items()} for d in DOMAINS}
        assert images["source"]["test"] == images["target"]["test"] == TEST_IMAGES
        assert found["data"]["source"]["train"]["sha256"] in full.report.read_text("utf-8")
        assert set(full.returned["test_images_seen"]) == set(DOMAINS)

    def test_its_flags_reproduce_it(self, full):
        assert RunDirectory.open(full.path).experiment == full.experiment

    def test_the_report_shows_the_results(self, full):
        text = full.report.read_text(encoding="utf-8")
        accuracy = full.returned["adapted"]["target_test_accuracy"][0]
        assert f"{100 * accuracy:.1f}" in text
        assert f"--flagfile={full.flagfile}" in text

    def test_every_epoch_is_logged_with_every_loss(self, full):
        entries = json.loads(full.history("adapted", 0).read_text())
        assert [entry["step"] for entry in entries] == [2, 4]
        assert entries[0]["seconds"] <= entries[1]["seconds"]
        for entry in entries:
            entry.pop("warnings", None)  # so little training deserves some
            assert set(entry) == {
                "step", "seconds", "learning_rate",
                "loss", "task", "feature", "translation", "identity", "cycle",
                "d_feature", "d_source", "d_target",
                "diversity", "translations_read", "permuted_classes", "target_information",
                *VALIDATORS, "target_test_accuracy",
            }  # fmt: skip
            assert all(np.isfinite(value) for value in entry.values())

    def test_it_says_what_it_does_and_how_it_went(self, full):
        text = "\n".join(full.lines)
        assert full.lines[0] == (
            "printed_digits → handwritten_digits: 200 labelled, 200 unlabelled images of 16x16x1."
        )
        for term in ("task", "feature", "translation", "identity", "cycle"):
            assert f"  {term}: " in text
        assert "information: " not in text
        names = {
            "without adaptation": "source_only",
            "adapted": "adapted",
            "ceiling, trained on target labels": "target_only",
        }
        for words, name in names.items():
            accuracy = full.returned[name]["target_test_accuracy"][0]
            assert f"  {words:38s} {100 * accuracy:5.1f}%" in full.lines
        assert full.lines[-1] == f"Report: {full.report}"

    def test_only_opponents_that_play_are_explained(self, quick):
        text = "\n".join(quick.lines)
        assert "d_feature" in text
        assert "d_source" not in text

    def test_it_says_so_and_trains_nothing(self, quick, no_fit):
        before = {path: path.stat().st_mtime_ns for path in quick.path.rglob("*.keras")}
        lines = []
        assert train(quick.experiment, lines.append) == quick.returned
        assert lines[0].startswith("This run is finished; its results follow.")
        assert lines[1:] == quick.lines[-len(lines[1:]) :]
        assert before == {path: path.stat().st_mtime_ns for path in quick.path.rglob("*.keras")}


class TestALostFile:
    """A finished run without one of its models is none."""

    def test_it_is_made_anew_and_the_rest_left_alone(self, start):
        run = Trained(start(**QUICK, ceiling=False))
        before = {path: path.read_bytes() for path in run.path.glob("*.keras")}
        metrics = json.loads(run.metrics.read_text())
        lost = run.model("adapted", 0)
        lost.unlink()
        lines = []
        again = train(run.experiment, lines.append)
        assert lines[0] == f"This run was finished, but has lost {lost.name}: made anew."
        assert lost.exists() and before.keys() == set(run.path.glob("*.keras"))
        kept = run.model("source_only", 0)
        assert kept.read_bytes() == before[kept]
        assert again["adapted"] == metrics["adapted"]
        assert train(run.experiment, lines.append) == again


class TestDishonestData:
    """What would make a result worth nothing is refused, or told."""

    @staticmethod
    def alter(name, altered, monkeypatch):
        """A domain whose parts are what `altered(split, examples)` makes of them."""
        domain = data.DOMAINS[name]

        def read(split, data_dir):
            return altered(split, domain.read(split, data_dir))

        monkeypatch.setitem(data.DOMAINS, name, dataclasses.replace(domain, read=read))

    def test_a_test_on_training_images_is_refused_before_anything_is_learnt(
        self, start, no_fit, monkeypatch
    ):
        experiment = start()
        part = data.load("handwritten_digits", "train", size=50)  # 16 of them become validation
        self.alter("handwritten_digits", lambda split, examples: part, monkeypatch)
        with pytest.raises(InputError, match=r"34 of 50 test images of --target=handwritten_dig"):
            train(experiment, lambda line: None)
        assert not RunDirectory(experiment.run_dir, experiment).path.exists()

    def test_and_so_is_its_evaluation(self, quick, monkeypatch):
        before = quick.metrics.read_bytes()
        part = data.load("handwritten_digits", "train", size=50)  # 16 of them become validation
        self.alter("handwritten_digits", lambda split, examples: part, monkeypatch)
        with pytest.raises(InputError, match=r"34 of 50 test images of --target=handwritten_dig"):
            train_module.evaluate(RunDirectory.open(quick.path), log=lambda line: None)
        assert quick.metrics.read_bytes() == before

    def test_a_run_does_not_go_on_with_other_data(self, start, quick, no_fit, monkeypatch):
        experiment = start(**QUICK)
        run = RunDirectory.create(experiment)
        shutil.copy(quick.provenance, run.provenance)
        self.alter("printed_digits", lambda split, examples: examples[::-1], monkeypatch)
        with pytest.raises(
            InputError, match=r"other data.* source train, source validation, source test of"
        ):
            train(experiment, lambda line: None)

    def test_an_evaluation_on_other_data_says_so(self, quick, tmp_path, monkeypatch):
        run = RunDirectory(shutil.copytree(quick.path, tmp_path / "run"), quick.experiment)

        def without_first(split, examples):
            return examples[1:] if split == "test" else examples

        self.alter("printed_digits", without_first, monkeypatch)
        lines = []
        with nothing_drawn():
            train_module.evaluate(run, log=lines.append)
        assert "warning: these are not the data of the training: source test." in lines

    def test_a_test_on_training_images_that_is_meant_says_what_it_is(
        self, quick, tmp_path, monkeypatch
    ):
        meant = {"transductive": True, "target_labels_per_class": 1, "target_validation_size": 0}
        experiment = dataclasses.replace(quick.experiment, **meant)
        run = RunDirectory(shutil.copytree(quick.path, tmp_path / "run"), experiment)
        part = data.load("handwritten_digits", "train", size=50)
        self.alter("handwritten_digits", lambda split, examples: part, monkeypatch)
        lines = []
        with nothing_drawn():
            metrics = train_module.evaluate(run, log=lines.append)
        assert (
            "10 test images of --target=handwritten_digits are left out: their labels are among "
            "the few that are learnt."
        ) in lines
        seen = metrics["test_images_seen"]["target"]
        assert (seen["of"], seen["left_out"]) == (40, 10)
        adapted = metrics["per_seed"][0]["models"]["adapted"]
        assert np.sum(adapted["target_test_confusion"]) == 40
        words, ceiling = "ceiling, trained on the test's labels", metrics["target_only"]
        number = 100 * ceiling["target_test_accuracy"][0]
        assert f"  {words:38s} {number:5.1f}%" in lines


class TestSeeds:
    def test_there_is_one_number_and_one_model_for_each(self, two_seeds):
        metrics = json.loads(two_seeds.metrics.read_text())
        assert metrics["seeds"] == [0, 1]
        assert len(metrics["seconds"]) == 2
        for name in ("source_only", "adapted"):
            for domain in ("target", "source"):
                assert len(metrics[name][f"{domain}_test_accuracy"]) == 2
        assert {path.name for path in two_seeds.path.glob("*.keras")} == {
            "model_seed_0.keras", "model_seed_1.keras",
            "source_only_seed_0.keras", "source_only_seed_1.keras",
        }  # fmt: skip

    def test_the_same_seed_gives_the_same_results(self, two_seeds, quick):
        # Whatever was trained before in the process, and with or without the ceiling.
        for step in ("source_only", "adapted"):
            assert same_weights(two_seeds.model(step, 0), quick.model(step, 0))
            assert history_of(two_seeds, step) == history_of(quick, step)
        for name in ("source_only", "adapted"):
            for key, values in two_seeds.returned[name].items():
                assert values[0] == quick.returned[name][key][0]

    def test_another_seed_gives_others(self, two_seeds):
        for step in ("source_only", "adapted"):
            one, other = (weights_of(two_seeds.model(step, seed)) for seed in (0, 1))
            kernels = [name for name in one if one[name].ndim == 4]
            assert kernels
            assert not any(np.array_equal(one[name], other[name]) for name in kernels)
            assert history_of(two_seeds, step, 0) != history_of(two_seeds, step, 1)

    def test_the_spread_is_announced(self, two_seeds):
        accuracies = 100 * np.array(two_seeds.returned["adapted"]["target_test_accuracy"])
        spread = f"{accuracies.mean():5.1f}% ± {abs(np.subtract(*accuracies)) / 2**0.5:.1f}"
        assert any(line.endswith(spread) for line in two_seeds.lines)


def in_source_only(patch):
    interrupt_in_an_epoch(patch, "source_only", epoch=1, batch=0)


def by_sigterm_in_the_first_epoch(patch):
    whole = callbacks.Progress.on_train_batch_end

    def signalled(self, batch, logs=None):
        whole(self, batch, logs)
        if self.title.startswith("adapted"):
            os.kill(os.getpid(), signal.SIGTERM)  # the step's checkpoint is yet to come

    patch.setattr(callbacks.Progress, "on_train_batch_end", signalled)


def by_a_full_disk_in_the_last_epoch(patch):
    whole = checkpoint_folder.np.savez

    def full(path, step, **arrays):
        if step == 6:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(path, step=step, **arrays)

    patch.setattr(checkpoint_folder.np, "savez", full)


def between_checkpoint_and_log(patch):
    whole = callbacks.History.on_epoch_end

    def interrupted(self, epoch, logs=None):
        if "feature" in logs and epoch == 1:
            raise KeyboardInterrupt
        whole(self, epoch, logs)

    patch.setattr(callbacks.History, "on_epoch_end", interrupted)


def before_the_model_is_saved(patch):
    whole = train_module.replacing

    def interrupted(path):
        if path.name == "model.keras":
            raise KeyboardInterrupt
        return whole(path)

    patch.setattr(train_module, "replacing", interrupted)


def before_the_metrics_are_written(patch):
    def interrupted(*args):
        raise KeyboardInterrupt

    patch.setattr(train_module.report, "write_report", interrupted)


def hidden(run):
    return [path for path in run.path.rglob(".*") if path.name != ".lock"]


class TestAnInterruptedRun:
    def test_ends_as_if_it_had_not_been_wherever_it_was_interrupted(self, start, quick):
        experiment = start(**QUICK)
        run = RunDirectory(experiment.run_dir, experiment)
        expected, told = [], []
        for interrupt, continues_with in (
            (in_source_only, "source_only, seed 0: continuing from step 2."),
            (by_sigterm_in_the_first_epoch, "adapted, seed 0: continuing from step 1."),
            (between_checkpoint_and_log, "adapted, seed 0: continuing from step 4."),
            (by_a_full_disk_in_the_last_epoch, "adapted, seed 0: continuing from step 4."),
            (before_the_model_is_saved, "adapted, seed 0: continuing from step 6."),
            (before_the_metrics_are_written, None),
        ):
            lines = []
            with pytest.MonkeyPatch.context() as patch, nothing_drawn():
                interrupt(patch)
                with pytest.raises((KeyboardInterrupt, OSError)) as end:
                    train(experiment, lines.append)
            told.append(str(end.value))
            assert not run.metrics.exists()
            assert not hidden(run)
            assert [line for line in lines if "continuing" in line] == expected
            expected = [continues_with] if continues_with else []
        assert not any("continuing" in line for line in continue_quietly(experiment))
        assert_same_run(run, quick, STEPS)
        assert told[1] == "SIGTERM received: step 1 is saved."
        file = run.checkpoints("adapted", 0) / "step_0000006.npz"
        assert told[3] == (
            f"Cannot write {file}: No space left on device. The last checkpoint, "
            "checkpoints/seed_0_adapted/step_0000004.npz, is intact: make room, and the same "
            "command goes on from there."
        )

    @pytest.mark.slow
    def test_of_the_full_method_ends_as_if_it_had_not_been(self, start, full):
        experiment = start()
        run = RunDirectory(experiment.run_dir, experiment)
        # What a kill in the second epoch of the adapted model leaves.
        ignored = (
            "metrics.json", "model.keras", "report.html", "figures", "step_0000004.npz",
            "flags.cfg",
        )  # fmt: skip
        shutil.copytree(full.path, run.path, ignore=shutil.ignore_patterns(*ignored))
        for step in ("source_only", "target_only"):
            shutil.rmtree(run.checkpoints(step, 0))
        shutil.copy(full.flagfile, run.flagfile)
        assert len(history_of(run, "adapted")) == 2

        with learning_in_graphs():
            assert "adapted, seed 0: continuing from step 2." in continue_quietly(experiment)
        assert_same_run(run, full, STEPS)

    def test_an_unfinished_one_says_how_to_continue(self, start):
        run = RunDirectory.create(start(**QUICK))
        with pytest.raises(InputError) as error:
            train_module.evaluate(run, log=lambda line: None)
        assert "source_only.keras is missing: step source_only of the run is not finished." in str(
            error.value
        )
        assert f"`keras-i2i-train --flagfile={run.flagfile}`" in str(error.value)

    @pytest.mark.slow
    def test_under_several_replicas_it_ends_as_if_it_had_not_been(
        self, start, two_replicas, monkeypatch
    ):
        monkeypatch.setattr(train_module, "make_replicas", lambda *names: Replicas(two_replicas))
        fields = {**QUICK, "ceiling": False, "steps": 4, "classifier_steps": 2}
        with learning_in_graphs():
            whole = Trained(start(**fields))
            experiment = start(**fields)
            with pytest.MonkeyPatch.context() as patch:
                interrupt_in_an_epoch(patch, "adapted", epoch=1, batch=0)
                with pytest.raises(KeyboardInterrupt):
                    train(experiment, lambda line: None)
            continue_quietly(experiment)
        run = RunDirectory.open(experiment.run_dir)
        # Replicas add up in any order.
        one, other = weights_of(run.model("adapted", 0)), weights_of(whole.model("adapted", 0))
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-3, atol=1e-4, err_msg=name)
        assert len(history_of(run, "adapted")) == 2


class TestTargetLabels:
    """Rule: labels of the target's training images never reach the model that is adapted."""

    @pytest.mark.parametrize("run", [pytest.param("full", marks=pytest.mark.slow), "quick"])
    def test_the_adapted_models_batches_have_none(self, run, request):
        spy = request.getfixturevalue(run).spy
        (batches,) = (batches for name, batches in spy.fits if name == "I2IAdapt")
        assert batches.element_spec == (
            {
                "source": tf.TensorSpec((4, 16, 16, 1), tf.float32),
                "target": tf.TensorSpec((4, 16, 16, 1), tf.float32),
            },
            tf.TensorSpec((4,), tf.int64),
        )
        steps = [shapes for name, shapes in spy.steps if name == "I2IAdapt"]
        assert steps
        for shapes in steps:
            assert shapes == ({"source": (4, 16, 16, 1), "target": (4, 16, 16, 1)}, (4,))

    def test_the_baseline_and_the_ceiling_have_their_own_domain(self, full):
        domains = [batches for name, batches in full.spy.fits if name == "Classifier"]
        for batches, name in zip(domains, ("printed_digits", "handwritten_digits"), strict=True):
            for images, labels in batches.take(3):
                assert_all_of(images, labels, data.load(name, "train"))

    def test_the_labels_of_the_adapted_models_batches_are_the_sources(self, full):
        (batches,) = (batches for name, batches in full.spy.fits if name == "I2IAdapt")
        for images, labels in batches.take(3):
            assert_all_of(images["source"], labels, data.load("printed_digits", "train"))
            assert_all_of(images["target"], None, data.load("handwritten_digits", "train"))

    def test_other_labels_change_the_ceiling_and_nothing_else(self, start, quick):
        with small_data(target_labels=lambda labels: np.roll(labels, 1)):
            assert (
                np.mean(
                    data.load("handwritten_digits", "train").labels
                    == np.roll(data.load("handwritten_digits", "train").labels, -1)
                )
                < 0.5
            )
            other = Trained(start(**QUICK))
        for step in ("source_only", "adapted"):
            assert same_weights(quick.model(step, 0), other.model(step, 0))
            assert history_of(quick, step) == history_of(other, step)
            assert quick.returned[step] == other.returned[step]
        assert not same_weights(quick.model("target_only", 0), other.model("target_only", 0))

    def test_with_few_labels_only_those_images_are_labelled(self, start):
        fields = {**QUICK, "rotation": 0.0, "steps": 2, "classifier_steps": 2, "ceiling": False}
        run = Trained(start(**fields, target_labels_per_class=1))
        assert "target_task" in history_of(run, "adapted")[0]
        assert any("target_task: " in line for line in run.lines)
        (batches,) = (batches for name, batches in run.spy.fits if name == "I2IAdapt")
        assert set(batches.element_spec[0]) == {
            "source", "target", "target_labelled", "target_labels",
        }  # fmt: skip

        few = data.load_few_labelled("handwritten_digits", 1, seed=0)
        assert sorted(few.labels) == list(range(10))
        seen = set()
        for images, labels in batches.take(5):
            assert_all_of(images["source"], labels, data.load("printed_digits", "train"))
            seen |= assert_all_of(images["target_labelled"], images["target_labels"], few)
        assert seen == set(range(10))


class TestMethods:
    @pytest.mark.parametrize("method", ["source_only", "target_only"])
    def test_a_baseline_alone_runs(self, start, quick, method):
        fields = {**QUICK, "method": method}
        run = Trained(start(**fields))
        assert {path.name for path in run.path.glob("*.keras")} == {f"{method}.keras"}
        assert run.returned["method"] == method
        assert set(run.returned) & {"source_only", "target_only", "adapted"} == {method}
        said = f"--method={method} does not read --preset, --steps, --schedule, --ema_momentum, "
        assert any(line.startswith(said) for line in run.lines)
        # The same as beside the adapted model.
        assert same_weights(run.model(method, 0), quick.model(method, 0))
        assert run.returned[method] == quick.returned[method]
        assert run.report.exists()

    def test_adda_begins_with_the_baseline_and_leaves_the_source_alone(self, start):
        fields = {"ceiling": False, "steps": 2, "classifier_steps": 2}
        run = Trained(start(**fields, preset="adda"))
        first, adapted = load_model(run, "source_only", 0), load_model(run, "adapted", 0)
        pairs = {
            "source_encoder": (adapted.source_encoder, first.encoder),
            "head": (adapted.head, first.head),
            "target_encoder": (adapted.target_encoder, first.encoder),
        }
        same = {
            name: all(map(np.array_equal, one.get_weights(), other.get_weights()))
            for name, (one, other) in pairs.items()
        }
        assert same == {"source_encoder": True, "head": True, "target_encoder": False}
        assert 0 <= run.returned["adapted"]["target_test_accuracy"][0] <= 1
        assert "translations_read_correctly" not in run.returned

    def test_a_warm_start_begins_with_the_baseline(self, start, monkeypatch):
        began = []
        fit = AdversarialModel.fit

        def stop_at_the_adapted_model(model, *args, **kwargs):
            if model.name.startswith("i2i"):
                began.append(model)
                raise KeyboardInterrupt
            return fit(model, *args, **kwargs)

        monkeypatch.setattr(AdversarialModel, "fit", stop_at_the_adapted_model)
        experiment = start(**QUICK, ceiling=False, warm_start=True)
        with pytest.raises(KeyboardInterrupt):
            train(experiment, lambda line: None)
        (model,) = began
        first = load_model(RunDirectory.open(experiment.run_dir), "source_only", 0)
        for network, other in ((model.source_encoder, first.encoder), (model.head, first.head)):
            assert all(map(np.array_equal, network.get_weights(), other.get_weights()))


def test_a_damaged_model_file_is_named(tmp_path):
    experiment = Experiment(
        source="printed_digits", target="handwritten_digits", run_dir=str(tmp_path / "run")
    )
    run = RunDirectory.create(experiment)
    run.model("adapted", 0).write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(InputError, match=r"model\.keras cannot be read"):
        load_model(run, "adapted", 0)
