"""Backbones: the deep encoders of real images, with or without weights from ImageNet.

The architectures are keras-cv's; only this file knows it. What it adds are images of any number of
channels in [-1, 1], and an output stride below 32 for segmentation.

**Output stride.** A classification network shrinks its image by 32. Where its last layers lose
their stride, and all convolutions after them are dilated to make up for it, the same weights see
the same pixels on a finer grid (Yu and Koltun 2016, "Multi-scale context aggregation by dilated
convolutions"; Chen et al. 2018, "DeepLab"). This is exact: of the features at stride s, those at
[::32/s, ::32/s] are the features at stride 32.
"""

import pathlib
from typing import Any, NamedTuple

import keras
from keras import layers, ops

from keras_i2i.errors import InputError
from keras_i2i.networks.layers import scaled
from keras_i2i.networks.normalization import BatchNormalization, batch_norm
from keras_i2i.networks.saved import load_model, load_weights

# By how much every backbone shrinks its image.
STRIDE = 32

OUTPUT_STRIDES = (32, 16, 8)

# What weights expect of pixels, as scale and offset of a pixel x in [-1, 1], one for each channel.
# "imagenet" is ((x + 1) / 2 - mean) / deviation, with torchvision's moments of ImageNet's pixels.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESSING = {
    "unit": (0.5, 0.5),
    "imagenet": (
        [0.5 / deviation for deviation in _DEVIATION],
        [(0.5 - mean) / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)],
    ),
    "symmetric": (1.0, 0.0),
}

# More filters than these add memory to the layers against gridding, and little else.
ANTI_GRIDDING_FILTERS = 512


class Architecture(NamedTuple):
    """How keras-cv builds a backbone.

    The plain constructors are called for: keras-cv's aliases fetch a file even for random weights.

    Attributes:
        constructor: name of a class in `keras_cv.models`.
        arguments: its arguments.
        widened: the argument that `width` multiplies.
    """

    constructor: str
    arguments: dict[str, Any]
    widened: str


def _resnet(blocks, block_type="block", constructor="ResNetBackbone"):
    arguments = {
        "stackwise_filters": [64, 128, 256, 512],
        "stackwise_blocks": blocks,
        "stackwise_strides": [1, 2, 2, 2],
        "block_type": block_type,
    }
    return Architecture(constructor, arguments, "stackwise_filters")


def _densenet(repeats):
    arguments = {"stackwise_num_repeats": repeats, "compression_ratio": 0.5, "growth_rate": 32}
    return Architecture("DenseNetBackbone", arguments, "growth_rate")


# He et al. 2016, "Deep residual learning for image recognition", table 1, and, with "_v2",
# "Identity mappings in deep residual networks"; Huang et al. 2017, "Densely connected convolutional
# networks", table 1. keras-cv's other backbones do not fit: those with squeeze and excitation
# average over the whole map, which no dilation keeps, and the layers of most cannot be cloned.
BACKBONES = {
    "resnet18": _resnet([2, 2, 2, 2], "basic_block"),
    "resnet34": _resnet([3, 4, 6, 3], "basic_block"),
    "resnet50": _resnet([3, 4, 6, 3]),
    "resnet101": _resnet([3, 4, 23, 3]),
    "resnet50_v2": _resnet([3, 4, 6, 3], constructor="ResNetV2Backbone"),
    "resnet101_v2": _resnet([3, 4, 23, 3], constructor="ResNetV2Backbone"),
    "densenet121": _densenet([6, 12, 24, 16]),
    "densenet169": _densenet([6, 12, 32, 32]),
    "densenet201": _densenet([6, 12, 48, 32]),
}


def backbone(
    name,
    image_shape,
    output_stride=STRIDE,
    width=1.0,
    weights=None,
    preprocessing=None,
    anti_gridding=False,
    freeze_batch_norm=False,
    model_name="encoder",
):
    """A deep encoder of real images.

    Args:
        name: one of `BACKBONES`.
        image_shape: (H, W, C), with H and W at least 32, or None for images of any size. Under
            weights from ImageNet C is 3, or 1: a gray image is then repeated in all three channels.
        output_stride: 32, 16 or 8, by how much the features are smaller than the image. Halving it
            makes four times as many positions, each with the same features.
        width: factor on the numbers of filters; only for random weights. A ResNet's stem keeps its
            64 filters, and in ResNet-18 and 34 so does the first stack, which adds the stem. In a
            DenseNet it is a factor on the growth rate.
        weights: None for random ones; "imagenet" for keras-cv's own, fetched from Kaggle; or the
            path of a `.weights.h5` or `.keras` file of the same backbone, whatever its output
            stride. Layers against gridding always start from random weights.
        preprocessing: what the weights expect of pixels: "unit" is [0, 1], "imagenet" is
            standardized by the moments of ImageNet's pixels (torchvision's weights), "symmetric"
            is [-1, 1]. None is "unit" for keras-cv's weights, "symmetric" for random ones, and has
            to be told for a file.
        anti_gridding: append two 3x3 convolutions with dilations 2 and 1, each followed by batch
            normalization and ReLU, with as many filters as there are features, 512 at most. They
            smooth the grid that dilated convolutions leave in the features (Yu, Koltun and
            Funkhouser 2017, "Dilated residual networks"; Murez et al. 2018, section 5.3).
        freeze_batch_norm: the backbone's batch norms keep their moments, scales and offsets, as is
            usual where batches are too small for moments of their own.
        model_name: name of the model.

    Returns:
        A functional `keras.Model`: "images" (batch, H, W, C) in [-1, 1] → features
        (batch, H/s, W/s, D) for an output stride s, where H and W are multiples of 32.

    Raises:
        InputError: an argument is none of these, or the weights are missing or of another backbone.
    """
    _check(name, image_shape, output_stride, width, weights, preprocessing)
    channels = image_shape[-1]
    if preprocessing is None:
        preprocessing = "unit" if weights else "symmetric"
    # Pixels of three channels are what ImageNet's weights and moments are about.
    as_rgb = bool(weights) or preprocessing == "imagenet"

    plain = _plain(name, 3 if as_rgb else channels, width)
    source = _trained(plain, name, weights) if weights else None
    images = keras.Input(image_shape, name="images")
    x = images
    if as_rgb and channels == 1:
        x = layers.Concatenate(name="gray_to_rgb")([x, x, x])
    if preprocessing != "symmetric":
        x = layers.Rescaling(*PREPROCESSING[preprocessing], name="preprocessing")(x)
    x = _rebuilt(plain, x, output_stride, freeze_batch_norm)
    if anti_gridding:
        filters = min(x.shape[-1], ANTI_GRIDDING_FILTERS)
        for dilation in (2, 1):
            x = _anti_gridding(x, filters, dilation)
    model = keras.Model(images, x, name=model_name)
    if source:
        _transfer(source, plain, model, weights)
    return model


def _check(name, image_shape, output_stride, width, weights, preprocessing):
    if name not in BACKBONES:
        raise InputError(f"Unknown backbone {name!r}. Known are: {', '.join(BACKBONES)}")
    if len(image_shape) != 3 or any(side and side < STRIDE for side in image_shape[:2]):
        raise InputError(
            f"A backbone needs (H, W, C) of at least {STRIDE}x{STRIDE} pixels, or None for H and W "
            f"where images have any size. Received: {tuple(image_shape)}"
        )
    if output_stride not in OUTPUT_STRIDES:
        raise InputError(
            f"A backbone's output stride is one of {', '.join(map(str, OUTPUT_STRIDES))}. "
            f"Received: {output_stride}"
        )
    if preprocessing is not None and preprocessing not in PREPROCESSING:
        raise InputError(
            f"preprocessing is one of {', '.join(PREPROCESSING)}. Received: {preprocessing!r}"
        )
    if (weights or preprocessing == "imagenet") and image_shape[-1] not in (1, 3):
        raise InputError(
            "Weights and preprocessing from ImageNet are for color images, or gray ones as three "
            f"equal channels. Received images of {image_shape[-1]} channels; use random weights."
        )
    if weights and width != 1:
        raise InputError(
            f"Weights are of a backbone of width 1. Received: width={width}, weights={weights!r}. "
            "Leave the width, or take random weights."
        )
    if weights and weights != "imagenet" and preprocessing is None:
        raise InputError(
            f"A file does not tell what its weights expect of pixels. Give with {weights} a "
            'preprocessing: "unit" for [0, 1], "imagenet" for torchvision\'s means and deviations, '
            '"symmetric" for [-1, 1].'
        )


def _constructor(name):
    # Imported here, for it takes a second, and every run without a backbone can do without it.
    import keras_cv

    return getattr(keras_cv.models, BACKBONES[name].constructor)


def _plain(name, channels, width):
    """keras-cv's network, on images of side 32, so that each layer's size tells its stride."""
    architecture = BACKBONES[name]
    arguments = dict(architecture.arguments)
    if width != 1:
        filters = arguments[architecture.widened]
        if isinstance(filters, int):
            filters = scaled(filters, width)
        else:
            # A basic block's first stack has no convolution between the stem and its sum.
            kept = 1 if arguments["block_type"] == "basic_block" else 0
            filters = filters[:kept] + [scaled(count, width) for count in filters[kept:]]
        arguments[architecture.widened] = filters
    return _constructor(name)(
        include_rescaling=False, input_shape=(STRIDE, STRIDE, channels), **arguments
    )


def _rebuilt(plain, x, output_stride, freeze_batch_norm):
    """The graph of `plain` on x: layers of the same names and weights, with that output stride."""
    tensors = {id(plain.input): x}
    for layer in plain.layers[1:]:
        several = isinstance(layer.input, list)
        x = [tensors[id(t)] for t in layer.input] if several else tensors[id(layer.input)]
        if isinstance(layer, _CONVOLUTIONS + _POOLINGS) and _stride(layer.output) > output_stride:
            x = _dilated(layer, x, max(1, _stride(layer.input) // output_stride))
        else:
            kind, config = type(layer), layer.get_config()
            if isinstance(layer, layers.BatchNormalization):
                kind = BatchNormalization
                # Of a batch norm, Keras takes this to mean inference: it uses its moving moments,
                # also in training, and leaves them as they are.
                config["trainable"] &= not freeze_batch_norm
            x = kind.from_config(config)(x)
        tensors[id(layer.output)] = x
    return tensors[id(plain.output)]


_CONVOLUTIONS = layers.Conv2D, layers.DepthwiseConv2D
_POOLINGS = layers.MaxPooling2D, layers.AveragePooling2D


def _stride(tensor):
    return STRIDE // tensor.shape[1]


def _dilated(layer, x, dilation):
    """A layer without its stride, on a map that is finer by a factor of `dilation`.

    The layer's window at output i begins at input i · stride - before. Keras's "same" pads
    max(size - stride, 0) in all, the smaller half `before`, on sides that are multiples of the
    stride. On the finer map the window begins at p - before · dilation and goes on in steps of the
    dilation. What "same" would pad there is symmetric, and wrong for size 3 and stride 2.
    """
    pooling = isinstance(layer, _POOLINGS)
    window = layer.pool_size if pooling else layer.kernel_size
    before = tuple(
        max(size - stride, 0) // 2 if layer.padding == "same" else 0
        for size, stride in zip(window, layer.strides, strict=True)
    )
    if pooling:
        mode = "max" if isinstance(layer, layers.MaxPooling2D) else "average"
        kept = {"name": layer.name, "dtype": layer.dtype_policy}
        return DilatedPooling2D(window, before, dilation, mode, **kept)(x)
    after = tuple(size - 1 - count for size, count in zip(window, before, strict=True))
    if before != after:
        pads = tuple((b * dilation, a * dilation) for b, a in zip(before, after, strict=True))
        x = layers.ZeroPadding2D(pads, name=f"{layer.name}_pad")(x)
    config = layer.get_config() | {
        "strides": (1, 1),
        "dilation_rate": (dilation, dilation),
        "padding": "same" if before == after else "valid",
    }
    return type(layer).from_config(config)(x)


@keras.saving.register_keras_serializable("keras_i2i")
class DilatedPooling2D(layers.Layer):
    """Pooling of stride 1 over a window with gaps, (batch, h, w, D) → (batch, h, w, D).

    The output at p is the maximum or average over inputs at p + (j - before) · dilation for j in
    0, ..., size - 1, as far as they lie in the map.

    Args:
        pool_size: (size, size) of the window, along h and w.
        before: how many of the window's positions lie before p, along h and w.
        dilation: distance of the window's positions.
        mode: "max" or "average".
    """

    def __init__(self, pool_size, before, dilation, mode, **kwargs):
        super().__init__(**kwargs)
        self.pool_size = tuple(pool_size)
        self.before = tuple(before)
        self.dilation = dilation
        self.mode = mode

    def call(self, features):
        """Pools features (batch, h, w, D)."""
        if self.mode == "max":
            return self._over_window(features, ops.maximum, float("-inf"))
        inside = ops.ones_like(features[:1, :, :, :1])
        return self._over_window(features, ops.add, 0) / self._over_window(inside, ops.add, 0)

    def _over_window(self, x, reduce, outside):
        for axis, (size, before) in enumerate(
            zip(self.pool_size, self.before, strict=True), start=1
        ):
            last = (size - 1) * self.dilation
            pads = [(0, 0)] * 4
            pads[axis] = before * self.dilation, last - before * self.dilation
            padded = ops.pad(x, pads, constant_values=outside)
            x = None
            for start in range(0, last + 1, self.dilation):
                window = [slice(None)] * 4
                window[axis] = slice(start, start - last or None)
                one = padded[tuple(window)]
                x = one if x is None else reduce(x, one)
        return x

    def compute_output_shape(self, input_shape):
        """The input's."""
        return input_shape

    def get_config(self):
        """What the layer was made of."""
        return super().get_config() | {
            "pool_size": self.pool_size,
            "before": self.before,
            "dilation": self.dilation,
            "mode": self.mode,
        }


_ANTI_GRIDDING = "anti_gridding"


def _anti_gridding(x, filters, dilation):
    name = f"{_ANTI_GRIDDING}_{dilation}"
    x = layers.Conv2D(
        filters, 3, padding="same", dilation_rate=dilation, use_bias=False, name=f"{name}_conv"
    )(x)
    x = batch_norm(f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _trained(plain, name, weights):
    """A network that has layers of the names of `plain`, with their weights."""
    return _fetched(name) if weights == "imagenet" else _from_file(plain, name, weights)


def _fetched(name):
    """keras-cv's network with weights from ImageNet.

    Those of all its backbones were trained on pixels in [0, 1]: `include_rescaling` is, in each of
    them, `Rescaling(1 / 255)` of pixels in [0, 255]. So "unit" is their preprocessing.
    """
    preset = f"{name}_imagenet"
    own_file = (
        f"Or pass as weights the path of a .weights.h5 or .keras file of a {name}, and its "
        "preprocessing."
    )
    if preset not in _constructor(name).presets_with_weights:
        trained = [
            other
            for other in BACKBONES
            if f"{other}_imagenet" in _constructor(other).presets_with_weights
        ]
        raise InputError(
            f"keras-cv has no ImageNet weights for {name}. It has for: {', '.join(trained)}. "
            f"{own_file}"
        )
    try:
        return _constructor(name).from_preset(preset)
    # Whatever a network, Kaggle's client or a half-fetched file may raise: it means the same here.
    except Exception as error:
        raise InputError(
            f"Could not fetch keras-cv's weights {preset} from Kaggle: {_first_line(error)} "
            f"Try again with a network. {own_file}"
        ) from error


def _from_file(plain, name, path):
    path = pathlib.Path(path).expanduser()
    if not path.is_file() or not path.name.endswith((".weights.h5", ".keras")):
        raise InputError(
            f"There is no weights file {path}. Expected a .weights.h5 or .keras file of a {name}, "
            'or "imagenet".'
        )
    try:
        if path.suffix == ".keras":
            return load_model(path, compile=False)
        load_weights(plain, path)
        return plain
    except Exception as error:  # What strangers put into files may raise anything.
        raise InputError(
            f"{path} does not hold weights of a {name} that Keras can read: {_first_line(error)}"
        ) from error


def _transfer(source, plain, model, origin):
    """Copies the weights of `source`, layer by layer, where its layers are those of `plain`."""
    theirs = {
        layer.name: layer.get_weights()
        for layer in source.layers
        if layer.weights and not layer.name.startswith(_ANTI_GRIDDING)
    }
    ours = {layer.name: layer for layer in plain.layers if layer.weights}
    other = sorted(
        name
        for name in theirs.keys() | ours.keys()
        if name not in theirs
        or name not in ours
        or [w.shape for w in theirs[name]] != [tuple(w.shape) for w in ours[name].weights]
    )
    if other:
        raise InputError(
            f"{origin} holds weights of another backbone: {len(other)} of its layers differ, as "
            f"{other[0]}. Expected those of keras-cv's {type(plain).__name__}, of width 1 and "
            "three channels."
        )
    for name, values in theirs.items():
        model.get_layer(name).set_weights(values)


def _first_line(error):
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
