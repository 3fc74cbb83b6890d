"""Encoders: the paper's sizes, and how two of them share weights."""

import itertools

import keras
import numpy as np
import pytest

from keras_i2i import networks
from keras_i2i.errors import InputError


def norms(network):
    return [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]


def conv_then_norm(kernel, into, out):
    """Parameters of a convolution without bias and of its batch norm's four vectors."""
    return kernel**2 * into * out + 4 * out


@pytest.mark.parametrize("channels", [1, 3])
def test_lenet_has_the_papers_filters(channels):
    encoder = networks.lenet_encoder((32, 32, channels))
    sizes = [channels, 64, 64, 128, 128]
    expected = sum(conv_then_norm(4, *pair) for pair in itertools.pairwise(sizes))
    assert encoder.count_params() == expected
    assert encoder.output_shape == (None, 2, 2, 128)


def test_densenet_has_the_documented_layers():
    encoder = networks.densenet_encoder((32, 32, 1))
    depth, expected = 24, 3 * 3 * 1 * 24  # the stem: 3x3, twice the growth rate
    for block in range(4):
        for _ in range(6):
            expected += 4 * depth + depth * 48  # norm, then the 1x1 bottleneck
            expected += 4 * 48 + 3 * 3 * 48 * 12  # norm, then the 3x3
            depth += 12
        if block < 3:
            expected += 4 * depth + depth * (depth // 2)
            depth //= 2
    expected += 4 * depth
    assert encoder.count_params() == expected
    assert encoder.output_shape == (None, 2, 2, depth)


@pytest.mark.parametrize("name", networks.ENCODERS)
@pytest.mark.parametrize(("shape", "width"), [((16, 16, 1), 0.25), ((48, 32, 3), 0.1)])
def test_features_are_a_sixteenth_of_the_image(name, shape, width, noise):
    encoder = networks.build_encoder(name, shape, width)
    features = encoder(noise(2, *shape))
    assert tuple(features.shape[:3]) == (2, shape[0] // 16, shape[1] // 16)
    assert tuple(features.shape[1:]) == encoder.output_shape[1:]


@pytest.mark.parametrize(("width", "depth"), [(0.5, 64), (0.25, 32), (0.001, 1)])
def test_width_scales_the_filters_and_leaves_at_least_one(width, depth):
    assert networks.lenet_encoder((16, 16, 1), width).output_shape[-1] == depth


@pytest.mark.parametrize("name", networks.ENCODERS)
def test_an_encoder_survives_a_file(name, reloaded, randomized, noise):
    encoder = randomized(networks.build_encoder(name, (16, 16, 1), 0.1))
    images = noise(2, 16, 16, 1)
    np.testing.assert_array_equal(reloaded(encoder)(images), encoder(images))


def test_a_users_model_is_taken_as_it_is():
    images = keras.Input((32, 32, 1))
    own = keras.Model(images, keras.layers.Conv2D(5, 16, 16)(images))
    assert networks.build_encoder(own, (32, 32, 1)) is own


def test_encoder_config_brings_a_users_model_back():
    assert networks.encoder_config("lenet") == "lenet"
    images = keras.Input((16, 16, 1))
    own = keras.Model(images, keras.layers.Conv2D(5, 16, 16, name="mine")(images), name="own")
    again = networks.build_encoder(networks.encoder_config(own), (16, 16, 1))
    assert again.name == "own"
    assert [v.path for v in again.weights] == [v.path for v in own.weights]


# second_encoder


@pytest.fixture
def encoder(randomized):
    return randomized(networks.lenet_encoder((16, 16, 1), 0.05))


def test_sharing_all_is_one_network(encoder):
    assert networks.second_encoder(encoder, "all") is encoder


def test_sharing_all_but_batch_norm_shares_filters_only(encoder):
    other = networks.second_encoder(encoder, "all_but_batch_norm")
    for stage in (1, 2, 3, 4):
        assert other.get_layer(f"conv_{stage}") is encoder.get_layer(f"conv_{stage}")
        assert other.get_layer(f"norm_{stage}") is not encoder.get_layer(f"norm_{stage}")


def test_sharing_none_shares_nothing(encoder):
    other = networks.second_encoder(encoder, "none")
    assert not {id(w) for w in encoder.weights} & {id(w) for w in other.weights}


@pytest.mark.parametrize("sharing", networks.SHARING)
def test_both_encoders_start_out_equal(encoder, sharing, noise):
    other = networks.second_encoder(encoder, sharing)
    for one, two in zip(encoder.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    images = noise(3, 16, 16, 1)
    np.testing.assert_array_equal(encoder(images), other(images))


@pytest.mark.parametrize("sharing", ["all_but_batch_norm", "none"])
def test_separate_batch_norms_keep_separate_statistics(encoder, sharing, noise):
    other = networks.second_encoder(encoder, sharing)
    before = [w.numpy() for norm in norms(encoder) for w in norm.weights]
    other(noise(3, 16, 16, 1) + 0.5, training=True)
    after = [w.numpy() for norm in norms(encoder) for w in norm.weights]
    np.testing.assert_array_equal(np.concatenate(before), np.concatenate(after))
    assert not np.allclose(norms(other)[0].moving_mean, norms(encoder)[0].moving_mean)


def test_batch_norms_inside_a_users_nested_network_are_ones_own_too():
    inner_in = keras.Input((16, 16, 2))
    inner = keras.Model(inner_in, keras.layers.BatchNormalization()(inner_in), name="backbone")
    images = keras.Input((16, 16, 1))
    x = inner(keras.layers.Conv2D(2, 3, padding="same")(images))
    encoder = keras.Model(images, keras.layers.AveragePooling2D(16)(x))
    other = networks.second_encoder(encoder, "all_but_batch_norm")
    ours = {id(w) for w in norms(encoder.get_layer("backbone"))[0].weights}
    theirs = {id(w) for w in norms(other.get_layer("backbone"))[0].weights}
    assert not ours & theirs


@pytest.mark.parametrize("sharing", networks.SHARING)
def test_a_second_encoder_survives_a_file(encoder, sharing, reloaded, noise):
    other = networks.second_encoder(encoder, sharing)
    images = noise(2, 16, 16, 1)
    np.testing.assert_array_equal(reloaded(other)(images), other(images))


# Errors


@pytest.mark.parametrize("name", networks.ENCODERS)
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 24, 1), (32, 32)])
def test_an_image_that_cannot_be_halved_four_times_is_named(name, shape):
    with pytest.raises(InputError, match=r"multiples of 16.*Received: \(") as error:
        networks.build_encoder(name, shape)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("width", [0, -1, float("nan")])
def test_a_width_must_be_positive(width):
    with pytest.raises(InputError, match=f"width={width}"):
        networks.lenet_encoder((16, 16, 1), width)


def test_an_unknown_encoder_is_named():
    with pytest.raises(InputError, match=r"'resnet'.*densenet, lenet"):
        networks.build_encoder("resnet", (32, 32, 1))


@pytest.mark.parametrize(("side", "stride"), [(16, 16), (32, 8)])
def test_a_users_model_of_another_shape_is_named(side, stride):
    images = keras.Input((side, side, 1))
    own = keras.Model(images, keras.layers.Conv2D(5, stride, stride)(images))
    with pytest.raises(InputError, match=rf"\(None, 32, 32, 1\).*Received: \(None, {side}"):
        networks.build_encoder(own, (32, 32, 1))


def test_unknown_sharing_is_named(encoder):
    with pytest.raises(InputError, match=r"all, all_but_batch_norm, none.*'some'"):
        networks.second_encoder(encoder, "some")
