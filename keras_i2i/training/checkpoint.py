"""Checkpoints of a training: all that it needs to go on, bit for bit, from the step it was at."""

import dataclasses
import time

import keras
import numpy as np

from keras_i2i.errors import InputError
from keras_i2i.training.checkpoint_folder import CheckpointFolder
from keras_i2i.training.stopping import Signals


@dataclasses.dataclass(frozen=True)
class Position:
    """How far a training is.

    Attributes:
        step: steps that are behind.
        epoch: epochs that are behind with all that follows their last step: measures, the log.
        seconds: what the training has taken.
    """

    step: int = 0
    epoch: int = 0
    seconds: float = 0.0


class Checkpoint(keras.callbacks.Callback):
    """Saves all that training needs to go on, and restores it.

    That is every variable of the model (the random generators' states among them), of both
    optimizers, and the running means and the log of the epoch that has begun. The data need none: a
    batch is a function of the seed and the step's number.

    It saves after the last step of each epoch, before anything is measured there, and within an
    epoch every so many minutes or steps and when a signal asks the run to stop. Put it after the
    other callbacks: what they refuse is not saved.

    With replicas on several machines the running means are spread over them. There it saves at the
    very end of each epoch, which needs none, and signals stop the run at once.

    Args:
        folder: where to.
        model: a compiled `AdversarialModel`.
        steps_per_epoch: steps of an epoch.
        keep: how many checkpoints to keep.
        minutes: within an epoch, save when so many have gone by since the last time; 0: do not.
        steps: likewise, after this many; 0: do not.
        beside: variables of other models that training changes.
        replicas: the `strategy.Replicas` that train; None for this process alone. Of several
            workers the chief writes, and all restore.
        signals: the `Signals` of the run; None if nobody handles them.
        before_saving: a function of the step that raises if the model as it is may not be saved.
        log: where to say that a checkpoint is damaged.
    """

    def __init__(
        self,
        folder,
        model,
        steps_per_epoch,
        *,
        keep,
        minutes=0.0,
        steps=0,
        beside=(),
        replicas=None,
        signals=None,
        before_saving=lambda step: None,
        log=print,
    ):
        super().__init__()
        self._folder = CheckpointFolder(folder, keep, log)
        self._variables = [
            *model.variables,
            *model.optimizer.variables,
            *model.discriminator_optimizer.variables,
            *beside,
        ]
        self._means = model.metrics_variables
        self._per_epoch, self._minutes, self._steps = steps_per_epoch, minutes, steps
        self._replicas = replicas
        self._whole_epochs = replicas is not None and replicas.many_workers
        self._writes = replicas is None or replicas.is_chief
        self._signals = signals or Signals()
        self._before_saving = before_saving
        self._means_then, self._logs_then = (), {}
        self.restored = self.saved = Position()

    def restore(self):
        """Restores the newest checkpoint that is whole, if there is one.

        Returns:
            The `Position` that it was written at. Give `fit` its epoch as `initial_epoch`, and
            batches from its step on: of the epoch that had begun, the steps behind are passed over.

        Raises:
            InputError: it is that of another model, or other workers see another.
        """
        if self._replicas is None:
            step = self._folder.newest()
        else:
            step = self._replicas.from_chief(self._folder.newest)
        if step:
            self._restore(self._folder.read(step), step)
        return self.restored

    def latest(self):
        """Path of the checkpoint that was written or restored last; None if there was none."""
        return self._folder.file(self.saved.step) if self.saved.step else None

    def _restore(self, arrays, step):
        groups = {"variable": self._variables, "mean": self._means}
        expected = {
            f"{group}_{number}": tuple(variable.shape)
            for group, variables in groups.items()
            for number, variable in enumerate(variables)
            if group == "variable" or "mean_0" in arrays
        }
        found = {name: arrays[name].shape for name in arrays if name.partition("_")[0] in groups}
        if found != expected:
            raise InputError(
                f"The checkpoint {self._folder.file(step)} is that of another model, or of another "
                "version of this program. Go on with that version, or give another --run_dir."
            )
        for number, variable in enumerate(self._variables):
            variable.assign(_as(variable, arrays[f"variable_{number}"]))
        self._means_then = [
            _as(variable, arrays[f"mean_{number}"])
            for number, variable in enumerate(self._means)
            if f"mean_{number}" in expected
        ]
        self._logs_then = {
            name.removeprefix("log_"): float(arrays[name])
            for name in arrays
            if name.startswith("log_")
        }
        self.restored = self.saved = Position(step, int(arrays["epoch"]), float(arrays["seconds"]))

    def _save(self, step, epoch, logs):
        self._before_saving(step)
        if not self._writes:
            return
        seconds = self.restored.seconds + time.monotonic() - self._began
        position = Position(step, epoch, seconds)
        arrays = dataclasses.asdict(position)
        arrays |= {f"variable_{n}": v.numpy() for n, v in enumerate(self._variables)}
        if step > epoch * self._per_epoch:
            arrays |= {f"mean_{n}": v.numpy() for n, v in enumerate(self._means)}
            arrays |= {f"log_{name}": value for name, value in logs.items()}
        self._folder.write(step, {name: np.asarray(array) for name, array in arrays.items()})
        self.saved, self._saved_at = position, time.monotonic()

    def on_train_begin(self, logs=None):
        """Starts the clocks."""
        self._began = self._saved_at = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        """In the epoch that had begun, passes over the steps that are behind."""
        self._epoch = epoch
        behind = self.restored.step - epoch * self._per_epoch
        if behind > 0:
            # Only now: Keras has set them to zero for the new epoch.
            for variable, value in zip(self._means, self._means_then, strict=True):
                variable.assign(value)
            self._pass_over(behind)
        if not self._whole_epochs:
            self._signals.wait()

    def _pass_over(self, steps):
        """Keras counts these steps of the epoch, and nothing is trained.

        So callbacks get the epochs and batches that they would have got without interruption.
        """
        model = self.model
        # Of several devices the means alone do not tell what was logged.
        train, logs = model.train_function, self._logs_then
        calls = iter(range(steps // model.steps_per_execution))

        def passed_over(batches):
            return logs if next(calls, None) is not None else train(batches)

        model.train_function = passed_over

    def on_train_batch_end(self, batch, logs=None):
        """Saves, if it is time, and stops the run if a signal has asked for it."""
        if self._whole_epochs:
            return
        step = self._epoch * self._per_epoch + batch + 1
        is_last = batch + 1 == self._per_epoch
        stops = self._signals.received is not None
        if step > self.saved.step and (is_last or stops or self._is_due(step)):
            self._save(step, self._epoch, logs)
        if is_last or (stops and step >= self.saved.step):
            self._signals.heed(f"step {step} is saved")

    def _is_due(self, step):
        minutes = (time.monotonic() - self._saved_at) / 60
        by_steps = self._steps and step // self._steps > self.saved.step // self._steps
        return by_steps or (self._minutes and minutes >= self._minutes)

    def on_epoch_end(self, epoch, logs=None):
        """With replicas on several machines, saves."""
        if self._whole_epochs:
            self._save((epoch + 1) * self._per_epoch, epoch + 1, logs)


def _as(variable, array):
    """An array with the variable's dtype: of bfloat16, NumPy's files know the size alone."""
    return array.view(variable.numpy().dtype) if array.dtype.kind == "V" else array
