"""The ternary objective of the Domain Transfer Network (Taigman, Polyak and Wolf 2017).

A discriminator D that answers not "real or fake" but which of three kinds an image is:

    class   0, D_1: a translation G(x)    1, D_2: a rebuilt G(y)    2, D_3: a real target image y

Logits have shape (batch, 3), the three kinds' batches one size; every loss has shape (batch,) in
float32 and is > 0. A discriminator that knows nothing pays 3 log 3 and lets the generator pay
2 log 3.
"""

import math

from keras import ops

TRANSLATED, REBUILT, REAL = range(3)
UNDECIDED = 3 * math.log(3)


def ternary_discriminator_loss(translated_logits, rebuilt_logits, real_logits):
    """-log D_1(G(x)) - log D_2(G(y)) - log D_3(y)."""
    return (
        _surprise(translated_logits, TRANSLATED)
        + _surprise(rebuilt_logits, REBUILT)
        + _surprise(real_logits, REAL)
    )


def ternary_generator_loss(translated_logits, rebuilt_logits):
    """-log D_3(G(x)) - log D_3(G(y))."""
    return _surprise(translated_logits, REAL) + _surprise(rebuilt_logits, REAL)


def _surprise(logits, kind):
    return -ops.log_softmax(ops.cast(logits, "float32"), axis=-1)[:, kind]
