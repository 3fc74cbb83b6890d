"""Shared by all tests: two logical CPUs, so that `tf.distribute` can be tested on any machine."""

import pytest
import tensorflow as tf

# Only possible before TensorFlow's first operation, hence here. Without a strategy that asks for
# the second, everything runs on the first.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(scope="session")
def two_replicas():
    """A strategy over two replicas; the only one of the process.

    TensorFlow numbers a strategy's reductions from the same start and remembers their shapes for as
    long as the process lives: a second strategy would meet the first one's.
    """
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
