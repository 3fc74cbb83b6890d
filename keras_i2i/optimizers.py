"""Optimizers and learning rates of the field.

A model's file names them, so they are imported with the package, and `keras.saving` finds them.
"""

import keras
import tensorflow as tf
from keras import ops

from keras_i2i.losses.replicas import replicas


@keras.saving.register_keras_serializable("keras_i2i")
class Adam(keras.optimizers.Adam):
    """Adam with a factor on the learning rate, for each variable its own, that clips as one device.

    A pre-trained part of a network should learn more slowly than what starts from random weights
    (Murez et al. 2018, section 5.2). A variable says so by an attribute:

        for variable in encoder.trainable_variables:
            variable.learning_rate_factor = 0.1

    Its updates are those of an Adam of its own at a tenth of the learning rate. Variables without
    the attribute have a factor of 1. Factors are read while a training step is traced, so they have
    to be set before the first; files do not hold them. Weight decay knows nothing of them.

    Under `tf.distribute` gradients are clipped after they are summed over replicas, so that their
    norm is that of the whole batch. Keras's optimizers clip each replica's part by itself.
    """

    def update_step(self, gradient, variable, learning_rate):
        """One variable's update, by its learning rate times its factor."""
        # TensorFlow's backend hands over a tf.Variable, a replica's part of the Keras variable.
        index = self._get_variable_index(variable)
        owner = self._trainable_variables[index]
        rate = learning_rate * getattr(owner, "learning_rate_factor", 1.0)
        if self.amsgrad:
            super().update_step(gradient, variable, rate)
            return
        # One kernel, where Keras has a dozen: half of all operations of a training step.
        m, v = (moments[index].value for moments in (self._momentums, self._velocities))
        updates = ops.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=ops.power(ops.cast(self.beta_1, variable.dtype), updates),
            beta2_power=ops.power(ops.cast(self.beta_2, variable.dtype), updates),
            lr=ops.cast(rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=ops.cast(gradient, variable.dtype),
        )

    def _clip_gradients(self, grads):
        context = replicas()
        if not (self.clipnorm or self.global_clipnorm or self.clipvalue) or context is None:
            return super()._clip_gradients(grads)
        sums = context.all_reduce(tf.distribute.ReduceOp.SUM, grads)
        # Keras goes on to sum over replicas, all of which have the same gradients now.
        return [g / context.num_replicas_in_sync for g in super()._clip_gradients(sums)]


@keras.saving.register_keras_serializable("keras_i2i")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Loss scaling for float16, in which a gradient of any replica may overflow.

    A step with a gradient that is not finite is skipped, and the scale of the loss is halved; after
    many good steps it is doubled. Keras 3.15 asks the first replica whether its gradients are
    finite, but they are summed only later: what another replica's overflow did would stay.
    """

    def check_finite(self, grads):
        """Whether all gradients of all replicas are finite."""
        finite = super().check_finite(grads)
        context = replicas()
        if context is None:
            return finite
        overflow = ops.cast(ops.logical_not(finite), "float32")
        return ops.equal(context.all_reduce(tf.distribute.ReduceOp.SUM, overflow), 0.0)


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
