"""The networks of CycleGAN for domain adaptation: a U-Net and PatchGAN discriminators.

P. Basci, "Unsupervised Domain Adaptation through CycleGAN", section 4.1 and figure 5. The figure is
lost from the text that this project has, and with it the numbers of filters: those are this
project's choice. All weights start from N(0, 0.02), as in Radford et al. 2016.

The text is about images of 32x32 pixels. For larger ones the U-Net may have more stages, and the
PatchGAN may be the one with patches of 70x70 pixels (P. Isola, J.-Y. Zhu, T. Zhou and A. A.
Efros, "Image-to-image translation with conditional adversarial networks", CVPR 2017).
"""

import keras
from keras import layers

from keras_i2i.errors import InputError
from keras_i2i.networks.convolutions import Conv2D, Conv2DTranspose
from keras_i2i.networks.layers import LEAKY_SLOPE, scaled
from keras_i2i.networks.normalization import instance_norm

FILTERS = (64, 128, 256, 512)
PATCHES = (23, 70)


def unet_generator(
    image_shape,
    width=1.0,
    dropout=0.0,
    dropout_at_inference=False,
    name="generator",
    stages=3,
    image_skip=False,
):
    """G or F: a U-Net from images of one domain to images of the other (section 4.1.1).

    As many stages down as up. Each begins with a 3x3 convolution of stride 2 (a transposed one
    on the way up) and goes on with two of stride 1, all followed by instance normalization and
    leaky ReLU. On the way up each stage also sees the features of its size from the way down, the
    last one the image itself. A final 3x3 convolution with tanh makes the image.

    Args:
        image_shape: (H, W, C), H and W multiples of 2^stages. At 2^stages itself, instance
            normalization leaves nothing of the deepest features, which have a single position.
        width: factor on the numbers of filters, 64-128-256 and 512 from the fourth stage on.
        dropout: share of features that the first two stages up drop, in [0, 1). The text does not
            say where or how much; Isola et al. (2017), whom it follows, drop half there.
        dropout_at_inference: drop also when `training=False`, so that one image has several
            translations ("to introduce randomness in the image generation process", section 4.3).
        name: name of the model.
        stages: how many times the image is halved. Three suit 32x32 pixels, five or six 256x256.
        image_skip: whether the final convolution sees the image, too. Instance normalization takes
            from all features how bright and how colorful that was. With it cycles close and colors
            stay; without it a translation begins with a contrast of its own.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → the same.

    Raises:
        InputError: there is no stage, H or W is no multiple of 2^stages, or dropout no share.
    """
    if stages < 1:
        raise InputError(f"A U-Net has at least one stage. Received: stages={stages}")
    stride = 2**stages
    if len(image_shape) != 3 or any(side < stride or side % stride for side in image_shape[:2]):
        raise InputError(
            f"The U-Net halves an image {stages} times, so its height and width must be "
            f"multiples of {stride}: expected (H, W, C) like ({4 * stride}, {4 * stride}, 3). "
            f"Received: {tuple(image_shape)}"
        )
    if not 0 <= dropout < 1:
        raise InputError(f"dropout is a share in [0, 1). Received: {dropout}")

    images = keras.Input(image_shape, name="images")
    x, skips = images, [images]
    filters = [scaled(FILTERS[min(stage, len(FILTERS) - 1)], width) for stage in range(stages)]
    for stage in range(1, stages + 1):
        x = _stage(x, Conv2D, filters[stage - 1], f"down_{stage}")
        skips.append(x)
    skips.pop()
    for stage in range(stages, 0, -1):

        def with_skip(x, stage=stage):
            if dropout and stage > stages - 2:
                drop = layers.Dropout(dropout, name=f"up_{stage}_dropout")
                x = drop(x, training=True) if dropout_at_inference else drop(x)
            return layers.Concatenate(name=f"up_{stage}_skip")([x, skips[stage - 1]])

        # This stage gives the size of stage - 1 on the way down, and as many features.
        x = _stage(x, Conv2DTranspose, filters[max(stage - 2, 0)], f"up_{stage}", with_skip)
    if image_skip:
        x = layers.Concatenate(name="out_skip")([x, images])
    x = layers.Conv2D(image_shape[-1], 3, padding="same", kernel_initializer=_normal(), name="out")(
        x
    )
    # float32 also under mixed precision: these are images, not activations.
    x = layers.Activation("tanh", dtype="float32", name="tanh")(x)
    return keras.Model(images, x, name=name)


def patch_discriminator(image_shape, width=1.0, name="patch_discriminator", patch=23):
    """A PatchGAN: scores, each for a square patch of the image (section 4.1.2).

    23: three 3x3 convolutions of stride 2 with 64, 128 and 256 filters, each followed by instance
    normalization and leaky ReLU, see 15x15 pixels; the 2x2 convolution that scores sees four such
    neighbours 8 pixels apart, 23x23.

    70: four 4x4 convolutions of stride 2, 2, 2 and 1 with 64, 128, 256 and 512 filters, leaky ReLU
    after each and instance normalization after all but the first, see 46x46 pixels; the 4x4
    convolution that scores sees four such neighbours each way, 70x70 (Isola et al. 2017, section
    6.1.2; Zhu et al. 2017 have instance normalization). What is not of stride 2 pads by one pixel.

    Args:
        image_shape: (H, W, C), H and W at least 16, for patches of 70 at least 24.
        width: factor on the numbers of filters.
        name: name of the model.
        patch: side of a patch, one of `PATCHES`.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → scores (batch, H/8 - 1, W/8 - 1, 1), for
        patches of 70 (batch, H/8 - 2, W/8 - 2, 1).

    Raises:
        InputError: there is no such patch, or the images are too small for it.
    """
    if patch not in PATCHES:
        raise InputError(
            f"A PatchGAN's patch has a side of {' or '.join(map(str, PATCHES))} pixels. "
            f"Received: patch={patch}"
        )
    smallest = 16 if patch == 23 else 24
    if len(image_shape) != 3 or min(image_shape[:2]) < smallest:
        raise InputError(
            f"The PatchGAN needs (H, W, C) of at least {smallest}x{smallest} pixels. "
            f"Received: {tuple(image_shape)}"
        )
    images = keras.Input(image_shape, name="images")
    x = images
    if patch == 23:
        kernel = 2
        for stage, filters in enumerate(FILTERS[:3], start=1):
            x = _block(x, Conv2D, scaled(filters, width), 2, f"stage_{stage}")
    else:
        kernel = 4
        for stage, filters in enumerate(FILTERS[:3], start=1):
            x = _block(x, Conv2D, scaled(filters, width), 2, f"stage_{stage}", kernel, stage > 1)
        x = layers.ZeroPadding2D(1, name="stage_4_padding")(x)
        x = _block(x, Conv2D, scaled(FILTERS[3], width), 1, "stage_4", kernel, padding="valid")
        x = layers.ZeroPadding2D(1, name="scores_padding")(x)
    x = layers.Conv2D(1, kernel, kernel_initializer=_normal(), dtype="float32", name="scores")(x)
    return keras.Model(images, x, name=name)


def _stage(x, first, filters, name, then=lambda x: x):
    """A convolution of stride 2, whatever comes `then`, and two convolutions of stride 1."""
    x = then(_block(x, first, filters, 2, f"{name}_1"))
    x = _block(x, Conv2D, filters, 1, f"{name}_2")
    return _block(x, Conv2D, filters, 1, f"{name}_3")


def _block(x, convolution, filters, stride, name, kernel=3, normalized=True, padding="same"):
    x = convolution(
        filters,
        kernel,
        stride,
        padding,
        # Instance normalization takes a channel's mean away, and with it a bias.
        use_bias=not normalized,
        kernel_initializer=_normal(),
        name=f"{name}_conv",
    )(x)
    if normalized:
        x = instance_norm(f"{name}_norm")(x)
    return layers.LeakyReLU(LEAKY_SLOPE, name=f"{name}_leaky")(x)


def _normal():
    return keras.initializers.RandomNormal(stddev=0.02)
