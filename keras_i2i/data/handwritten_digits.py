"""Handwritten digits that come with scikit-learn: 1,797 images of 8 x 8 pixels.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998. (scikit-learn ships its test part.)
"""

import functools

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_i2i.data.domain import DIGITS, Domain
from keras_i2i.data.examples import Examples

TEST_SIZE = 500
VALIDATION_SIZE = 200


@functools.cache
def _order() -> tuple[np.ndarray, np.ndarray]:
    """Returns the images' positions, mixed: (those for training and validation, those for test).

    The images are stored writer by writer, so they are mixed before they are cut; each part,
    validation included, keeps the proportions of the classes.
    """
    labels = load_digits().target
    rest, test = train_test_split(
        np.arange(len(labels)), test_size=TEST_SIZE, stratify=labels, random_state=0
    )
    train, validation = train_test_split(
        rest, test_size=VALIDATION_SIZE, stratify=labels[rest], random_state=0
    )
    return np.concatenate([train, validation]), test


def _read(split, data_dir) -> Examples:
    del data_dir  # The images come with scikit-learn.
    digits = load_digits()
    order = _order()[0 if split == "train" else 1]
    # Ink is counted from 0 to 16.
    images = np.round(digits.images[order, :, :, np.newaxis] * (255 / 16)).astype(np.uint8)
    return Examples(images, digits.target[order].astype(np.int64))


HANDWRITTEN_DIGITS = Domain(
    name="handwritten_digits",
    class_names=DIGITS,
    image_shape=(8, 8, 1),
    read=_read,
    validation_size=VALIDATION_SIZE,
)
