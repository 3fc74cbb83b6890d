"""Optimizers that let some variables learn more slowly than others."""

import keras


@keras.saving.register_keras_serializable("keras_i2i")
class Adam(keras.optimizers.Adam):
    """Adam with a factor on the learning rate, for each variable its own.

    A pre-trained part of a network should learn more slowly than what starts from random weights
    (Murez et al. 2018, section 5.2). A variable says so by an attribute:

        for variable in encoder.trainable_variables:
            variable.learning_rate_factor = 0.1

    Its updates are those of an Adam of its own at a tenth of the learning rate. Variables without
    the attribute have a factor of 1. Factors are read while a training step is traced, so they have
    to be set before the first; files do not hold them. Weight decay knows nothing of them.
    """

    def update_step(self, gradient, variable, learning_rate):
        """One variable's update, by its learning rate times its factor."""
        # TensorFlow's backend hands over a tf.Variable, a replica's part of the Keras variable.
        owner = self._trainable_variables[self._get_variable_index(variable)]
        factor = getattr(owner, "learning_rate_factor", 1.0)
        super().update_step(gradient, variable, learning_rate * factor)
