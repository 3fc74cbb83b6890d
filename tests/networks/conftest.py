"""What the tests of networks share."""

import keras
import numpy as np
import pytest


@pytest.fixture
def reloaded(tmp_path):
    """Saves a network to a file and reads it back."""

    def reload(network):
        network.save(tmp_path / "network.keras")
        return keras.models.load_model(tmp_path / "network.keras")

    return reload


@pytest.fixture
def randomized():
    """Gives a network random weights, so that no statistic is one and no bias zero."""

    def randomize(network, seed=0):
        rng = np.random.default_rng(seed)
        network.set_weights(
            [rng.uniform(0.1, 0.9, w.shape) - 0.3 * (w.ndim > 1) for w in network.get_weights()]
        )
        return network

    return randomize


@pytest.fixture
def noise():
    """`noise(batch, *shape)` in [-1, 1]."""
    rng = np.random.default_rng(3)
    return lambda *shape: rng.uniform(-1, 1, shape).astype("float32")
