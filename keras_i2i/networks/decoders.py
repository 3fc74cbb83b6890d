"""Decoders g: features of Z → images, split where the two domains' decoders part.

A decoder is a *trunk*, which both domains share, followed by a *branch* of the domain's own. The
features of both domains pass the trunk once.
"""

import keras
from keras import layers

from keras_i2i.networks.layers import batch_norm, scaled


def decoder_trunk(feature_shape, width=1.0, name="decoder_trunk"):
    """The decoder layers that both domains share (Murez et al. 2018, section 5.1).

    The first two of four 4x4 transposed convolutions of stride 2: 512 and 256 filters, each
    followed by batch normalization and ReLU.

    Args:
        feature_shape: (h, w, D), an encoder's output without the batch.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, h, w, D) → (batch, 4h, 4w, round(256 · width)).
    """
    features = keras.Input(feature_shape, name="features")
    x = _up(features, scaled(512, width), 1)
    x = _up(x, scaled(256, width), 2)
    return keras.Model(features, x, name=name)


def decoder_branch(trunk_shape, channels, width=1.0, name="decoder_branch"):
    """The decoder layers of one domain (Murez et al. 2018, section 5.1).

    The last two of four 4x4 transposed convolutions of stride 2: 128 filters with batch
    normalization and ReLU, then one filter per channel with tanh.

    Args:
        trunk_shape: (h, w, D), the trunk's output without the batch.
        channels: the domain's number of channels.
        width: factor on the number of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, h, w, D) → (batch, 4h, 4w, channels) in [-1, 1].
    """
    features = keras.Input(trunk_shape, name="trunk_features")
    x = _up(features, scaled(128, width), 3)
    x = layers.Conv2DTranspose(channels, 4, 2, "same", name="conv_4")(x)
    # float32 also under mixed precision: these are images, not activations.
    x = layers.Activation("tanh", dtype="float32", name="tanh")(x)
    return keras.Model(features, x, name=name)


def _up(x, filters, stage):
    x = layers.Conv2DTranspose(filters, 4, 2, "same", use_bias=False, name=f"conv_{stage}")(x)
    x = batch_norm(f"norm_{stage}")(x)
    return layers.ReLU(name=f"relu_{stage}")(x)
