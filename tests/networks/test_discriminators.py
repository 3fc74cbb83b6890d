"""Discriminators: the paper's sizes, raw scores at the end."""

import itertools

import numpy as np
import pytest

from keras_i2i import networks


def image_discriminator():
    return networks.image_discriminator((32, 32, 1), 0.05), (32, 32, 1)


def feature_discriminator():
    return networks.feature_discriminator((2, 2, 3), 0.02), (2, 2, 3)


BOTH = [image_discriminator, feature_discriminator]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_image_discriminator_has_the_papers_filters(channels):
    sizes = [channels, 64, 128, 256]
    expected = 16 * 256 * 1 + 1
    for into, out in itertools.pairwise(sizes):
        expected += 16 * into * out + out + 2 * out  # kernel, bias; the norm's scale and offset
    network = networks.image_discriminator((32, 32, channels))
    assert network.count_params() == expected
    assert network.output_shape == (None, 2, 2, 1)


def test_the_feature_discriminator_has_the_papers_units():
    network = networks.feature_discriminator((2, 2, 128))
    assert network.count_params() == (512 * 500 + 500) + (500 * 500 + 500) + (500 + 1)
    assert network.output_shape == (None, 1)


@pytest.mark.parametrize(("side", "patches"), [(16, 1), (64, 4)])
def test_one_score_for_each_patch(side, patches, noise):
    network = networks.image_discriminator((side, side, 1), 0.05)
    assert tuple(network(noise(3, side, side, 1)).shape) == (3, patches, patches, 1)


@pytest.mark.parametrize("build", BOTH)
def test_nothing_follows_the_last_layer(build, randomized, noise):
    """A nonlinearity would bend, a normalization would remove, what its bias adds to the score."""
    network, shape = build()
    x = noise(2, *shape)
    scores = randomized(network)(x).numpy()
    bias = network.layers[-1].bias
    for shift in (-50.0, 50.0):
        bias.assign_add([shift])
        np.testing.assert_allclose(network(x), scores + shift, rtol=1e-4)
        bias.assign_add([-shift])


@pytest.mark.parametrize("build", BOTH)
def test_an_images_score_does_not_depend_on_its_batch(build, randomized, noise):
    network, shape = build()
    x = noise(3, *shape)
    randomized(network)
    alone = np.concatenate([network(x[i : i + 1], training=True) for i in range(3)])
    np.testing.assert_allclose(network(x, training=True), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("build", BOTH)
def test_hidden_layers_leak_a_fifth(build):
    leaks = [x for x in build()[0].layers if "leaky" in x.name]
    assert len(leaks) == {"image_discriminator": 3, "feature_discriminator": 2}[build.__name__]
    for layer in leaks:
        np.testing.assert_allclose(layer(np.array([-1.0, 2.0])), [-0.2, 2.0], rtol=1e-6)


@pytest.mark.parametrize("build", BOTH)
def test_a_discriminator_survives_a_file(build, reloaded, randomized, noise):
    network, shape = build()
    x = noise(2, *shape)
    np.testing.assert_array_equal(reloaded(randomized(network))(x), network(x))
