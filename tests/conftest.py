"""Shared by all tests: two logical CPUs, so that `tf.distribute` can be tested on any machine."""

import tensorflow as tf

# Only possible before TensorFlow's first operation, hence here. Without a strategy that asks for
# the second, everything runs on the first.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
