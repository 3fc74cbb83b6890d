"""SVHN: house numbers cropped to a digit, 32 x 32, color; 73,257 for training, 26,032 for testing.

Y. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", NIPS
workshop, 2011. Downloaded by tfds (1.5 GiB: it takes the extra examples along).
"""

import functools

import tensorflow_datasets as tfds

from keras_i2i.data import published
from keras_i2i.data.domain import DIGITS, Domain

SVHN = Domain(
    name="svhn",
    class_names=DIGITS,
    image_shape=(32, 32, 3),
    read=functools.partial(published.read, functools.partial(tfds.builder, "svhn_cropped")),
    validation_size=10_000,
)
