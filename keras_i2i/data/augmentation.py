"""Random rotation, scale and translation, levels and negatives: of places and of values."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from keras_i2i.errors import InputError


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Changes every image of a batch by maps of its own: one of places, one of values.

    There are no flips: a mirrored digit is no digit.

    Attributes:
        rotation: in degrees; an image is turned about its center by uniform(-rotation, rotation).
        scale: an image is scaled about its center by uniform(1 - scale, 1 + scale).
        translation: an image is shifted along each side by uniform(-translation, translation)
            times the side.
        pixels: an image is also shifted along each side by uniform(-pixels, pixels), in pixels
            whatever its size.
        levels: in each channel of an image, black becomes -1 + uniform(0, levels), white becomes
            1 - uniform(0, levels), and what lies between goes along linearly. 1 fades and tints at
            most to where black meets white; beyond, channels may turn into their negatives; at 2,
            both are any color.
        invert: probability of turning an image into its negative, x → -x.
    """

    rotation: float = 0.0
    scale: float = 0.0
    translation: float = 0.0
    pixels: float = 0.0
    levels: float = 0.0
    invert: float = 0.0

    def __post_init__(self):
        reaches = (self.rotation, self.translation, self.pixels)
        fits = all(reach >= 0 for reach in reaches) and 0 <= self.scale < 1
        if not (fits and 0 <= self.levels <= 2 and 0 <= self.invert <= 1):
            raise InputError(
                f"Got {self}; expected rotation, translation and pixels of at least 0, scale of at "
                "least 0 and below 1, levels from 0 to 2, and invert from 0 to 1."
            )

    def __call__(self, images, seed) -> tf.Tensor:
        """Returns the images, changed.

        Stateless: the result depends on `images` and `seed` alone, so a new batch needs a new
        seed. Pixels in between are interpolated bilinearly; where the map reaches beyond an
        image, its edge pixels are repeated, so no value leaves the images' range.

        Args:
            images: float, shape (batch, height, width, channels), in [-1, 1].
            seed: integers, shape (2,).

        Returns:
            Same shape and type; the images themselves where there is nothing to do.
        """
        if self == Augmentation():
            return images
        height, width = images.shape[1:3]
        # Only who shifts by pixels draws for it: the others' moves stay what they were without.
        draws = 6 if self.pixels else 4
        random = tf.random.stateless_uniform((draws, tf.shape(images)[0]), seed, -1.0, 1.0)
        shift_x = self.translation * width * random[2]
        shift_y = self.translation * height * random[3]
        if self.pixels:
            shift_x += self.pixels * random[4]
            shift_y += self.pixels * random[5]
        moved = transform(
            images,
            rotation=self.rotation * random[0],
            scale=1.0 + self.scale * random[1],
            shift_x=shift_x,
            shift_y=shift_y,
        )
        # From seeds of their own, for the same reason.
        count = tf.shape(images)[0]
        if self.levels:
            shape = (2, count, 1, 1, images.shape[-1])
            lift, drop = tf.unstack(
                tf.random.stateless_uniform(shape, tf.add(seed, 2), 0.0, self.levels)
            )
            black, white = -1.0 + lift, 1.0 - drop
            moved = ((1.0 - moved) * black + (1.0 + moved) * white) / 2.0
        if self.invert:
            uniform = tf.random.stateless_uniform((count, 1, 1, 1), tf.add(seed, 1))
            moved = tf.where(uniform < self.invert, -moved, moved)
        return moved


def transform(images, *, rotation, scale, shift_x, shift_y) -> tf.Tensor:
    """Turns and scales images about their centers, then shifts them.

    Args:
        images: float, shape (batch, height, width, channels).
        rotation: shape (batch,), in degrees, counterclockwise.
        scale: shape (batch,), factors.
        shift_x: shape (batch,), in pixels to the right.
        shift_y: shape (batch,), in pixels down.

    Returns:
        Same shape and type as `images`.
    """
    height, width = images.shape[1:3]
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    # The op asks, for each pixel (x, y) of the result, where it comes from:
    #   x0 = a x + b y + c,  y0 = -b x + a y + d,
    # the inverse rotation and scale of the offset from the shifted center.
    angle = rotation * (math.pi / 180)
    a, b = tf.cos(angle) / scale, -tf.sin(angle) / scale
    from_x, from_y = center_x + shift_x, center_y + shift_y
    c = center_x - (a * from_x + b * from_y)
    d = center_y - (-b * from_x + a * from_y)
    zero = tf.zeros_like(a)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, c, -b, a, d, zero, zero], axis=1),
        output_shape=(height, width),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    return tf.ensure_shape(moved, images.shape)
