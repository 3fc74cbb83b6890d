"""Discriminators: the paper's sizes, raw scores at the end."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_i2i import networks
from keras_i2i.errors import InputError


def image_discriminator():
    return networks.image_discriminator((32, 32, 1), 0.05), (32, 32, 1)


def feature_discriminator():
    return networks.feature_discriminator((2, 2, 3), 0.02), (2, 2, 3)


def convolutional_discriminator():
    return networks.feature_discriminator((2, 2, 3), 0.02, kind="convolutional"), (2, 2, 3)


ALL = [image_discriminator, feature_discriminator, convolutional_discriminator]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_image_discriminator_has_the_papers_filters(channels):
    sizes = [channels, 64, 128, 256]
    expected = 16 * 256 * 1 + 1
    for into, out in itertools.pairwise(sizes):
        expected += 16 * into * out + 2 * out  # kernel; the norm's scale and offset
    network = networks.image_discriminator((32, 32, channels))
    assert network.count_params() == expected
    assert network.output_shape == (None, 2, 2, 1)


def test_the_feature_discriminator_has_the_papers_units():
    network = networks.feature_discriminator((2, 2, 128))
    assert network.count_params() == (512 * 500 + 500) + (500 * 500 + 500) + (500 + 1)
    assert network.output_shape == (None, 1)


def test_the_convolutional_discriminator_has_the_papers_features():
    network = networks.feature_discriminator((7, 7, 512), kind="convolutional")
    assert network.count_params() == (512 * 500 + 500) + (500 * 500 + 500) + (500 + 1)
    assert network.output_shape == (None, 7, 7, 1)


def test_the_convolutional_discriminator_is_the_dense_one_at_each_position(randomized, noise):
    free = networks.feature_discriminator((None, None, 3), 0.02, kind="convolutional")
    randomized(free)
    dense = networks.feature_discriminator((1, 1, 3), 0.02)
    dense.set_weights([w.reshape(w.shape[-2:]) for w in free.get_weights()])
    x = noise(2, 4, 5, 3)
    scores = free(x)
    assert tuple(scores.shape) == (2, 4, 5, 1)
    np.testing.assert_allclose(
        np.reshape(scores, (40, 1)), dense(x.reshape(40, 1, 1, 3)), rtol=1e-5, atol=1e-6
    )


def test_an_unknown_kind_is_named():
    with pytest.raises(InputError, match=r"dense or convolutional.*'conv'"):
        networks.feature_discriminator((2, 2, 3), kind="conv")


def test_the_image_discriminator_takes_images_of_any_size(randomized, noise):
    free = randomized(networks.image_discriminator((None, None, 2), 0.05))
    assert free.output_shape == (None, None, None, 1)
    for shape in ((16, 48, 2), (32, 16, 2)):
        fixed = networks.image_discriminator(shape, 0.05)
        fixed.set_weights(free.get_weights())
        images = tf.constant(noise(2, *shape))
        np.testing.assert_allclose(free(images), fixed(images), rtol=1e-5, atol=1e-6)


def test_a_gradient_penalty_can_be_asked_of_images_of_any_size(randomized, noise):
    """Gradients of gradients, traced without a size."""
    network = randomized(networks.image_discriminator((None, None, 1), 0.05))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1), "float32")])
    def slopes(images):
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(images)
                score = tf.reduce_sum(network(images))
            length = tf.norm(inner.gradient(score, images))
        return outer.gradient(length, network.trainable_variables[0].value)

    assert np.any(slopes(noise(1, 16, 32, 1)).numpy())


@pytest.mark.parametrize(("side", "patches"), [(16, 1), (64, 4)])
def test_one_score_for_each_patch(side, patches, noise):
    network = networks.image_discriminator((side, side, 1), 0.05)
    assert tuple(network(noise(3, side, side, 1)).shape) == (3, patches, patches, 1)


@pytest.mark.parametrize("build", ALL)
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


@pytest.mark.parametrize("build", ALL)
def test_an_images_score_does_not_depend_on_its_batch(build, randomized, noise):
    network, shape = build()
    x = noise(3, *shape)
    randomized(network)
    alone = np.concatenate([network(x[i : i + 1], training=True) for i in range(3)])
    np.testing.assert_allclose(network(x, training=True), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("build", ALL)
def test_hidden_layers_leak_a_fifth(build):
    leaks = [x for x in build()[0].layers if "leaky" in x.name]
    assert len(leaks) == (3 if build is image_discriminator else 2)
    for layer in leaks:
        np.testing.assert_allclose(layer(np.array([-1.0, 2.0])), [-0.2, 2.0], rtol=1e-6)


@pytest.mark.parametrize("build", ALL)
def test_a_discriminator_survives_a_file(build, reloaded, randomized, noise):
    network, shape = build()
    x = noise(2, *shape)
    np.testing.assert_array_equal(reloaded(randomized(network))(x), network(x))
