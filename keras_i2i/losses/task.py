"""The task's own loss."""

import keras
from keras import ops


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
