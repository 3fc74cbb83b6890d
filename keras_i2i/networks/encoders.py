"""Encoders f: images → features of the shared latent space Z.

Every encoder is a functional graph from images (batch, H, W, C) in [-1, 1] to a feature map, so
that each fits every head and feature discriminator. Those of I2I-Adapt give (batch, H/16, W/16, D),
which its decoders bring back to (H, W).
"""

import pathlib

import keras
from keras import layers

from keras_i2i.errors import InputError
from keras_i2i.networks.backbones import BACKBONES, backbone
from keras_i2i.networks.convolutions import Conv2D
from keras_i2i.networks.domain_transfer import domain_transfer_encoder
from keras_i2i.networks.layers import scaled
from keras_i2i.networks.normalization import batch_norm
from keras_i2i.networks.saved import load_model

# How the source encoder f_x and the target encoder f_y relate. I2I-Adapt shares all weights, ADDA
# none. In between lie batch norms of one's own (Li et al., 2016, "Revisiting batch normalization
# for practical domain adaptation"): one set of filters, each domain normalized by its own moments.
SHARING = ("all", "all_but_batch_norm", "none")

STRIDE = 16


def lenet_encoder(image_shape, width=1.0, name="encoder"):
    """The modified LeNet of I2I-Adapt for digits (Murez et al. 2018, section 5.1).

    Four 4x4 convolutions of stride 2 with 64, 64, 128 and 128 filters, each followed by batch
    normalization and ReLU.

    Args:
        image_shape: (H, W, C).
        width: factor on the numbers of filters.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → (batch, ⌈H/16⌉, ⌈W/16⌉, round(128 · width)).
    """
    images = _image_input(image_shape)
    x = images
    for stage, filters in enumerate((64, 64, 128, 128), start=1):
        x = Conv2D(scaled(filters, width), 4, 2, "same", use_bias=False, name=f"conv_{stage}")(x)
        x = batch_norm(f"norm_{stage}")(x)
        x = layers.ReLU(name=f"relu_{stage}")(x)
    return keras.Model(images, x, name=name)


def densenet_encoder(image_shape, width=1.0, name="encoder"):
    """A DenseNet-BC for digits, without its dense layer (Huang et al. 2017; Murez et al. 5.1).

    The paper says only that its encoder "follows [11] with the final fully connected layer
    removed". This project's choice: growth rate 12, four blocks of six bottleneck layers, halving
    transitions, and a stem of stride 2, so that the features have the spatial size of the LeNet's.

    Args:
        image_shape: (H, W, C).
        width: factor on the growth rate.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → (batch, ⌊H/16⌋, ⌊W/16⌋, D).
    """
    growth = scaled(12, width)
    images = _image_input(image_shape)
    x = layers.Conv2D(2 * growth, 3, 2, "same", use_bias=False, name="stem")(images)
    for block in range(1, 5):
        for layer in range(1, 7):
            prefix = f"block_{block}_layer_{layer}"
            y = _norm_relu_conv(x, 4 * growth, 1, f"{prefix}_bottleneck")
            y = _norm_relu_conv(y, growth, 3, f"{prefix}_conv")
            x = layers.Concatenate(name=f"{prefix}_concat")([x, y])
        if block < 4:
            x = _norm_relu_conv(x, x.shape[-1] // 2, 1, f"transition_{block}")
            x = layers.AveragePooling2D(2, name=f"transition_{block}_pool")(x)
    x = batch_norm("final_norm")(x)
    x = layers.ReLU(name="final_relu")(x)
    return keras.Model(images, x, name=name)


def generate_to_adapt_encoder(image_shape, width=1.0, name="encoder"):
    """The digit classifier of "Generate to Adapt", without its last layer.

    S. Sankaranarayanan, Y. Balaji, C. Castillo and R. Chellappa, CVPR 2018; the CNN of Basci's
    CycleGAN adaptation. Two 5x5 convolutions of 64 filters, each with ReLU and 2x2 max pooling; a
    third of 128 filters over all that is left (5x5 of 32x32 images); a dense layer of 128 units,
    all with ReLU. No padding, no normalization.

    Args:
        image_shape: (H, W, C), H and W at least 16.
        width: factor on the numbers of filters and units.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, H, W, C) in [-1, 1] → (batch, 1, 1, round(128 · width)).

    Raises:
        InputError: the images are too small.
    """
    images = _image_input(image_shape)
    x = images
    for stage in (1, 2):
        x = layers.Conv2D(scaled(64, width), 5, activation="relu", name=f"conv_{stage}")(x)
        x = layers.MaxPooling2D(2, name=f"pool_{stage}")(x)
    units = scaled(128, width)
    x = layers.Conv2D(units, x.shape[1:3], activation="relu", name="conv_3")(x)
    # On one position a convolution is the dense layer; so the features remain a map.
    x = layers.Conv2D(units, 1, activation="relu", name="dense")(x)
    return keras.Model(images, x, name=name)


ENCODERS = {
    "lenet": lenet_encoder,
    "densenet": densenet_encoder,
    "generate_to_adapt": generate_to_adapt_encoder,
    "domain_transfer": domain_transfer_encoder,
}


def build_encoder(encoder, image_shape, width=1.0):
    """The encoder that is asked for.

    Args:
        encoder: a name of `ENCODERS`, or of `BACKBONES` with random weights and a stride of 32, or
            a functional `keras.Model` from images of `image_shape` to a feature map: one of
            `backbone`, or of the user's own.
        image_shape: (H, W, C); H and W may be None, for any.
        width: factor on the numbers of filters; only for an encoder given by name.

    Raises:
        InputError: the name is unknown, or the model's shapes do not fit.
    """
    if isinstance(encoder, dict):  # `encoder_config` of a model, read back from a file
        encoder = keras.saving.deserialize_keras_object(encoder)
    if isinstance(encoder, keras.Model):
        expected = (None, *image_shape)
        if encoder.input_shape != expected or len(encoder.output_shape) != 4:
            raise InputError(
                f"The encoder must map images {expected} to a feature map (None, h, w, D). "
                f"Received: {encoder.input_shape} → {encoder.output_shape}"
            )
        return encoder
    if encoder in BACKBONES:
        return backbone(encoder, image_shape, width=width)
    if encoder not in ENCODERS:
        raise InputError(
            f"Unknown encoder {encoder!r}. Known are: {', '.join(sorted(ENCODERS))}; "
            f"{', '.join(BACKBONES)}; or pass a functional keras.Model."
        )
    return ENCODERS[encoder](image_shape, width)


def load_encoder(path):
    """A user's own trained encoder, from a file that Keras has written.

    Args:
        path: of a `.keras` file.

    Raises:
        InputError: the file is missing, or Keras cannot read it in its safe mode.
    """
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"There is no encoder file {path}. Expected a model saved by Keras.")
    try:
        return load_model(path, compile=False)
    except InputError as error:
        raise InputError(
            f"{error} Save it with `model.save('encoder.keras')`; layers of your own must be "
            "registered."
        ) from error


def encoder_config(encoder):
    """What `build_encoder` was given, in a form that can be written to a file."""
    is_model = isinstance(encoder, keras.Model)
    return keras.saving.serialize_keras_object(encoder) if is_model else encoder


def second_encoder(encoder, sharing):
    """The target encoder f_y that belongs to the source encoder f_x.

    Where weights are not shared, they start out equal.

    Args:
        encoder: f_x, a functional `keras.Model`.
        sharing: "all", "all_but_batch_norm" or "none".

    Raises:
        InputError: `sharing` is none of these.
    """
    if sharing not in SHARING:
        raise InputError(
            f"encoder_sharing must be one of {', '.join(SHARING)}. Received: {sharing!r}"
        )
    if sharing == "all":
        return encoder

    def clone_or_share(layer):
        own = sharing == "none" or isinstance(layer, layers.BatchNormalization)
        return layer.__class__.from_config(layer.get_config()) if own else layer

    other = keras.models.clone_model(encoder, clone_function=clone_or_share, recursive=True)
    other.name = f"{encoder.name}_target"
    other.set_weights(encoder.get_weights())
    return other


def _image_input(image_shape):
    sides = [side for side in image_shape[:2] if side is not None]  # None: any size
    if len(image_shape) != 3 or any(side < STRIDE for side in sides):
        raise InputError(
            f"The encoders need (H, W, C) of at least {STRIDE}x{STRIDE} pixels, like (32, 32, 1). "
            f"Received: {tuple(image_shape)}"
        )
    return keras.Input(image_shape, name="images")


def _norm_relu_conv(x, filters, kernel, name):
    x = batch_norm(f"{name}_norm")(x)
    x = layers.ReLU(name=f"{name}_relu")(x)
    return layers.Conv2D(filters, kernel, padding="same", use_bias=False, name=name)(x)
