"""From images of any size to what a network sees: scaled, cut to a square, of one size."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from keras_i2i.data.image_files import MOST_PIXELS
from keras_i2i.data.preprocessing import preprocess
from keras_i2i.errors import InputError

FITS = ("stretch", "crop")
CROP_PLACES = ("random", "center")


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How an image of any size becomes the (H, W, C) that a network sees.

    1. With a `load_size` it is scaled: to `load_size` x `load_size` (fit "stretch"), or until its
       shorter side is `load_size`, keeping its aspect (fit "crop").
    2. With a `crop_size` a square of `crop_size` x `crop_size` is cut out: from the center in a
       test, at random in training (`crop_place` "center": from there too). An image smaller than
       that is first enlarged, keeping its aspect, until it contains the square. Without a
       `crop_size`, fit "crop" cuts out the largest square in the same way, and fit "stretch" takes
       all of the image.
    3. What is left is resized to (H, W).

    The steps make one map, and images are resampled by it once: bilinearly, antialiased where it
    shrinks. Masks take the nearest neighbor through the same map, so they stay aligned. Channels
    and range are those of `preprocess`; `Geometry()` is `preprocess`.

    Attributes:
        load_size: in pixels; 0 for the image's own size.
        crop_size: in pixels of the image after step 1; 0 for as much as `fit` leaves.
        fit: "stretch" or "crop".
        crop_place: where training cuts, "random" or "center". With "center" a `crop_size` takes
            margins away that one domain has and the other has not.
    """

    load_size: int = 0
    crop_size: int = 0
    fit: str = "stretch"
    crop_place: str = "random"

    def __post_init__(self):
        if self.fit not in FITS or self.load_size < 0 or self.crop_size < 0:
            raise InputError(
                f"Got {self}; expected load_size and crop_size of at least 0, where 0 is for none, "
                f"and fit one of {', '.join(FITS)}."
            )
        if self.crop_place not in CROP_PLACES:
            raise InputError(f"Got {self}; expected crop_place one of {', '.join(CROP_PLACES)}.")
        if self.fit == "stretch" and 0 < self.load_size < self.crop_size:
            raise InputError(
                f"Got crop_size {self.crop_size} and load_size {self.load_size}; expected a crop "
                "no larger than the image it is cut from. Lower crop_size or raise load_size."
            )

    def for_training(self, image, mask, image_shape: tuple[int, int, int], seed):
        """Brings an image and its mask to what training sees.

        Stateless: where the square is cut out depends on `seed` and the image's size alone.

        Args:
            image: uint8 or float, shape (h, w, 1 or 3), values in [0, 255]. While tracing a graph
                h and w may be unknown.
            mask: uint8, shape (h, w), or None.
            image_shape: (H, W, C) wanted, C 1 or 3.
            seed: integers, shape (2,).

        Returns:
            image: float32, shape (H, W, C), values in [-1, 1].
            mask: uint8, shape (H, W), or None.

        Raises:
            InputError: another rank or number of channels.
        """
        if self.crop_place == "center":
            return self._cut(image, mask, image_shape, _center)
        return self._cut(image, mask, image_shape, lambda: tf.random.stateless_uniform((2,), seed))

    def for_test(self, image, image_shape: tuple[int, int, int]) -> tf.Tensor:
        """Brings an image to what a network sees in a test: as in training, but from the center.

        Args:
            image: as for `for_training`.
            image_shape: (H, W, C) wanted, C 1 or 3.

        Returns:
            float32, shape (H, W, C), values in [-1, 1].

        Raises:
            InputError: another rank or number of channels.
        """
        image, _ = self._cut(image, None, image_shape, _center)
        return image

    def whole(
        self, image, image_shape: tuple[int, int, int], at_most: int | None = None
    ) -> tf.Tensor:
        """Brings a whole image to the scale at which training sees its squares.

        For segmentation, where a network that takes images of any size reads them uncut: the square
        that `for_training` would cut out covers (H, W) of the result.

        Args:
            image: as for `for_training`.
            image_shape: (H, W, C) of the squares, C 1 or 3.
            at_most: how many pixels there is memory for a network to read. Larger results become
                smaller than training sees them, in the same aspect. None: as many as there are.

        Returns:
            float32, values in [-1, 1], shape (h', w', C): with a `crop_size` (H, W) / crop_size
            times the image after step 1; with fit "crop" alone the shorter side becomes H (and W);
            with neither, it is (H, W), also if that is more than `at_most`.

        Raises:
            InputError: another rank or number of channels, or so long an image that the result
                would have more than `image_files.MOST_PIXELS`; while tracing a graph, that is a
                `tf.errors.InvalidArgumentError` of whoever runs it.
        """
        image = _checked(image)
        if self._takes_all:
            return preprocess(image[tf.newaxis], image_shape)[0]
        scaled, square = self._scaled_and_square(image)
        size = _bounded(tf.maximum(_rounded_ratio(scaled * image_shape[:2], square), 1), image)
        if at_most is not None:
            shrunk = tf.sqrt(at_most / tf.reduce_prod(size)) * tf.cast(size, tf.float64)
            size = tf.minimum(size, tf.maximum(tf.cast(shrunk, tf.int64), 1))
        view = _View(scaled, tf.zeros_like(scaled), scaled, size)
        return _in_range(view.of_image(image), image_shape[2])

    @property
    def _takes_all(self) -> bool:
        return self.fit == "stretch" and not self.crop_size

    def _cut(self, image, mask, image_shape, place):
        """What to train and test on; `place()`, in [0, 1), says where between first and last."""
        image, size = _checked(image), tf.constant(image_shape[:2], tf.int64)
        if self._takes_all:
            own = _size(image)
            view = _View(own, tf.zeros_like(own), own, size)
            seen = preprocess(image[tf.newaxis], image_shape)[0]
        else:
            scaled, square = self._scaled_and_square(image)
            # As many places as there are pixels to spare, and one.
            corner = tf.cast(place() * tf.cast(scaled - square + 1, tf.float32), tf.int64)
            view = _View(scaled, corner, square, size)
            seen = view.of_image(image)
            seen = _in_range(tf.ensure_shape(seen, (*image_shape[:2], None)), image_shape[2])
        if mask is None:
            return seen, None
        return seen, tf.ensure_shape(view.of_mask(tf.convert_to_tensor(mask)), image_shape[:2])

    def _scaled_and_square(self, image):
        """Returns to what size the image is scaled, and the size of what is cut out of that."""
        size = _size(image)
        if self.load_size and self.fit == "stretch":
            size = tf.fill([2], tf.constant(self.load_size, tf.int64))
        elif self.load_size:
            size = _with_shorter_side(size, self.load_size)
        if not self.crop_size:
            return size, tf.fill([2], tf.reduce_min(size))
        enlarged = _with_shorter_side(size, self.crop_size)
        size = tf.where(tf.reduce_min(size) < self.crop_size, enlarged, size)
        return size, tf.fill([2], tf.constant(self.crop_size, tf.int64))


@dataclasses.dataclass(frozen=True)
class _View:
    """A map from an image to a view of it. All are (height, width) in pixels, int64 tensors.

    Attributes:
        scaled: the size to which the image is scaled.
        corner: the upper left corner of what is cut out of the scaled image.
        sides: the size of what is cut out.
        size: to which that is resized.
    """

    scaled: tf.Tensor
    corner: tf.Tensor
    sides: tf.Tensor
    size: tf.Tensor

    def of_image(self, image) -> tf.Tensor:
        """Returns the view of an image (h, w, c): float32, (*size, c), in the image's range."""
        resize, scale = self.size / self.sides, self.scaled / _size(image)
        seen = tf.raw_ops.ScaleAndTranslate(
            images=image[tf.newaxis],
            size=tf.cast(self.size, tf.int32),
            scale=tf.cast(resize * scale, tf.float32),
            translation=tf.cast(-resize * tf.cast(self.corner, tf.float64), tf.float32),
            kernel_type="triangle",
            antialias=True,
        )
        return seen[0]

    def of_mask(self, mask) -> tf.Tensor:
        """Returns the view of a mask (h, w)."""
        height, width = tf.unstack(_size(mask))
        mask = tf.gather(mask, self._origins(0, height), axis=0)
        return tf.gather(mask, self._origins(1, width), axis=1)

    def _origins(self, axis, length):
        """Which row or column of an image of this length each one of the view comes from.

        The center i + 1/2 lies at corner + (i + 1/2) sides / size in the scaled image, and that
        times length / scaled in the image; in whole numbers, so that no rounding decides.
        """
        size, sides = self.size[axis], self.sides[axis]
        centers = (2 * tf.range(size) + 1) * sides + 2 * size * self.corner[axis]
        return centers * length // (2 * size * self.scaled[axis])


def _center():
    return 0.5


def _checked(image):
    image = tf.convert_to_tensor(image)
    if image.shape.rank != 3 or image.shape[2] not in (1, 3):
        raise InputError(
            f"Got an image of shape {tuple(image.shape)}; expected (height, width, channels) with "
            "1 channel (gray) or 3 (RGB)."
        )
    return image


def _size(image):
    return tf.shape(image, tf.int64)[:2]


def _with_shorter_side(size, length):
    return _rounded_ratio(size * length, tf.reduce_min(size))


def _rounded_ratio(numerator, denominator):
    return (2 * numerator + denominator) // (2 * denominator)


def _bounded(size, image):
    """The size of a view that fits into memory: that of a narrow strip, scaled up, may not."""
    message = f"Got an image that, scaled up, has more than {MOST_PIXELS:,} pixels"
    known = tf.get_static_value(size)
    if known is not None and known.prod() > MOST_PIXELS:
        raise InputError(f"{message}: {known[0]} x {known[1]}. Cut it into shorter ones.")
    few = tf.debugging.Assert(tf.reduce_prod(size) <= MOST_PIXELS, [message, tf.shape(image)])
    with tf.control_dependencies([] if few is None else [few]):
        return tf.identity(size)


def _in_range(image, channels):
    """Channels and range of `preprocess`, which leaves images of the right size as they are."""
    return preprocess(image[tf.newaxis], (*image.shape[:2], channels))[0]
