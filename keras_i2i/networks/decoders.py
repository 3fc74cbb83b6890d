"""Decoders g: features of Z → images, split where the two domains' decoders part.

A decoder is a *trunk*, which both domains share, followed by a *branch* of the domain's own. The
features of both domains pass the trunk once. Murez et al. 2018 double the features until they have
the image's size again, so the encoder's stride says which layers there are:

    stride    trunk                    branch                      section
    8         3x3 512, up 256          up 128, up C                5.3, driving scenes
    16        up 512, up 256           up 128, up C                5.1, digits
    32        up 512, up 256           up 128, up 64, up C         5.2, Office

"up" is a 4x4 transposed convolution of stride 2, "3x3" a convolution of stride 1. Batch
normalization and ReLU follow each layer but the last, which ends in tanh.
"""

import keras
from keras import layers

from keras_i2i.errors import InputError
from keras_i2i.networks.convolutions import Conv2D, Conv2DTranspose
from keras_i2i.networks.layers import scaled
from keras_i2i.networks.normalization import batch_norm

DECODER_STRIDES = (8, 16, 32)


def decoder_trunk(feature_shape, width=1.0, name="decoder_trunk", stride=16):
    """The decoder layers that both domains share: the first two (see the module's table).

    Args:
        feature_shape: (h, w, D), an encoder's output without the batch; h and w may be None.
        width: factor on the numbers of filters.
        name: name of the model.
        stride: the encoder's, one of `DECODER_STRIDES`.

    Returns:
        A `keras.Model`: (batch, h, w, D) → (batch, 4h, 4w, round(256 · width)); 2h and 2w at
        stride 8.

    Raises:
        InputError: there is no decoder for that stride.
    """
    _check_stride(stride)
    features = keras.Input(feature_shape, name="features")
    x = _stage(features, scaled(512, width), 1, doubling=stride > 8)
    x = _stage(x, scaled(256, width), 2)
    return keras.Model(features, x, name=name)


def decoder_branch(trunk_shape, channels, width=1.0, name="decoder_branch", stride=16):
    """The decoder layers of one domain: all but the first two (see the module's table).

    Args:
        trunk_shape: (h, w, D), the trunk's output without the batch; h and w may be None.
        channels: the domain's number of channels.
        width: factor on the numbers of filters.
        name: name of the model.
        stride: the encoder's, one of `DECODER_STRIDES`.

    Returns:
        A `keras.Model`: (batch, h, w, D) → (batch, 4h, 4w, channels) in [-1, 1]; 8h and 8w at
        stride 32.

    Raises:
        InputError: there is no decoder for that stride.
    """
    _check_stride(stride)
    features = keras.Input(trunk_shape, name="trunk_features")
    x = _stage(features, scaled(128, width), 3)
    last = 4
    if stride == 32:
        x = _stage(x, scaled(64, width), 4)
        last = 5
    x = layers.Conv2DTranspose(channels, 4, 2, "same", name=f"conv_{last}")(x)
    # float32 also under mixed precision: these are images, not activations.
    x = layers.Activation("tanh", dtype="float32", name="tanh")(x)
    return keras.Model(features, x, name=name)


def _stage(x, filters, number, doubling=True):
    kind, kernel, stride = (Conv2DTranspose, 4, 2) if doubling else (Conv2D, 3, 1)
    x = kind(filters, kernel, stride, "same", use_bias=False, name=f"conv_{number}")(x)
    x = batch_norm(f"norm_{number}")(x)
    return layers.ReLU(name=f"relu_{number}")(x)


def _check_stride(stride):
    if stride not in DECODER_STRIDES:
        raise InputError(
            "I2I-Adapt has decoders for encoders whose features are "
            f"{', '.join(map(str, DECODER_STRIDES))} times smaller than the images. "
            f"Received: stride={stride}"
        )
