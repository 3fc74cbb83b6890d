"""The Domain Transfer Network's networks: the text's sizes, any image's shape, what ends them."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.errors import InputError
from keras_i2i.networks.domain_transfer import (
    NETWORKS,
    domain_transfer_encoder,
    domain_transfer_generator,
    face_discriminator,
    face_generator,
    fitted,
    ternary_discriminator,
)


def convolutions(kernel, *sizes, bias=0, norm=0):
    """Parameters of a chain of convolutions, `bias` and `norm` for each filter."""
    pairs = itertools.pairwise(sizes)
    return sum(kernel**2 * into * out + (bias + norm) * out for into, out in pairs)


@pytest.mark.parametrize("channels", [1, 3])
def test_digit_networks_have_the_texts_filters(channels):
    shape = (32, 32, channels)
    f = domain_transfer_encoder(shape)
    assert f.output_shape == (None, 1, 1, 128)
    assert f.count_params() == convolutions(2, channels, 64, 128, 256, bias=1) + convolutions(
        4, 256, 128, bias=1
    )
    g = domain_transfer_generator((1, 1, 128), shape)
    assert g.output_shape == (None, *shape)
    assert g.count_params() == convolutions(4, 128, 512, 256, 128, norm=4) + convolutions(
        4, 128, channels, bias=1
    )
    d = ternary_discriminator(shape)
    assert d.output_shape == (None, 3)
    assert d.count_params() == convolutions(3, channels, 128, 256, 512, norm=4) + convolutions(
        4, 512, 3, bias=1
    )


def test_face_networks_have_the_texts_filters():
    g = face_generator((512,))
    ups = (512, 512, 256, 128, 64, 32)
    mixes = sum(convolutions(1, filters, filters, bias=1) for filters in ups[1:])
    assert g.output_shape == (None, 96, 96, 3)
    assert g.get_layer("tanh").output.shape == (None, 64, 64, 3)
    assert g.count_params() == convolutions(4, *ups, norm=4) + mixes + convolutions(
        4, 32, 3, bias=1
    )
    d = face_discriminator()
    assert d.count_params() == convolutions(3, 3, 64, 128, 256, 128, 64, norm=4) + convolutions(
        3, 64, 3, bias=1
    )


@pytest.mark.parametrize("shape", [(32, 32, 1), (32, 32, 3), (64, 64, 1), (16, 24, 3)])
def test_digit_networks_fit_every_size(shape, noise):
    f = domain_transfer_encoder(shape, 0.05)
    assert f.output_shape == (None, 1, 1, 6)
    images = domain_transfer_generator(f.output_shape[1:], shape, 0.05)(f(noise(2, *shape)))
    assert images.shape == (2, *shape)
    assert ternary_discriminator(shape, 0.05)(images).shape == (2, 3)


@pytest.mark.parametrize("shape", [(96, 96, 3), (64, 64, 3), (32, 32, 1), (50, 70, 3)])
def test_face_networks_fit_every_size(shape, noise):
    images = face_generator((5,), shape, 0.05)(noise(2, 5))
    assert images.shape == (2, *shape)
    assert face_discriminator(shape, 0.05)(images).shape == (2, 3)


@pytest.mark.parametrize("build", [domain_transfer_generator, face_generator])
@pytest.mark.parametrize("feature_shape", [(6,), (1, 1, 6), (2, 3, 1)])
def test_features_of_any_shape_are_flattened(build, feature_shape, noise):
    network = build(feature_shape, (32, 32, 1), 0.02)
    flat = build((6,), (32, 32, 1), 0.02)
    flat.set_weights(network.get_weights())
    z = noise(2, *feature_shape)
    np.testing.assert_array_equal(network(z), flat(z.reshape(2, 6)))


@pytest.mark.parametrize("networks", NETWORKS)
def test_generators_give_images_between_minus_one_and_one(networks, noise):
    generator = NETWORKS[networks][0]((4,), (32, 32, 1), 0.05)
    images = np.array(generator(1000 * noise(3, 4)))
    assert images.dtype == "float32" and np.abs(images).max() <= 1
    assert images.min() < 0 < images.max(), "no ReLU before the tanh"


@pytest.mark.parametrize("networks", NETWORKS)
def test_nothing_follows_a_discriminators_last_layer(networks, randomized, noise):
    network = randomized(NETWORKS[networks][1]((32, 32, 1), 0.02))
    x = noise(2, 32, 32, 1)
    logits = np.array(network(x))
    shift = np.array([-50.0, 0.0, 50.0], "float32")
    network.layers[-2].bias.assign_add(shift)
    np.testing.assert_allclose(network(x), logits + shift, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("networks", "stages"), [("digits", 3), ("faces", 5)])
def test_discriminators_leak_a_fifth(networks, stages):
    network = NETWORKS[networks][1]((32, 32, 1), 0.02)
    leaks = [layer for layer in network.layers if "leaky" in layer.name]
    assert len(leaks) == stages
    for layer in leaks:
        np.testing.assert_allclose(layer(np.array([-1.0, 2.0])), [-0.2, 2.0], rtol=1e-6)


@pytest.mark.parametrize("networks", NETWORKS)
def test_networks_survive_a_file(networks, reloaded, randomized, noise):
    build_generator, build_discriminator = NETWORKS[networks]
    generator = randomized(build_generator((4,), (32, 32, 1), 0.05))
    discriminator = randomized(build_discriminator((32, 32, 1), 0.05))
    z, x = noise(2, 4), noise(2, 32, 32, 1)
    np.testing.assert_array_equal(reloaded(generator)(z), generator(z))
    np.testing.assert_array_equal(reloaded(discriminator)(x), discriminator(x))


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 20, 1), (0, 8, 1), (32, 32)])
def test_sides_that_cannot_be_halved_are_named(shape):
    for build in (domain_transfer_encoder, lambda s: domain_transfer_generator((4,), s)):
        with pytest.raises(InputError, match=r"multiples of 8.*Received: \(\d+, \d+"):
            build(shape)


# Images between the domains' shapes


def test_images_that_fit_are_left_alone(noise):
    images = tf.constant(noise(2, 8, 8, 3))
    assert fitted(images, (8, 8, 3)) is images


def test_color_turns_gray_by_luma_and_gray_to_color_by_repetition():
    color = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], "float32").reshape(1, 2, 2, 3)
    gray = fitted(color, (2, 2, 1))
    np.testing.assert_allclose(np.ravel(gray), [0.2989, 0.5870, 0.1140, 0.9999], rtol=1e-6)
    np.testing.assert_array_equal(fitted(gray, (2, 2, 3)), np.repeat(gray, 3, axis=-1))


@pytest.mark.parametrize("shape", [(16, 16, 3), (4, 4, 3), (16, 4, 1)])
def test_sizes_change_as_in_preprocessing(shape, noise):
    images = noise(2, 8, 8, 3)
    expected = tf.image.rgb_to_grayscale(images) if shape[-1] == 1 else images
    expected = tf.image.resize(expected, shape[:2], antialias=True)
    np.testing.assert_allclose(fitted(images, shape), expected, atol=1e-6)


def test_xla_can_compile_a_change_of_size(noise):
    images = tf.constant(noise(2, 12, 20, 3))
    compiled = tf.function(lambda x: fitted(x, (16, 8, 1)), jit_compile=True)
    np.testing.assert_allclose(compiled(images), fitted(images, (16, 8, 1)), atol=1e-6)


@pytest.mark.parametrize(("given", "wanted"), [((8, 8, 1), (4, 4, 3)), ((4, 4, 3), (8, 8, 1))])
def test_gradients_pass(given, wanted, noise):
    images = tf.constant(noise(1, *given))
    with tf.GradientTape() as tape:
        tape.watch(images)
        result = tf.reduce_sum(fitted(images, wanted))
    assert (tape.gradient(result, images).numpy() > 0).all()
