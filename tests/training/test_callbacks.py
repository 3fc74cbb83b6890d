"""Callbacks: what each leaves behind, without a whole run around it."""

import io
import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event

from keras_i2i import data
from keras_i2i.training import callbacks

from .runs import alternate, equal, state


class FakeModel:
    directions = ("source_to_target", "target_to_source")

    def __init__(self):
        self.optimizer = types.SimpleNamespace(learning_rate=keras.Variable(0.25))

    def translate(self, images, direction):
        return images / 2 if direction == "source_to_target" else -images


class Clock:
    """`time` with hands that the test moves."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(callbacks, "time", clock)
    return clock


class TestHistory:
    def test_each_epoch_is_written_with_losses_measures_step_and_seconds(self, tmp_path, clock):
        model, asked = FakeModel(), []
        measures = {
            "source_validation_accuracy": lambda model: asked.append(model) or np.float32(0.75),
            "target_test_accuracy": lambda model: 0.25,
        }
        history = callbacks.History(tmp_path / "new" / "history.json", 0, measures)
        history.set_model(model)
        history.set_params({"steps": 3})
        history.on_train_begin()
        clock.now += 2.5
        logs = {"loss": np.float32(0.5)}
        history.on_epoch_end(1, logs)

        assert json.loads(history.path.read_text()) == [
            {
                "step": 6,
                "seconds": 2.5,
                "learning_rate": 0.25,
                "loss": 0.5,
                "source_validation_accuracy": 0.75,
                "target_test_accuracy": 0.25,
            }
        ]
        assert asked == [model]
        # The callbacks after it show what it adds.
        assert logs["target_test_accuracy"] == 0.25

    def test_entries_beyond_the_restored_epoch_are_dropped_and_seconds_go_on(self, tmp_path, clock):
        path = tmp_path / "history.json"
        path.write_text(json.dumps([{"seconds": 10.0}, {"seconds": 20.0}, {"seconds": 30.0}]))
        history = callbacks.History(path, 2, {}, seconds=20.0)
        history.set_model(FakeModel())
        history.set_params({"steps": 3})
        history.on_train_begin()
        clock.now += 1.5
        history.on_epoch_end(2, {})
        clock.now += 1.5
        history.on_epoch_end(3, {})
        assert [entry["seconds"] for entry in json.loads(path.read_text())] == [
            10.0, 20.0, 21.5, 23.0,
        ]  # fmt: skip

    def test_a_run_without_a_checkpoint_begins_anew(self, tmp_path, clock):
        path = tmp_path / "history.json"
        path.write_text(json.dumps([{"seconds": 10.0}]))
        history = callbacks.History(path, 0, {})
        history.set_model(FakeModel())
        history.set_params({"steps": 3})
        history.on_train_begin()
        history.on_epoch_end(0, {"loss": 1.0})
        assert json.loads(path.read_text()) == [
            {"step": 3, "seconds": 0.0, "learning_rate": 0.25, "loss": 1.0}
        ]

    def test_warnings_stand_with_the_epoch_that_they_are_of(self, tmp_path, clock):
        history = callbacks.History(tmp_path / "history.json", 0, {})
        history.set_model(FakeModel())
        history.set_params({"steps": 3})
        history.on_train_begin()
        history.on_epoch_end(0, {})
        history.warnings += ["one", "another"]
        history.on_epoch_end(1, {})
        history.on_epoch_end(2, {})
        assert [entry.get("warnings") for entry in json.loads(history.path.read_text())] == [
            None, ["one", "another"], None,
        ]  # fmt: skip


class Looks(keras.callbacks.Callback):
    """Remembers the weights that it sees at the ends of epochs."""

    def __init__(self):
        super().__init__()
        self.seen, self.calls = [], []

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append([variable.numpy() for variable in self.model.trainable_variables])
        logs["epoch"] = epoch

    def on_train_end(self, logs=None):
        self.calls.append("end")


class TestOnAveragedWeights:
    def test_what_is_looked_at_is_what_the_run_ends_with_and_training_goes_on_with_its_own(
        self, make_model
    ):
        model, looks, logs = make_model(), Looks(), {}
        callback = callbacks.OnAveragedWeights([looks])
        callback.set_model(model)
        callback.on_train_begin()
        alternate(model, range(2))
        before = state(model)
        callback.on_epoch_end(7, logs)
        callback.on_train_end()
        assert all(equal(before, state(model)))
        assert logs == {"epoch": 7}
        assert looks.calls == ["begin", "end"]
        # However it ends.
        with pytest.raises(TypeError):
            callback.on_epoch_end(8, None)
        assert all(equal(before, state(model)))

        own = [variable.numpy() for variable in model.trainable_variables]
        model.optimizer.finalize_variable_values(model.trainable_variables)
        for averaged, seen in zip(model.trainable_variables, looks.seen[0], strict=True):
            np.testing.assert_array_equal(averaged.numpy(), seen)
        assert not all(map(np.array_equal, own, looks.seen[0]))


class FakeTransfer:
    """From 16x16 in color to 8x8 in gray, and not back."""

    directions = ("source_to_target",)

    def translate(self, images, direction):
        assert direction == "source_to_target"
        return np.asarray(data.preprocess(data.to_uint8(-images), (8, 8, 1)))


def drawn_grids(folder, model, source, target):
    """What `ImageGrid` shows of epoch 6: direction → image."""
    grid = callbacks.ImageGrid(folder, source, target)
    grid.set_model(model)
    grid.on_epoch_end(6)
    grid.on_train_end()
    (file,) = folder.iterdir()
    events = [Event.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(file))]
    shown = {}
    for event in events:
        for value in event.summary.value:
            assert event.step == 6
            width, height, png = value.tensor.string_val
            image = tf.io.decode_png(png).numpy()
            assert image.shape[:2] == (int(height), int(width))
            assert value.tag not in shown
            shown[value.tag] = image
    return shown


def assert_rows(shown, *rows):
    """That a grid shows these images, uint8, row by row."""
    for row, images in enumerate(rows):
        side = images.shape[1]
        assert shown.shape == (len(rows) * side, len(images) * side, images.shape[3])
        for column, image in enumerate(images):
            place = shown[row * side : (row + 1) * side, column * side : (column + 1) * side]
            np.testing.assert_array_equal(place, image)


def test_tensorboard_writes_epochs_and_makes_nothing_of_batches(tmp_path, monkeypatch):
    made = []
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse", run_eagerly=True)
    board = callbacks.TensorBoard(tmp_path, write_graph=False, profile_batch=0)
    monkeypatch.setattr(
        board.summary, "scalar", lambda name, value, step: made.append((name, step))
    )
    model.fit(np.ones((6, 2)), np.ones((6, 1)), 2, epochs=2, verbose=0, callbacks=[board])
    assert {name for name, _ in made} == {"epoch_loss", "epoch_learning_rate"}
    assert sorted(made)[:2] == [("epoch_learning_rate", 0), ("epoch_learning_rate", 1)]


class TestImageGrid:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_of_each_direction_rows_are_given_and_translated(self, tmp_path, channels):
        source, target = np.random.default_rng(0).uniform(-1, 1, (2, 3, 16, 16, channels))
        shown = drawn_grids(tmp_path, FakeModel(), source, target)
        assert set(shown) == {"source_to_target", "target_to_source"}
        assert_rows(shown["source_to_target"], *map(data.to_uint8, (source, source / 2)))
        assert_rows(shown["target_to_source"], *map(data.to_uint8, (target, -target)))

    def test_of_another_shape_the_given_are_brought_to_that_of_translations(self, tmp_path):
        rng = np.random.default_rng(0)
        source, target = (rng.uniform(-1, 1, (3, *s)) for s in ((16, 16, 3), (8, 8, 1)))
        shown = drawn_grids(tmp_path, FakeTransfer(), source, target)
        assert set(shown) == {"source_to_target"}
        given = data.to_uint8(data.preprocess(data.to_uint8(source), (8, 8, 1)))
        translated = FakeTransfer().translate(source, "source_to_target")
        assert_rows(shown["source_to_target"], np.asarray(given), data.to_uint8(translated))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run_progress(stream, clock, first_epoch=0, steps=6, per_epoch=3, seconds=1.0):
    """Trains with a clock that goes on by so many seconds a step."""
    progress = callbacks.Progress(
        "adapted, seed 0", steps, per_epoch, stream, behind=first_epoch * per_epoch
    )
    for epoch in range(first_epoch, -(-steps // per_epoch)):
        progress.on_epoch_begin(epoch)
        for batch in range(per_epoch):
            clock.now += seconds
            progress.on_train_batch_end(batch, {"loss": 1 / 4, "d_feature": 2.0})
        progress.on_epoch_end(epoch, {"loss": 1 / 8, "d_feature": 2.0, "accuracy": 0.5})
    return stream.getvalue()


class TestProgress:
    def test_a_file_gets_one_line_an_epoch(self, clock):
        text = run_progress(io.StringIO(), clock, seconds=50)
        assert text == (
            "adapted, seed 0 [############............] 3/6  2:30 left  "
            "loss 0.125  d_feature 2.000  accuracy 0.500\n"
            "adapted, seed 0 [########################] 6/6  0:00 left  "
            "loss 0.125  d_feature 2.000  accuracy 0.500\n"
        )

    def test_a_terminal_gets_one_line_that_is_redrawn(self, clock):
        text = run_progress(Terminal(), clock)
        assert text.count("\n") == 1
        assert text.endswith("\n")
        drawn = text.rstrip("\n").split("\r")
        # Each clears what was there; steps and time go on.
        assert all(line.startswith("\x1b[2Kadapted, seed 0 [") for line in drawn)
        steps = ["1/6", "2/6", "3/6", "3/6", "4/6", "5/6", "6/6", "6/6"]
        assert [line.split("] ")[1].split()[0] for line in drawn] == steps
        left = ["0:05", "0:04", "0:03", "0:03", "0:02", "0:01", "0:00", "0:00"]
        assert [line.split("  ")[1].split()[0] for line in drawn] == left
        assert "loss 0.250  d_feature 2.000" in drawn[0]
        assert "accuracy 0.500" in drawn[-1]

    def test_a_terminal_is_redrawn_at_most_five_times_a_second(self, clock):
        text = run_progress(Terminal(), clock, steps=1000, per_epoch=1000, seconds=0.01)
        assert 40 <= text.count("\r") <= 51

    def test_time_left_counts_only_what_this_process_did(self, clock):
        text = run_progress(io.StringIO(), clock, first_epoch=2, steps=12, seconds=10)
        assert "] 9/12  0:30 left" in text

    def test_hours_are_shown_as_hours(self, clock):
        text = run_progress(io.StringIO(), clock, seconds=2400)
        assert "] 3/6  2:00:00 left" in text

    def test_work_that_is_no_training_has_the_same_line(self, clock):
        stream = io.StringIO()
        show = callbacks.progress_line("translated_copy, seed 0", stream)
        for done in (100, 200, 250):
            clock.now += 10
            show(done, 250)
        assert stream.getvalue() == (
            "translated_copy, seed 0 [########################] 250/250  0:00 left  \n"
        )
        stream = Terminal()
        show = callbacks.progress_line("translated_copy, seed 0", stream)
        show(100, 250)
        show(250, 250)
        assert stream.getvalue().count("\r") == 1

    def test_the_stream_is_standard_output_unless_given(self, capsys, clock):
        progress = callbacks.Progress("source_only", 1, 1)
        progress.on_epoch_begin(0)
        progress.on_epoch_end(0, {"loss": 1.0})
        assert capsys.readouterr().out.endswith("1/1  0:00 left  loss 1.000\n")
