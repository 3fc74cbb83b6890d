"""Runs whose classifier comes from translations: what they leave, resume, and never see."""

import dataclasses
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_i2i import data
from keras_i2i.data import translated_copy
from keras_i2i.errors import InputError
from keras_i2i.evaluation.validators import VALIDATORS
from keras_i2i.models import Classifier, ReadsThroughTranslation, WeightedSum
from keras_i2i.models.image_model import OnImages
from keras_i2i.training import train as train_module
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.methods import METHODS
from keras_i2i.training.run_data import RunData
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.train import evaluate, load_model, load_models, load_reader, steps_of, train

from .conftest import BRIEF, TINY, small_data, tiny
from .runs import (
    Trained,
    assert_all_of,
    continue_quietly,
    history_of,
    interrupt_in_an_epoch,
    nothing_drawn,
    results_of,
    same_weights,
    weights_of,
)

BOTH = ("source_to_target", "target_to_source")


@dataclasses.dataclass(frozen=True)
class Case:
    """A run and what it has to leave.

    Attributes:
        fields: of the experiment.
        steps: what `steps_of` gives.
        adapted_is: the reader that the run reports.
        readers: those of the metrics beside baselines and "adapted".
        directions: of its translator.
        shapes: of its domains' images.
    """

    fields: dict
    steps: tuple
    adapted_is: str
    readers: tuple
    directions: tuple = BOTH
    shapes: tuple = ((16, 16, 1), (16, 16, 1))


HALVES = ("on_translated_source", "reads_translated_target")
CASES = {
    # All that a continued run must find again: the history pools, dropout's random numbers, a
    # schedule, averaged weights, augmentation.
    "cyclegan": Case(
        {
            "method": "cyclegan", "adaptation": "sum", "pool_size": 6, "dropout": 0.3,
            "schedule": "linear", "ema_momentum": 0.5, "rotation": 10.0, "generator_stages": 1,
        },
        ("source_only", "target_only", "translator", "on_translated_source", "sum"),
        "sum",
        (*HALVES, "sum"),
    ),
    "cyclegan_copy": Case(
        {
            "method": "cyclegan", "adaptation": "sum", "pool_size": 6, "dropout": 0.3,
            "translated_copy": True, "ceiling": False, "generator_stages": 1,
        },
        ("source_only", "translator", "translated_copy", "on_translated_source", "sum"),
        "sum",
        (*HALVES, "sum"),
    ),
    "lstnet": Case(
        {"method": "lstnet", "image_size": 28, "target_image_size": 16, "ceiling": False},
        ("source_only", "translator"),
        "reads_translated_target",
        ("reads_translated_target",),
        shapes=((28, 28, 1), (16, 16, 1)),
    ),
    "dtn": Case(
        {"method": "dtn", "channels": 3, "target_channels": 1, "ceiling": False},
        ("source_only", "translator", "on_translated_source"),
        "on_translated_source",
        ("on_translated_source",),
        directions=("source_to_target",),
        shapes=((16, 16, 3), (16, 16, 1)),
    ),
    "i2i_adapt": Case(
        {"adaptation": "sum", "image_objective": "least_squares", "ceiling": False},
        ("source_only", "translator", "on_translated_source", "sum"),
        "sum",
        ("joint", *HALVES, "sum"),
    ),
    "i2i_adapt_cyclegan": Case(
        {"preset": "cyclegan", "image_objective": "least_squares", "ceiling": False},
        ("source_only", "translator"),
        "reads_translated_target",
        ("reads_translated_target",),
    ),
}  # fmt: skip
WORDS = {
    "source_only": "without adaptation",
    "on_translated_source": "trained on translated source images",
    "reads_translated_target": "reads translated target images",
    "sum": "weighted sum of the two",
    "joint": "the translator's own classifier",
    "adapted": "adapted",
}
TRAINED = ("source_only", "target_only", "translator", "on_translated_source")


# A preset's run is its method's in all but the networks that it lacks.
NAMES = [
    pytest.param(name, marks=pytest.mark.slow if name == "i2i_adapt_cyclegan" else ())
    for name in CASES
]


@pytest.fixture(scope="module", autouse=True)
def few_images_eagerly():
    """Small data; and all models but those of the Domain Transfer Network's runs learn eagerly.

    Tracing a step takes longer than a few of them. Where that method has an encoder of the user's
    it learns eagerly too.
    """

    def eager(build):
        def built(experiment, *args):
            model = build(experiment, *args)
            model.run_eagerly = experiment.method != "dtn" or bool(experiment.encoder_file)
            return model

        return built

    with small_data(), pytest.MonkeyPatch.context() as patch:
        for name in ("build_model", "build_classifier"):
            patch.setattr(Experiment, name, eager(getattr(Experiment, name)))
        yield


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """`start(**fields)`: an experiment with a folder of its own."""

    def start(**fields):
        run_dir = str(tmp_path_factory.mktemp("runs") / "run")
        return Experiment(**tiny(**{**BRIEF, "run_dir": run_dir, **fields}))

    return start


@pytest.fixture(scope="module")
def finished(start):
    """`finished(name)`: the finished run of a case, trained when it is first asked for.

    Its `models` are those of `load_models`.
    """
    runs = {}

    def finished(name):
        if name not in runs:
            runs[name] = Trained(start(**CASES[name].fields))
            runs[name].models = load_models(runs[name], 0)
        return runs[name]

    return finished


@pytest.fixture
def begun(start, finished):
    """`begun(name, step, interrupted=False)`: a run that ended before a step, or in its middle.

    What a kill in the step's second epoch leaves is its first checkpoint and both epochs' log.
    """

    def begun(name, step, interrupted=False):
        whole, experiment = finished(name), start(**CASES[name].fields)
        run = RunDirectory.create(experiment)
        for before in CASES[name].steps[: CASES[name].steps.index(step)]:
            if before in TRAINED:
                shutil.copy(whole.model(before, 0), run.model(before, 0))
                run.history(before, 0).parent.mkdir(exist_ok=True)
                shutil.copy(whole.history(before, 0), run.history(before, 0))
            elif before == "translated_copy":
                shutil.copytree(whole.translated_copy(0), run.translated_copy(0))
        if interrupted:
            folder = run.checkpoints(step, 0)
            folder.mkdir(parents=True)
            shutil.copy(whole.checkpoints(step, 0) / "step_0000001.npz", folder)
            run.history(step, 0).parent.mkdir(exist_ok=True)
            shutil.copy(whole.history(step, 0), run.history(step, 0))
        return run

    return begun


def assert_same_run(run, other):
    """All that two finished runs of the same flags leave is the same, bit for bit."""
    assert steps_of(run.experiment) == steps_of(other.experiment)
    for step in steps_of(run.experiment):
        if step in TRAINED:
            assert same_weights(run.model(step, 0), other.model(step, 0)), step
            assert history_of(run, step) == history_of(other, step)
    assert files_of(run.translated_copy(0)) == files_of(other.translated_copy(0))
    if run.sum_weight(0).exists():
        assert run.sum_weight(0).read_bytes() == other.sum_weight(0).read_bytes()
    assert results_of(run) == results_of(other)


def files_of(folder):
    """Relative path → content of all files below a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_images(case):
    """Test images as each domain's readers want them, and the target's labels."""
    source, target = (data.load(TINY[domain], "test") for domain in ("source", "target"))
    pairs = zip((source, target), case.shapes, strict=True)
    prepared = [np.asarray(data.preprocess(test.images, shape)) for test, shape in pairs]
    return (*prepared, target.labels)


test_images.__test__ = False


@pytest.mark.parametrize("name", NAMES)
class TestAFinishedRun:
    def test_it_did_these_steps_and_left_these_files(self, name, finished):
        run, case = finished(name), CASES[name]
        assert tuple(steps_of(run.experiment)) == case.steps
        trained = [step for step in case.steps if step in TRAINED]
        files = {run.model(step, 0).name for step in trained}
        files |= {"sum.json"} if "sum" in case.steps else set()
        files |= {"translated"} if "translated_copy" in case.steps else set()
        assert {path.name for path in run.path.iterdir()} == files | {
            "flags.cfg", "metrics.json", "report.html", "figures", "history", "tensorboard",
            "checkpoints", "provenance.json", ".lock",
        }  # fmt: skip
        for step in trained:
            assert any(run.checkpoints(step, 0).glob("step_*.npz"))
            assert any(run.tensorboard(step, 0).rglob("events.out.tfevents.*"))
            assert [entry["step"] for entry in history_of(run, step)] == [1, 2]
        assert any((run.tensorboard("translator", 0) / "images").glob("events.out.tfevents.*"))
        assert RunDirectory.open(run.path).experiment == run.experiment

    def test_the_metrics_have_every_reader(self, name, finished):
        run, case = finished(name), CASES[name]
        metrics = run.results()
        assert metrics == json.loads(json.dumps(run.returned))
        baselines = {"source_only", "target_only"} & set(case.steps)
        classifiers = {
            name
            for name, value in metrics.items()
            if isinstance(value, dict) and "target_test_accuracy" in value
        }
        assert classifiers == {*baselines, *case.readers, "adapted"}
        assert metrics["adapted"] == metrics[case.adapted_is]
        assert list(metrics["translations_read_correctly"]) == list(case.directions)
        for classifier in classifiers:
            for domain in ("target", "source"):
                (accuracy,) = metrics[classifier][f"{domain}_test_accuracy"]
                assert 0 <= accuracy <= 1
        if "sum" in case.steps:
            weight = json.loads(run.sum_weight(0).read_text())["weight"]
            assert 0 <= weight <= 1
            assert metrics["sum"]["weight"] == [weight]

    def test_the_accuracies_are_those_of_the_saved_models(self, name, finished):
        run, case = finished(name), CASES[name]
        _, target, labels = test_images(case)
        translator = run.models["translator"]
        logits = {}
        if "on_translated_source" in case.readers:
            logits["on_translated_source"] = load_model(run, "on_translated_source", 0).classify(
                target
            )
        if "reads_translated_target" in case.readers:
            logits["reads_translated_target"] = run.models["source_only"].classify(
                translator.translate(target, "target_to_source")
            )
        if "joint" in case.readers:
            logits["joint"] = translator.classify(target)
        if "sum" in case.readers:
            weight = json.loads(run.sum_weight(0).read_text())["weight"]
            one, other = (np.asarray(keras.ops.softmax(logits[half])) for half in HALVES)
            logits["sum"] = weight * one + (1 - weight) * other
        assert set(logits) == set(case.readers)
        for reader, values in logits.items():
            accuracy = np.mean(values.argmax(-1) == labels)
            assert run.returned[reader]["target_test_accuracy"] == [pytest.approx(accuracy)]

    def test_every_epoch_is_logged_with_every_loss(self, name, finished):
        run = finished(name)
        model = run.models["translator"]
        expected = {"step", "learning_rate", "loss", "diversity", *model.terms, *model.measures}
        expected |= {f"d_{opponent}" for opponent in model.discriminators}
        if "source_only" in CASES[name].steps and "source_to_target" in model.directions:
            expected |= {"translations_read", "permuted_classes"}
        reading = {"target_test_accuracy", "target_information", *VALIDATORS}
        if model.can_classify or "reads_translated_target" in run.models:
            expected |= reading
        entries = history_of(run, "translator")
        for entry in entries:
            entry.pop("warnings", None)  # so little training deserves some
        assert all(set(entry) == expected for entry in entries)
        assert all(np.isfinite(list(entry.values())).all() for entry in entries)
        assert len(model.terms) > 1
        if "on_translated_source" in CASES[name].steps:
            for entry in history_of(run, "on_translated_source"):
                entry.pop("warnings", None)
                assert set(entry) == {"step", "learning_rate", "loss", "task", *reading}

    def test_it_says_what_it_does_and_how_it_went(self, name, finished):
        run, case = finished(name), CASES[name]
        sizes = ["x".join(map(str, shape)) for shape in case.shapes]
        sizes = sizes[:1] if sizes[0] == sizes[1] else sizes
        assert run.lines[0] == (
            "printed_digits → handwritten_digits: 200 labelled, 200 unlabelled images of "
            f"{' and '.join(sizes)}."
        )
        text = "\n".join(run.lines)
        model, terms = run.models["translator"], METHODS[run.experiment.method].terms
        for term in model.terms:
            assert f"  {term}: {terms[term]}" in text
        assert ", ".join(f"d_{opponent}" for opponent in model.discriminators) in text
        for measure in model.measures:
            assert measure in text
        weights = [line for line in run.lines if line.startswith("sum, seed 0: ")]
        assert len(weights) == ("sum" in case.steps)
        for reader in ("source_only", "adapted", *case.readers):
            accuracy = run.returned[reader]["target_test_accuracy"][0]
            assert f"  {WORDS[reader]:38s} {100 * accuracy:5.1f}%" in run.lines
        for direction in case.directions:
            reader = run.returned["translations_read_by"][direction]
            words = f"{direction.replace('_', ' ')}, by {reader}"
            share = run.returned["translations_read_correctly"][direction][0]
            assert f"  {words:38s} {100 * share:5.1f}%" in run.lines
        assert run.lines[-1] == f"Report: {run.report}"

    def test_training_saw_no_target_labels(self, name, finished):
        run, case = finished(name), CASES[name]
        source, target = case.shapes
        fits = dict(zip([s for s in case.steps if s in TRAINED], run.spy.fits, strict=True))
        translator, batches = fits["translator"]
        assert translator != "Classifier"
        assert batches.element_spec == (
            {
                "source": tf.TensorSpec((4, *source), tf.float32),
                "target": tf.TensorSpec((4, *target), tf.float32),
            },
            tf.TensorSpec((4,), tf.int64),
        )
        if "on_translated_source" in fits and not run.experiment.translated_copy:
            classifier, batches = fits["on_translated_source"]
            assert classifier == "Classifier"
            if not run.experiment.rotation:
                for images, labels in batches.take(2):
                    assert_all_of(images, labels, data.load(TINY["source"], "train"))

    def test_what_reads_for_the_user_is_what_is_reported(self, name, finished, monkeypatch):
        run, case = finished(name), CASES[name]
        monkeypatch.setattr(train_module, "load_models", lambda run, seed: run.models)
        reader, (source, target, labels) = load_reader(run, 0), test_images(case)
        kind = WeightedSum if case.adapted_is == "sum" else ReadsThroughTranslation
        assert type(reader) is kind
        accuracy = np.mean(reader.classify(target).argmax(-1) == labels)
        assert run.returned["adapted"]["target_test_accuracy"] == [pytest.approx(accuracy)]
        assert reader.directions == case.directions
        assert reader.translate(source, "source_to_target").shape == (40, *case.shapes[1])


@pytest.mark.parametrize(
    "missing", ["source_only.keras", "model.keras", "on_translated_source.keras", "sum.json"]
)
def test_evaluating_says_which_step_is_missing(missing, begun, monkeypatch):
    run = begun("cyclegan", "sum")
    monkeypatch.setattr(train_module.saved, "load_model", lambda path: FakeTranslator())
    step = {"model": "translator"}.get(missing.partition(".")[0], missing.partition(".")[0])
    (run.path / missing).unlink(missing_ok=True)
    with pytest.raises(InputError) as error:
        evaluate(run, log=lambda line: None)
    assert f"{missing} is missing: step {step} of the run is not finished." in str(error.value)


class FakeTranslator(OnImages):
    def image_shape_of(self, domain):
        return (16, 16, 1)

    def mapping(self, origin, destination):
        return lambda images: images


@pytest.mark.parametrize("name", ["cyclegan", "dtn"])
def test_evaluating_again_gives_the_same(name, finished):
    run = finished(name)
    before = results_of(run)
    with nothing_drawn():
        evaluate(RunDirectory.open(run.path), log=lambda line: None)
    assert results_of(run) == before


# By default the step that begins with another's model; test_train.py and test_segmentation.py kill
# the others' likes, test_faults.py all of them at any moment. All of them take minutes.
AT_ONCE = [("cyclegan", "on_translated_source")]
INTERRUPTED = [
    pytest.param(name, step, marks=[] if (name, step) in AT_ONCE else pytest.mark.slow)
    for name in ("cyclegan", "lstnet", "dtn", "i2i_adapt")
    for step in ("translator", "on_translated_source")
    if step in CASES[name].steps
]


class TestAnInterruptedRun:
    @pytest.mark.parametrize(("name", "step"), INTERRUPTED)
    def test_killed_in_a_step_it_ends_as_if_it_had_not_been(self, name, step, begun, finished):
        run = begun(name, step, interrupted=True)
        lines = continue_quietly(run.experiment)
        assert [line for line in lines if "continuing" in line] == [
            f"{step}, seed 0: continuing from step 1."
        ]
        assert_same_run(run, finished(name))

    @pytest.mark.slow  # the kills above one by one, in a single run
    def test_between_and_within_steps_it_ends_as_if_it_had_not_been(self, begun, finished):
        run = begun("cyclegan", "translator")

        def in_the_translator(patch):
            interrupt_in_an_epoch(patch, "translator", epoch=1, batch=0)

        def between_the_steps(patch):
            patch.setattr(Classifier, "train_on_translations", interrupted)

        def in_the_classifier(patch):
            interrupt_in_an_epoch(patch, "on_translated_source", epoch=1, batch=0)

        def in_the_sum(patch):
            patch.setattr(train_module, "choose_weight", interrupted)

        def before_the_metrics(patch):
            patch.setattr(train_module.report, "write_report", interrupted)

        def interrupted(*args):
            raise KeyboardInterrupt

        left = [
            (in_the_translator, None, set()),
            (between_the_steps, "translator, seed 0: continuing from step 1.", {"model.keras"}),
            (in_the_classifier, None, {"model.keras"}),
            (
                in_the_sum,
                "on_translated_source, seed 0: continuing from step 1.",
                {"model.keras", "on_translated_source.keras"},
            ),
            (
                before_the_metrics,
                None,
                {"model.keras", "on_translated_source.keras", "sum.json"},
            ),
        ]
        products = {"model.keras", "on_translated_source.keras", "sum.json", "metrics.json"}
        for interrupt, continues_with, files in left:
            lines = []
            with pytest.MonkeyPatch.context() as patch, nothing_drawn():
                interrupt(patch)
                with pytest.raises(KeyboardInterrupt):
                    train(run.experiment, lines.append)
            assert products & {path.name for path in run.path.iterdir()} == files
            assert [line for line in lines if "continuing" in line] == (
                [continues_with] if continues_with else []
            )
        assert not any("continuing" in line for line in continue_quietly(run.experiment))
        assert_same_run(run, finished("cyclegan"))

    @pytest.mark.slow
    def test_midway_in_the_translated_copy_it_ends_as_if_it_had_not_been(self, begun, finished):
        run = begun("cyclegan_copy", "translated_copy")
        write, written = translated_copy._write_png, []

        def interrupted(path, image):
            if path.stem.endswith("7"):
                raise KeyboardInterrupt
            write(path, image)
            written.append(path)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(translated_copy, "_write_png", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train(run.experiment, lambda line: None)
        assert 0 < len(written) < 200
        assert not (run.translated_copy(0) / "train.json").exists()
        continue_quietly(run.experiment)
        assert_same_run(run, finished("cyclegan_copy"))

    @pytest.mark.slow
    def test_random_translations_on_the_fly_go_on_where_they_were(self, start):
        fields = {
            "method": "cyclegan", "adaptation": "on_translated_source", "dropout": 0.5,
            "dropout_at_inference": True, "ceiling": False,
        }  # fmt: skip
        only = ["source_only", "translator", "on_translated_source"]
        whole, experiment = start(**fields), start(**fields)
        train(whole, lambda line: None, only=only)
        with pytest.MonkeyPatch.context() as patch:
            interrupt_in_an_epoch(patch, "on_translated_source", epoch=1, batch=0)
            with pytest.raises(KeyboardInterrupt):
                train(experiment, lambda line: None, only=only)
        train(experiment, lambda line: None, only=only)
        runs = [RunDirectory(each.run_dir, each) for each in (whole, experiment)]
        for step in only:
            assert same_weights(*(run.model(step, 0) for run in runs)), step
            assert history_of(runs[0], step) == history_of(runs[1], step)


class TestOnly:
    def test_steps_one_at_a_time_are_a_run_in_one_go(self, start, finished):
        experiment = start(**CASES["dtn"].fields)
        run = RunDirectory(experiment.run_dir, experiment)
        files = set()
        for step in ("source_only", "translator", "on_translated_source"):
            before = {path: path.read_bytes() for path in run.path.glob("*.keras")}
            lines = []
            assert train(experiment, lines.append, only=[step]) is None
            assert lines[-1] == f"Done: {step}. The same command without --only runs the rest."
            files.add(run.model(step, 0).name)
            assert {path.name for path in run.path.glob("*.keras")} == files
            # What was there is as it was: the translator, while the classifier reads its images.
            assert all(path.read_bytes() == content for path, content in before.items())
        assert not run.metrics.exists()
        assert not run.report.exists()
        continue_quietly(experiment)
        assert_same_run(run, finished("dtn"))

    @pytest.mark.slow
    def test_a_translator_that_begins_with_nothing_may_come_first(self, start, finished):
        experiment = start(**CASES["cyclegan"].fields)
        run = RunDirectory(experiment.run_dir, experiment)
        train(experiment, lambda line: None, only=["translator"])
        assert same_weights(run.model("translator", 0), finished("cyclegan").model("translator", 0))

    def test_epochs_before_there_was_a_reader_are_never_picked(self, start):
        experiment = start(**CASES["lstnet"].fields, steps=3)
        lines = []
        with pytest.MonkeyPatch.context() as patch:
            # In the last epoch: the end of the one before it is done again, with a reader.
            interrupt_in_an_epoch(patch, "translator", epoch=2, batch=0)
            with pytest.raises(KeyboardInterrupt):
                train(experiment, lines.append, only=["translator"])
        said = (
            "translator, seed 0: nothing reads the target before source_only is trained, so none "
            "of the epochs until then can be picked."
        )
        assert said in lines
        assert said not in continue_quietly(experiment)
        run = RunDirectory(experiment.run_dir, experiment)
        entries = history_of(run, "translator")
        for name in ("target_test_accuracy", "target_entropy"):
            assert [name in entry for entry in entries] == [False, True, True]
        ways = run.results()["selection"]["translator"]
        assert set(ways) >= {"last", "oracle", "target_entropy"}
        assert all(way["epoch"][0] > 1 for way in ways.values())

    @pytest.mark.parametrize(
        ("name", "step", "missing"),
        [
            ("dtn", "translator", "source_only"),
            ("cyclegan", "on_translated_source", "translator"),
            ("cyclegan", "sum", "source_only"),
            ("cyclegan_copy", "translated_copy", "translator"),
            ("cyclegan_copy", "on_translated_source", "translated_copy"),
        ],
    )
    def test_a_step_before_what_it_needs_says_what_is_missing(self, name, step, missing, start):
        experiment = start(**CASES[name].fields)
        with pytest.raises(InputError) as error:
            train(experiment, lambda line: None, only=[step])
        assert f"step {missing} of the run is not finished. Continue it with" in str(error.value)

    def test_an_unknown_step_is_refused_with_a_list_of_those_there_are(self, start):
        experiment = start(**CASES["cyclegan"].fields)
        with pytest.raises(InputError) as error:
            train(experiment, lambda line: None, only=["translator", "adapted"])
        assert str(error.value) == (
            "--only must name steps of this run: source_only, target_only, translator, "
            "on_translated_source, sum. Received: adapted"
        )
        assert not RunDirectory(experiment.run_dir, experiment).path.exists()

    def test_steps_are_done_in_their_order(self, start, monkeypatch):
        done = []
        monkeypatch.setattr(train_module, "_run_step", lambda run, step, *others: done.append(step))
        train(start(**CASES["cyclegan"].fields), lambda line: None, only=["sum", "source_only"])
        assert done == ["source_only", "sum"]

    def test_a_finished_run_shows_its_results(self, finished):
        run = finished("cyclegan")
        assert train(run.experiment, lambda line: None, only=["translator"]) == run.returned


class TestTheTranslatedCopy:
    def test_it_shows_the_same_images_as_translating_on_the_fly_in_the_same_order(self, finished):
        run = finished("cyclegan_copy")
        domains = RunData(run.experiment)
        step = "on_translated_source"
        copied = domains.batches(step, 0, 3, run.translated_copy(0)).take(3)
        fresh = domains.batches(step, 0, 3).take(3)
        translate = run.models["translator"].mapping("source", "target")
        for (images, labels), (given, given_labels) in zip(copied, fresh, strict=True):
            np.testing.assert_array_equal(labels, given_labels)
            # uint8 has a level every 2 / 255 of [-1, 1].
            np.testing.assert_allclose(images, translate(given), atol=1.01 / 255)
            assert np.abs(images - given).max() > 0.1

    def test_it_has_every_source_image_under_its_class(self, finished):
        copy = data.read_translated_copy(finished("cyclegan_copy").translated_copy(0))
        source = data.load(TINY["source"], "train")
        np.testing.assert_array_equal(copy.labels, source.labels)
        assert copy.images.shape == (200, 16, 16, 1)


@pytest.mark.slow  # by default in test_train.py, for the joint model
class TestTargetLabels:
    """Rule: labels of the target's training images reach nothing but the ceiling."""

    def test_other_labels_change_the_ceiling_and_nothing_else(self, begun, finished):
        whole = finished("cyclegan")
        with small_data(target_labels=lambda labels: np.roll(labels, 1)):
            run = begun("cyclegan", "source_only")
            continue_quietly(run.experiment)
        for step in ("source_only", "translator", "on_translated_source"):
            assert same_weights(run.model(step, 0), whole.model(step, 0))
            assert history_of(run, step) == history_of(whole, step)
        assert run.sum_weight(0).read_bytes() == whole.sum_weight(0).read_bytes()
        for reader in ("source_only", "on_translated_source", "reads_translated_target", "sum"):
            assert run.results()[reader] == whole.returned[reader]
        assert not same_weights(run.model("target_only", 0), whole.model("target_only", 0))

    def test_the_weight_is_chosen_from_training_images_alone(self, finished, monkeypatch):
        run, seen = finished("cyclegan"), []

        def choose(one, other, images):
            seen.append((one, other, images))
            return 0.25

        monkeypatch.setattr(train_module, "choose_weight", choose)
        monkeypatch.setattr(
            RunDirectory, "sum_weight", lambda run, seed: run.path / "history" / "other.json"
        )
        domains = RunData(run.experiment)
        lines = []
        train_module._choose_weight(run, 0, domains, lines.append)
        ((one, other, images),) = seen
        assert (one.domain, other.domain) == ("target", "source")
        train_images = data.load(TINY["target"], "train").take(50).images
        np.testing.assert_array_equal(images, data.preprocess(train_images, (16, 16, 1)))
        assert lines == ["sum, seed 0: 0.25 on_translated_source + 0.75 reads_translated_target"]
        assert json.loads((run.path / "history" / "other.json").read_text()) == {"weight": 0.25}
        (run.path / "history" / "other.json").unlink()


class TestTheDomainTransferNetwork:
    def test_its_encoder_is_the_baselines_and_stays_as_it_is(self, finished):
        run = finished("dtn")
        first, model = run.models["source_only"], run.models["translator"]
        assert not model.encoder.trainable_variables
        pairs = list(zip(model.encoder.get_weights(), first.encoder.get_weights(), strict=True))
        assert len(pairs) == 8
        assert all(np.array_equal(one, other) for one, other in pairs)

    @pytest.fixture
    def folders(self, tmp_path):
        """Two domains of a few colorful pictures, without labels, and an encoder of the user's."""
        rng = np.random.default_rng(0)
        for domain in ("photos", "drawings"):
            for split, count in (("train", 12), ("test", 4)):
                folder = tmp_path / domain / split
                folder.mkdir(parents=True)
                for number in range(count):
                    pixels = rng.integers(0, 256, (20, 20, 3), "uint8")
                    Image.fromarray(pixels).save(folder / f"{number}.png")
        images = keras.Input((16, 16, 3))
        x = keras.layers.Conv2D(4, 3, 4, activation="relu")(images)
        keras.Model(images, keras.layers.Flatten()(x)).save(tmp_path / "f.keras")
        return {
            "method": "dtn",
            "source": f"image_folder:{tmp_path / 'photos'}",
            "target": f"image_folder:{tmp_path / 'drawings'}",
            "channels": 3,
            "encoder_file": str(tmp_path / "f.keras"),
        }

    @pytest.mark.parametrize("preset", ["digits", "faces"])
    def test_with_an_encoder_of_the_users_it_needs_no_labels(self, preset, folders, start):
        run = Trained(start(**folders, preset=preset))
        assert steps_of(run.experiment) == ["translator"]
        assert {path.name for path in run.path.glob("*.keras")} == {"model.keras"}
        model, given = (
            load_model(run, "translator", 0),
            keras.saving.load_model(folders["encoder_file"], compile=False),
        )
        for one, other in zip(model.encoder.get_weights(), given.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        assert set(model.terms) == set(METHODS["dtn"].weights(preset))
        assert model.get_config()["networks"] == preset
        assert not any("accuracy" in str(value) for value in history_of(run, "translator"))
        assert "adapted" not in run.returned
        assert "translations_read_correctly" not in run.returned
        assert run.report.exists()
        assert any("10 source, 10 unlabelled images of 16x16x3." in line for line in run.lines)
        assert not any("Accuracy" in line for line in run.lines)
        reader = load_reader(run, 0)
        assert not reader.can_classify
        assert set(load_models(run, 0)) == {"translator"}

    def test_an_encoder_of_other_images_is_refused_before_anything_is_written(self, folders, start):
        experiment = start(**{**folders, "image_size": 32})
        with pytest.raises(InputError, match=r"^--encoder_file=.*f\.keras: .*\(None, 32, 32, 3\)"):
            train(experiment, lambda line: None)
        assert not pathlib.Path(experiment.run_dir).exists()

    def test_without_that_or_labels_it_cannot_be(self, folders, start):
        with pytest.raises(InputError, match=r"--method=dtn needs --encoder_file"):
            start(**{**folders, "encoder_file": ""})

    def test_an_encoder_file_that_is_not_there_is_found_out_first(self, start, monkeypatch):
        monkeypatch.setattr(train_module, "_run_step", lambda *args: pytest.fail("too late"))
        fields = {"method": "dtn", "encoder_file": "no/f.keras"}
        with pytest.raises(InputError, match=r"there is no such file\. Received: no/f\.keras"):
            train(start(**fields), lambda line: None)

    def test_the_faces_learn_a_step_at_their_size(self, start):
        images = keras.Input((96, 96, 3))
        encoder = keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))
        experiment = start(method="dtn", preset="faces", image_size=96, channels=3)
        model = METHODS["dtn"].build(experiment, 0, type("SourceOnly", (), {"encoder": encoder}))
        model.compile(run_eagerly=True)
        assert model.get_config()["networks"] == "faces"
        assert model.constancy == "cosine"
        assert model.loss_weights == {
            "translation": 1.0, "constancy": 0.01, "identity": 100.0, "total_variation": 0.0001,
        }  # fmt: skip
        x, y = np.random.default_rng(0).uniform(-1, 1, (2, 2, 96, 96, 3)).astype("float32")
        logs = model.train_on_batch({"source": x, "target": y}, return_dict=True)
        assert all(np.isfinite(value) for value in logs.values())
        assert model.translate(x, "source_to_target").shape == (2, 96, 96, 3)


def test_weights_of_the_interrupted_are_not_those_of_a_beginner(finished):
    # So that the equalities above say something: training moves what a run must find again.
    run = finished("cyclegan")
    names = weights_of(run.model("translator", 0))
    assert any("pool" in name for name in names)
    pools = [value for name, value in names.items() if value.shape == (6, 16, 16, 1)]
    assert len(pools) == 2
    assert all(np.abs(pool).max() > 0 for pool in pools)
