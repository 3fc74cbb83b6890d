"""What every model of the package can do with images once it is trained."""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_i2i.errors import InputError
from keras_i2i.losses.task import cross_entropy

DOMAINS = ("source", "target")


class ImageModel(keras.Model):
    """A model with a `head` (or None) on an encoder for each domain.

    `model(images)` gives logits for target images. The methods that are named in the field's terms
    (`classify`, `embed`, ...) take and give numpy arrays, any number of images, and compute in
    batches.

    A subclass sets `head` and provides `encoder_of(domain)`.

    Args:
        image_shape: (H, W, C).
        **kwargs: as in `keras.Model`.
    """

    def __init__(self, image_shape, **kwargs):
        super().__init__(**kwargs)
        self.image_shape = tuple(image_shape)

    def encoder_of(self, domain):
        """The encoder of "source" or "target" images."""
        self.check_domain(domain)
        return getattr(self, f"{domain}_encoder")

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
    def can_translate(self):
        """Whether the model has decoders of both domains."""
        return False

    def call(self, images, training=False):
        """Logits (batch, num_classes) of target images (batch, H, W, C) in [-1, 1]."""
        self.needs(self.head, "classify")
        return self.head(self.encoder_of("target")(images, training=training))

    def compile(self, *args, **kwargs):
        """As in `keras.Model`."""
        super().compile(*args, **kwargs)
        self._accuracy_tracker = keras.metrics.SparseCategoricalAccuracy("accuracy")

    def test_step(self, data):
        """Mean cross-entropy `loss` and `accuracy` on (target images, labels), for `evaluate`."""
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        logits = self(images)
        self._loss_tracker.update_state(cross_entropy(labels, logits))
        self._accuracy_tracker.update_state(labels, logits)
        return {"loss": self._loss_tracker.result(), "accuracy": self._accuracy_tracker.result()}

    def classify(self, images, domain="target"):
        """Logits (n, num_classes) of images (n, H, W, C) in [-1, 1] of that domain."""
        self.needs(self.head, "classify")
        encoder = self.encoder_of(domain)
        return self.infer(lambda x: self.head(encoder(x)), images)

    def embed(self, images, domain="target"):
        """Features of Z, flattened to (n, d), of images (n, H, W, C) in [-1, 1] of that domain."""
        encoder = self.encoder_of(domain)
        features = self.infer(encoder, images)
        return features.reshape(len(features), -1)

    def get_config(self):
        """Arguments of the constructor."""
        # Not keras.Model's: for a subclass with arguments of its own it only warns.
        return {"image_shape": self.image_shape, "name": self.name, "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model that `get_config` describes, with fresh weights."""
        return cls(**config)

    def needs(self, network, what):
        """Raises an `InputError` if the network that is needed to do `what` was not built."""
        if network is None:
            raise InputError(
                f"This model cannot {what}: none of its loss terms needs a network for that, so "
                "none was built. Give a term that does a weight."
            )

    def infer(self, function, images, batch_size=256):
        """Runs a function over many images, a batch at a time.

        Args:
            function: from a tensor (batch, H, W, C) to a tensor (batch, ...).
            images: array (n, H, W, C) in [-1, 1], n ≥ 1.
            batch_size: how many to compute at once.

        Returns:
            A numpy array (n, ...).

        Raises:
            InputError: the images have another shape or range.
        """
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1:] != self.image_shape or not len(images):
            raise InputError(
                f"Expected images of shape (n, {', '.join(map(str, self.image_shape))}), n ≥ 1. "
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
