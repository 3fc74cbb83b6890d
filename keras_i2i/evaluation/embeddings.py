"""Features of both domains on one plane."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits


def tsne(source: np.ndarray, target: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places the features of both domains on one t-SNE map (van der Maaten & Hinton, 2008).

    Features wider than 50 go through PCA first, as the paper recommends. The time grows faster
    than the number of points: `sample` them to about 500 a domain.

    Args:
        source: features `(n, d)`.
        target: features `(m, d)`.
        seed: of the map; the same seed and features give the same map.

    Returns:
        Points `(n, 2)` and `(m, 2)`. Values that are not finite count as 0, and features that are
        all the same lie in one point: a model that diverged has a map too.
    """
    features = np.concatenate([source, target]).astype("float64")
    features = np.nan_to_num(features, posinf=0.0, neginf=0.0)
    points = np.zeros((len(features), 2), "float32")
    if np.ptp(features, axis=0).any():
        features /= np.abs(features).max()  # Changes no map; keeps squared distances finite.
        # One thread: on cores that others use too, several wait for each other far longer than
        # so few points take.
        with threadpool_limits(1):
            if min(features.shape) > 50:
                features = PCA(50, random_state=seed).fit_transform(features)
            # Starting from the principal components keeps the large-scale layout.
            init = "pca" if min(features.shape) > 1 else "random"
            perplexity = min(30.0, (len(features) - 1) / 3)
            mapping = TSNE(init=init, perplexity=perplexity, random_state=seed)
            points = mapping.fit_transform(features)
    return points[: len(source)], points[len(source) :]


def sample(count: int, limit: int, seed: int) -> np.ndarray:
    """Indices of at most `limit` of `count` items, drawn at random once per seed, in order."""
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))
