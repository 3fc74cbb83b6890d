"""Learning rates over a run."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_i2i")
class ConstantThenLinear(keras.optimizers.schedules.LearningRateSchedule):
    """The same rate for the first half, then down to zero in a straight line.

    As Zhu et al. (CycleGAN, 2017, section 4) train: 100 epochs of either.

    Args:
        learning_rate: the rate of the first half.
        updates: how many updates there will be, ≥ 1.
    """

    def __init__(self, learning_rate, updates):
        self.learning_rate, self.updates = learning_rate, updates

    def __call__(self, step):
        """The rate of an update."""
        left = 1.0 - ops.cast(step, "float32") / self.updates
        return self.learning_rate * ops.clip(2.0 * left, 0.0, 1.0)

    def get_config(self):
        """Arguments of the constructor."""
        return {"learning_rate": self.learning_rate, "updates": self.updates}
