"""CycleGAN's own generator, for images larger than digits: a residual network.

J.-Y. Zhu, T. Park, P. Isola and A. A. Efros, "Unpaired image-to-image translation using
cycle-consistent adversarial networks", ICCV 2017, section 7.2, after J. Johnson, A. Alahi and
L. Fei-Fei, ECCV 2016. All weights start from N(0, 0.02).
"""

import keras
from keras import layers, ops

from keras_i2i.errors import InputError
from keras_i2i.networks.layers import scaled
from keras_i2i.networks.normalization import instance_norm


def resnet_generator(image_shape, width=1.0, blocks=None, name="generator"):
    """G or F: a residual network from images of one domain to images of the other.

    In the paper's notation c7s1-64, d128, d256, R256 as often as there are blocks, u128, u64,
    c7s1-C: a 7x7 convolution, two of 3x3 and stride 2, residual blocks of two 3x3 convolutions, two
    transposed ones of 3x3 and stride 2, and a 7x7 convolution with tanh. Instance normalization and
    ReLU follow each but the last; a block's second convolution has no ReLU. Convolutions of stride
    1 pad by reflection.

    Args:
        image_shape: (H, W, C), H and W multiples of 4, at least 8.
        width: factor on the numbers of filters.
        blocks: how many residual blocks; None: the paper's six below 256 pixels, nine from there.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → the same.

    Raises:
        InputError: H or W does not fit, or the number of blocks is negative.
    """
    # A reflection needs more positions than it adds: two in the blocks, at a quarter of the size.
    if len(image_shape) != 3 or any(side < 8 or side % 4 for side in image_shape[:2]):
        raise InputError(
            "The residual generator halves an image twice, so its height and width must be "
            "multiples of 4, at least 8: expected (H, W, C) like (256, 256, 3). "
            f"Received: {tuple(image_shape)}"
        )
    if blocks is None:
        blocks = 6 if min(image_shape[:2]) < 256 else 9
    if blocks < 0:
        raise InputError(f"blocks must be ≥ 0. Received: {blocks}")

    images = keras.Input(image_shape, name="images")
    x = _convolution(images, scaled(64, width), 7, "first")
    for stage, filters in enumerate((128, 256), start=1):
        x = _resampling(x, layers.Conv2D, scaled(filters, width), f"down_{stage}")
    for block in range(1, blocks + 1):
        y = _convolution(x, x.shape[-1], 3, f"block_{block}_1")
        y = _convolution(y, x.shape[-1], 3, f"block_{block}_2", relu=False)
        x = layers.Add(name=f"block_{block}")([x, y])
    for stage, filters in enumerate((128, 64), start=1):
        x = _resampling(x, layers.Conv2DTranspose, scaled(filters, width), f"up_{stage}")
    x = ReflectionPadding2D(3, name="out_padding")(x)
    x = layers.Conv2D(image_shape[-1], 7, kernel_initializer=_normal(), name="out")(x)
    # float32 also under mixed precision: these are images, not activations.
    x = layers.Activation("tanh", dtype="float32", name="tanh")(x)
    return keras.Model(images, x, name=name)


@keras.saving.register_keras_serializable("keras_i2i")
class ReflectionPadding2D(layers.Layer):
    """Continues an image beyond its borders by its mirror image, the border itself not repeated.

    Args:
        padding: by how many pixels on each side; fewer than the image has.
        **kwargs: as in `keras.layers.Layer`.
    """

    def __init__(self, padding, **kwargs):
        super().__init__(**kwargs)
        self.padding = padding

    def call(self, images):
        """(batch, H, W, C) → (batch, H + 2 · padding, W + 2 · padding, C)."""
        sides = (self.padding, self.padding)
        return ops.pad(images, ((0, 0), sides, sides, (0, 0)), mode="reflect")

    def get_config(self):
        """Arguments of the constructor."""
        return {**super().get_config(), "padding": self.padding}


def _convolution(x, filters, kernel, name, relu=True):
    x = ReflectionPadding2D(kernel // 2, name=f"{name}_padding")(x)
    x = layers.Conv2D(
        filters, kernel, use_bias=False, kernel_initializer=_normal(), name=f"{name}_conv"
    )(x)
    return _normalized(x, name, relu)


def _resampling(x, convolution, filters, name):
    x = convolution(
        filters, 3, 2, "same", use_bias=False, kernel_initializer=_normal(), name=f"{name}_conv"
    )(x)
    return _normalized(x, name)


def _normalized(x, name, relu=True):
    # No bias before it: instance normalization takes a channel's mean away.
    x = instance_norm(f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _normal():
    return keras.initializers.RandomNormal(stddev=0.02)
