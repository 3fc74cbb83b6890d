"""Which epoch a step leaves: by what, what is said of it, and that no target label has a part."""

import json
import shutil
import types

import numpy as np
import pytest

from keras_i2i.errors import InputError
from keras_i2i.evaluation.validators import VALIDATORS
from keras_i2i.training import selection
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.selection import Selection, best_epoch, best_so_far, picks
from keras_i2i.training.train import train

from .conftest import TINY, small_data
from .runs import (
    Trained,
    assert_same_run,
    continue_quietly,
    history_of,
    interrupt_in_an_epoch,
    learning_eagerly,
    nothing_drawn,
    same_weights,
    starter,
)

NAN = float("nan")


def entries_of(values, name="target_entropy", **others):
    return [
        {"step": 2 * n, name: value, **{key: v[n - 1] for key, v in others.items()}}
        for n, value in enumerate(values, start=1)
    ]


class TestBestEpoch:
    def test_lower_or_higher_is_better_as_the_validator_says(self):
        values = [0.5, 0.2, 0.9, 0.3]
        assert best_epoch(entries_of(values), "target_entropy") == 1
        name = "information_maximization"
        assert best_epoch(entries_of(values, name), name) == 2

    def test_of_equal_ones_the_later(self):
        assert best_epoch(entries_of([0.5, 0.2, 0.2, 0.3]), "target_entropy") == 2

    def test_what_is_not_finite_is_never_it(self):
        assert best_epoch(entries_of([0.5, NAN, 0.7]), "target_entropy") == 0
        assert best_epoch(entries_of([NAN, NAN]), "target_entropy") is None
        assert best_epoch([{"step": 1}], "target_entropy") is None
        assert best_epoch([], "target_entropy") is None

    def test_those_before_it(self):
        assert best_so_far(entries_of([0.5, 0.6, 0.2, 0.2, 0.4, 0.1]), "target_entropy") == [
            0, 2, 3, 5,
        ]  # fmt: skip


class FakeModel:
    """Saves what it is called."""

    def save(self, path):
        path.write_text(self.name)


class TestKeepingTheBest:
    @pytest.fixture
    def run(self, tmp_path):
        """`run(selection, values)`: an epoch with each; returns the files after each."""

        def run(callback, values):
            callback.set_model(FakeModel())
            kept = []
            for value in values:
                callback.history.entries.append({"step": 1, "target_entropy": value})
                callback.model.name = f"model {len(callback.history.entries)}"
                callback.on_epoch_end(0, {})
                kept.append(sorted(path.name for path in tmp_path.glob("*.keras")))
            return kept

        return run

    @pytest.fixture
    def make(self, tmp_path):
        def make(entries=(), keep=1, log=None):
            history = types.SimpleNamespace(entries=list(entries))
            return Selection(tmp_path, "target_entropy", history, keep, log or pytest.fail)

        return make

    def test_the_best_is_saved_and_as_many_before_it_as_there_are_checkpoints(
        self, run, make, tmp_path
    ):
        callback = make(keep=1)
        kept = run(callback, [0.9, 0.8, 0.85, 0.7, 0.6])
        assert kept == [
            ["epoch_1.keras"],
            ["epoch_1.keras", "epoch_2.keras"],
            ["epoch_1.keras", "epoch_2.keras"],
            ["epoch_2.keras", "epoch_4.keras"],
            ["epoch_4.keras", "epoch_5.keras"],
        ]
        path = tmp_path / "out" / "model.keras"
        assert callback.save(path)
        assert path.read_text() == "model 5"
        callback.clear()
        assert not list(tmp_path.glob("*.keras"))
        assert path.exists() is False or path.read_text() == "model 5"

    def test_an_epoch_that_is_lost_and_done_again_finds_what_was_best_before_it(
        self, run, make, tmp_path
    ):
        first = make()
        run(first, [0.9, 0.5, 0.4])
        # Killed before the third checkpoint, and the third is worse this time.
        again = make(first.history.entries[:2])
        run(again, [0.8])
        assert again.save(tmp_path / "model.keras")
        assert (tmp_path / "model.keras").read_text() == "model 2"

    def test_a_best_that_is_gone_is_told_and_one_before_it_is_picked(self, run, make, tmp_path):
        first = make()
        run(first, [0.9, 0.5])
        (tmp_path / "epoch_2.keras").unlink()
        lines = []
        again = make(first.history.entries, log=lines.append)
        (line,) = lines
        assert line.startswith(f"warning: {tmp_path / 'epoch_2.keras'}, the best model by")
        assert again.save(tmp_path / "model.keras")
        assert (tmp_path / "model.keras").read_text() == "model 1"

    def test_without_any_it_says_so(self, run, make, tmp_path):
        callback = make()
        run(callback, [NAN, NAN])
        assert not callback.save(tmp_path / "model.keras")
        assert not (tmp_path / "model.keras").exists()


class TestPicks:
    ENTRIES = tuple(
        entries_of(
            [0.5, 0.2, 0.3, 0.4],
            source_validation_accuracy=[0.9, 0.8, 0.9, 0.7],
            target_test_accuracy=[0.6, 0.7, 0.8, 0.8],
        )
    )

    def test_each_way_with_its_epoch_and_what_it_reads_of_the_target(self):
        assert picks(list(self.ENTRIES)) == {
            "last": {"epoch": 4, "step": 8, "target_test_accuracy": 0.8},
            "source_validation_accuracy": {"epoch": 3, "step": 6, "target_test_accuracy": 0.8},
            "target_entropy": {"epoch": 2, "step": 4, "target_test_accuracy": 0.7},
            "oracle": {"epoch": 4, "step": 8, "target_test_accuracy": 0.8},
        }

    def test_without_target_labels_there_is_no_oracle(self):
        entries = [
            {name: e[name] for name in e if name != "target_test_accuracy"} for e in self.ENTRIES
        ]
        found = picks(entries)
        assert set(found) == {"last", "source_validation_accuracy", "target_entropy"}
        assert found["last"] == {"epoch": 4, "step": 8, "target_test_accuracy": None}

    def test_of_masks_it_is_their_measure(self):
        entries = [{"step": 1, "target_test_miou": 0.4}, {"step": 2, "target_test_miou": 0.3}]
        assert picks(entries) == {
            "last": {"epoch": 2, "step": 2, "target_test_miou": 0.3},
            "oracle": {"epoch": 1, "step": 1, "target_test_miou": 0.4},
        }

    def test_epochs_in_which_nothing_was_measured_are_not_picked(self):
        bare, measured = [{"step": 1, "loss": 2.0}], list(self.ENTRIES[1:])
        names = {"last", "source_validation_accuracy", "target_entropy", "oracle"}
        for entries in (bare + measured, measured + bare):
            found = picks(entries)
            assert set(found) == names
            assert "loss" not in entries[found["oracle"]["epoch"] - 1]
            assert found["oracle"]["target_test_accuracy"] == 0.8
        assert found["last"] == {"epoch": 4, "step": 1, "target_test_accuracy": None}

    def test_the_table_has_one_number_for_each_seed(self):
        histories = [
            {"source_only": [], "adapted": list(self.ENTRIES)},
            {"source_only": [], "adapted": list(self.ENTRIES[:2])},
        ]
        table = selection.table("target_entropy", histories)
        assert set(table) == {"by", "adapted"}
        assert table["by"] == "target_entropy"
        assert table["adapted"]["last"] == {
            "epoch": [4, 2], "step": [8, 4], "target_test_accuracy": [0.8, 0.7],
        }  # fmt: skip
        lines = selection.said(table)
        assert (
            lines[0]
            == "\nEpochs of adapted, and target test accuracy there, by the learning curve:"
        )
        assert lines[1] == "  last                          75.0%  epoch 4, 2"
        assert "  target_entropy                70.0%  epoch 2, 2  picked" in lines
        assert lines[-1].endswith("epoch 4, 2  reads target labels: nobody has it in practice")

    def test_there_is_none_of_steps_that_do_not_read_the_target(self):
        assert selection.table("last", [{"translator": [{"step": 1, "loss": 2.0}]}]) is None
        assert selection.table("last", [{"source_only": list(self.ENTRIES)}]) is None
        assert selection.said({}) == []


class TestFlags:
    def test_choices_are_the_last_and_all_validators(self, make_experiment):
        for name in ("last", *VALIDATORS):
            assert make_experiment(select=name).select == name
        with pytest.raises(InputError, match="--select must be one of last, source_validation"):
            make_experiment(select="oracle")

    def test_the_help_names_them(self):
        help = Experiment.__dataclass_fields__["select"].metadata["help"]
        assert all(name in help for name in selection.CHOICES)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            (
                {"source": "rendered_streets", "target": "night_streets", "channels": 3,
                 "feature_discriminator": "convolutional", "image_size": 32},
                "--select must be last for segmentation",
            ),
            (
                {"source_validation_size": 0, "select": "source_validation_accuracy"},
                "--select=source_validation_accuracy needs source images that are kept",
            ),
        ],
    )  # fmt: skip
    def test_what_there_is_nothing_to_select_by_is_refused(self, make_experiment, fields, message):
        with pytest.raises(InputError, match=message):
            make_experiment(**{"select": "target_entropy", **fields})


# Averaged weights: they are what is read, and what is kept.
FIELDS = {
    **TINY,
    "preset": "fcns_in_the_wild",
    "ceiling": False,
    "classifier_steps": 2,
    "steps": 8,
    "ema_momentum": 0.5,
    "learning_rate": 3e-3,
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """`start(**fields)`: an experiment with a folder of its own."""
    return starter(tmp_path_factory, FIELDS)


@pytest.fixture(scope="module")
def last(start):
    """The run by default."""
    with small_data(), learning_eagerly():
        yield Trained(start())


@pytest.fixture(scope="module")
def pick(last):
    """A validator that picks another epoch than the last, and which."""
    entries = history_of(last, "adapted")
    return next(
        (name, epoch + 1)
        for name in VALIDATORS
        if (epoch := best_epoch(entries, name)) < len(entries) - 1
    )


def begun(experiment, last):
    """A run with the baseline of another one."""
    run = RunDirectory.create(experiment)
    for path in (last.model("source_only", 0), last.history("source_only", 0)):
        copy = run.path / path.relative_to(last.path)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
    return run


@pytest.fixture(scope="module")
def selected(start, last, pick):
    """The same run, with that epoch's model."""
    run = begun(start(select=pick[0]), last)
    continue_quietly(run.experiment)
    return run


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


class TestARun:
    def test_leaves_the_model_that_a_run_of_so_many_epochs_ends_with(
        self, start, last, selected, pick
    ):
        _, epochs = pick
        assert not same_weights(selected.model("adapted", 0), last.model("adapted", 0))
        shorter = begun(start(steps=2 * epochs), last)
        with nothing_drawn():
            train(shorter.experiment, lambda line: None, only=["adapted"])
        assert same_weights(selected.model("adapted", 0), shorter.model("adapted", 0))
        # Baselines are not picked, and what is learnt does not depend on it.
        assert history_of(selected, "adapted") == history_of(last, "adapted")
        assert not selected.selectable("adapted", 0).exists()

    def test_the_accuracy_of_the_curve_is_that_of_the_model(self, last, selected, pick):
        """The curve is of averaged weights: its images are the first 10 of the test's."""
        entries = history_of(selected, "adapted")
        assert (
            picks(entries)[pick[0]]["target_test_accuracy"]
            == (entries[pick[1] - 1]["target_test_accuracy"])
        )
        table = json.loads(selected.metrics.read_text())["selection"]
        assert table["by"] == pick[0]
        assert table["adapted"][pick[0]]["epoch"] == [pick[1]]
        assert json.loads(last.metrics.read_text())["selection"]["by"] == "last"

    def test_the_terminal_shows_each_way_and_marks_the_oracle(self, last):
        text = "\n".join(last.lines)
        assert "Epochs of adapted, and target test accuracy there" in text
        for name in ("last", *VALIDATORS, "oracle"):
            assert f"\n  {name} " in text
        assert "reads target labels: nobody has it in practice" in text

    @pytest.mark.parametrize("epoch", [slow(1), 2, slow(3)])
    def test_that_is_interrupted_picks_the_same(self, start, last, selected, pick, epoch):
        run = begun(start(select=pick[0]), last)
        with pytest.MonkeyPatch.context() as patch:
            interrupt_in_an_epoch(patch, "adapted", epoch=epoch, batch=0)
            with pytest.raises(KeyboardInterrupt):
                train(run.experiment, lambda line: None)
        continue_quietly(run.experiment)
        assert_same_run(run, selected, ("source_only", "adapted"))

    @pytest.mark.parametrize("select", ["last", slow("the pick")])
    def test_other_target_test_labels_change_what_is_reported_and_nothing_else(
        self, start, last, selected, pick, select
    ):
        """Rule: no label of the target, not even of its test images, decides anything."""
        one, name = (last, "last") if select == "last" else (selected, pick[0])
        with small_data(
            target_test_labels=lambda labels: np.random.default_rng(0).permutation(labels)
        ):
            run = begun(start(select=name), last)
            continue_quietly(run.experiment)
        assert same_weights(run.model("adapted", 0), one.model("adapted", 0))
        mine, others = history_of(run, "adapted"), history_of(one, "adapted")
        reported = {"target_test_accuracy"}
        for entry, other in zip(mine, others, strict=True):
            assert {key for key in entry if entry[key] != other[key]} <= reported
        assert mine != others
