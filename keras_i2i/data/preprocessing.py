"""Between what is stored, uint8 in [0, 255], and what networks see, float32 in [-1, 1]."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_i2i.errors import InputError


def preprocess(images, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Brings images to one size, one number of channels and the range [-1, 1].

    Resizing is bilinear. Shrinking averages over all the pixels that a new one covers
    (antialiasing), enlarging needs no such thing; images of the right size are left alone.
    Color turns gray by luma (0.2989 R + 0.5870 G + 0.1140 B), gray turns to color by repetition.

    Args:
        images: uint8 or float, shape (batch, h, w, 1 or 3), values in [0, 255]. Only the number
            of channels must be known while tracing a graph.
        image_shape: (height, width, channels) wanted, channels 1 or 3.

    Returns:
        float32, shape (batch, height, width, channels), values in [-1, 1] up to rounding.

    Raises:
        InputError: another rank or number of channels.
    """
    height, width, channels = image_shape
    images = tf.convert_to_tensor(images)
    given = images.shape[-1] if images.shape.rank == 4 else None
    if given not in (1, 3) or channels not in (1, 3):
        raise InputError(
            f"Got images of shape {tuple(images.shape)} to bring to {tuple(image_shape)}; expected "
            "(batch, height, width, channels) and (height, width, channels) with 1 channel (gray) "
            "or 3 (RGB)."
        )
    images = tf.cast(images, tf.float32)
    if given == 3 and channels == 1:
        images = tf.image.rgb_to_grayscale(images)
    images = _resized(images, (height, width))
    if given == 1 and channels == 3:
        images = tf.image.grayscale_to_rgb(images)
    return images / 127.5 - 1.0


def _resized(images, size):
    given = tuple(images.shape[1:3])
    if given == size:
        return images

    def resize(antialias):
        return tf.image.resize(images, size, method="bilinear", antialias=antialias)

    # Antialiasing changes nothing when enlarging but costs ten times as much, so leave it out.
    if None not in given:
        return resize(any(there > wanted for there, wanted in zip(given, size, strict=True)))
    given = tf.shape(images)[1:3]
    resized = tf.cond(
        tf.reduce_all(given == size),
        lambda: images,
        lambda: tf.cond(tf.reduce_any(given > size), lambda: resize(True), lambda: resize(False)),
    )
    return tf.ensure_shape(resized, (None, *size, None))


def to_uint8(images):
    """Turns [-1, 1] back into [0, 255], rounded; values outside are clipped.

    Args:
        images: float array or tensor of any shape.

    Returns:
        uint8 of the same shape: a tensor for a tensor, else a NumPy array.
    """
    if tf.is_tensor(images):
        scaled = tf.round((tf.cast(images, tf.float32) + 1.0) * 127.5)
        return tf.cast(tf.clip_by_value(scaled, 0.0, 255.0), tf.uint8)
    scaled = np.round((np.asarray(images, np.float32) + 1.0) * 127.5)
    return np.clip(scaled, 0, 255).astype(np.uint8)
