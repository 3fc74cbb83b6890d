"""Monitors: each way of going wrong is provoked and told, and what is well is not."""

import pathlib
import re
import types

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event

from keras_i2i import losses
from keras_i2i.evaluation.metrics import COLLAPSED_DIVERSITY
from keras_i2i.evaluation.validators import Reading
from keras_i2i.training import divergence, monitors
from keras_i2i.training.methods import METHODS
from keras_i2i.training.monitors import (
    ChanceLevel,
    DiscriminatorWon,
    Diversity,
    Monitors,
    PermutedClasses,
    permuted,
)

CLASSES = [str(digit) for digit in range(10)]
LOW = COLLAPSED_DIVERSITY / 2


class FakeHistory:
    """What monitors see of a `History`."""

    def __init__(self, entries=()):
        self.entries, self.warnings = list(entries), []


class FakeTranslator:
    """Translates by a function for each direction."""

    def __init__(self, **functions):
        self.functions = functions

    @property
    def directions(self):
        return tuple(self.functions)

    def translate(self, images, direction):
        return self.functions[direction](images)


@pytest.fixture
def images():
    source, target = np.random.default_rng(0).uniform(-1, 1, (2, 20, 16, 16, 1)).astype("float32")
    return {"source": source, "target": target}


@pytest.fixture
def run_monitors(tmp_path):
    """`run_monitors(monitors, images, models, logs)`: an epoch with each; what was told at each."""

    def run(some, images, models, logs=None, history=None):
        history = history or FakeHistory()
        callback = Monitors(some, images, history, tmp_path / "events", lambda line: None)
        told = []
        for epoch, model in enumerate(models):
            callback.set_model(model)
            callback.log = (lines := []).append
            entry = dict(logs[epoch]) if logs else {}
            callback.on_epoch_end(epoch, entry)
            assert [f"warning: {text}" for text in history.warnings] == lines
            history.warnings.clear()
            history.entries.append(entry)
            told.append(lines)
        return told

    return run


def shrinking(share):
    return FakeTranslator(source_to_target=lambda images: images * share)


def texts_of(folder):
    """What TensorBoard shows under "warnings", by step."""
    found = {}
    for file in folder.iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            event = Event.FromString(record.numpy())
            for value in event.summary.value:
                assert value.tag == "warnings"
                found[event.step] = value.tensor.string_val[0].decode()
    return found


class TestMonitors:
    SHARES = (1.0, LOW, 1.0, LOW, LOW, LOW, LOW, 1.0, LOW, LOW, LOW)

    def test_two_epochs_in_a_row_are_told_once_and_again_after_recovery(
        self, run_monitors, images, tmp_path
    ):
        told = run_monitors([Diversity(images)], images, map(shrinking, self.SHARES))
        assert [epoch for epoch, lines in enumerate(told) if lines] == [4, 9]
        # The same in TensorBoard.
        assert texts_of(tmp_path / "events") == {
            epoch: told[epoch][0].removeprefix("warning: ") for epoch in (4, 9)
        }

    @pytest.mark.parametrize("interrupted", [2, 4, 5, 9])
    def test_a_run_that_was_interrupted_is_told_the_same(self, run_monitors, images, interrupted):
        whole = run_monitors([Diversity(images)], images, map(shrinking, self.SHARES))
        history = FakeHistory()
        before, after = [
            run_monitors([Diversity(images)], images, map(shrinking, part), history=history)
            for part in (self.SHARES[:interrupted], self.SHARES[interrupted:])
        ]
        assert before + after == whole

    def test_translations_are_made_once_for_all(self, run_monitors, images):
        asked = []
        model = FakeTranslator(source_to_target=lambda some: asked.append(some) or some)
        run_monitors([Diversity(images), Diversity(images)], images, [model])
        (some,) = asked
        np.testing.assert_array_equal(some, images["source"])


class TestDiversity:
    def test_a_generator_that_collapsed_is_told_with_its_direction(self, run_monitors, images):
        constant = FakeTranslator(
            source_to_target=lambda some: some,
            target_to_source=lambda some: np.zeros_like(some) + 0.3,
        )
        told = run_monitors([Diversity(images)], images, [constant] * 2)
        assert told[0] == []
        (line,) = told[1]
        assert line.startswith(
            "warning: translations target to source differ from each other only 0% as much as real"
        )
        assert "docs/troubleshooting.md#mode-collapse" in line

    def test_of_a_real_model_too_whose_generator_makes_one_image(
        self, run_monitors, images, make_experiment
    ):
        model = make_experiment(encoder_width=0.05).build_model(0)
        for variable in model.target_branch.trainable_variables:
            variable.assign(np.zeros(variable.shape, "float32"))
        told = run_monitors([Diversity(images)], images, [model] * 2)
        (line,) = told[1]
        assert "translations source to target differ from each other only 0%" in line

    def test_of_a_healthy_translator_nothing_is_said(self, run_monitors, images, tmp_path):
        model = FakeTranslator(source_to_target=lambda x: x, target_to_source=lambda x: 0.8 * x)
        assert run_monitors([Diversity(images)], images, [model] * 4) == [[]] * 4
        assert not (tmp_path / "events").exists()

    def test_the_worse_direction_is_logged(self, images):
        model = FakeTranslator(source_to_target=lambda x: x, target_to_source=lambda x: LOW * x)
        translations = {way: f(images[way[:6]]) for way, f in model.functions.items()}
        found = Diversity(images).measure(model, translations)
        assert found == {"diversity": pytest.approx(LOW, rel=0.05)}


class TestDiscriminatorWon:
    OBJECTIVES = ("least_squares", "non_saturating", "minimax")

    @pytest.mark.parametrize("name", OBJECTIVES)
    def test_levels_are_those_of_the_objectives(self, name):
        """One that knows nothing loses `undecided`; one that knows all loses nothing."""
        objective = losses.get_objective(name)
        undecided = np.full((3, 2), objective.boundary, "float32")
        loss = np.asarray(objective.discriminator(undecided, undecided))
        np.testing.assert_allclose(loss, objective.undecided, rtol=1e-6)
        real, fake = (1, 0) if name == "least_squares" else (50, -50)
        sure = objective.discriminator(undecided * 0 + real, undecided * 0 + fake)
        np.testing.assert_allclose(np.asarray(sure), 0, atol=1e-6)

    def test_a_critic_has_none(self):
        assert losses.Wasserstein().undecided is None

    @pytest.mark.parametrize("name", OBJECTIVES)
    def test_one_that_is_nearly_always_right_is_told(self, run_monitors, images, name):
        objective = losses.get_objective(name)
        # Sure of 19 in 20 with the scores of each objective's answers.
        real, fake = (0.9, 0.1) if name == "least_squares" else (3.5, -3.5)
        scores = np.ones((4, 1), "float32")
        won = float(np.mean(objective.discriminator(real * scores, fake * scores)))
        monitor = DiscriminatorWon({"source": objective.undecided, "target": objective.undecided})
        logs = [{"d_source": won, "d_target": 0.7 * objective.undecided}] * 2
        told = run_monitors([monitor], {}, [FakeTranslator()] * 2, logs)
        assert told[0] == []
        (line,) = told[1]
        assert line.startswith("warning: d_source tells real from translated nearly always")
        assert "d_target" not in line
        assert "docs/troubleshooting.md#a-discriminator-that-won" in line

    def test_one_that_is_as_sure_as_healthy_ones_are_is_not(self, run_monitors):
        objective = losses.LeastSquares()
        scores = np.ones((4, 1), "float32")
        loss = float(np.mean(objective.discriminator(0.75 * scores, 0.25 * scores)))
        monitor = DiscriminatorWon({"source": objective.undecided})
        logs = [{"d_source": loss, "d_source_accuracy": 0.8}] * 3
        assert run_monitors([monitor], {}, [FakeTranslator()] * 3, logs) == [[]] * 3

    def test_where_it_is_counted_how_often_it_is_right_that_tells_too(self, run_monitors):
        monitor = DiscriminatorWon({"source": 0.25, "target": 0.25})
        logs = [{"d_source": 0.1, "d_source_accuracy": 0.97, "d_target_accuracy": 0.8}] * 2
        (line,) = run_monitors([monitor], {}, [FakeTranslator()] * 2, logs)[1]
        assert line.startswith("warning: d_source tells")

    @pytest.mark.parametrize(
        ("method", "winner", "flags"),
        [
            ("i2i_adapt", "feature", ["feature_objective"]),
            ("i2i_adapt", "target", ["image_objective"]),
            ("cyclegan", "source", ["image_objective"]),
            ("lstnet", "latent", []),
            ("dtn", "ternary", []),
        ],
    )
    def test_the_advice_is_to_give_flags_that_the_method_takes(
        self, method, winner, flags, make_experiment
    ):
        monitor = DiscriminatorWon({winner: 1.0}, METHODS[method].critics)
        advice = monitor.warning({f"d_{winner}": 0.0}).split("cannot be fooled. ")[1]
        for flag in ("feature_objective", "image_objective"):
            assert (f"--{flag}=wasserstein" in advice) == (flag in flags)
        assert advice.startswith("A lower --discriminator_learning_rate")
        assert " or a smaller --discriminator_width can help (docs/" in advice
        experiment = make_experiment(method=method, **dict.fromkeys(flags, "wasserstein"))
        if flags:
            assert winner in experiment.build_model(0).discriminators
            assert winner not in experiment.build_model(0).undecided

    @pytest.mark.parametrize("method", ["i2i_adapt", "cyclegan", "lstnet"])
    def test_every_methods_discriminators_lose_undecided_while_they_know_nothing(
        self, make_experiment, method
    ):
        """With last layers of zeros, which answer the same to all: 0, so of logits the boundary."""
        fields = {"method": method, "image_objective": "non_saturating"}
        if method == "i2i_adapt":
            fields["feature_objective"] = "minimax"
        model = make_experiment(**fields, encoder_width=0.05).build_model(0)
        for variable in model.discriminator_variables:
            variable.assign(np.zeros(variable.shape, "float32"))
        batch = {
            domain: tf.random.uniform((2, *model.image_shape_of(domain)), -1, 1)
            for domain in ("source", "target")
        }
        found = model.discriminator_losses(batch, model.forward(batch))
        assert set(model.undecided) == set(model.discriminators) == set(found)
        for name, level in model.undecided.items():
            np.testing.assert_allclose(np.asarray(found[name]), level, rtol=1e-5)


class Reader:
    """Reads an image's class from its brightness."""

    def image_shape_of(self, domain):
        return (16, 16, 1)

    def classify(self, images, domain):
        assert images.shape[1:] == (16, 16, 1)
        read = np.rint((images.mean((1, 2, 3)) + 1) * 4.5).astype(int)
        return np.eye(10, dtype="float32")[np.clip(read, 0, 9)]


def of_classes(labels, shape=(16, 16, 1)):
    """Images as bright as their class says."""
    return np.ones((len(labels), *shape), "float32") * (labels / 4.5 - 1)[:, None, None, None]


LABELS = np.arange(100) % 10


def becomes(**other):
    """A translator that turns classes into others, named c0, c1, ..."""

    def translate(images):
        read = Reader().classify(images, "source").argmax(-1)
        return of_classes(np.array([other.get(f"c{label}", label) for label in read]))

    return FakeTranslator(source_to_target=translate)


class TestPermutedClasses:
    @pytest.fixture
    def digits(self):
        return {"source": of_classes(LABELS), "target": of_classes(LABELS)}

    def test_digits_that_are_permuted_are_told_by_name(self, run_monitors, digits):
        monitor = PermutedClasses(Reader(), LABELS, CLASSES)
        told = run_monitors([monitor], digits, [becomes(c2=8, c8=2, c7=9)] * 3)
        assert told[0] == told[2] == []
        (line,) = told[1]
        assert "2 → 8 (100%), 7 → 9 (100%), 8 → 2 (100%)" in line
        assert "docs/troubleshooting.md#permuted-classes" in line

    def test_of_a_translator_that_keeps_them_nothing_is_said(self, run_monitors, digits):
        monitor = PermutedClasses(Reader(), LABELS, CLASSES)
        assert run_monitors([monitor], digits, [becomes()] * 3) == [[]] * 3

    def test_what_is_logged(self, digits):
        monitor = PermutedClasses(Reader(), LABELS, CLASSES)
        translations = {"source_to_target": becomes(c2=8).translate(
            digits["source"], "source_to_target"
        )}  # fmt: skip
        assert monitor.measure(None, translations) == {
            "translations_read": pytest.approx(0.9),
            "permuted_classes": 1.0,
        }

    def test_translations_of_another_shape_are_brought_to_the_readers(self):
        monitor = PermutedClasses(Reader(), LABELS, CLASSES)
        found = monitor.measure(None, {"source_to_target": of_classes(LABELS, (8, 8, 3))})
        assert found == {"translations_read": 1.0, "permuted_classes": 0.0}

    def test_a_reading_that_swallows_three_classes_is_none_of_one(self):
        """Early translations are all taken for the same; that is no permutation."""
        read = np.where(np.isin(LABELS, [3, 5, 7]), 1, LABELS)
        assert permuted(LABELS, read, 10) == []
        read = np.where(LABELS == 7, 1, LABELS)
        assert permuted(LABELS, read, 10) == [(7, 1, 1.0)]

    def test_a_minority_is_none_and_so_are_a_few_images(self):
        read = LABELS.copy()
        of_four = np.flatnonzero(LABELS == 4)
        read[of_four[:7]] = 9
        assert permuted(LABELS, read, 10) == []
        read[of_four[:8]] = 9
        assert permuted(LABELS, read, 10) == [(4, 9, 0.8)]
        assert permuted(LABELS[:40], np.roll(LABELS[:40], 1), 10) == []


def logits_of(read, sure=8.0):
    return sure * np.eye(10, dtype="float32")[read]


class TestChanceLevel:
    @staticmethod
    def monitor(source, target):
        reading = Reading(source, None, None, target, None)
        return ChanceLevel(types.SimpleNamespace(reading=reading))

    @pytest.mark.parametrize(
        "target",
        [logits_of(np.full(100, 3)), logits_of(LABELS, sure=0.5), np.zeros((100, 10), "float32")],
        ids=["one class for all", "nothing definite", "nothing at all"],
    )
    def test_predictions_that_say_nothing_are_told(self, run_monitors, target):
        monitor = self.monitor(logits_of(LABELS), target)
        told = run_monitors([monitor], {}, [FakeTranslator()] * 2)
        assert told[0] == []
        (line,) = told[1]
        assert line.startswith("warning: predictions on target images carry only ")
        assert "docs/troubleshooting.md#chance-level-on-the-target" in line

    @pytest.mark.parametrize("sure", [3.0, 8.0])
    def test_those_that_do_are_not_though_target_images_are_harder(self, run_monitors, sure):
        read = np.where(np.arange(100) % 3 == 0, LABELS, (3 * LABELS) % 10)
        monitor = self.monitor(logits_of(LABELS), logits_of(read, sure))
        assert run_monitors([monitor], {}, [FakeTranslator()] * 2) == [[], []]

    def test_before_the_source_is_learnt_nothing_is_said(self, run_monitors):
        nothing = np.zeros((100, 10), "float32")
        monitor = self.monitor(nothing, nothing)
        assert monitor.measure(None, {}) == {"target_information": 1.0}
        assert run_monitors([monitor], {}, [FakeTranslator()] * 2) == [[], []]

    def test_the_share_is_of_information(self):
        half = logits_of(LABELS // 5)  # two classes in use, of ten
        found = self.monitor(logits_of(LABELS, 50.0), 50 * half).measure(None, {})
        assert found == {"target_information": pytest.approx(np.log(2) / np.log(10), abs=1e-6)}


def test_warnings_of_histories_say_step_and_epoch():
    histories = {
        "translator": [{"loss": 1.0}, {"loss": 1.0, "warnings": ["Too hot.", "Too cold."]}],
        "source_only": [{"loss": 1.0}],
    }
    assert monitors.warnings_of(histories) == [
        "While translator was trained (epoch 2): Too hot.",
        "While translator was trained (epoch 2): Too cold.",
    ]


def test_every_pointer_leads_to_a_heading():
    """In docs/troubleshooting.md, as GitHub and Sphinx make anchors of headings."""
    root = pathlib.Path(__file__).parents[2]
    text = (root / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    sources = "".join(
        pathlib.Path(module.__file__).read_text(encoding="utf-8")
        for module in (monitors, divergence)
    )
    pointers = set(re.findall(r"\{HELP\}([\w-]+)|troubleshooting\.md#([\w-]+)", sources))
    named = {one or other for one, other in pointers}
    assert len(named) == 5
    assert named <= anchors
