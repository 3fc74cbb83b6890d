"""Task heads h: features of Z → predictions."""

import keras
from keras import layers


def classification_head(feature_shape, num_classes, name="head"):
    """Classification head h: one dense layer on the flattened features.

    Args:
        feature_shape: (h, w, D), an encoder's output without the batch.
        num_classes: number of classes.
        name: name of the model.

    Returns:
        A `keras.Model`: (batch, h, w, D) → logits (batch, num_classes).
    """
    features = keras.Input(feature_shape, name="features")
    x = layers.Flatten(name="flatten")(features)
    x = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(features, x, name=name)
