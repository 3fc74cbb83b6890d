"""What is seen of a training: the log, image grids, the progress line."""

import contextlib
import json
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_i2i import data
from keras_i2i.files import write_text


class History(keras.callbacks.Callback):
    """Adds measures to each epoch's log and writes all of it as JSON.

    Put it before the other callbacks: they see what it adds. Beside the log an epoch's object has
    the `step`, the `seconds` so far, the generators' `learning_rate` from there on, and `warnings`,
    those that others have put there, if there are any.

    Args:
        path: file, a list with one object for each epoch.
        epochs: epochs that are already behind; what the file has beyond them is dropped.
        measures: dict, name → function of the model that returns a number. What is measured on
            target labels is for the reader's eyes: nothing here acts on it.
        seconds: what they, and the steps of an epoch that has begun, have taken.
    """

    def __init__(self, path, epochs, measures, seconds=0.0):
        super().__init__()
        self.path = path
        self.entries = json.loads(path.read_text())[:epochs] if epochs and path.exists() else []
        self.measures = measures
        self.warnings = []
        self._before = seconds

    def on_train_begin(self, logs=None):
        """Starts the clock."""
        self._started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Measures and writes."""
        for name, measure in self.measures.items():
            logs[name] = float(measure(self.model))
        entry = {
            "step": (epoch + 1) * self.params["steps"],
            "seconds": round(self._before + time.monotonic() - self._started, 1),
            # NumPy's, because of several devices it is one variable for each.
            "learning_rate": float(ops.convert_to_numpy(self.model.optimizer.learning_rate)),
        }
        entry |= {name: float(value) for name, value in logs.items()}
        if self.warnings:
            entry["warnings"], self.warnings = self.warnings, []
        self.entries.append(entry)
        write_text(self.path, json.dumps(self.entries, indent=1))


class TensorBoard(keras.callbacks.TensorBoard):
    """Keras's, for scalars of epochs and for profiles.

    For the end of a batch Keras 3.15 makes a scalar of each loss, though none is written unless
    `update_freq` asks for it, and TensorFlow keeps some kilobytes of that: gigabytes in a week.
    """

    def on_train_batch_end(self, batch, logs=None):
        """As Keras, without scalars."""
        super().on_train_batch_end(batch)


class OnAveragedWeights(keras.callbacks.Callback):
    """Lets callbacks look, at each epoch's end, at the averaged weights: those a run ends with.

    Training then goes on with its own, bit for bit.

    Args:
        callbacks: in their order. Of what Keras calls they get beginnings and ends of trainings,
            and ends of epochs.
    """

    def __init__(self, callbacks):
        super().__init__()
        self.callbacks = callbacks

    def set_model(self, model):
        """Hands the model on."""
        super().set_model(model)
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params):
        """Hands them on."""
        super().set_params(params)
        for callback in self.callbacks:
            callback.set_params(params)

    def on_train_begin(self, logs=None):
        """Hands it on."""
        for callback in self.callbacks:
            callback.on_train_begin(logs)

    def on_epoch_end(self, epoch, logs=None):
        """Hands it on, with other weights in place."""
        with _averaged_weights(self.model):
            for callback in self.callbacks:
                callback.on_epoch_end(epoch, logs)

    def on_train_end(self, logs=None):
        """Hands it on."""
        for callback in self.callbacks:
            callback.on_train_end(logs)


@contextlib.contextmanager
def _averaged_weights(model):
    variables = model.trainable_variables
    own = [ops.copy(variable) for variable in variables]
    try:
        model.optimizer.finalize_variable_values(variables)
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)


class ImageGrid(keras.callbacks.Callback):
    """Shows fixed images and what the model makes of them in TensorBoard.

    Columns are images; rows are images of a domain and, below them, their translations.

    Args:
        folder: of the TensorBoard events.
        source: source images (n, H, W, C) in [-1, 1].
        target: target images, perhaps of another shape.
    """

    def __init__(self, folder, source, target):
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder))
        self.source, self.target = source, target

    def on_epoch_end(self, epoch, logs=None):
        """Draws the grid."""
        images = {"source": self.source, "target": self.target}
        with self.writer.as_default(epoch):
            for direction in self.model.directions:
                origin, _ = direction.split("_to_")
                translated = data.to_uint8(self.model.translate(images[origin], direction))
                given = data.to_uint8(images[origin])
                if given.shape != translated.shape:
                    given = data.to_uint8(data.preprocess(given, translated.shape[1:])).numpy()
                rows = [np.concatenate(list(row), axis=1) for row in (given, translated)]
                tf.summary.image(direction, np.concatenate(rows, axis=0)[None])

    def on_train_end(self, logs=None):
        """Closes the file."""
        self.writer.close()


class Progress(keras.callbacks.Callback):
    """One line for the whole run: bar, steps, time left, losses; a line an epoch if not a terminal.

    Args:
        title: what is being trained.
        steps: all its steps.
        steps_per_epoch: steps of an epoch.
        stream: where to write.
        behind: steps that were trained before.
        hidden: names in the log that are not for this line.
    """

    WIDTH = 24

    def __init__(self, title, steps, steps_per_epoch, stream=None, behind=0, hidden=()):
        super().__init__()
        self.hidden = hidden
        self.title, self.steps, self.steps_per_epoch = title, steps, steps_per_epoch
        self.behind = behind
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self._started = self._shown = None

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self._base = epoch * self.steps_per_epoch
        if self._started is None:
            self._started = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        """Redraws the line on a terminal, at most five times a second."""
        if self.live and (self._shown is None or time.monotonic() - self._shown > 0.2):
            self._show(self._base + batch + 1, logs, "\r")

    def on_epoch_end(self, epoch, logs=None):
        """Draws the line."""
        step = min((epoch + 1) * self.steps_per_epoch, self.steps)
        self._show(step, logs, "\r" if self.live and step < self.steps else "\n")

    def advance(self, done):
        """Redraws the line on a terminal, and when all is done."""
        if self.live or done >= self.steps:
            self._show(done, None, "\n" if done >= self.steps else "\r")

    def _show(self, step, logs, end):
        self._shown = time.monotonic()
        elapsed = self._shown - self._started
        left = elapsed / max(step - self.behind, 1) * (self.steps - step)
        full = round(self.WIDTH * step / self.steps)
        losses = "  ".join(
            f"{name} {float(value):.3f}"
            for name, value in (logs or {}).items()
            if name not in self.hidden
        )
        line = (
            f"{self.title} [{'#' * full}{'.' * (self.WIDTH - full)}] {step}/{self.steps}  "
            f"{_clock(left)} left  {losses}"
        )
        # A terminal's line is cleared first, since the new one may be shorter.
        print(("\x1b[2K" if self.live else "") + line, end=end, file=self.stream, flush=True)


def progress_line(title, stream=None):
    """The same line for work that is no training: a function of (done, total)."""
    progress = None

    def show(done, total):
        nonlocal progress
        if progress is None:
            progress = Progress(title, total, total, stream)
            progress.on_epoch_begin(0)
        progress.advance(done)

    return show


def _clock(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
