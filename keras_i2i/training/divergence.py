"""Training that has diverged: it is stopped before a checkpoint is lost to it, and goes on slower.

A loss that is NaN or infinite never recovers, and what it has done to the weights would be in the
next checkpoint. So losses are looked at after every step, and weights before every checkpoint.
"""

import math

import keras
import tensorflow as tf

from keras_i2i.errors import TrainingDiverged


class StopsDivergence(keras.callbacks.Callback):
    """Ends a training with a loss or a weight that is no finite number.

    Put it before what saves, which calls `check_weights` first: nothing that is not finite gets
    into a checkpoint.

    A gradient may overflow without this. Under float16 the optimizer leaves such a step out, as it
    should, and neither losses nor weights know of it.

    Args:
        title: what is being trained.
        steps_per_epoch: steps of an epoch.
        last_checkpoint: a function that returns the path of the last checkpoint; None if there is
            none yet.
    """

    def __init__(self, title, steps_per_epoch, last_checkpoint):
        super().__init__()
        self.title, self.steps_per_epoch = title, steps_per_epoch
        self.last_checkpoint = last_checkpoint
        self._base = 0

    def on_epoch_begin(self, epoch, logs=None):
        """Knows from here on which step it is."""
        self._base = epoch * self.steps_per_epoch

    def on_train_batch_end(self, batch, logs=None):
        """Looks at the losses.

        Keras has just turned them into numbers, for all callbacks. They are means over the epoch so
        far, and a mean is not finite from the first step on of which a value is not.
        """
        terms = [name for name, value in logs.items() if not math.isfinite(value)]
        if terms:
            # The total says nothing that its terms do not say.
            terms = [name for name in terms if name != "loss"] or terms
            self._stop(
                f"{', '.join(terms)} {'is' if len(terms) == 1 else 'are'} not finite",
                self._base + batch + 1,
            )

    def check_weights(self, step):
        """Looks at the weights, before they are saved: the last update may have spoilt them.

        Args:
            step: how many have been taken.

        Raises:
            TrainingDiverged: a weight, or a moment of an optimizer, is not finite.
        """
        names = not_finite(self.model)
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            self._stop(f"variable {names[0]}{more} is not finite, though the losses are,", step)

    def _stop(self, what, step):
        saved = self.last_checkpoint()
        left = f"{saved} is from before: the" if saved else "There is no checkpoint yet: the"
        go_on = "continues from it" if saved else "begins anew"
        raise TrainingDiverged(
            f"{self.title}: {what} after step {step}. Training has diverged and stops. {left} same "
            f"command with --learning_rate_factor=0.3 {go_on} at lower learning rates. In a run of "
            "its own also try --clip_norm=1, or a smaller weight for a term that grew; see "
            "docs/troubleshooting.md#losses-that-are-not-finite."
        )


def not_finite(model):
    """Paths of a compiled `AdversarialModel`'s variables with a value that is NaN or infinite.

    All that a checkpoint holds is looked at: weights of both players, moving averages, the moments
    of the optimizers.
    """
    variables = [
        *model.variables,
        *model.optimizer.variables,
        *model.discriminator_optimizer.variables,
    ]
    floating = [v for v in variables if keras.backend.is_float_dtype(v.dtype)]
    finite = _all_finite([v.value for v in floating])
    return [v.path for v, good in zip(floating, finite.numpy(), strict=True) if not good]


def _all_finite(values):
    return tf.stack([tf.reduce_all(tf.math.is_finite(value)) for value in values])


def constant_rates(model):
    """Both players' learning rates; None for one that has a schedule."""
    return [_constant_rate(optimizer) for optimizer in _players(model)]


def set_constant_rates(model, rates):
    """Gives the players these of `constant_rates`, whatever a checkpoint has brought back.

    A constant rate is a variable of its optimizer: restoring a checkpoint brings back the rate of
    whoever saved it. A schedule is no variable.
    """
    for optimizer, rate in zip(_players(model), rates, strict=True):
        if rate is not None:
            optimizer.learning_rate = rate


def _players(model):
    return model.optimizer, model.discriminator_optimizer


def _constant_rate(optimizer):
    # Of one that scales losses the inner's.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = optimizer.get_config()["learning_rate"]
    return None if isinstance(rate, dict) else rate
