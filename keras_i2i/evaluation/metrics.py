"""What the report counts: pure functions of NumPy arrays.

Accuracies and intersections over unions are fractions of 1. Images are `(n, height, width,
channels)` arrays, uint8 in [0, 255] or float in [-1, 1]: no function here depends on which, only on
both sides being the same.
"""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.neighbors import NearestNeighbors

from keras_i2i.data.examples import IGNORED
from keras_i2i.errors import InputError

# Translations that differ less than this share of how much real images do deserve a warning.
COLLAPSED_DIVERSITY = 0.5


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Fraction of predictions that equal their label; both integer `(n,)`."""
    return float(accuracy_score(labels, predictions))


def confusion(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts `(num_classes, num_classes)`: row is the label, column the prediction."""
    return confusion_matrix(labels, predictions, labels=np.arange(num_classes))


def per_class_accuracy(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Fraction of each class predicted right: `(num_classes,)`, NaN for one without images."""
    return np.diagonal(_row_shares(confusion(labels, predictions, num_classes)))


def pixel_confusion(mask: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts of one image's pixels, without those that the mask ignores.

    Those of several images add up to the counts of all.

    Args:
        mask: integers `(h, w)`, classes or `IGNORED`.
        predictions: integers `(h, w)`, classes.
        num_classes: number of classes.

    Returns:
        int64 `(num_classes, num_classes)`: row is the mask's class, column the prediction.

    Raises:
        InputError: the mask holds a class beyond that number.
    """
    counted = mask != IGNORED
    true, predicted = mask[counted].astype("int64"), predictions[counted]
    if true.size and true.max() >= num_classes:
        raise InputError(
            f"A mask holds class {true.max()}, but there are {num_classes} class names. Give one "
            f"name per class; pixels that should not count are {IGNORED}."
        )
    pairs = np.bincount(num_classes * true + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, `TP / (TP + FP + FN)` in pixels.

    Everingham et al., "The Pascal Visual Object Classes Challenge", 2015. With the counts of all
    images of a data set this is what Cityscapes reports; it is not the mean over images.

    Args:
        counts: `(num_classes, num_classes)`, as `pixel_confusion` makes them.

    Returns:
        `(num_classes,)`; NaN for a class that neither masks nor predictions hold.
    """
    hits = np.diagonal(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - hits
    return np.divide(hits, union, out=np.full(len(counts), np.nan), where=union > 0)


def mean_iou(counts: np.ndarray) -> float:
    """Mean of `iou` over the classes that appear in masks or predictions; NaN if none does.

    The same as `keras.metrics.MeanIoU`.
    """
    there = iou(counts)
    there = there[~np.isnan(there)]
    return float(there.mean()) if there.size else float("nan")


def pixel_accuracy(counts: np.ndarray) -> float:
    """Fraction of counted pixels that are predicted right; NaN without any."""
    total = counts.sum()
    return float(np.trace(counts) / total) if total else float("nan")


def checkerboard(images: np.ndarray) -> float:
    r"""Share of the images' contrast that is a regular lattice of period 2 or 4 pixels.

    Transposed convolutions of stride 2 can leave regularly spaced spots. In the Fourier transform
    such a lattice is a handful of sharp lines, at multiples of N/4, where an image of something
    has a smooth spectrum. With P(f) the power averaged over images and channels, L the 15 lines
    `{0, N/4, N/2, 3N/4}² \ {0}`, and B(f) what the neighbours two steps away lead one to expect,

        checkerboard = Σ_{f∈L} max(0, P(f) - B(f)) / Σ_{f≠0} P(f)

    B(f) is the larger of the mean of the two horizontal and of the two vertical neighbours, so that
    the cross that an image's borders draw through the spectrum is not taken for a lattice.

    A domain may have a lattice of its own (JPEG blocks, upsampling): read the value beside that of
    real images of the same domain.

    Args:
        images: `(n, height, width, channels)`; sides are cropped to a multiple of 4. The value does
            not change with the images' scale.

    Returns:
        A fraction in [0, 1]; 0 for images without contrast, NaN for images of less than 12 pixels
        a side, too small to tell a line from its neighbours.
    """
    height, width = (side - side % 4 for side in images.shape[1:3])
    if min(height, width) < 12:
        return float("nan")
    cropped = images[:, :height, :width].astype("float32")
    power = (np.abs(np.fft.fft2(cropped, axes=(1, 2))) ** 2).mean(axis=(0, 3))
    power[0, 0] = 0.0  # The mean is brightness, not contrast.

    expected = np.maximum(*((np.roll(power, 2, a) + np.roll(power, -2, a)) / 2 for a in (0, 1)))
    lines = np.ix_(np.arange(4) * height // 4, np.arange(4) * width // 4)
    excess = np.maximum(power - expected, 0.0)[lines]
    total = power.sum()
    return float(excess.sum() / total) if total > 0 else 0.0


def diversity(images: np.ndarray, labels: np.ndarray | None = None) -> float:
    """How much images of one class differ from each other; near 0 when a translator collapses.

    The root of the mean variance of a pixel within a class,
    `sqrt(mean_i mean_pixels (x_i - mean of class y_i)²)`. It has the images' unit, so compare
    translations with real images in the same value range.

    Args:
        images: `(n, height, width, channels)`.
        labels: integers `(n,)`, the class of each image; without them all are of one class.
    """
    labels = np.zeros(len(images), int) if labels is None else labels
    squared = 0.0
    for label in np.unique(labels):
        members = images[labels == label].astype("float32")
        squared += np.mean((members - members.mean(axis=0)) ** 2) * len(members)
    return float(np.sqrt(squared / len(images)))


def nearest_neighbours(
    queries: np.ndarray, references: np.ndarray, count: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The references closest to each query, by Euclidean distance of the flattened arrays.

    Args:
        queries: `(n, ...)`, images or features.
        references: `(m, ...)` of the same trailing shape and value range.
        count: how many neighbours, at most m.

    Returns:
        `(indices, distances)`, each `(n, count)`, nearest first.
    """
    search = NearestNeighbors(n_neighbors=count, algorithm="brute")
    search.fit(references.reshape(len(references), -1))
    distances, indices = search.kneighbors(queries.reshape(len(queries), -1))
    return indices, distances


class Permutation(NamedTuple):
    """A class whose translations are mostly read as another one."""

    label: int
    read_as: int
    share: float


class TranslationReading(NamedTuple):
    """How a reader of the other domain reads translations; see `keeps_class`."""

    accuracy: float
    matrix: np.ndarray
    permuted: list[Permutation]


def keeps_class(labels: np.ndarray, read_as: np.ndarray, num_classes: int) -> TranslationReading:
    """Does a translation keep the class of what was translated?

    A cycle loss is content with a translator that turns every 2 into an 8 and every 8 back into
    a 2. A reader of the other domain is not.

    Args:
        labels: integers `(n,)`, the class of each image that was translated.
        read_as: integers `(n,)`, what a reader of the other domain sees in its translation.
        num_classes: number of classes.

    Returns:
        `accuracy`, the fraction read as their own class; `matrix`, the counts of `confusion`;
        `permuted`, the classes of which more than half is read as one and the same other class.
    """
    matrix = confusion(labels, read_as, num_classes)
    shares = _row_shares(matrix)
    permuted = [
        Permutation(label, int(row.argmax()), float(row.max()))
        for label, row in enumerate(shares)
        if row.max() > 0.5 and row.argmax() != label
    ]
    return TranslationReading(accuracy(labels, read_as), matrix, permuted)


def _row_shares(matrix: np.ndarray) -> np.ndarray:
    """Counts as fractions of their row; NaN for an empty row."""
    totals = matrix.sum(axis=1, keepdims=True).astype("float64")
    return np.divide(matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)
