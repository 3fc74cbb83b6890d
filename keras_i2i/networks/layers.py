"""The few choices that every network of the package makes alike."""

import contextlib

import keras

from keras_i2i.errors import InputError

# Neither I2I-Adapt nor its re-implementation gives the slope; 0.2 is what DCGAN, CycleGAN and most
# of the field use. This project's choice.
LEAKY_SLOPE = 0.2


@contextlib.contextmanager
def under_policy(policy):
    """Networks built in this block get this dtype policy, whatever the global one is.

    Args:
        policy: a `keras.DTypePolicy` or its name, such as "mixed_bfloat16". Under mixed policies
            layers compute in half precision and keep their variables in float32; what leaves a
            network for a loss (images, scores, logits) is float32.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def scaled(filters, width):
    """Number of filters of a layer that has `filters` in the paper, in a network of that width."""
    if not width > 0:
        raise InputError(
            f"A network's width is a positive factor on the paper's number of filters "
            f"(1 is the paper's own, 0.25 a quarter of it). Received: width={width}"
        )
    return max(1, round(filters * width))
