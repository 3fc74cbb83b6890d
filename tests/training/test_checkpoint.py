"""Checkpoints of a training: it goes on from any step of an epoch as if it had not stopped."""

import json
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.errors import InputError
from keras_i2i.training import callbacks, checkpoint
from keras_i2i.training.checkpoint import Checkpoint, Position
from keras_i2i.training.stopping import Signals, Stopped

from .runs import alternate, equal, state

STEPS, PER_EPOCH = 6, 3


@pytest.fixture
def make_classifier(make_experiment):
    def make_classifier(seed=0):
        keras.utils.set_random_seed(seed)
        model = make_experiment(ema_momentum=0.9).build_classifier("source")
        model.run_eagerly = True
        return model

    return make_classifier


def batches(first_step):
    """Labelled images, a function of the step's number."""

    def batch(step):
        rng = np.random.default_rng(step)
        return rng.uniform(-1, 1, (4, 16, 16, 1)).astype("float32"), rng.integers(0, 10, 4)

    data = [batch(step) for step in range(first_step, STEPS + 1)]
    arrays = tuple(map(np.stack, zip(*data, strict=True)))
    return tf.data.Dataset.from_tensor_slices(arrays).repeat()  # without an end, as a run's are


def fit(model, folder, *others, history=None, **options):
    """Trains to the end, from a checkpoint if there is one; returns it and where it went on."""
    callback = Checkpoint(folder, model, PER_EPOCH, **{"keep": 100, **options})
    done = callback.restore()
    log = callbacks.History(history or folder / "history.json", done.epoch, {}, done.seconds)
    model.fit(
        batches(done.step),
        steps_per_epoch=PER_EPOCH,
        initial_epoch=done.epoch,
        epochs=STEPS // PER_EPOCH,
        verbose=0,
        callbacks=[log, *others, callback],
    )
    return callback, done


class TestWhatItHolds:
    def test_training_goes_on_bit_for_bit_in_a_model_that_began_differently(
        self, tmp_path, make_model
    ):
        model = make_model()
        callback = Checkpoint(tmp_path, model, PER_EPOCH, keep=2)
        assert callback.restore() == Position(0, 0, 0.0)
        fresh = state(model)
        alternate(model, range(2))
        callback.on_train_begin()
        callback._save(5, 1, {})
        saved = state(model)
        alternate(model, [2])
        uninterrupted = state(model)

        again = make_model(seed=1)
        other = state(again)
        # All that training moves is different before, so that equality below says something:
        # counters, weights, moments, averages, the random state.
        assert equal(fresh, saved).count(False) > 100
        differs = [name for name, same in zip(saved, equal(other, saved), strict=True) if not same]
        assert {name.split("/")[0] for name in differs} == {
            "model", "optimizer", "discriminator_optimizer", "seed_generator",
        }  # fmt: skip

        done = Checkpoint(tmp_path, again, PER_EPOCH, keep=2).restore()
        assert (done.step, done.epoch) == (5, 1)
        assert all(equal(saved, state(again)))
        alternate(again, [2])
        assert all(equal(uninterrupted, state(again)))

    def test_one_of_another_model_is_refused_and_nothing_restored(
        self, tmp_path, make_classifier, make_experiment
    ):
        Checkpoint(tmp_path, make_classifier(), PER_EPOCH, keep=2)
        callback = Checkpoint(tmp_path, make_classifier(), PER_EPOCH, keep=2)
        callback.on_train_begin()
        callback._save(3, 0, {})
        wider = make_experiment(encoder_width=0.2).build_classifier("source")
        before = state(wider)
        with pytest.raises(InputError, match=r"step_0000003\.npz is that of another model"):
            Checkpoint(tmp_path, wider, PER_EPOCH, keep=2).restore()
        assert all(equal(before, state(wider)))

    def test_half_precision_is_restored(self, tmp_path, make_classifier):
        beside = keras.Variable([1.5, -2.0], dtype="bfloat16")
        callback = Checkpoint(tmp_path, make_classifier(), PER_EPOCH, keep=2, beside=[beside])
        callback.on_train_begin()
        callback._save(3, 1, {})
        beside.assign([0.0, 0.0])
        callback.restore()
        assert list(np.float32(beside.numpy())) == [1.5, -2.0]


class TestWithinAnEpoch:
    @pytest.fixture
    def whole(self, make_classifier, tmp_path):
        """An uninterrupted training that was saved after each step."""
        model = make_classifier()
        fit(model, tmp_path / "whole", steps=1)
        return model, tmp_path / "whole"

    def test_it_goes_on_from_any_step_as_if_it_had_not_stopped(
        self, whole, make_classifier, tmp_path
    ):
        model, folder = whole
        entries = json.loads((folder / "history.json").read_text())
        for step in range(1, STEPS + 1):
            left = tmp_path / f"left at {step}"
            left.mkdir()
            (left / f"step_{step:07d}.npz").write_bytes(
                (folder / f"step_{step:07d}.npz").read_bytes()
            )
            # A log of what came later, too.
            (left / "history.json").write_text(json.dumps(entries))
            again, seen = make_classifier(seed=step), []
            spy = keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs, seen=seen: seen.append((batch, dict(logs)))
            )
            callback, done = fit(again, left, spy, steps=1)
            assert done.step == step
            assert done.epoch == (step - 1) // PER_EPOCH
            assert all(equal(state(model), state(again)))
            logged = json.loads((left / "history.json").read_text())
            for entry, expected in zip(logged, entries, strict=True):
                assert {**entry, "seconds": 0} == {**expected, "seconds": 0}
            # Every batch of the epoch was announced.
            assert [batch for batch, _ in seen] == [0, 1, 2] * (STEPS // PER_EPOCH - done.epoch)
            assert callback.saved.step == STEPS

    def test_of_steps_passed_over_the_log_is_what_it_was(self, make_classifier, tmp_path):
        """Several devices' logs are no function of the running means, which are summed."""
        model = make_classifier()
        callback = Checkpoint(tmp_path, model, PER_EPOCH, keep=1)
        callback.on_train_begin()
        callback._save(3, 0, {"loss": 0.1 + 0.2})
        again = Checkpoint(tmp_path, model, PER_EPOCH, keep=1)
        again.restore()
        again.set_model(model)
        model.train_function = lambda batches: {"loss": 5.0}
        again.on_epoch_begin(0)
        logged = [model.train_function(None) for _ in range(PER_EPOCH + 1)]
        assert logged == [{"loss": 0.1 + 0.2}] * PER_EPOCH + [{"loss": 5.0}]

    def test_it_begins_anew_if_the_only_one_is_damaged(self, whole, make_classifier, tmp_path):
        model, folder = whole
        left, said = tmp_path / "left", []
        left.mkdir()
        content = (folder / "step_0000004.npz").read_bytes()
        (left / "step_0000004.npz").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        again = make_classifier()
        _, done = fit(again, left, log=said.append)
        assert done == Position()
        assert len(said) == 1
        assert all(equal(state(model), state(again)))

    def test_seconds_go_on(self, make_classifier, tmp_path, monkeypatch):
        callback = Checkpoint(tmp_path, make_classifier(), PER_EPOCH, keep=2)
        callback.on_train_begin()
        callback._began -= 100
        callback._save(3, 1, {})
        assert 100 < callback.saved.seconds < 200
        again = Checkpoint(tmp_path, make_classifier(), PER_EPOCH, keep=2)
        assert again.restore() == callback.saved
        again.on_train_begin()
        again._save(6, 2, {})
        assert again.saved.seconds >= callback.saved.seconds


class TestWhenItSaves:
    def saved_at(self, folder):
        return sorted(int(path.stem[-7:]) for path in folder.glob("step_*.npz"))

    def test_after_each_epoch_unless_told_otherwise(self, make_classifier, tmp_path):
        fit(make_classifier(), tmp_path)
        assert self.saved_at(tmp_path) == [3, 6]

    @pytest.mark.parametrize(("every", "steps"), [(1, [1, 2, 3, 4, 5, 6]), (2, [2, 3, 4, 6])])
    def test_after_so_many_steps(self, every, steps, make_classifier, tmp_path):
        fit(make_classifier(), tmp_path, steps=every)
        assert self.saved_at(tmp_path) == steps

    def test_after_so_many_minutes(self, make_classifier, tmp_path, monkeypatch):
        class Clock:
            now = 0.0

            @classmethod
            def monotonic(cls):
                return cls.now

        def a_minute_passes(batch, logs):
            Clock.now += 60

        monkeypatch.setattr(checkpoint, "time", Clock)
        clock = keras.callbacks.LambdaCallback(on_train_batch_end=a_minute_passes)
        fit(make_classifier(), tmp_path, clock, minutes=2)
        assert self.saved_at(tmp_path) == [2, 3, 5, 6]

    def test_only_the_last_are_kept_of_a_continued_run_too(self, make_classifier, tmp_path):
        fit(make_classifier(), tmp_path, steps=1, keep=2)
        assert self.saved_at(tmp_path) == [5, 6]
        (tmp_path / "step_0000006.npz").unlink()
        fit(make_classifier(), tmp_path, steps=1, keep=2)
        assert self.saved_at(tmp_path) == [5, 6]

    def test_of_many_workers_the_chief_alone_and_after_whole_epochs(
        self, make_classifier, tmp_path
    ):
        class Workers:
            many_workers = True
            is_chief = True

            def from_chief(self, function):
                return function() if self.is_chief else 3

        workers = Workers()
        chief, done = fit(make_classifier(), tmp_path, steps=1, replicas=workers)
        assert self.saved_at(tmp_path) == [3, 6]
        assert (chief.saved.step, chief.saved.epoch) == (6, 2)
        with np.load(tmp_path / "step_0000006.npz") as content:
            assert not any(name.startswith("mean") for name in content)
        (tmp_path / "step_0000006.npz").unlink()
        workers.is_chief = False
        _, done = fit(make_classifier(), tmp_path, replicas=workers)
        assert (done.step, done.epoch) == (3, 1)
        assert self.saved_at(tmp_path) == [3]


class TestSignals:
    @pytest.mark.parametrize("batch", [1, 2])
    def test_it_saves_and_stops_after_the_step(self, batch, make_classifier, tmp_path):
        signals, model, ends = Signals(), make_classifier(), []

        def killed(index, logs):
            if index == batch:
                os.kill(os.getpid(), signal.SIGTERM)
                ends.append(index)  # it waits

        killer = keras.callbacks.LambdaCallback(on_train_batch_begin=killed)
        with signals.handled(), pytest.raises(Stopped) as stopped:
            fit(model, tmp_path, killer, signals=signals)
        assert ends == [batch]
        assert str(stopped.value) == f"SIGTERM received: step {batch + 1} is saved."
        assert [path.name for path in tmp_path.glob("*.npz")] == [f"step_000000{batch + 1}.npz"]
        whole = make_classifier()
        fit(whole, tmp_path / "whole")
        again = make_classifier(seed=1)
        assert fit(again, tmp_path)[1].step == batch + 1
        assert all(equal(state(whole), state(again)))

    def test_while_it_is_measured_there_is_nothing_to_wait_for(self, make_classifier, tmp_path):
        signals = Signals()

        def killed(epoch, logs):
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("too late")

        killer = keras.callbacks.LambdaCallback(on_epoch_end=killed)
        with signals.handled(), pytest.raises(Stopped):
            fit(make_classifier(), tmp_path, killer, signals=signals)
        assert [path.name for path in tmp_path.glob("*.npz")] == ["step_0000003.npz"]
