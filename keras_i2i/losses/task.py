"""The task's own losses."""

import keras
from keras import ops

# What a mask says of a pixel that does not count: `data.IGNORED`, which losses do not import.
IGNORED = 255


def cross_entropy(labels, logits):
    """Cross-entropy -log softmax(logits)_label.

    Args:
        labels: integers (batch,) in [0, K).
        logits: (batch, K).

    Returns:
        (batch,) in float32, ≥ 0.
    """
    return keras.losses.sparse_categorical_crossentropy(
        labels, ops.cast(logits, "float32"), from_logits=True
    )


def pixel_cross_entropy(labels, logits, ignored=IGNORED):
    """Cross-entropy of a segmentation: the mean of -log softmax(logits)_label over pixels.

    Equation 1 of Murez et al. 2018 with a label for each pixel. Pixels labelled `ignored` count for
    nothing: they have no gradient, and each image's mean is over its other pixels.

    Args:
        labels: integers (batch, H, W), each in [0, K) or `ignored`.
        logits: (batch, H, W, K).
        ignored: the label of pixels that do not count.

    Returns:
        (batch,) in float32, ≥ 0; 0 for an image all of whose pixels are ignored.
    """
    labels = ops.cast(labels, "int32")
    counted = labels != ignored
    # A label that is no class must not reach the softmax, not even where its result is dropped.
    losses = cross_entropy(ops.where(counted, labels, 0), logits)
    total = ops.sum(ops.where(counted, losses, 0.0), axis=(1, 2))
    return total / ops.maximum(ops.sum(ops.cast(counted, "float32"), axis=(1, 2)), 1.0)
