"""Two small domains and models without training: everything a model needs is a NumPy function."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from keras_i2i.data.domain import Examples
from keras_i2i.models.image_model import DIRECTIONS

CLASSES = 10
SHAPE = (16, 16, 1)
LARGE = (32, 32, 3)  # A target shape that differs in everything.


class FakeModel:
    """Reads an image by its nearest class prototype, in either domain.

    The target domain is the source domain inverted, so the perfect translation is `-images`.
    `swap` exchanges two classes before it translates, `lattice` adds spots, `blind` never
    translates before it classifies target images. With a `target_shape` of its own a translation
    enlarges or shrinks on the way.
    """

    def __init__(
        self, examples, *, can_translate=False, directions=DIRECTIONS, target_shape=SHAPE,
        rebuilds=True, blind=False, swap=None, lattice=0.0,
    ):  # fmt: skip
        images = np.repeat(np.repeat(examples.images, 2, 1), 2, 2) / 127.5 - 1
        self.prototypes = np.stack(
            [images[examples.labels == label].mean(axis=0) for label in range(CLASSES)]
        )
        self.directions = directions if can_translate else ()
        self.target_shape = target_shape
        self.rebuilds = rebuilds
        self.classified = 0
        self.blind = blind
        self.swap = swap
        self.lattice = lattice

    def image_shape_of(self, domain):
        return SHAPE if domain == "source" else self.target_shape

    def can_reconstruct(self, domain):
        return self.rebuilds

    def resized(self, images, shape):
        """Between `SHAPE` and `LARGE`."""
        if images.shape[1:] == shape:
            return images
        if shape == LARGE:
            return np.repeat(np.repeat(np.repeat(images, 2, 1), 2, 2), 3, 3)
        return images.reshape(-1, 16, 2, 16, 2, 3).mean(axis=(2, 4, 5))[..., np.newaxis]

    def classify(self, images, domain="target"):
        assert images.shape[1:] == self.image_shape_of(domain)
        assert images.min() >= -1 and images.max() <= 1
        self.classified += 1
        return -self.distances(images, domain)

    def distances(self, images, domain):
        images = self.resized(images, SHAPE)
        if domain == "target" and not self.blind:
            images = -images
        return np.stack([np.sum((images - p) ** 2, axis=(1, 2, 3)) for p in self.prototypes], 1)

    def embed(self, images, domain="target"):
        return self.distances(images, domain)

    def predict(self, images, batch_size=None, verbose=0):
        return self.classify(images)

    def translate(self, images, direction):
        assert direction in self.directions
        origin, destination = direction.split("_to_")
        assert images.shape[1:] == self.image_shape_of(origin)
        if self.swap:
            images = images.copy()
            read_as = self.classify(images, origin).argmax(axis=1)
            sign = -1 if origin == "target" else 1
            for one, other in (self.swap, self.swap[::-1]):
                images[read_as == one] = sign * self.prototypes[other]
        translated = self.resized(-images, self.image_shape_of(destination)).copy()
        translated[:, ::4, ::4] += self.lattice
        return np.clip(translated, -1, 1).astype("float32")

    def reconstruct(self, images, domain="target"):
        assert self.rebuilds and images.shape[1:] == self.image_shape_of(domain)
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
