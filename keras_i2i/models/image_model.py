"""What every model of the package can do with images once it is trained."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_i2i import networks
from keras_i2i.errors import InputError
from keras_i2i.losses.task import cross_entropy, pixel_cross_entropy
from keras_i2i.models.iou import IntersectionOverUnion

DOMAINS = ("source", "target")
DIRECTIONS = ("source_to_target", "target_to_source")

LARGEST = 1.01  # |value| of an image; a little slack, as bilinear resizing and bfloat16 overshoot
_MULTIPLE = 32  # the largest stride of an encoder
_PIXELS = 2**18  # of a batch at inference: 256 images of 32x32, 4 of 256x256


class OnImages:
    """What can be done with images by whatever reads or translates them.

    There are two layers. Functions of tensors, as at inference, which a graph can be traced from:
    `reader(domain)`, `features(domain)` and `mapping(origin, destination)`. And the methods that
    are named in the field's terms (`classify`, `embed`, `translate`, `reconstruct`): they take and
    give numpy arrays, any number of images, and run those functions a batch at a time.

    A subclass provides `image_shape_of(domain)` and those functions that it has.
    """

    # Whether there is a task head.
    can_classify = False
    # Whether there are features.
    can_embed = False
    # Whether labels are masks and logits (batch, H, W, num_classes): segmentation.
    has_masks = False

    def reader(self, domain="target"):
        """How images are read.

        Args:
            domain: "source" or "target", whose images they are.

        Returns:
            A function from a tensor (batch, H, W, C) in [-1, 1] to logits (batch, num_classes), of
            a model that segments (batch, H, W, num_classes).

        Raises:
            InputError: there is no task head, or no such domain.
        """
        self.check_domain(domain)
        self.needs(None, "classify")

    def features(self, domain="target"):
        """How images become features of Z.

        Args:
            domain: "source" or "target", whose images they are.

        Returns:
            A function from a tensor (batch, H, W, C) in [-1, 1] to (batch, d).

        Raises:
            InputError: there is no encoder, or no such domain.
        """
        self.check_domain(domain)
        self.needs(None, "embed")

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

    def check_domain(self, domain):
        """Raises an `InputError` unless the domain is "source" or "target"."""
        if domain not in DOMAINS:
            raise InputError(f"domain must be one of {', '.join(DOMAINS)}. Received: {domain!r}")

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

    def classify(self, images, domain="target"):
        """Logits (n, num_classes) of images (n, H, W, C) in [-1, 1] of that domain.

        Those of a model that segments are (n, H, W, num_classes).
        """
        return self.infer(self.reader(domain), images, domain)

    def embed(self, images, domain="target"):
        """Features of Z, flattened to (n, d), of images (n, H, W, C) in [-1, 1] of that domain."""
        return self.infer(self.features(domain), images, domain)

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

    def needs(self, network, what):
        """Raises an `InputError` if the network that is needed to do `what` is missing."""
        if network is None:
            raise InputError(
                f"This model cannot {what}: it has no network for that. If one of the method's "
                "loss terms needs such a network, give that term a weight."
            )

    def infer(self, function, images, domain="target", batch_size=None):
        """Runs a function over many images, a batch at a time.

        Args:
            function: from a tensor (batch, H, W, C) to a tensor (batch, ...).
            images: array (n, H, W, C) in [-1, 1], n ≥ 1.
            domain: whose images they are.
            batch_size: how many to compute at once; None: so many that memory is no question.

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
        images = check_range(images)
        if batch_size is None:
            # Of either domain: what reads images may translate them first.
            pixels = max(math.prod(self.image_shape_of(domain)[:2]) for domain in DOMAINS)
            batch_size = max(1, _PIXELS // pixels)
        starts = range(0, len(images), batch_size)
        parts = [function(images[start : start + batch_size]) for start in starts]
        return np.concatenate([ops.convert_to_numpy(part) for part in parts])


class ImageModel(OnImages, keras.Model):
    """A model that classifies or segments target images, translates between the domains, or both.

    `model(images)` gives logits for target images; without a head, translations of source images.
    What else it does with images, `OnImages` says; `segment` takes one image of any size.

    A subclass that classifies sets `head` and provides `encoder_of(domain)`; one that segments sets
    `has_masks` too; one that translates provides `mapping(origin, destination)`.

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
        """The encoder of "source" or "target" images; None if the model has none."""
        self.check_domain(domain)
        return getattr(self, f"{domain}_encoder", None)

    @property
    def can_classify(self):
        """Whether the model has a task head."""
        return self.head is not None

    @property
    def can_embed(self):
        """Whether the model has an encoder of target images."""
        return self.encoder_of("target") is not None

    def reader(self, domain="target"):
        """Head after encoder, as `OnImages.reader`."""
        self.needs(self.head, "classify")
        encoder = self.encoder_of(domain)
        return lambda images: self.head(encoder(images))

    def features(self, domain="target"):
        """The encoder, flattened, as `OnImages.features`."""
        encoder = self.encoder_of(domain)
        self.needs(encoder, "embed")

        def flattened(images):
            # float32 also under mixed precision: these leave the model.
            features = ops.cast(encoder(images), "float32")
            batch, *others = ops.shape(features)
            return ops.reshape(features, (batch, math.prod(others)))

        return flattened

    def pixel_reader(self, domain="target"):
        """How images of any size are segmented, in one pass: there are no seams.

        Args:
            domain: "source" or "target", whose images they are.

        Returns:
            A function from two tensors, images (batch, h, w, C) in [-1, 1] and a size, int32 (2,),
            to logits, float32 `(batch, *size, num_classes)`; they are interpolated bilinearly if
            the size is not (h, w).

        Raises:
            InputError: the model does not segment, or no such domain.
        """
        self.needs(self.head if self.has_masks else None, "segment")
        read = self.reader(domain)

        def read_pixels(images, size):
            _, height, width, _ = ops.shape(images)  # numbers where they are known, else tensors
            for axis, length in ((1, height), (2, width)):
                missing = -length % _MULTIPLE
                if tf.is_tensor(missing) or missing:
                    # The networks halve an image again and again; its edge fills what that needs.
                    places = tf.minimum(tf.range(length + missing), length - 1)
                    images = tf.gather(images, places, axis=axis)
            logits = tf.cast(read(images)[:, :height, :width], tf.float32)
            return tf.image.resize(logits, size)

        return read_pixels

    @property
    def network_shape(self):
        """(H, W, C) that encoders are built for; of a model that segments H and W are open."""
        return (None, None, self.image_shape[-1]) if self.has_masks else self.image_shape

    def stride_of(self, encoder):
        """How many pixels of an image's side make one of its feature map's.

        Raises:
            InputError: no whole number, or not the same for both sides; of a model that segments,
                not the same for images of other sizes either.
        """
        channels = self.image_shape[-1]
        # `segment` fills images up to multiples of this.
        others = [(_MULTIPLE, _MULTIPLE, channels)] if self.has_masks else []
        strides = set()
        for shape in (self.image_shape, *others):
            features = encoder.compute_output_shape((1, *shape))[1:3]
            strides |= {side / there for side, there in zip(shape, features, strict=False)}
        if len(strides) > 1 or not min(strides).is_integer():
            features = encoder.compute_output_shape((1, *self.image_shape))[1:3]
            raise InputError(
                f"The encoder turns images {self.image_shape} into features of {features[0]} x "
                f"{features[1]}; expected them to be smaller by one whole number, for both sides "
                "and any size. Choose an image size that is a multiple of the encoder's stride."
            )
        return int(min(strides))

    def build_head(self, encoder, pooling):
        """The task head h on an encoder's features.

        Args:
            encoder: a `keras.Model`.
            pooling: "flatten" or "average", of a head that classifies.
        """
        feature_shape = encoder.output_shape[1:]
        if self.has_masks:
            stride = self.stride_of(encoder)
            return networks.segmentation_head(feature_shape, self.num_classes, stride)
        return networks.classification_head(feature_shape, self.num_classes, pooling=pooling)

    @staticmethod
    def slow_down(factor, *encoders):
        """Lets encoders learn at this share of the learning rate, if the optimizer knows of it.

        `optimizers.Adam` does.
        """
        for encoder in encoders:
            for variable in encoder.trainable_variables:
                variable.learning_rate_factor = factor

    def own_dtype_policy(self):
        """Networks built in this block get the model's dtype policy, not the global one."""
        return networks.under_policy(self.dtype_policy)

    def task_loss(self, labels, logits):
        """The task's own loss, (batch,): cross-entropy of the image, or the mean of its pixels'."""
        return (pixel_cross_entropy if self.has_masks else cross_entropy)(labels, logits)

    def call(self, images, training=False):
        """Logits of target images (batch, H, W, C) in [-1, 1].

        Logits are (batch, num_classes), of a model that segments (batch, H, W, num_classes).
        """
        if self.head is None:
            translate = self.mapping("source", "target")
            self.needs(translate, "classify")
            return translate(images)
        return self.head(self.encoder_of("target")(images, training=training))

    def compile(self, *args, **kwargs):
        """As in `keras.Model`."""
        self._accuracy_tracker = (
            IntersectionOverUnion(self.num_classes)
            if self.has_masks
            else keras.metrics.SparseCategoricalAccuracy("accuracy")
        )
        super().compile(*args, metrics=[self._accuracy_tracker], **kwargs)
        # Where Keras's callbacks look for whether more of a metric is better. It would be built
        # from the first labels, which only `test_step` meets.
        self._compile_metrics.build(y_true=0, y_pred=0)

    def export(self, filepath, format="tf_saved_model", input_signature=None, **kwargs):
        """As in `keras.Model`: `model(images)` of images in [-1, 1], as a SavedModel or ONNX file.

        For servers `serving.export` makes more of a run: pixels and files as input, names of
        classes, translations.

        Args:
            filepath: where to.
            format: as in Keras.
            input_signature: as in Keras; None: any number of images of the model's own shape.
            **kwargs: as in Keras.
        """
        if input_signature is None:
            shape = self.image_shape_of("source" if self.head is None else "target")
            sides = (None, None) if self.has_masks else shape[:2]
            shape = (None, *sides, shape[-1])
            input_signature = [keras.InputSpec(dtype="float32", shape=shape)]
        return super().export(filepath, format, input_signature=input_signature, **kwargs)

    def test_step(self, data):
        """What `evaluate` measures on (target images, labels).

        The mean task loss as `loss`, and `accuracy`; of a model that segments `mean_iou` and, for
        each class, `iou_<position>`, over all pixels that count.
        """
        self.needs(self.head, "classify")
        images, labels = unpacked(data)
        logits = self(images)
        self._loss_tracker.update_state(self.task_loss(labels, logits))
        self._accuracy_tracker.update_state(labels, logits)
        logs = {
            "loss": self._loss_tracker.result(),
            self._accuracy_tracker.name: self._accuracy_tracker.result(),
        }
        if self.has_masks:
            per_class = self._accuracy_tracker.per_class()
            logs |= {f"iou_{k}": per_class[k] for k in range(self.num_classes)}
        return logs

    def segment(self, image, domain="target", size=None):
        """Logits of the pixels of one whole image, in one pass: there are no seams.

        Args:
            image: (h, w, C) in [-1, 1], of any size.
            domain: "source" or "target".
            size: (height, width) of the logits, which are interpolated bilinearly; None: h, w.

        Returns:
            float32 (height, width, num_classes), numpy.

        Raises:
            InputError: the model does not segment, or the image has another shape or range.
        """
        read = self._pixels_of(domain)
        image, channels = np.asarray(image), self.image_shape_of(domain)[-1]
        if image.ndim != 3 or image.shape[-1] != channels or not image.size:
            raise InputError(
                f"Expected one image of shape (h, w, {channels}). Received: {image.shape}"
            )
        size = image.shape[:2] if size is None else size
        return read(check_range(image)[None], np.asarray(size, "int32")).numpy()[0]

    def _pixels_of(self, domain):
        """`pixel_reader` as one graph: on small images eight times as fast as in layers."""
        graphs = self.__dict__.setdefault("_pixel_graphs", {})
        if domain not in graphs:
            graphs[domain] = tf.function(self.pixel_reader(domain), reduce_retracing=True)
        return graphs[domain]

    def get_config(self):
        """Arguments of the constructor."""
        # Not keras.Model's: for a subclass with arguments of its own it only warns.
        config = {"image_shape": self.image_shape, "target_shape": self.target_shape}
        return {**config, "name": self.name, "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model that `get_config` describes, with fresh weights."""
        return cls(**config)


def unpacked(data):
    """Images and labels of what Keras hands to a step.

    Raises:
        InputError: there are weights of images or classes, too. They would change what the losses
            of the papers mean, and divide a batch in another way for each player.
    """
    images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    if weights is not None:
        raise InputError(
            "These models take no sample_weight or class_weight. Show images of a class more often "
            "instead, or weigh them in a `task_loss` of your own."
        )
    return images, labels


def check_range(images):
    """The images as float32.

    Raises:
        InputError: they are no floating-point numbers in [-1, 1].
    """
    low, high = images.min(), images.max()
    if not (np.issubdtype(images.dtype, np.floating) and low >= -LARGEST and high <= LARGEST):
        raise InputError(
            "Expected floating-point images in [-1, 1]; `keras_i2i.data.preprocess` makes them "
            f"from uint8. Received: {images.dtype} in [{low}, {high}]"
        )
    return images.astype("float32", copy=False)
