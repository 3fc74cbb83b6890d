"""Batch and instance normalization as every network of the package uses them.

Both are Keras's layers, with its variables and results. Under TensorFlow they take fewer passes
over memory, which is what normalizations cost: on two CPU cores batch normalization and its
gradient take a third of the time, a quarter in half precision. docs/performance.md says what the
training steps gain.
"""

import keras
from keras import layers, ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def batch_norm(name=None):
    """Batch normalization whose moving averages follow within tens of steps.

    Keras's default momentum of 0.99 suits networks that settle. These are judged after a few
    hundred steps, and their batches hold translations that keep changing: with 0.99 the moving
    averages lag so far behind that test accuracy says more about them than about the network.
    0.9 is what the field's reference implementations use.
    """
    return BatchNormalization(momentum=0.9, name=name)


def instance_norm(name=None):
    """Instance normalization: every image and channel for itself (Ulyanov et al., 2016)."""
    return InstanceNormalization(groups=-1, name=name)


def synchronize_batch_norm(model):
    """Lets all batch normalizations of a model take their moments over all replicas' images.

    So a batch is normalized as on one device, at the price of an exchange between the replicas at
    each of these layers. For models in training: at inference nothing changes, and a file of the
    model does not hold it.

    Args:
        model: a `keras.Model`, whose networks may be nested.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.synchronized = True


@keras.saving.register_keras_serializable("keras_i2i")
class BatchNormalization(layers.BatchNormalization):
    """Keras's layer, through the kernel that TensorFlow has for the whole of it.

    Half precision goes in and out as it is; moments are float32. What the kernel does not know
    (other axes, synchronized moments, masks) is computed as Keras does.
    """

    def call(self, inputs, training=None, mask=None):
        """(batch, H, W, C) → the same."""
        if not self._is_known_to_the_kernel(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        training = bool(training and self.trainable)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=ops.convert_to_tensor(self.gamma),
            offset=ops.convert_to_tensor(self.beta),
            mean=() if training else ops.convert_to_tensor(self.moving_mean),
            variance=() if training else ops.convert_to_tensor(self.moving_variance),
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            # The kernel gives the variance of the population that it estimates from the batch.
            count = ops.cast(ops.prod(ops.shape(inputs)[:-1]), variance.dtype)
            variance = variance * (ops.maximum(count - 1, 1) / count)
            for moving, moment in (
                (self.moving_mean, mean),
                (self.moving_variance, variance),
            ):
                moving.assign(moving * self.momentum + moment * (1.0 - self.momentum))
        return outputs

    def _is_known_to_the_kernel(self, inputs, mask):
        return (
            keras.backend.backend() == "tensorflow"
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and self.scale
            and self.center
            and keras.backend.standardize_dtype(inputs.dtype) != "float64"
            and not (self.synchronized or self.renorm or mask is not None)
        )


@keras.saving.register_keras_serializable("keras_i2i")
class InstanceNormalization(layers.GroupNormalization):
    """Keras's layer with a group for each channel, whose gradient takes half the passes."""

    def call(self, inputs):
        """(batch, H, W, C) → the same."""
        if keras.backend.backend() != "tensorflow":
            return super().call(inputs)
        x = ops.cast(inputs, "float32")
        mean, variance = _moments_over_pixels(x)
        scale = ops.rsqrt(variance + self.epsilon) * ops.cast(self.gamma, x.dtype)
        offset = ops.cast(self.beta, x.dtype) - mean * scale
        return ops.cast(x * scale + offset, self.compute_dtype)


def _moments_over_pixels(images):
    """Mean and variance of each image and channel.

        ∂(mean, variance)ᵀg / ∂x = g_mean / n + g_variance · 2 (x - mean) / n

    Args:
        images: (batch, H, W, C).

    Returns:
        Both (batch, 1, 1, C).
    """

    def mean_of(values):
        return tf.reduce_mean(values, [1, 2], keepdims=True)

    @tf.custom_gradient
    def moments(x):
        mean = mean_of(x)
        variance = mean_of(tf.math.squared_difference(x, mean))

        def gradient(by_mean, by_variance):
            # The mean is computed again because a gradient penalty differentiates this in turn.
            pixels = tf.cast(tf.reduce_prod(tf.shape(x)[1:3]), x.dtype)
            slope = by_variance * (2.0 / pixels)
            return x * slope + (by_mean / pixels - mean_of(x) * slope)

        return (mean, variance), gradient

    return moments(images)
