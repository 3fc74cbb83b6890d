"""The networks of LSTNet: encoders and generators whose inner layers both domains share.

M. Friedjungová, D. Vašata, T. Chobola and M. Jiřina, "Unsupervised Latent Space Translation
Network", ESANN 2020, Table 1. Each of its rows is a layer; where a row has two entries, "S2/S1" or
"K3/K2-V", the first is for domain 1 (28x28) and the second for domain 2 (16x16). N are filters, K
the kernel's side, S the stride; padding is "same" but for V, which is "valid".

    side     encoder                          generator                    discriminator
    28  16   1  N64  K7 S1                    1  N128 K3 S1  shared        1  N64  K3, pool S1
    14   8   2  N128 K5 S2                    2  N256 K3 S1  shared        2  N128 K3, pool S2/S1
     7   8   3  N256 K3 S2/S1                 3  N512 K3/K2-V S1           3  N256 K5, pool S2
     7   7   4  N512 K3/K2-V S1               4  N256 K3 S2                4  N512 K3/K2-V, pool S2
     7   7   5  N256 K3 S1  shared            5  N128 K5 S2/S1             5  N1 dense
     7   7   6  N128 K3 S1  shared            6  N64  K7 S1
                                              7  N1   K1 S1, tanh

(the sides are those after the encoder's layers). Two things are not as printed:

- Encoder layer 6 has "S3". But the generators enlarge 7x7 to 28x28 and to 16x16, and no other
  latent than 7x7 fits them, so its stride is 1.
- The column that says what is shared is lost but for one "Yes", at generator layer 1. Fourth
  encoder layers and third generator layers differ in their kernels and cannot be shared. So shared
  is what lies between them, as the prose has it: "shared intermediate representations".

Batch normalization and leaky ReLU follow each layer of encoders and generators but the last; leaky
ReLU and 2x2 max pooling follow each convolution of the discriminators.

In this project the sides are free within that plan: see `lstnet_columns`.
"""

from typing import NamedTuple

import keras
from keras import layers

from keras_i2i.errors import InputError
from keras_i2i.networks.layers import LEAKY_SLOPE, scaled
from keras_i2i.networks.normalization import batch_norm


class Column(NamedTuple):
    """What stands before or after the slashes of Table 1: how a domain's size becomes the latent's.

    Attributes:
        stride: of the layers with "S2/S1".
        kernel: side of the kernel of the layers with "K3/K2-V".
        padding: theirs.
    """

    stride: int
    kernel: int
    padding: str


FIRST = Column(2, 3, "same")
SECOND = Column(1, 2, "valid")


def lstnet_columns(source_shape, target_shape):
    """The columns of Table 1 that bring images of both domains to latents of one size.

    Latents of LxL come from images of side 4L through the first column and from images of side
    2(L + 1) through the second.

    Args:
        source_shape: (H, W, C) with H = W.
        target_shape: the same. The larger of the two sides is 4L, L ≥ 2; either domain may have it.

    Returns:
        `FIRST` or `SECOND` for the source, and for the target.

    Raises:
        InputError: the sizes do not fit each other.
    """
    shapes = tuple(source_shape), tuple(target_shape)
    if all(len(shape) == 3 and shape[0] == shape[1] for shape in shapes):
        latent = max(shape[0] for shape in shapes) // 4
        columns = {4 * latent: FIRST, 2 * (latent + 1): SECOND}
        # At L = 1 the two columns would stand for one side.
        if latent > 1 and all(shape[0] in columns for shape in shapes):
            return tuple(columns[shape[0]] for shape in shapes)
    raise InputError(
        "LSTNet needs square images (H, W, C), in the larger domain of a side 4L, L ≥ 2, in the "
        "other of the same side or of 2(L + 1): 28 with 28 or 16, 32 with 32 or 18. "
        f"Received: {shapes[0]} and {shapes[1]}"
    )


def lstnet_entry(image_shape, column, width=1.0, name="entry"):
    """E_1* or E_2*: the encoder layers of one domain, 1 to 4.

    Args:
        image_shape: (H, W, C).
        column: the domain's, of `lstnet_columns`.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → (batch, L, L, round(512 · width)).
    """
    images = keras.Input(image_shape, name="images")
    x = _block(images, layers.Conv2D, scaled(64, width), 7, 1, 1)
    x = _block(x, layers.Conv2D, scaled(128, width), 5, 2, 2)
    x = _block(x, layers.Conv2D, scaled(256, width), 3, column.stride, 3)
    x = _block(x, layers.Conv2D, scaled(512, width), column.kernel, 1, 4, column.padding)
    return keras.Model(images, x, name=name)


def lstnet_encoder_trunk(entry_shape, width=1.0, name="encoder_trunk"):
    """E_s: the encoder layers that both domains share, 5 and 6.

    Args:
        entry_shape: (L, L, D), an entry's output without the batch.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, L, L, D) → latents (batch, L, L, round(128 · width)).
    """
    features = keras.Input(entry_shape, name="entry_features")
    x = _block(features, layers.Conv2D, scaled(256, width), 3, 1, 5)
    x = _block(x, layers.Conv2D, scaled(128, width), 3, 1, 6)
    return keras.Model(features, x, name=name)


def lstnet_decoder_trunk(latent_shape, width=1.0, name="decoder_trunk"):
    """G_s: the generator layers that both domains share, 1 and 2.

    Args:
        latent_shape: (L, L, D), the encoder trunk's output without the batch.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, L, L, D) → (batch, L, L, round(256 · width)).
    """
    latents = keras.Input(latent_shape, name="latents")
    x = _block(latents, layers.Conv2DTranspose, scaled(128, width), 3, 1, 1)
    x = _block(x, layers.Conv2DTranspose, scaled(256, width), 3, 1, 2)
    return keras.Model(latents, x, name=name)


def lstnet_branch(trunk_shape, channels, column, width=1.0, name="branch"):
    """G_1* or G_2*: the generator layers of one domain, 3 to 7.

    Args:
        trunk_shape: (L, L, D), the decoder trunk's output without the batch.
        channels: the domain's number of channels.
        column: the domain's, of `lstnet_columns`.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, L, L, D) → (batch, H, W, channels) in [-1, 1].
    """
    features = keras.Input(trunk_shape, name="trunk_features")
    up = layers.Conv2DTranspose
    x = _block(features, up, scaled(512, width), column.kernel, 1, 3, column.padding)
    x = _block(x, up, scaled(256, width), 3, 2, 4)
    x = _block(x, up, scaled(128, width), 5, column.stride, 5)
    x = _block(x, up, scaled(64, width), 7, 1, 6)
    x = up(channels, 1, name="conv_7")(x)
    # float32 also under mixed precision: these are images, not activations.
    x = layers.Activation("tanh", dtype="float32", name="tanh")(x)
    return keras.Model(features, x, name=name)


def lstnet_discriminator(image_shape, column, width=1.0, name="discriminator"):
    """D_1 or D_2, without its sigmoid, which is the objective's.

    Args:
        image_shape: (H, W, C).
        column: the domain's, of `lstnet_columns`.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → logits (batch, 1).
    """
    images = keras.Input(image_shape, name="images")
    x = _pooled(images, scaled(64, width), 3, 1, 1)
    x = _pooled(x, scaled(128, width), 3, column.stride, 2)
    x = _pooled(x, scaled(256, width), 5, 2, 3)
    x = _pooled(x, scaled(512, width), column.kernel, 2, 4, column.padding)
    return keras.Model(images, _logit(x), name=name)


def lstnet_latent_discriminator(latent_shape, width=1.0, name="latent_discriminator"):
    """D_l, without its sigmoid, which is the objective's.

    Three 3x3 convolutions of 256, 512 and 256 filters with pooling of stride 1, 2 and 1, then a
    dense layer of one unit.

    Args:
        latent_shape: (L, L, D), the encoder trunk's output without the batch.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, L, L, D) → logits (batch, 1).
    """
    latents = keras.Input(latent_shape, name="latents")
    x = _pooled(latents, scaled(256, width), 3, 1, 1)
    x = _pooled(x, scaled(512, width), 3, 2, 2)
    x = _pooled(x, scaled(256, width), 3, 1, 3)
    return keras.Model(latents, _logit(x), name=name)


def _block(x, convolution, filters, kernel, stride, layer, padding="same"):
    # No bias: batch normalization takes a channel's mean away.
    x = convolution(filters, kernel, stride, padding, use_bias=False, name=f"conv_{layer}")(x)
    x = batch_norm(f"norm_{layer}")(x)
    return layers.LeakyReLU(LEAKY_SLOPE, name=f"leaky_{layer}")(x)


def _pooled(x, filters, kernel, pool_stride, layer, padding="same"):
    x = layers.Conv2D(filters, kernel, padding=padding, name=f"conv_{layer}")(x)
    x = layers.LeakyReLU(LEAKY_SLOPE, name=f"leaky_{layer}")(x)
    return layers.MaxPooling2D(2, pool_stride, "same", name=f"pool_{layer}")(x)


def _logit(x):
    x = layers.Flatten(name="flatten")(x)
    return layers.Dense(1, dtype="float32", name="scores")(x)
