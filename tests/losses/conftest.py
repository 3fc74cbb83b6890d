"""What the tests of losses share."""

import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def gradients():
    """`gradients(function, *arrays)`: of the summed losses, one gradient for each array."""

    def of(function, *arrays):
        tensors = [tf.constant(array, "float32") for array in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            total = tf.reduce_sum(function(*tensors))
        return [
            np.zeros(tensor.shape) if gradient is None else gradient.numpy()
            for tensor, gradient in zip(tensors, tape.gradient(total, tensors), strict=True)
        ]

    return of


@pytest.fixture
def rng():
    return np.random.default_rng(7)
