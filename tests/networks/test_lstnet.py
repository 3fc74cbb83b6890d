"""LSTNet's networks: Table 1 of the paper row by row, at the paper's sizes and at others."""

import keras
import numpy as np
import pytest

from keras_i2i.errors import InputError
from keras_i2i.networks import lstnet as networks
from keras_i2i.networks.lstnet import FIRST, SECOND
from keras_i2i.networks.normalization import BatchNormalization

# Table 1, for domain 1 and for domain 2: filters, kernel, stride, padding, and the side of the
# result. Discriminators: filters, kernel, padding, the pooling's stride, and the side after it.
ENTRY = {
    FIRST: [
        (64, 7, 1, "same", 28),
        (128, 5, 2, "same", 14),
        (256, 3, 2, "same", 7),
        (512, 3, 1, "same", 7),
    ],
    SECOND: [
        (64, 7, 1, "same", 16),
        (128, 5, 2, "same", 8),
        (256, 3, 1, "same", 8),
        (512, 2, 1, "valid", 7),
    ],
}
ENCODER_TRUNK = [(256, 3, 1, "same", 7), (128, 3, 1, "same", 7)]
DECODER_TRUNK = [(128, 3, 1, "same", 7), (256, 3, 1, "same", 7)]
BRANCH = {
    FIRST: [
        (512, 3, 1, "same", 7),
        (256, 3, 2, "same", 14),
        (128, 5, 2, "same", 28),
        (64, 7, 1, "same", 28),
    ],
    SECOND: [
        (512, 2, 1, "valid", 8),
        (256, 3, 2, "same", 16),
        (128, 5, 1, "same", 16),
        (64, 7, 1, "same", 16),
    ],
}
DISCRIMINATOR = {
    FIRST: [
        (64, 3, "same", 1, 28),
        (128, 3, "same", 2, 14),
        (256, 5, "same", 2, 7),
        (512, 3, "same", 2, 4),
    ],
    SECOND: [
        (64, 3, "same", 1, 16),
        (128, 3, "same", 1, 16),
        (256, 5, "same", 2, 8),
        (512, 2, "valid", 2, 4),
    ],
}
LATENT_DISCRIMINATOR = [
    (256, 3, "same", 1, 7),
    (512, 3, "same", 2, 4),
    (256, 3, "same", 1, 4),
]
SHAPE = {FIRST: (28, 28, 1), SECOND: (16, 16, 1)}
COLUMNS = pytest.mark.parametrize("column", [FIRST, SECOND], ids=["first", "second"])


def blocks(network, rows, first, kind):
    """Checks a network's convolutions, each with its norm and leak, from layer `first` on."""
    for number, (filters, kernel, stride, padding, side) in enumerate(rows, start=first):
        conv = network.get_layer(f"conv_{number}")
        assert type(conv) is kind
        assert (conv.filters, conv.kernel_size, conv.strides, conv.padding) == (
            filters,
            (kernel, kernel),
            (stride, stride),
            padding,
        ), number
        assert tuple(conv.output.shape) == (None, side, side, filters), number
        norm, leaky = network.get_layer(f"norm_{number}"), network.get_layer(f"leaky_{number}")
        assert type(norm) is BatchNormalization and norm.momentum == 0.9
        assert type(leaky) is keras.layers.LeakyReLU
        np.testing.assert_allclose(leaky(np.array([-1.0, 2.0])), [-0.2, 2.0], rtol=1e-6)
    convs = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    convs += [layer for layer in network.layers if type(layer) is keras.layers.Conv2DTranspose]
    return len({layer.name for layer in convs}) - len(rows)


def pools(network, rows):
    """Checks a discriminator's convolutions, each with its leak and pool, and its last layer."""
    for number, (filters, kernel, padding, stride, side) in enumerate(rows, start=1):
        conv, pool = network.get_layer(f"conv_{number}"), network.get_layer(f"pool_{number}")
        assert (conv.filters, conv.kernel_size, conv.strides, conv.padding) == (
            filters,
            (kernel, kernel),
            (1, 1),
            padding,
        ), number
        assert (pool.pool_size, pool.strides, pool.padding) == (
            (2, 2),
            (stride, stride),
            "same",
        ), number
        assert tuple(pool.output.shape) == (None, side, side, filters), number
        # The leak lies between them.
        assert pool.input is network.get_layer(f"leaky_{number}").output
    assert not any(isinstance(x, keras.layers.BatchNormalization) for x in network.layers)
    assert type(network.layers[-1]) is keras.layers.Dense and network.output_shape == (None, 1)
    assert network.layers[-1].activation is keras.activations.linear


@COLUMNS
def test_the_encoders_are_the_papers(column):
    entry = networks.lstnet_entry(SHAPE[column], column)
    assert blocks(entry, ENTRY[column], 1, keras.layers.Conv2D) == 0
    trunk = networks.lstnet_encoder_trunk(entry.output_shape[1:])
    assert blocks(trunk, ENCODER_TRUNK, 5, keras.layers.Conv2D) == 0
    assert trunk.output_shape == (None, 7, 7, 128)


@COLUMNS
def test_the_generators_are_the_papers(column):
    trunk = networks.lstnet_decoder_trunk((7, 7, 128))
    transposed = keras.layers.Conv2DTranspose
    assert blocks(trunk, DECODER_TRUNK, 1, transposed) == 0
    branch = networks.lstnet_branch(trunk.output_shape[1:], 1, column)
    assert blocks(branch, BRANCH[column], 3, transposed) == 1
    last = branch.get_layer("conv_7")
    assert (type(last), last.filters, last.kernel_size, last.strides) == (
        transposed,
        1,
        (1, 1),
        (1, 1),
    )
    assert branch.output_shape == (None, *SHAPE[column])


@COLUMNS
def test_the_discriminators_are_the_papers(column):
    pools(networks.lstnet_discriminator(SHAPE[column], column), DISCRIMINATOR[column])


def test_the_latent_discriminator_is_the_papers():
    pools(networks.lstnet_latent_discriminator((7, 7, 128)), LATENT_DISCRIMINATOR)


@pytest.mark.parametrize(
    ("source", "target", "columns", "latent"),
    [
        (28, 16, (FIRST, SECOND), 7),
        (16, 28, (SECOND, FIRST), 7),
        (28, 28, (FIRST, FIRST), 7),
        (32, 18, (FIRST, SECOND), 8),
        (32, 32, (FIRST, FIRST), 8),
        (16, 16, (FIRST, FIRST), 4),
        (6, 8, (SECOND, FIRST), 2),
    ],
)
def test_both_sides_lead_to_one_latent_and_back(source, target, columns, latent, noise):
    shapes = (source, source, 3), (target, target, 1)
    assert networks.lstnet_columns(*shapes) == columns
    for shape, column in zip(shapes, columns, strict=True):
        images = noise(2, *shape)
        features = networks.lstnet_entry(shape, column, 0.02)(images)
        latents = networks.lstnet_encoder_trunk(features.shape[1:], 0.02)(features)
        assert tuple(latents.shape) == (2, latent, latent, 3)
        trunk = networks.lstnet_decoder_trunk(latents.shape[1:], 0.02)(latents)
        made = networks.lstnet_branch(trunk.shape[1:], shape[-1], column, 0.02)(trunk)
        assert made.shape == images.shape
        assert networks.lstnet_discriminator(shape, column, 0.02)(images).shape == (2, 1)
        assert networks.lstnet_latent_discriminator(latents.shape[1:], 0.02)(latents).shape == (
            2,
            1,
        )


@pytest.mark.parametrize(
    "shapes",
    [
        ((28, 28, 1), (17, 17, 1)),
        ((28, 28, 1), (32, 32, 1)),
        ((30, 30, 1), (16, 16, 1)),
        ((18, 18, 1), (18, 18, 1)),
        ((28, 16, 1), (28, 28, 1)),
        ((28, 28, 1), (16, 16)),
        ((4, 4, 1), (4, 4, 1)),
        ((0, 0, 1), (0, 0, 1)),
    ],
)
def test_sizes_that_do_not_fit_are_named(shapes):
    with pytest.raises(InputError, match="28 with 28 or 16") as error:
        networks.lstnet_columns(*shapes)
    assert str(error.value).endswith(f"Received: {shapes[0]} and {shapes[1]}")


def test_images_are_in_range(randomized, noise):
    branch = randomized(networks.lstnet_branch((2, 2, 3), 2, FIRST, 0.05))
    images = branch(noise(2, 2, 2, 3) * 100).numpy()
    assert np.abs(images).max() <= 1 and images.std() > 0


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: networks.lstnet_discriminator((10, 10, 2), SECOND, 0.05), (10, 10, 2)),
        (lambda: networks.lstnet_latent_discriminator((4, 4, 3), 0.05), (4, 4, 3)),
    ],
    ids=["image", "latent"],
)
def test_nothing_follows_a_discriminators_last_layer(build, shape, randomized, noise):
    network, x = randomized(build()), noise(2, *shape)
    scores = network(x).numpy()
    for shift in (-50.0, 50.0):
        network.layers[-1].bias.assign_add([shift])
        np.testing.assert_allclose(network(x), scores + shift, rtol=1e-4)
        network.layers[-1].bias.assign_add([-shift])


@pytest.mark.parametrize(
    "build",
    [
        lambda: networks.lstnet_entry((8, 8, 1), FIRST, 0),
        lambda: networks.lstnet_encoder_trunk((2, 2, 3), 0),
        lambda: networks.lstnet_decoder_trunk((2, 2, 3), 0),
        lambda: networks.lstnet_branch((2, 2, 3), 1, FIRST, 0),
        lambda: networks.lstnet_discriminator((8, 8, 1), FIRST, 0),
        lambda: networks.lstnet_latent_discriminator((2, 2, 3), 0),
    ],
)
def test_a_width_that_is_not_positive_is_named(build):
    with pytest.raises(InputError, match="width=0"):
        build()
