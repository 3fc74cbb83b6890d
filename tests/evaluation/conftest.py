"""Two small domains and models without training: everything a model needs is a NumPy function."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from keras_i2i.data.domain import Examples

CLASSES = 10
SHAPE = (16, 16, 1)


class FakeModel:
    """Reads an image by its nearest class prototype, in either domain.

    The target domain is the source domain inverted, so the perfect translation is `-images`.
    `swap` exchanges two classes before it translates, `lattice` adds spots, `blind` never
    translates before it classifies target images.
    """

    image_shape = SHAPE

    def __init__(self, examples, *, can_translate=False, blind=False, swap=None, lattice=0.0):
        images = np.repeat(np.repeat(examples.images, 2, 1), 2, 2) / 127.5 - 1
        self.prototypes = np.stack(
            [images[examples.labels == label].mean(axis=0) for label in range(CLASSES)]
        )
        self.can_translate = can_translate
        self.blind = blind
        self.swap = swap
        self.lattice = lattice

    def classify(self, images, domain="target"):
        assert images.shape[1:] == self.image_shape
        assert images.min() >= -1 and images.max() <= 1
        return -self.distances(images, domain)

    def distances(self, images, domain):
        if domain == "target" and not self.blind:
            images = -images
        return np.stack([np.sum((images - p) ** 2, axis=(1, 2, 3)) for p in self.prototypes], 1)

    def embed(self, images, domain="target"):
        return self.distances(images, domain)

    def predict(self, images, batch_size=None, verbose=0):
        return self.classify(images)

    def translate(self, images, direction):
        origin = direction.split("_to_")[0]
        if self.swap:
            images = images.copy()
            read_as = self.classify(images, origin).argmax(axis=1)
            sign = -1 if origin == "target" else 1
            for one, other in (self.swap, self.swap[::-1]):
                images[read_as == one] = sign * self.prototypes[other]
        translated = -images
        translated[:, ::4, ::4] += self.lattice
        return np.clip(translated, -1, 1).astype("float32")

    def reconstruct(self, images, domain="target"):
        return images


def _examples(invert, start, count):
    digits = load_digits()
    # Mixed, because the images are stored writer by writer.
    part = np.random.default_rng(0).permutation(len(digits.images))[start : start + count]
    images = np.round(digits.images[part, ..., np.newaxis] * (255 / 16)).astype("uint8")
    return Examples(255 - images if invert else images, digits.target[part].astype("int64"))


@pytest.fixture(scope="session")
def domains():
    return {
        "source_train": _examples(False, 0, 600),
        "source_test": _examples(False, 600, 200),
        "target_train": _examples(True, 800, 600).without_labels(),
        "target_test": _examples(True, 1400, 200),
    }


@pytest.fixture(scope="session")
def fake(domains):
    """Makes a `FakeModel`."""
    return lambda **how: FakeModel(domains["source_train"], **how)


@pytest.fixture(scope="session")
def models(fake):
    return {
        "source_only": fake(blind=True),
        "adapted": fake(can_translate=True),
        "target_only": fake(),
    }


@pytest.fixture(scope="session")
def class_names():
    return [str(label) for label in range(CLASSES)]
