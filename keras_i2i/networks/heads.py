"""Task heads h: features of Z → predictions."""

import keras
import numpy as np
from keras import layers, ops

from keras_i2i.errors import InputError

# How a classification head makes a vector of a feature map.
POOLINGS = {"flatten": layers.Flatten, "average": layers.GlobalAveragePooling2D}


def classification_head(feature_shape, num_classes, name="head", pooling="flatten"):
    """Classification head h: one dense layer on the features as a vector.

    Murez et al. 2018 flatten digits' features and average Office's ("the final classification layer
    is applied after global average pooling", section 5.2).

    Args:
        feature_shape: (h, w, D), an encoder's output without the batch; h and w may be None where
            they are averaged over.
        num_classes: number of classes.
        name: name of the model.
        pooling: "flatten": each position has its own weights; "average": the mean over positions.

    Returns:
        A `keras.Model`: (batch, h, w, D) → logits (batch, num_classes).

    Raises:
        InputError: the pooling is unknown.
    """
    if pooling not in POOLINGS:
        raise InputError(f"pooling must be one of {', '.join(POOLINGS)}. Received: {pooling!r}")
    features = keras.Input(feature_shape, name="features")
    x = POOLINGS[pooling](name=pooling)(features)
    x = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(features, x, name=name)


def segmentation_head(feature_shape, num_classes, stride, name="head"):
    """Segmentation head h: one dense layer on each position's features, enlarged to the image.

    A 1x1 convolution gives logits at the features' resolution; bilinear interpolation with
    half-pixel centers, as `keras.ops.image.resize` does it, brings them to the image's ("output
    segmentations are bilinearly up sampled to the original resolution", Murez et al. 2018,
    section 4.3).

    Args:
        feature_shape: (h, w, D), an encoder's output without the batch; h and w may be None.
        num_classes: number of classes K.
        stride: the encoder's: how often an image's sides are those of its features.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, h, w, D) → logits (batch, h · stride, w · stride, K) in float32.
    """
    features = keras.Input(feature_shape, name="features")
    x = layers.Conv2D(num_classes, 1, dtype="float32", name="coarse_logits")(features)
    x = BilinearUpSampling2D(stride, dtype="float32", name="logits")(x)
    return keras.Model(features, x, name=name)


@keras.saving.register_keras_serializable("keras_i2i")
class BilinearUpSampling2D(layers.Layer):
    """Enlarges images of any size by a whole factor, as `keras.ops.image.resize` does.

    Keras's `UpSampling2D` needs to know the size when a bilinear one is traced.

    Args:
        factor: how many pixels, each way, come to stand for one.
        **kwargs: as in `keras.layers.Layer`.
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, images):
        """(batch, h, w, C) → (batch, h · factor, w · factor, C)."""
        # Each stretches the height and swaps it with the width.
        return self._stretched(self._stretched(images))

    def _stretched(self, images):
        # How far new pixels' centers are from that of their old pixel: their values lie between its
        # own and the neighbour's on that side, at the border its own again.
        offset = (np.arange(self.factor) + 0.5) / self.factor - 0.5
        offset = ops.cast(offset.reshape(-1, 1, 1), images.dtype)
        padded = ops.pad(images, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="symmetric")
        before, own, after = (part[:, :, None] for part in (padded[:, :-2], images, padded[:, 2:]))
        new = ops.relu(-offset) * before + (1 - ops.abs(offset)) * own + ops.relu(offset) * after
        _, height, width, channels = ops.shape(images)
        new = ops.reshape(new, (-1, height * self.factor, width, channels))
        return ops.transpose(new, (0, 2, 1, 3))

    def compute_output_shape(self, input_shape):
        """The shape of `call`'s result."""
        batch, *sides, channels = input_shape
        return (batch, *(side and side * self.factor for side in sides), channels)

    def get_config(self):
        """Arguments of the constructor."""
        return {**super().get_config(), "factor": self.factor}
