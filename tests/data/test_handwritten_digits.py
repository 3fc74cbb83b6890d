from collections import Counter

import numpy as np
from sklearn.datasets import load_digits

from keras_i2i.data.handwritten_digits import HANDWRITTEN_DIGITS


def test_splits_share_out_scikit_learns_images():
    splits = [HANDWRITTEN_DIGITS.load(s) for s in ("train", "validation", "test")]
    digits = load_digits()

    def key(image, label):
        return np.asarray(image, np.float64).tobytes(), int(label)

    published = Counter(map(key, np.round(digits.images * 15.9375), digits.target))
    ours = Counter(
        key(image[..., 0], label)
        for split in splits
        for image, label in zip(split.images, split.labels, strict=True)
    )
    assert ours == published
    assert max(s.images.max() for s in splits) == 255


def test_parts_keep_the_proportions_of_the_classes():
    share = np.bincount(load_digits().target) / 1797
    for split in ("train", "validation", "test"):
        examples = HANDWRITTEN_DIGITS.load(split)
        counts = np.bincount(examples.labels)
        np.testing.assert_allclose(counts, share * len(examples), atol=2)
