"""How far features are from each other."""

from keras import ops


def cosine_distance(features, others):
    """One minus the cosine of the angle between two features: 1 - a·b / (‖a‖ ‖b‖).

    0 for the same direction whatever the lengths, 1 for orthogonal ones, 2 for opposite ones; zero,
    which has no direction, counts as orthogonal to all.

    Args:
        features: (batch, ...), flattened.
        others: the same shape.

    Returns:
        (batch,) in float32, in [0, 2].
    """
    a, b = _unit(features), _unit(others)
    return 1.0 - ops.sum(a * b, axis=-1)


def _unit(features):
    features = ops.cast(features, "float32")
    features = ops.reshape(features, (ops.shape(features)[0], -1))
    # The root's own slope is infinite at zero, where all of an encoder's ReLUs may be.
    lengths = ops.sqrt(ops.sum(ops.square(features), axis=-1, keepdims=True) + 1e-12)
    return features / lengths
