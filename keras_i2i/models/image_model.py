"""What every model of the package can do with images once it is trained."""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_i2i.errors import InputError
from keras_i2i.losses.task import cross_entropy

DOMAINS = ("source", "target")
DIRECTIONS = ("source_to_target", "target_to_source")


class ImageModel(keras.Model):
    """A model that classifies target images, translates between the domains, or both.

    `model(images)` gives logits for target images; without a head, translations of source images.
    The methods that are named in the field's terms (`classify`, `embed`, `translate`, ...) take and
    give numpy arrays, any number of images, and compute in batches.

    A subclass that classifies sets `head` and provides `encoder_of(domain)`; one that translates
    provides `mapping(origin, destination)`.

    Args:
        image_shape: (H, W, C) of source images.
        target_shape: that of target images; None: the same.
        **kwargs: as in `keras.Model`.
    """

    head = None

    def __init__(self, image_shape, target_shape=None, **kwargs):
        super().__init__(**kwargs)
        self.image_shape = tuple(image_shape)
        self.target_shape = tuple(target_shape or image_shape)

    def image_shape_of(self, domain):
        """(H, W, C) of "source" or "target" images."""
        self.check_domain(domain)
        return self.image_shape if domain == "source" else self.target_shape

    def encoder_of(self, domain):
        """The encoder of "source" or "target" images."""
        self.check_domain(domain)
        return getattr(self, f"{domain}_encoder")

    def mapping(self, origin, destination):
        """How images of one domain become images of another, or of their own.

        Args:
            origin: "source" or "target".
            destination: the same; equal to `origin` it stands for a reconstruction.

        Returns:
            A function from a tensor (batch, H, W, C) in [-1, 1] to one of the destination's shape,
            as at inference; None if the model has no such path.
        """
        return None

    @contextlib.contextmanager
    def own_dtype_policy(self):
        """Networks built in this block get the model's dtype policy, not the global one."""
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.dtype_policy)
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)

    def check_domain(self, domain):
        """Raises an `InputError` unless the domain is "source" or "target"."""
        if domain not in DOMAINS:
            raise InputError(f"domain must be one of {', '.join(DOMAINS)}. Received: {domain!r}")

    @property
    def can_classify(self):
        """Whether the model has a task head."""
        return self.head is not None

    @property
    def directions(self):
        """Those of `DIRECTIONS` in which the model translates."""
        return tuple(way for way in DIRECTIONS if self.mapping(*way.split("_to_")))

    @property
    def can_translate(self):
        """Whether the model translates in at least one direction."""
        return bool(self.directions)

    def can_reconstruct(self, domain):
        """Whether the model has a path from a domain to itself."""
        return self.mapping(domain, domain) is not None

    def call(self, images, training=False):
        """Logits (batch, num_classes) of target images (batch, H, W, C) in [-1, 1].

        A model without a head gives translations of source images instead.
        """
        if self.head is None:
            translate = self.mapping("source", "target")
            self.needs(translate, "classify")
            return translate(images)
        return self.head(self.encoder_of("target")(images, training=training))

    def compile(self, *args, **kwargs):
        """As in `keras.Model`."""
        super().compile(*args, **kwargs)
        self._accuracy_tracker = keras.metrics.SparseCategoricalAccuracy("accuracy")

    def test_step(self, data):
        """Mean cross-entropy `loss` and `accuracy` on (target images, labels), for `evaluate`."""
        self.needs(self.head, "classify")
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        logits = self(images)
        self._loss_tracker.update_state(cross_entropy(labels, logits))
        self._accuracy_tracker.update_state(labels, logits)
        return {"loss": self._loss_tracker.result(), "accuracy": self._accuracy_tracker.result()}

    def classify(self, images, domain="target"):
        """Logits (n, num_classes) of images (n, H, W, C) in [-1, 1] of that domain."""
        self.needs(self.head, "classify")
        encoder = self.encoder_of(domain)
        return self.infer(lambda x: self.head(encoder(x)), images, domain)

    def embed(self, images, domain="target"):
        """Features of Z, flattened to (n, d), of images (n, H, W, C) in [-1, 1] of that domain."""
        encoder = self.encoder_of(domain)
        features = self.infer(encoder, images, domain)
        return features.reshape(len(features), -1)

    def translate(self, images, direction):
        """The images as if they were of the other domain.

        Args:
            images: (n, H, W, C) in [-1, 1].
            direction: "source_to_target" or "target_to_source".

        Returns:
            (n, H, W, C) of the other domain's shape, in [-1, 1], numpy.

        Raises:
            InputError: unknown direction, wrong shape or range, or no such path.
        """
        if direction not in DIRECTIONS:
            raise InputError(
                f"direction must be one of {', '.join(DIRECTIONS)}. Received: {direction!r}"
            )
        origin, destination = direction.split("_to_")
        mapping = self.mapping(origin, destination)
        self.needs(mapping, f"translate from {origin} to {destination}")
        return self.infer(mapping, images, origin)

    def reconstruct(self, images, domain):
        """The images (n, H, W, C) through the model's path from their domain to itself."""
        self.check_domain(domain)
        mapping = self.mapping(domain, domain)
        self.needs(mapping, f"reconstruct {domain} images")
        return self.infer(mapping, images, domain)

    def get_config(self):
        """Arguments of the constructor."""
        # Not keras.Model's: for a subclass with arguments of its own it only warns.
        config = {"image_shape": self.image_shape, "target_shape": self.target_shape}
        return {**config, "name": self.name, "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model that `get_config` describes, with fresh weights."""
        return cls(**config)

    def needs(self, network, what):
        """Raises an `InputError` if the network that is needed to do `what` is missing."""
        if network is None:
            raise InputError(
                f"This model cannot {what}: it has no network for that. If one of the method's "
                "loss terms needs such a network, give that term a weight."
            )

    def infer(self, function, images, domain="target", batch_size=256):
        """Runs a function over many images, a batch at a time.

        Args:
            function: from a tensor (batch, H, W, C) to a tensor (batch, ...).
            images: array (n, H, W, C) in [-1, 1], n ≥ 1.
            domain: whose images they are.
            batch_size: how many to compute at once.

        Returns:
            A numpy array (n, ...).

        Raises:
            InputError: the images have another shape or range.
        """
        images, expected = np.asarray(images), self.image_shape_of(domain)
        if images.ndim != 4 or images.shape[1:] != expected or not len(images):
            raise InputError(
                f"Expected images of shape (n, {', '.join(map(str, expected))}), n ≥ 1. "
                f"Received: {images.shape}"
            )
        low, high = images.min(), images.max()
        # A little slack: bilinear resizing and bfloat16 overshoot.
        if not (np.issubdtype(images.dtype, np.floating) and low >= -1.01 and high <= 1.01):
            raise InputError(
                "Expected floating-point images in [-1, 1]; `keras_i2i.data.preprocess` makes them "
                f"from uint8. Received: {images.dtype} in [{low}, {high}]"
            )
        images = images.astype("float32", copy=False)
        starts = range(0, len(images), batch_size)
        parts = [function(images[start : start + batch_size]) for start in starts]
        return np.concatenate([ops.convert_to_numpy(part) for part in parts])
