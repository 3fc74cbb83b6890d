"""The networks of CycleGAN for domain adaptation: a small U-Net and a PatchGAN discriminator.

P. Basci, "Unsupervised Domain Adaptation through CycleGAN", section 4.1 and figure 5. The figure is
lost from the text that this project has, and with it the numbers of filters: those are this
project's choice. All weights start from N(0, 0.02), as in Radford et al. 2016.
"""

import keras
from keras import layers

from keras_i2i.errors import InputError
from keras_i2i.networks.layers import LEAKY_SLOPE, instance_norm, scaled

FILTERS = (64, 128, 256)
UNET_STRIDE = 2 ** len(FILTERS)


def unet_generator(
    image_shape, width=1.0, dropout=0.0, dropout_at_inference=False, name="generator"
):
    """G or F: a U-Net from images of one domain to images of the other (section 4.1.1).

    Three stages down and three up. Each begins with a 3x3 convolution of stride 2 (a transposed one
    on the way up) and goes on with two of stride 1, all followed by instance normalization and
    leaky ReLU. On the way up each stage also sees the features of its size from the way down, the
    last one the image itself. A final 3x3 convolution with tanh makes the image.

    Args:
        image_shape: (H, W, C), H and W multiples of 8.
        width: factor on the numbers of filters, 64-128-256.
        dropout: share of features that the first two stages up drop, in [0, 1). The text does not
            say where or how much; Isola et al. (2017), whom it follows, drop half there.
        dropout_at_inference: drop also when `training=False`, so that one image has several
            translations ("to introduce randomness in the image generation process", section 4.3).
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → the same.

    Raises:
        InputError: H or W is no multiple of 8, or dropout no share.
    """
    if len(image_shape) != 3 or any(
        side < UNET_STRIDE or side % UNET_STRIDE for side in image_shape[:2]
    ):
        raise InputError(
            f"The U-Net halves an image {len(FILTERS)} times, so its height and width must be "
            f"multiples of {UNET_STRIDE}: expected (H, W, C) like (32, 32, 3). "
            f"Received: {tuple(image_shape)}"
        )
    if not 0 <= dropout < 1:
        raise InputError(f"dropout is a share in [0, 1). Received: {dropout}")

    images = keras.Input(image_shape, name="images")
    x, skips = images, [images]
    for stage, filters in enumerate(FILTERS, start=1):
        x = _stage(x, layers.Conv2D, scaled(filters, width), f"down_{stage}")
        skips.append(x)
    skips.pop()
    for stage in range(len(FILTERS), 0, -1):
        # The stage on the way up that gives the size of stage - 1 on the way down.
        filters = scaled(FILTERS[max(stage - 2, 0)], width)

        def with_skip(x, stage=stage):
            if dropout and stage > 1:
                drop = layers.Dropout(dropout, name=f"up_{stage}_dropout")
                x = drop(x, training=True) if dropout_at_inference else drop(x)
            return layers.Concatenate(name=f"up_{stage}_skip")([x, skips[stage - 1]])

        x = _stage(x, layers.Conv2DTranspose, filters, f"up_{stage}", with_skip)
    x = layers.Conv2D(image_shape[-1], 3, padding="same", kernel_initializer=_normal(), name="out")(
        x
    )
    # float32 also under mixed precision: these are images, not activations.
    x = layers.Activation("tanh", dtype="float32", name="tanh")(x)
    return keras.Model(images, x, name=name)


def patch_discriminator(image_shape, width=1.0, name="patch_discriminator"):
    """A PatchGAN: scores, each for 23x23 pixels of the image (section 4.1.2).

    Three 3x3 convolutions of stride 2 with 64, 128 and 256 filters, each followed by instance
    normalization and leaky ReLU, see 15x15 pixels; the 2x2 convolution that scores sees four such
    neighbours 8 pixels apart, 23x23.

    Args:
        image_shape: (H, W, C), H and W at least 16.
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → scores (batch, H/8 - 1, W/8 - 1, 1).

    Raises:
        InputError: the images are too small for a patch.
    """
    if len(image_shape) != 3 or min(image_shape[:2]) < 16:
        raise InputError(
            f"The PatchGAN needs (H, W, C) of at least 16x16 pixels. Received: {tuple(image_shape)}"
        )
    images = keras.Input(image_shape, name="images")
    x = images
    for stage, filters in enumerate(FILTERS, start=1):
        x = _block(x, layers.Conv2D, scaled(filters, width), 2, f"stage_{stage}")
    x = layers.Conv2D(1, 2, kernel_initializer=_normal(), dtype="float32", name="scores")(x)
    return keras.Model(images, x, name=name)


def _stage(x, first, filters, name, then=lambda x: x):
    """A convolution of stride 2, whatever comes `then`, and two convolutions of stride 1."""
    x = then(_block(x, first, filters, 2, f"{name}_1"))
    x = _block(x, layers.Conv2D, filters, 1, f"{name}_2")
    return _block(x, layers.Conv2D, filters, 1, f"{name}_3")


def _block(x, convolution, filters, stride, name):
    # No bias: instance normalization takes a channel's mean away.
    x = convolution(
        filters,
        3,
        stride,
        "same",
        use_bias=False,
        kernel_initializer=_normal(),
        name=f"{name}_conv",
    )(x)
    x = instance_norm(f"{name}_norm")(x)
    return layers.LeakyReLU(LEAKY_SLOPE, name=f"{name}_leaky")(x)


def _normal():
    return keras.initializers.RandomNormal(stddev=0.02)
