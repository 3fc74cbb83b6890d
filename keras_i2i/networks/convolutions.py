"""Convolutions whose filters learn fast also in half precision, on small maps.

Both are Keras's layers. But in half precision, on a CPU, TensorFlow takes longer for the gradient
of a filter than in float32 where maps have a few positions only, as inside networks for digits.
There it is computed as a product of two matrices, in a third of the time; docs/performance.md says
what training steps gain.
"""

import keras
from keras import layers, ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

# How many positions the smaller one of a convolution's two maps may have.
FEW = 16


@keras.saving.register_keras_serializable("keras_i2i")
class Conv2D(layers.Conv2D):
    """Keras's layer; see the module's docstring."""

    def convolution_op(self, inputs, kernel):
        """(batch, H, W, C) and (h, w, C, D) → (batch, H', W', D)."""
        if not _pays(self, self.compute_output_shape(inputs.shape)):
            return super().convolution_op(inputs, kernel)
        return _smaller(tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel), self.strides)


@keras.saving.register_keras_serializable("keras_i2i")
class Conv2DTranspose(layers.Conv2DTranspose):
    """Keras's layer, for which it has to be without bias; see the module's docstring."""

    def call(self, inputs):
        """(batch, H, W, D) → (batch, H', W', C)."""
        if self.use_bias or not _pays(self, inputs.shape):
            return super().call(inputs)
        shape = (ops.shape(inputs)[0], *self.compute_output_shape(inputs.shape)[1:])
        kernel = tf.convert_to_tensor(self.kernel)
        return self.activation(_larger(tf.convert_to_tensor(inputs), kernel, self.strides, shape))


def _pays(layer, smaller_shape):
    _, height, width, _ = smaller_shape
    return (
        keras.backend.backend() == "tensorflow"
        and layer.compute_dtype in ("bfloat16", "float16")
        and layer.padding == "same"
        and layer.data_format == "channels_last"
        and layer.dilation_rate == (1, 1)
        and None not in (height, width)
        and height * width <= FEW
        and not tf.config.list_logical_devices("GPU")
    )


def _smaller(images, kernel, strides):
    """A convolution, whose own gradient is made of convolutions of this file."""

    @tf.custom_gradient
    def convolved(images, kernel):
        def gradient(by_maps):
            by_images = _larger(by_maps, kernel, strides, tf.shape(images))
            return by_images, _by_kernel(images, by_maps, kernel, strides)

        return tf.nn.conv2d(images, kernel, strides, "SAME"), gradient

    return convolved(images, kernel)


def _larger(maps, kernel, strides, shape):
    """A transposed convolution to images of a shape, likewise."""

    @tf.custom_gradient
    def convolved(maps, kernel):
        def gradient(by_images):
            by_maps = _smaller(by_images, kernel, strides)
            return by_maps, _by_kernel(by_images, maps, kernel, strides)

        return tf.nn.conv2d_transpose(maps, kernel, shape, strides, "SAME"), gradient

    return convolved(maps, kernel)


def _by_kernel(images, maps, kernel, strides):
    """Σ over batch and positions of patch ⊗ map: (h, w, C, D), as the kernel."""
    height, width, channels, filters = kernel.shape
    patches = tf.image.extract_patches(
        images, (1, height, width, 1), (1, *strides, 1), (1, 1, 1, 1), "SAME"
    )
    patches = tf.reshape(patches, (-1, height * width * channels))
    product = tf.matmul(patches, tf.reshape(maps, (-1, filters)), transpose_a=True)
    return tf.reshape(product, kernel.shape)
