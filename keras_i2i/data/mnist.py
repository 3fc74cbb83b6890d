"""MNIST: handwritten digits, 28 x 28, gray; 60,000 for training, 10,000 for testing.

Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-Based Learning Applied to Document
Recognition", Proceedings of the IEEE, 1998. Downloaded by tfds (11 MiB).
"""

import functools

import tensorflow_datasets as tfds

from keras_i2i.data import published
from keras_i2i.data.domain import DIGITS, Domain

MNIST = Domain(
    name="mnist",
    class_names=DIGITS,
    image_shape=(28, 28, 1),
    read=functools.partial(published.read, functools.partial(tfds.builder, "mnist")),
    validation_size=10_000,
)
