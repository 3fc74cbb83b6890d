"""Endless batches for training and one pass for evaluation, as tf.data pipelines.

An endless pipeline needs no state to resume: batch `step` is a function of (seed, step) alone.
Position k = step * batch_size + j of a stream over n images lies in pass k // n, and shows the
image to which that pass's own permutation sends k % n. So every pass shows each image once,
whatever the batch size, and `first_step` continues a stream where another run left it.

tf.data's own shuffling is never used: it would have to be replayed, or saved, to resume.

For the same reason a pipeline can make a `Share` of every batch by itself: the replicas of a
distributed training read and decode their own images only, and no two of them the same in a pass.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from keras_i2i.data.augmentation import Augmentation
from keras_i2i.data.examples import Examples, StoredExamples, UnreadableError
from keras_i2i.data.geometry import Geometry
from keras_i2i.data.preprocessing import preprocess, to_uint8
from keras_i2i.errors import InputError


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of every batch that one pipeline makes, for the replicas that it feeds.

    A batch is cut into `replicas` parts of one size. The pipeline gives those from `first` on, one
    after the other, `count` of them for each step.

    Attributes:
        first: the part of the pipeline's first replica, ≥ 0.
        count: replicas that the pipeline feeds, ≥ 1.
        replicas: all, of all pipelines.
    """

    first: int = 0
    count: int = 1
    replicas: int = 1


def unpaired_batches(
    source: Examples | StoredExamples,
    target: Examples | StoredExamples,
    *,
    batch_size: int,
    image_shape: tuple[int, int, int],
    target_shape: tuple[int, int, int] | None = None,
    seed: int,
    augmentation: Augmentation | None = None,
    first_step: int = 0,
    labelled_target: Examples | StoredExamples | None = None,
    geometry: Geometry | None = None,
    share: Share | None = None,
) -> tf.data.Dataset:
    """Pairs batches of labelled source images with batches of unlabelled target images.

    The two domains are shuffled, cut and augmented independently of each other. Stored images are
    decoded while the network trains; one that cannot be read is replaced by the next that can.

    Args:
        source: with labels, or with masks.
        target: without labels (`load_unlabelled`).
        batch_size: B, images per domain and step; may exceed a domain's size.
        image_shape: (H, W, C) to which source images are brought, see `Geometry`.
        target_shape: (H', W', C') to which target images are brought, labelled ones among them;
            None for `image_shape`.
        seed: at least 0.
        augmentation: applied to both domains; None for none.
        first_step: the step to begin with.
        labelled_target: a few target examples with labels, for few-label adaptation.
        geometry: how images of both domains are brought to their shape; None for `Geometry()`.
        share: the part of every batch to make; None for all of it.

    Returns:
        An infinite dataset of
        `({"source": (B, H, W, C), "target": (B, H', W', C')}, source labels (B,))`, images float32
        in [-1, 1], labels int64; masks are uint8, (B, H, W). With `labelled_target` the inputs also
        hold "target_labelled" (L, H', W', C') and "target_labels" (L,), or masks (L, H', W'), where
        L = min(B, len(labelled_target)). With a `share`, B and L are divided by its `replicas`.

    Raises:
        InputError: `target` carries labels, `source` or `labelled_target` does not, there are
            no images, or a number is out of its range. While iterating, see `input_errors`: too
            many images cannot be read.
    """
    if target.labels is not None or target.has_masks:
        raise InputError(
            "Got target examples with labels; training must not see them. Read the target with "
            "load_unlabelled, or drop them with without_labels()."
        )
    _check_labelled(source, "source")
    common = {"seed": seed, "augmentation": augmentation, "geometry": geometry, "share": share}
    target_shape = image_shape if target_shape is None else target_shape
    streams = [
        _Stream(source, batch_size, stream=0, image_shape=image_shape, **common),
        _Stream(target, batch_size, stream=1, image_shape=target_shape, **common),
    ]
    if labelled_target is not None:
        _check_labelled(labelled_target, "labelled target")
        few = min(batch_size, len(labelled_target))
        streams.append(_Stream(labelled_target, few, stream=2, image_shape=target_shape, **common))

    def batch(source, target, few=None):
        source_images, source_labels = source
        inputs = {"source": source_images, "target": target}
        if few is not None:
            inputs["target_labelled"], inputs["target_labels"] = few
        return inputs, source_labels

    return _prefetched(tf.data.Dataset.zip(*(s.batches(first_step) for s in streams)).map(batch))


def labelled_batches(
    examples: Examples | StoredExamples,
    *,
    batch_size: int,
    image_shape: tuple[int, int, int],
    seed: int,
    augmentation: Augmentation | None = None,
    first_step: int = 0,
    geometry: Geometry | None = None,
    share: Share | None = None,
) -> tf.data.Dataset:
    """Batches labelled images of one domain, endlessly.

    Args:
        examples: with labels, or with masks.
        batch_size: B.
        image_shape: (H, W, C) to which images are brought, see `Geometry`.
        seed: at least 0. The images come in the order in which `unpaired_batches` with the same
            seed shows this domain as source.
        augmentation: None for none.
        first_step: the step to begin with.
        geometry: how images are brought to their shape; None for `Geometry()`.
        share: the part of every batch to make; None for all of it.

    Returns:
        An infinite dataset of `(images (B, H, W, C) float32 in [-1, 1], labels (B,) int64)`, or
        masks (B, H, W) uint8.

    Raises:
        InputError: no labels, no images, or a number out of its range. While iterating, see
            `input_errors`: too many images cannot be read.
    """
    _check_labelled(examples, "training")
    stream = _Stream(
        examples,
        batch_size,
        stream=0,
        image_shape=image_shape,
        seed=seed,
        augmentation=augmentation,
        geometry=geometry,
        share=share,
    )
    return _prefetched(stream.batches(first_step))


def evaluation_batches(
    examples: Examples, *, batch_size: int, image_shape: tuple[int, int, int]
) -> tf.data.Dataset:
    """Batches all images once, in order; the last batch may be smaller.

    Args:
        examples: in memory, see `in_memory`; labels are classes or None.
        batch_size: B.
        image_shape: (H, W, C) to which images are brought, see `preprocess`.

    Returns:
        A finite dataset of `(images (b, H, W, C) float32 in [-1, 1], labels (b,) int64)`, or of
        images alone where `examples.labels` is None.

    Raises:
        InputError: `batch_size` is below 1, or the examples are stored or have masks.
    """
    _check_at_least(1, batch_size=batch_size)
    if isinstance(examples, StoredExamples) or examples.has_masks:
        raise InputError(
            "Got stored examples, or masks; expected images in memory with classes or without "
            "labels. Read them with in_memory(...)."
        )
    parts = examples.images if examples.labels is None else (examples.images, examples.labels)
    with tf.device("CPU"):
        dataset = tf.data.Dataset.from_tensor_slices(parts).batch(batch_size)

    def prepare(images, *labels):
        images = preprocess(images, image_shape)
        return (images, *labels) if labels else images

    return _prefetched(dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE))


def in_memory(
    examples: Examples | StoredExamples,
    image_shape: tuple[int, int, int],
    geometry: Geometry | None = None,
) -> Examples:
    """Reads images as a network sees them in a test, to keep them in memory.

    Args:
        examples: of any sizes. Those that cannot be read are left out.
        image_shape: (H, W, C) to which images are brought.
        geometry: how, see `Geometry.for_test`; None for `Geometry()`.

    Returns:
        The images, uint8 (n, H, W, C), with their labels, in the order of `examples`. Masks are
        dropped: a segmentation is measured on whole images.

    Raises:
        InputError: more are unreadable than the examples put up with.
    """
    images, positions = read_prepared(examples, image_shape, geometry)
    labels = None if examples.has_masks else examples.labels
    return Examples(images, None if labels is None else labels[positions])


def read_prepared(
    examples: Examples | StoredExamples,
    image_shape: tuple[int, int, int],
    geometry: Geometry | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads the images that can be read, as `in_memory` does, and tells which these are.

    Returns:
        images: uint8, shape (n, H, W, C).
        positions: int64, shape (n,), ascending: where they stand in `examples`.

    Raises:
        InputError: more are unreadable than the examples put up with.
    """
    examples = examples.without_labels()
    prepare = _prepare(geometry or Geometry(), tuple(image_shape), examples.channels)
    images = np.empty((len(examples), *image_shape), np.uint8)
    readable = np.ones(len(examples), bool)

    def read(position):
        try:
            image, _ = examples.read(position)
        except UnreadableError as error:
            readable[position] = False
            examples.reader.unreadable.add(int(examples.positions[position]), error)
        else:
            images[position] = prepare(tf.constant(image))

    # Decoders run outside of Python's lock, and so does TensorFlow.
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(read, range(len(examples))):
            pass
    (positions,) = np.nonzero(readable)
    return (images if readable.all() else images[positions]), positions


@functools.cache
def _prepare(geometry, image_shape, channels):
    """Returns a function that brings an image of any size to the shape; traced only once."""

    @tf.function(input_signature=[tf.TensorSpec((None, None, channels), tf.uint8)])
    def prepare(image):
        with tf.device("CPU"):
            return to_uint8(geometry.for_test(image, image_shape))

    # What is called from many threads must not be traced in each of them.
    return prepare.get_concrete_function()


@contextlib.contextmanager
def input_errors() -> Iterator[None]:
    """In this block, a user's mistake found by a pipeline is the `InputError` that it was.

    Pipelines read stored images in threads of TensorFlow, which reports what goes wrong there as an
    error of its own, a stack trace in its message. Iterate, or `fit`, in this block.

    Raises:
        InputError: in place of the `tf.errors.OpError` that it became.
    """
    try:
        yield
    except tf.errors.OpError as error:
        for mistake in reversed(_mistakes):
            if str(mistake) in error.message:
                raise InputError(str(mistake)) from None
        raise


# Those that ended a pipeline of this process, for `input_errors`.
_mistakes: list[InputError] = []


# Their `if`s are Python's: to translate them for TensorFlow would cost a second of every start.
_as_written = tf.autograph.experimental.do_not_convert


class _Stream:
    """An endless shuffled stream of one set of images with random access: step -> batch.

    `stream` sets apart the streams that share a seed.
    """

    def __init__(
        self, examples, batch_size, *, stream, image_shape, seed, augmentation, geometry, share
    ):
        _check_at_least(0, seed=seed)
        _check_at_least(1, batch_size=batch_size, number_of_images=len(examples))
        self.size = len(examples)
        self.batch_size = batch_size
        self.share = share or Share()
        if batch_size % self.share.replicas:
            raise InputError(
                f"Got a batch of {batch_size} images, which {self.share.replicas} replicas cannot "
                "share evenly; expected a multiple."
            )
        self.part_size = batch_size // self.share.replicas
        self.image_shape = image_shape
        self.augmentation = augmentation or Augmentation()
        self.geometry = geometry or Geometry()
        keys = np.random.SeedSequence([seed, stream]).generate_state(4).astype(np.int64)
        self.shuffle_keys, self.augmentation_key, self.geometry_key = keys[:2], keys[2], keys[3]
        self.stored = isinstance(examples, StoredExamples)
        self.read = _stored(examples) if self.stored else _gathered(examples)
        self.has_masks = examples.has_masks
        # Where all images have one size and are treated alike.
        self.at_once = not self.stored and not self.has_masks and self.geometry == Geometry()

    def batches(self, first_step) -> tf.data.Dataset:
        """The stream from one step on: images, or pairs of images and labels."""
        _check_at_least(0, first_step=first_step)
        parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
        first = first_step * self.share.count
        parts = tf.data.Dataset.counter(first)
        if self.at_once:
            return parts.map(self._part, **parallel)
        numbers = tf.data.Dataset.counter(first * self.part_size)
        if self.stored:
            numbers = numbers.apply(_calls().until_exit)
        examples = numbers.map(self._example, **parallel)
        batches = examples.batch(self.part_size, drop_remainder=True)
        return tf.data.Dataset.zip(parts, batches).map(self._augmented, **parallel)

    @_as_written
    def _part(self, number):
        """Returns the images, and labels if there are any, of one of the pipeline's parts."""
        position = self._position(
            number * self.part_size + tf.range(self.part_size, dtype=tf.int64)
        )
        images, *labels = self.read(self.order(position))
        return self._augmented(number, (preprocess(images, self.image_shape), *labels))

    @_as_written
    def _example(self, number):
        """Returns one of the pipeline's images, and its label if there is one."""
        position = self._position(number)
        image, *labels = self.read(self.order(position))
        mask = labels[0] if self.has_masks else None
        seed = tf.stack([self.geometry_key, position])
        image, mask = self.geometry.for_training(image, mask, self.image_shape, seed)
        return (image, mask) if self.has_masks else (image, *labels)

    @_as_written
    def _augmented(self, number, batch):
        images, *labels = batch
        step, part = self._step_and_part(number)
        options = {"seed": tf.stack([self.augmentation_key, step])}
        options |= {"part": part, "parts": self.share.replicas}
        if self.has_masks:
            return self.augmentation(images, masks=labels[0], **options)
        images = self.augmentation(images, **options)
        return (images, *labels) if labels else images

    def _step_and_part(self, number):
        """Returns of which step, and which part of its batch, a part of the pipeline is."""
        return number // self.share.count, self.share.first + number % self.share.count

    def _position(self, number):
        """Returns where in the whole stream an image of the pipeline stands."""
        step, part = self._step_and_part(number // self.part_size)
        return step * self.batch_size + part * self.part_size + number % self.part_size

    def order(self, position):
        """Returns which image stands at a position of the stream: int64, of any shape."""
        passes = position // self.size
        first, second = self.shuffle_keys
        # For fewer than 2^16 images the op uses 8 bits of each of the three numbers of a seed:
        # with the pass in one of them alone, the 257th pass would repeat the first.
        seeds = [tf.fill(tf.shape(position), first), second + passes // 256, passes % 256]
        # The raw op, because tf.random.experimental.index_shuffle takes no more than one seed
        # (for several its padding goes wrong) and a batch may span several passes; also, with its
        # 4 rounds the orders of two passes are measurably alike.
        return tf.raw_ops.RandomIndexShuffle(
            index=position % self.size,
            seed=tf.stack(seeds, axis=-1),
            max_index=tf.constant(self.size - 1, tf.int64),
            rounds=8,
        )


def _gathered(examples: Examples):
    """Returns a function: one or more positions → images and, if there are any, labels."""
    # Tensors outside the traced function are handed to it as inputs, not written into the
    # graph, which could not hold more than 2 GB. tf.data works on the CPU, so they live there.
    parts = (examples.images,) if examples.labels is None else (examples.images, examples.labels)
    with tf.device("CPU"):
        parts = [tf.constant(part) for part in parts]
    return lambda where: tuple(tf.gather(part, where) for part in parts)


def _stored(examples: StoredExamples):
    """Returns a function: one position → the image there, or near, and its label if it has one."""
    specs = [tf.TensorSpec((None, None, examples.channels), tf.uint8)]
    if examples.has_masks:
        specs.append(tf.TensorSpec((None, None), tf.uint8))
    elif examples.labels is not None:
        specs.append(tf.TensorSpec((), tf.int64))

    def read(where):
        try:
            with _calls().one():
                return examples.read_near(int(where))[: len(specs)]
        except InputError as error:
            _mistakes.append(error)
            raise

    def read_in_graph(where):
        parts = tf.numpy_function(read, [where], [spec.dtype for spec in specs])
        return tuple(tf.ensure_shape(part, s.shape) for part, s in zip(parts, specs, strict=True))

    return read_in_graph


class _Calls:
    """The calls of pipelines, from threads of TensorFlow, into Python.

    While Python shuts down it answers none, but a pipeline that goes with it waits for those that
    it has begun. So they end before: or a process would hang that leaves a pipeline at work behind.
    """

    QUIET = 0.5  # seconds in which what TensorFlow has begun must have come to Python

    def __init__(self):
        # Holds nothing. Unlike one of Python's, TensorFlow can look at it: whether it is closed.
        with tf.device("CPU"):
            self.queue = tf.queue.FIFOQueue(1, [tf.bool])
        self.lock = threading.Lock()
        self.under_way, self.last = 0, 0.0
        atexit.register(self.finish)

    def until_exit(self, dataset) -> tf.data.Dataset:
        """Lets an infinite dataset end when the process does."""
        dataset = dataset.take_while(lambda _: tf.logical_not(self.queue.is_closed()))
        return dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """In this block is one call."""
        with self.lock:
            self.under_way += 1
        try:
            yield
        finally:
            with self.lock:
                self.under_way, self.last = self.under_way - 1, time.monotonic()

    def finish(self) -> None:
        """Has no more calls begin, and waits for the last."""
        self.queue.close()
        closed = time.monotonic()
        while self.under_way or time.monotonic() - max(closed, self.last) < self.QUIET:
            time.sleep(0.02)


# Made when first needed: importing this file is not to start TensorFlow.
_calls = functools.cache(_Calls)


def _prefetched(dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # TensorFlow's tuning thinks at moments ever further apart, up to a minute, and a `fit` that has
    # ended mostly waits for the next (2.21). Untuned, what is AUTOTUNE uses every core.
    options.autotune.enabled = False
    # There are no files to share out between workers.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


def _check_labelled(examples, role):
    if examples.labels is None and not examples.has_masks:
        raise InputError(f"Got {role} examples without labels; expected labels. Use load(...).")


def _check_at_least(least, **numbers):
    for name, number in numbers.items():
        if number < least:
            raise InputError(f"Got {name} {number}; expected at least {least}.")
