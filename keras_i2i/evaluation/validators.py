"""Validators: what can be said of a classifier of the target without a label of the target.

Pure functions of NumPy arrays. Each is a sign, none is an accuracy: what the literature finds of
them, and what was measured with this package, stands in docs/selection.md.

With p_j the probabilities (the softmax of the logits) of target image j of n, K classes, and the
entropy H(p) = -Σ_k p_k log p_k in nats:

    source_validation_accuracy    higher is better, in [0, 1]
    target_entropy                lower, in [0, log K]
    information_maximization      higher, in [0, log K]
    soft_neighbourhood_density    higher, in [0, log(n - 1)]
    proxy_a_distance              lower, in [0, 2]
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import RidgeClassifier
from threadpoolctl import threadpool_limits

from keras_i2i.evaluation.metrics import accuracy

TEMPERATURE = 0.05


def source_validation_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of held-out source images that are read correctly.

    It falls where adaptation damages what was learnt from labels, and knows nothing of the target.

    Args:
        logits: `(m, K)`, of source images that were not trained on.
        labels: integers `(m,)`.
    """
    return accuracy(labels, logits.argmax(axis=-1))


def target_entropy(logits: np.ndarray) -> float:
    """`mean_j H(p_j)`: how undecided the classifier is about target images.

    P. Morerio, J. Cavazza, V. Murino, "Minimal-entropy correlation alignment for unsupervised deep
    domain adaptation", ICLR 2018, who choose hyperparameters by it. A classifier that
    says the same of all images has a low entropy too.

    Args:
        logits: `(n, K)`, of target images.
    """
    return float(_entropy(softmax(logits)).mean())


def information_maximization(logits: np.ndarray) -> float:
    """`H(mean_j p_j) - mean_j H(p_j)`: what predictions say about target images.

    The mutual information of image and prediction: high if each image is decided upon and all
    classes are in use. J. S. Bridle, A. J. R. Heading, D. J. C. MacKay, "Unsupervised classifiers,
    mutual information and 'phantom targets'", NeurIPS 1991; as a validator in K. Musgrave, S.
    Belongie, S.-N. Lim, "Three new validators and a large-scale benchmark ranking for unsupervised
    domain adaptation", 2022.

    Args:
        logits: `(n, K)`, of target images.
    """
    p = softmax(logits)
    # Never negative but for rounding.
    return max(float(_entropy(p.mean(axis=0)) - _entropy(p).mean()), 0.0)


def soft_neighbourhood_density(logits: np.ndarray, temperature: float = TEMPERATURE) -> float:
    """How densely target images lie among others that are read alike.

        S_ij = cos(p_i, p_j) / τ,   P_i = softmax of row i of S without S_ii
        density = mean_i H(P_i)

    K. Saito, D. Kim, P. Teterwak, S. Sclaroff, T. Darrell, K. Saenko, "Tune it the right way:
    unsupervised validation of domain adaptation via soft neighborhood density", ICCV 2021. As
    there, the softmax's outputs stand for features and τ = 0.05. It grows with n: compare values of
    the same images only.

    Args:
        logits: `(n, K)`, of target images. Memory grows with n².
        temperature: τ > 0.

    Returns:
        NaN for n < 2: there are no others.
    """
    if len(logits) < 2:
        return float("nan")
    p = softmax(logits)
    p /= np.linalg.norm(p, axis=-1, keepdims=True)
    others = ~np.eye(len(p), dtype=bool)
    similarities = (p @ p.T)[others].reshape(len(p), -1)
    return float(_entropy(softmax(similarities / temperature)).mean())


def proxy_a_distance(source: np.ndarray, target: np.ndarray) -> float:
    """`2 (1 - 2 ε)`, with ε the error of a linear classifier that tells the domains' features.

    S. Ben-David, J. Blitzer, K. Crammer, F. Pereira, "Analysis of representations for domain
    adaptation", NeurIPS 2006. 0: it cannot tell them; 2: it always can. The classifier is a ridge
    regression on standardized features, fitted on every other image of each domain and tested on
    the rest.

    Args:
        source: features `(m, d)`.
        target: features `(n, d)`.

    Returns:
        NaN for m < 2 or n < 2: there is nothing to test on.
    """
    if min(len(source), len(target)) < 2:
        return float("nan")
    fitted, tested = (
        np.concatenate([source[start::2], target[start::2]]).astype("float64") for start in (0, 1)
    )
    domains = [
        np.repeat([0, 1], [len(source[start::2]), len(target[start::2])]) for start in (0, 1)
    ]
    mean, deviation = fitted.mean(axis=0), fitted.std(axis=0)
    deviation[deviation == 0] = 1.0
    # One thread: on cores that others use too, several wait for each other.
    with threadpool_limits(1):
        classifier = RidgeClassifier(alpha=1.0, class_weight="balanced")
        classifier.fit((fitted - mean) / deviation, domains[0])
        read = classifier.predict((tested - mean) / deviation)
    # Either domain counts for a half, however many images it has.
    error = np.mean([np.mean(read[domains[1] == domain] != domain) for domain in (0, 1)])
    return float(max(2.0 * (1.0 - 2.0 * error), 0.0))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities `(n, K)` of logits, in double precision."""
    logits = logits.astype("float64")
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _entropy(p: np.ndarray) -> np.ndarray:
    """In nats, of the last axis; 0 log 0 is 0."""
    return -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)


class Reading(NamedTuple):
    """What a classifier makes of images of both domains; logits and features of the same images.

    Attributes:
        source_logits: `(m, K)`.
        source_labels: integers `(m,)`; None if there are no held-out source images with labels.
        source_features: `(m, d)`; None without an encoder, like the target's.
        target_logits: `(n, K)`.
        target_features: `(n, d)`.
    """

    source_logits: np.ndarray
    source_labels: np.ndarray | None
    source_features: np.ndarray | None
    target_logits: np.ndarray
    target_features: np.ndarray | None


class Validator(NamedTuple):
    """One of `VALIDATORS`.

    Attributes:
        function: of a `Reading`.
        sign: 1 if higher is better, -1 if lower is.
    """

    function: Callable[[Reading], float]
    sign: int


VALIDATORS = {
    "source_validation_accuracy": Validator(
        lambda r: source_validation_accuracy(r.source_logits, r.source_labels), 1
    ),
    "target_entropy": Validator(lambda r: target_entropy(r.target_logits), -1),
    "information_maximization": Validator(lambda r: information_maximization(r.target_logits), 1),
    "soft_neighbourhood_density": Validator(
        lambda r: soft_neighbourhood_density(r.target_logits), 1
    ),
    "proxy_a_distance": Validator(
        lambda r: proxy_a_distance(r.source_features, r.target_features), -1
    ),
}


def validate(reading: Reading) -> dict[str, float]:
    """Name of `VALIDATORS` → value, of those that the reading has what it takes for.

    NaN where a model has diverged, or where there are too few images to tell.
    """
    missing = set()
    if reading.source_labels is None:
        missing.add("source_validation_accuracy")
    if reading.source_features is None:
        missing.add("proxy_a_distance")
    arrays = [reading.source_logits, reading.target_logits]
    arrays += [a for a in (reading.source_features, reading.target_features) if a is not None]
    if not all(np.isfinite(array).all() for array in arrays):
        return dict.fromkeys((name for name in VALIDATORS if name not in missing), float("nan"))
    return {
        name: validator.function(reading)
        for name, validator in VALIDATORS.items()
        if name not in missing
    }
