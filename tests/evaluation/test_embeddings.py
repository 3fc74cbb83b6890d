import numpy as np
import pytest

from keras_i2i.evaluation import embeddings


@pytest.fixture(scope="module")
def blobs():
    """Two clusters far apart in 60 dimensions, each in both domains."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    return [rng.normal(size=(40, 60)) + 30 * labels[:, None] for _ in range(2)], labels


def test_tsne_keeps_clusters_of_both_domains_together(blobs):
    features, labels = blobs
    source, target = embeddings.tsne(*features, seed=0)
    assert source.shape == target.shape == (40, 2)
    centres = np.stack([source[labels == label].mean(axis=0) for label in (0, 1)])
    distances = np.linalg.norm(target[:, None] - centres, axis=-1)
    np.testing.assert_array_equal(distances.argmin(axis=1), labels)


def test_tsne_repeats_itself(blobs):
    features, _ = blobs
    first, again = (embeddings.tsne(*features, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_tsne_of_a_model_that_diverged_is_one_point(value):
    source, target = embeddings.tsne(np.full((6, 3), value), np.full((4, 3), value), seed=0)
    assert not source.any() and not target.any()
    assert source.shape == (6, 2) and target.shape == (4, 2)


def test_tsne_survives_huge_features():
    features = np.random.default_rng(0).normal(size=(20, 5)).astype("float32") * 1e30
    assert np.isfinite(embeddings.tsne(features, features, seed=0)[0]).all()


def test_sample_is_capped_seeded_and_in_order():
    np.testing.assert_array_equal(embeddings.sample(4, 10, seed=0), np.arange(4))
    chosen = embeddings.sample(1000, 10, seed=1)
    assert len(set(chosen)) == 10 and (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, embeddings.sample(1000, 10, seed=1))
    assert (chosen != embeddings.sample(1000, 10, seed=2)).any()
