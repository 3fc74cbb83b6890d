"""Decoders: the paper's sizes, images at the end."""

import numpy as np
import pytest

from keras_i2i import networks


def test_the_trunk_has_the_papers_first_two_layers():
    trunk = networks.decoder_trunk((2, 2, 128))
    assert trunk.count_params() == (16 * 128 * 512 + 4 * 512) + (16 * 512 * 256 + 4 * 256)
    assert trunk.output_shape == (None, 8, 8, 256)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_branch_has_the_papers_last_two_layers(channels):
    branch = networks.decoder_branch((8, 8, 256), channels)
    assert branch.count_params() == (16 * 256 * 128 + 4 * 128) + (16 * 128 * channels + channels)
    assert branch.output_shape == (None, 32, 32, channels)


@pytest.mark.parametrize(("shape", "width"), [((1, 1, 7), 0.05), ((3, 2, 4), 0.02)])
def test_a_decoder_undoes_an_encoders_sixteenth(shape, width, noise):
    trunk = networks.decoder_trunk(shape, width)
    branch = networks.decoder_branch(trunk.output_shape[1:], 3, width)
    assert trunk.output_shape[-1] == round(256 * width)
    images = branch(trunk(noise(2, *shape)))
    assert tuple(images.shape) == (2, 16 * shape[0], 16 * shape[1], 3)


def test_images_stay_in_range_however_large_the_features(randomized, noise):
    branch = randomized(networks.decoder_branch((4, 4, 3), 1, 0.05))
    images = branch(1e3 * noise(4, 4, 4, 3)).numpy()
    assert images.min() >= -1 and images.max() <= 1
    assert np.ptp(images) > 1, "both ends of the range are in reach"


def test_both_parts_survive_a_file(reloaded, randomized, noise):
    for network, shape in (
        (networks.decoder_trunk((1, 1, 6), 0.02), (1, 1, 6)),
        (networks.decoder_branch((4, 4, 3), 2, 0.05), (4, 4, 3)),
    ):
        features = noise(2, *shape)
        np.testing.assert_array_equal(reloaded(randomized(network))(features), network(features))
