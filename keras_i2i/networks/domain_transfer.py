"""The Domain Transfer Network's networks: encoder f, generators g, ternary discriminators D.

Girish Chandar G, S. Kagi, S. Deepak Narayanan and S. Bhagat, "Unsupervised Cross-Domain Image
Generation", sections 5.1 (digits) and 5.2 (faces), after Taigman, Polyak and Wolf, ICLR 2017.
"""

import math

import keras
import numpy as np
from keras import layers, ops

from keras_i2i.errors import InputError
from keras_i2i.networks.layers import LEAKY_SLOPE, scaled
from keras_i2i.networks.normalization import batch_norm

# What f of digits halves three times by pooling, g of digits doubles three times.
STRIDE = 8


def domain_transfer_encoder(image_shape, width=1.0, name="encoder"):
    """The encoder f for digits: the body of a classifier of source images (section 5.1).

    Three 2x2 convolutions with 64, 128 and 256 filters, each with ReLU and 2x2 average pooling;
    then one with 128 filters and ReLU over all that is left (4x4 of 32x32 images). No
    normalization.

    Args:
        image_shape: (H, W, C), with H and W multiples of 8.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → (batch, 1, 1, round(128 · width)).

    Raises:
        InputError: the sides are no multiples of 8.
    """
    _check_sides(image_shape)
    images = keras.Input(image_shape, name="images")
    x = images
    for stage, filters in enumerate((64, 128, 256), start=1):
        x = layers.Conv2D(
            scaled(filters, width), 2, padding="same", activation="relu", name=f"conv_{stage}"
        )(x)
        x = layers.AveragePooling2D(2, name=f"pool_{stage}")(x)
    x = layers.Conv2D(scaled(128, width), x.shape[1:3], activation="relu", name="conv_4")(x)
    return keras.Model(images, x, name=name)


def domain_transfer_generator(feature_shape, image_shape, width=1.0, name="generator"):
    """The generator g for digits (section 5.1).

    Four 4x4 transposed convolutions with 512, 256, 128 and C filters: the first opens one position
    to an eighth of the image's sides (4x4 for 32x32), the others have stride 2. Batch normalization
    and ReLU follow the first three, tanh the last. (The text has "blocks" of all four; a ReLU
    before the tanh would leave out the darker half of [-1, 1].)

    Args:
        feature_shape: f's output without the batch, of any rank: it is flattened.
        image_shape: (H, W, C) of target images, H and W multiples of 8.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, *feature_shape) → (batch, H, W, C) in [-1, 1].

    Raises:
        InputError: the sides are no multiples of 8.
    """
    _check_sides(image_shape)
    height, width_in_pixels, channels = image_shape
    features, x = _one_position(feature_shape)
    opened = (height // STRIDE, width_in_pixels // STRIDE)
    x = _up(x, scaled(512, width), 1, kernel=opened, stride=1, padding="valid")
    x = _up(x, scaled(256, width), 2)
    x = _up(x, scaled(128, width), 3)
    x = _to_images(x, channels, 4)
    return keras.Model(features, x, name=name)


def ternary_discriminator(image_shape, width=1.0, name="discriminator"):
    """The discriminator D for digits (section 5.1).

    Three 3x3 convolutions of stride 2 with 128, 256 and 512 filters, each with batch normalization
    and leaky ReLU; then one with 3 filters over all that is left (4x4 of 32x32 images), which gives
    the logits and, for that reason, has nothing after it.

    Args:
        image_shape: (H, W, C) of target images.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → logits (batch, 3) in float32.
    """
    images = keras.Input(image_shape, name="images")
    x = images
    for stage, filters in enumerate((128, 256, 512), start=1):
        x = _down(x, scaled(filters, width), stage)
    x = layers.Conv2D(3, x.shape[1:3], dtype="float32", name="conv_4")(x)
    x = layers.Flatten(dtype="float32", name="logits")(x)
    return keras.Model(images, x, name=name)


def face_generator(feature_shape, image_shape=(96, 96, 3), width=1.0, name="generator"):
    """The generator g for faces (section 5.2): 64x64 from one position, then resized.

    Five blocks of a 4x4 transposed convolution of stride 2, batch normalization, ReLU and a 1x1
    convolution, "in an attempt to lower final L_CONST values", with 512, 256, 128, 64 and 32
    filters; a sixth transposed convolution with C filters and tanh gives 64x64. Bilinear resizing
    makes (H, W) of it, whatever they are: 96x96 in the text.

    Args:
        feature_shape: f's output without the batch, of any rank: it is flattened.
        image_shape: (H, W, C) of target images.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, *feature_shape) → (batch, H, W, C) in [-1, 1].
    """
    features, x = _one_position(feature_shape)
    for stage, filters in enumerate((512, 256, 128, 64, 32), start=1):
        x = _up(x, scaled(filters, width), stage)
        x = layers.Conv2D(scaled(filters, width), 1, name=f"mix_{stage}")(x)
    x = _to_images(x, image_shape[-1], 6)
    x = layers.Resizing(*image_shape[:2], "bilinear", dtype="float32", name="resize")(x)
    return keras.Model(features, x, name=name)


def face_discriminator(image_shape=(96, 96, 3), width=1.0, name="discriminator"):
    """The discriminator D for faces (section 5.2).

    Five 3x3 convolutions of stride 2, each with batch normalization and leaky ReLU, then a 3x3
    convolution of stride 1 with 3 filters. Of the filters the text says that the first are few,
    "(32,62,128), which increased to 4 times more in the middle, then decreases"; and it leaves open
    how a map of 3 filters becomes one answer. Read here as 64, 128, 256, 128, 64 filters, and the
    mean over positions.

    Args:
        image_shape: (H, W, C) of target images.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → logits (batch, 3) in float32.
    """
    images = keras.Input(image_shape, name="images")
    x = images
    for stage, filters in enumerate((64, 128, 256, 128, 64), start=1):
        x = _down(x, scaled(filters, width), stage)
    x = layers.Conv2D(3, 3, padding="same", dtype="float32", name="conv_6")(x)
    x = layers.GlobalAveragePooling2D(dtype="float32", name="logits")(x)
    return keras.Model(images, x, name=name)


# What is transferred → (g, D).
NETWORKS = {
    "digits": (domain_transfer_generator, ternary_discriminator),
    "faces": (face_generator, face_discriminator),
}


def fitted(images, image_shape):
    """Images in another size and number of channels, inside a graph: gradients pass.

    Color turns gray by luma (0.2989 R + 0.5870 G + 0.1140 B), gray turns to color by repetition;
    sizes change bilinearly, smoothed first where they shrink. As `data.preprocess` does it.

    Args:
        images: (batch, h, w, c), c = 1 or 3 unless it is C.
        image_shape: (H, W, C).

    Returns:
        (batch, H, W, C); the images themselves if nothing is to change.
    """
    height, width, channels = image_shape
    if channels == 1 and images.shape[-1] == 3:
        luma = ops.cast([0.2989, 0.5870, 0.1140], images.dtype)
        images = ops.sum(images * luma, axis=-1, keepdims=True)
    if tuple(images.shape[1:3]) != (height, width):
        rows, columns = _resizing(images.shape[1], height), _resizing(images.shape[2], width)
        images = ops.einsum("Hh,bhwc->bHwc", ops.cast(rows, images.dtype), images)
        images = ops.einsum("Ww,bHwc->bHWc", ops.cast(columns, images.dtype), images)
    if channels == 3 and images.shape[-1] == 1:
        images = ops.repeat(images, 3, axis=-1)
    return images


def _resizing(given, wanted):
    """Antialiased bilinear interpolation of one side as a matrix (wanted, given).

    Two products of matrices in place of `ops.image.resize(antialias=True)`, which XLA does not
    know: pixel i has the weight of a triangle around the place of the new one, as wide as a new
    pixel where it is the larger.
    """
    scale = given / wanted
    places = (np.arange(wanted) + 0.5) * scale - 0.5
    distances = np.abs(places[:, np.newaxis] - np.arange(given)) / max(scale, 1.0)
    weights = np.maximum(0.0, 1.0 - distances)
    return weights / weights.sum(axis=1, keepdims=True)


def _check_sides(image_shape):
    if len(image_shape) != 3 or any(side < STRIDE or side % STRIDE for side in image_shape[:2]):
        raise InputError(
            f"The Domain Transfer Network's digit networks halve or double an image three times, "
            f"so its height and width must be multiples of {STRIDE}: expected (H, W, C) like "
            f"(32, 32, 1). Received: {tuple(image_shape)}"
        )


def _one_position(feature_shape):
    features = keras.Input(feature_shape, name="features")
    return features, layers.Reshape((1, 1, math.prod(feature_shape)), name="one_position")(features)


def _up(x, filters, stage, kernel=4, stride=2, padding="same"):
    # No bias: batch normalization takes a channel's mean away.
    x = layers.Conv2DTranspose(
        filters, kernel, stride, padding, use_bias=False, name=f"conv_{stage}"
    )(x)
    x = batch_norm(f"norm_{stage}")(x)
    return layers.ReLU(name=f"relu_{stage}")(x)


def _down(x, filters, stage):
    x = layers.Conv2D(filters, 3, 2, "same", use_bias=False, name=f"conv_{stage}")(x)
    x = batch_norm(f"norm_{stage}")(x)
    return layers.LeakyReLU(LEAKY_SLOPE, name=f"leaky_{stage}")(x)


def _to_images(x, channels, stage):
    x = layers.Conv2DTranspose(channels, 4, 2, "same", name=f"conv_{stage}")(x)
    # float32 also under mixed precision: these are images, not activations.
    return layers.Activation("tanh", dtype="float32", name="tanh")(x)
