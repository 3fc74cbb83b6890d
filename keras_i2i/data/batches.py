"""Endless batches for training and one pass for evaluation, as tf.data pipelines.

An endless pipeline needs no state to resume: batch `step` is a function of (seed, step) alone.
Position k = step * batch_size + j of a stream over n images lies in pass k // n, and shows the
image to which that pass's own permutation sends k % n. So every pass shows each image once,
whatever the batch size, and `first_step` continues a stream where another run left it.

tf.data's own shuffling is never used: it would have to be replayed, or saved, to resume.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_i2i.data.augmentation import Augmentation
from keras_i2i.data.domain import Examples
from keras_i2i.data.preprocessing import preprocess
from keras_i2i.errors import InputError


def unpaired_batches(
    source: Examples,
    target: Examples,
    *,
    batch_size: int,
    image_shape: tuple[int, int, int],
    target_shape: tuple[int, int, int] | None = None,
    seed: int,
    augmentation: Augmentation | None = None,
    first_step: int = 0,
    labelled_target: Examples | None = None,
) -> tf.data.Dataset:
    """Pairs batches of labelled source images with batches of unlabelled target images.

    The two domains are shuffled and augmented independently of each other.

    Args:
        source: with labels.
        target: without labels (`load_unlabelled`).
        batch_size: B, images per domain and step; may exceed a domain's size.
        image_shape: (H, W, C) to which source images are brought, see `preprocess`.
        target_shape: (H', W', C') to which target images are brought, labelled ones among them;
            None for `image_shape`.
        seed: at least 0.
        augmentation: applied to both domains; None for none.
        first_step: the step to begin with.
        labelled_target: a few target examples with labels, for few-label adaptation.

    Returns:
        An infinite dataset of `({"source": (B, H, W, C), "target": (B, H', W', C')}, source
        labels (B,))`, images float32 in [-1, 1], labels int64. With `labelled_target` the inputs
        also hold "target_labelled" (L, H', W', C') and "target_labels" (L,), where
        L = min(B, len(labelled_target)).

    Raises:
        InputError: `target` carries labels, `source` or `labelled_target` does not, there are
            no images, or a number is out of its range.
    """
    if target.labels is not None:
        raise InputError(
            "Got target examples with labels; training must not see them. Read the target with "
            "load_unlabelled, or drop them with without_labels()."
        )
    _check_labelled(source, "source")
    common = {"seed": seed, "augmentation": augmentation}
    target_shape = image_shape if target_shape is None else target_shape
    source_stream = _Stream(source, batch_size, stream=0, image_shape=image_shape, **common)
    target_stream = _Stream(target, batch_size, stream=1, image_shape=target_shape, **common)
    few_stream = None
    if labelled_target is not None:
        _check_labelled(labelled_target, "labelled target")
        few = min(batch_size, len(labelled_target))
        few_stream = _Stream(labelled_target, few, stream=2, image_shape=target_shape, **common)

    def batch(step):
        source_images, source_labels = source_stream(step)
        inputs = {"source": source_images, "target": target_stream(step)}
        if few_stream is not None:
            inputs["target_labelled"], inputs["target_labels"] = few_stream(step)
        return inputs, source_labels

    return _endless(batch, first_step)


def labelled_batches(
    examples: Examples,
    *,
    batch_size: int,
    image_shape: tuple[int, int, int],
    seed: int,
    augmentation: Augmentation | None = None,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Batches labelled images of one domain, endlessly.

    Args:
        examples: with labels.
        batch_size: B.
        image_shape: (H, W, C) to which images are brought, see `preprocess`.
        seed: at least 0. The images come in the order in which `unpaired_batches` with the same
            seed shows this domain as source.
        augmentation: None for none.
        first_step: the step to begin with.

    Returns:
        An infinite dataset of `(images (B, H, W, C) float32 in [-1, 1], labels (B,) int64)`.

    Raises:
        InputError: no labels, no images, or a number out of its range.
    """
    _check_labelled(examples, "training")
    stream = _Stream(
        examples,
        batch_size,
        stream=0,
        image_shape=image_shape,
        seed=seed,
        augmentation=augmentation,
    )
    return _endless(stream, first_step)


def evaluation_batches(
    examples: Examples, *, batch_size: int, image_shape: tuple[int, int, int]
) -> tf.data.Dataset:
    """Batches all images once, in order; the last batch may be smaller.

    Returns:
        A finite dataset of `(images (b, H, W, C) float32 in [-1, 1], labels (b,) int64)`, or of
        images alone where `examples.labels` is None.

    Raises:
        InputError: `batch_size` is below 1.
    """
    _check_at_least(1, batch_size=batch_size)
    parts = examples.images if examples.labels is None else (examples.images, examples.labels)
    with tf.device("CPU"):
        dataset = tf.data.Dataset.from_tensor_slices(parts).batch(batch_size)

    def prepare(images, *labels):
        images = preprocess(images, image_shape)
        return (images, *labels) if labels else images

    return _prefetched(dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE))


class _Stream:
    """An endless shuffled stream of one set of images with random access: step -> batch.

    `stream` sets apart the streams that share a seed.
    """

    def __init__(self, examples, batch_size, *, stream, image_shape, seed, augmentation):
        _check_at_least(0, seed=seed)
        _check_at_least(1, batch_size=batch_size, number_of_images=len(examples))
        self.size = len(examples)
        self.batch_size = batch_size
        self.image_shape = image_shape
        self.augmentation = augmentation or Augmentation()
        keys = np.random.SeedSequence([seed, stream]).generate_state(3).astype(np.int64)
        self.shuffle_keys, self.augmentation_key = keys[:2], keys[2]
        # Tensors outside the traced function are handed to it as inputs, not written into the
        # graph, which could not hold more than 2 GB. tf.data works on the CPU, so they live there.
        with tf.device("CPU"):
            self.images = tf.constant(examples.images)
            self.labels = None if examples.labels is None else tf.constant(examples.labels)

    def __call__(self, step):
        where = self.indices(step)
        images = preprocess(tf.gather(self.images, where), self.image_shape)
        images = self.augmentation(images, tf.stack([self.augmentation_key, step]))
        if self.labels is None:
            return images
        return images, tf.gather(self.labels, where)

    def indices(self, step):
        """Returns the positions, int64 of shape (batch_size,), of the images of one step."""
        position = step * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        passes = position // self.size
        first, second = self.shuffle_keys
        # For fewer than 2^16 images the op uses 8 bits of each of the three numbers of a seed:
        # with the pass in one of them alone, the 257th pass would repeat the first.
        seeds = [tf.fill([self.batch_size], first), second + passes // 256, passes % 256]
        # The raw op, because tf.random.experimental.index_shuffle takes no more than one seed
        # (for several its padding goes wrong) and a batch may span several passes; also, with its
        # 4 rounds the orders of two passes are measurably alike.
        return tf.raw_ops.RandomIndexShuffle(
            index=position % self.size,
            seed=tf.stack(seeds, axis=1),
            max_index=tf.constant(self.size - 1, tf.int64),
            rounds=8,
        )


def _endless(batch_of_step, first_step) -> tf.data.Dataset:
    _check_at_least(0, first_step=first_step)
    steps = tf.data.Dataset.counter(first_step)
    return _prefetched(steps.map(batch_of_step, num_parallel_calls=tf.data.AUTOTUNE))


def _prefetched(dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # There are no files to share out between workers.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


def _check_labelled(examples, role):
    if examples.labels is None:
        raise InputError(f"Got {role} examples without labels; expected labels. Use load(...).")


def _check_at_least(least, **numbers):
    for name, number in numbers.items():
        if number < least:
            raise InputError(f"Got {name} {number}; expected at least {least}.")
