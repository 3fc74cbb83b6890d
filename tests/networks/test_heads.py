"""The classification head: one dense layer."""

import numpy as np

from keras_i2i import networks


def test_the_head_is_linear_in_the_flattened_features(randomized, noise):
    head = randomized(networks.classification_head((2, 2, 3), 5))
    features = noise(4, 2, 2, 3)
    kernel, bias = head.get_weights()
    assert kernel.shape == (12, 5)
    np.testing.assert_allclose(
        head(features), features.reshape(4, 12) @ kernel + bias, rtol=1e-4, atol=1e-5
    )


def test_the_head_survives_a_file(reloaded, randomized, noise):
    head = randomized(networks.classification_head((1, 1, 3), 2))
    features = noise(2, 1, 1, 3)
    np.testing.assert_array_equal(reloaded(head)(features), head(features))
