"""Discriminators d: images or features → scores, higher for what looks like the real thing.

Scores are raw: no sigmoid. The adversarial objective decides what they mean.
"""

import functools

import keras
from keras import layers

from keras_i2i.errors import InputError
from keras_i2i.networks.convolutions import Conv2D
from keras_i2i.networks.layers import LEAKY_SLOPE, scaled
from keras_i2i.networks.normalization import instance_norm


def image_discriminator(image_shape, width=1.0, name="image_discriminator"):
    """d_x and d_y of I2I-Adapt (Murez et al. 2018, sections 5.1 to 5.3).

    Four 4x4 convolutions of stride 2 with 64, 128, 256 and 1 filters, the first three followed by
    instance normalization and leaky ReLU. The last gives the scores, one for each patch. (The text
    has the nonlinearity after "each" convolution; squashing a score by a leaky ReLU serves no
    objective, and instance normalization would take a score map's mean away, so the last has none.)

    Args:
        image_shape: (H, W, C), with H and W multiples of 16, or None for images of any size.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → scores (batch, H/16, W/16, 1).
    """
    images = keras.Input(image_shape, name="images")
    x = images
    for stage, filters in enumerate((64, 128, 256), start=1):
        # No bias: instance normalization takes a channel's mean away.
        x = Conv2D(scaled(filters, width), 4, 2, "same", use_bias=False, name=f"conv_{stage}")(x)
        x = instance_norm(name=f"norm_{stage}")(x)
        x = layers.LeakyReLU(LEAKY_SLOPE, name=f"leaky_{stage}")(x)
    x = layers.Conv2D(1, 4, 2, "same", dtype="float32", name="scores")(x)
    return keras.Model(images, x, name=name)


def feature_discriminator(feature_shape, width=1.0, name="feature_discriminator", kind="dense"):
    """d_z of I2I-Adapt: three layers of 500, 500 and 1 units, leaky ReLU between them.

    Args:
        feature_shape: (h, w, D), an encoder's output without the batch.
        width: factor on the numbers of units.
        name: name of the model.
        kind: "dense": on the flattened features, one score for an image (digits, Murez et al. 2018,
            section 5.1); "convolutional": 1x1 convolutions, one score for each position, h and w
            may be None (Office, section 5.2).

    Returns:
        A `keras.Model`: (batch, h, w, D) → scores (batch, 1), or (batch, h, w, 1).

    Raises:
        InputError: the kind is unknown.
    """
    features = keras.Input(feature_shape, name="features")
    if kind == "dense":
        x = layers.Flatten(name="flatten")(features)
        layer, prefix = layers.Dense, "dense"
    elif kind == "convolutional":
        x = features
        layer, prefix = functools.partial(layers.Conv2D, kernel_size=1), "conv"
    else:
        raise InputError(f"kind must be dense or convolutional. Received: {kind!r}")
    for stage in (1, 2):
        x = layer(scaled(500, width), name=f"{prefix}_{stage}")(x)
        x = layers.LeakyReLU(LEAKY_SLOPE, name=f"leaky_{stage}")(x)
    x = layer(1, dtype="float32", name="scores")(x)
    return keras.Model(features, x, name=name)
