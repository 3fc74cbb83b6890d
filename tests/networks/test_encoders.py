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


@pytest.mark.parametrize("channels", [1, 3])
def test_generate_to_adapt_has_the_papers_layers(channels):
    encoder = networks.generate_to_adapt_encoder((32, 32, channels))
    # 32 → 28 → 14 → 10 → 5; the third convolution sees all 5x5, then a dense layer.
    rows = [
        ("conv_1", (5, 5), channels, 64, 28),
        ("conv_2", (5, 5), 64, 64, 10),
        ("conv_3", (5, 5), 64, 128, 1),
        ("dense", (1, 1), 128, 128, 1),
    ]
    for name, kernel, into, filters, side in rows:
        layer = encoder.get_layer(name)
        assert layer.kernel.shape == (*kernel, into, filters)
        assert layer.use_bias and layer.activation is keras.activations.relu
        assert tuple(layer.output.shape) == (None, side, side, filters)
    for number, side in ((1, 14), (2, 5)):
        pool = encoder.get_layer(f"pool_{number}")
        assert type(pool) is keras.layers.MaxPooling2D and pool.pool_size == (2, 2)
        assert tuple(pool.output.shape) == (None, side, side, 64)
        assert pool.input is encoder.get_layer(f"conv_{number}").output
    assert len(encoder.layers) == 1 + 4 + 2
    assert encoder.output_shape == (None, 1, 1, 128)


def test_generate_to_adapts_last_layer_is_a_dense_one(randomized, noise):
    encoder = randomized(networks.generate_to_adapt_encoder((16, 20, 1), 0.05))
    images = noise(3, 16, 20, 1)
    inner = keras.Model(encoder.input, encoder.get_layer("conv_3").output)
    kernel, bias = encoder.get_layer("dense").get_weights()
    expected = np.maximum(np.reshape(inner(images), (3, -1)) @ kernel[0, 0] + bias, 0)
    np.testing.assert_allclose(np.reshape(encoder(images), (3, -1)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "features"),
    [
        ("lenet", (16, 16, 1), (1, 1)),
        ("lenet", (48, 32, 3), (3, 2)),
        ("lenet", (28, 33, 1), (2, 3)),  # rounded up
        ("densenet", (16, 16, 1), (1, 1)),
        ("densenet", (48, 32, 3), (3, 2)),
        ("densenet", (28, 33, 1), (1, 2)),  # rounded down
        ("generate_to_adapt", (16, 16, 1), (1, 1)),
        ("generate_to_adapt", (48, 32, 3), (1, 1)),
        ("generate_to_adapt", (28, 33, 1), (1, 1)),
    ],
)
def test_features_have_the_documented_size(name, shape, features, noise):
    encoder = networks.build_encoder(name, shape, 0.1)
    found = encoder(noise(2, *shape))
    assert tuple(found.shape[:3]) == (2, *features)
    assert tuple(found.shape[1:]) == encoder.output_shape[1:]


@pytest.mark.parametrize("name", ["lenet", "densenet"])
@pytest.mark.parametrize("side", range(17, 32, 3))
def test_any_size_has_its_features(name, side):
    expected = -(-side // 16) if name == "lenet" else side // 16
    encoder = networks.build_encoder(name, (side, 16, 1), 0.01)
    assert encoder.output_shape[1:3] == (expected, 1)


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


@pytest.mark.parametrize("name", ["lenet", "densenet", "generate_to_adapt"])
@pytest.mark.parametrize("shape", [(15, 16, 1), (32, 8, 1), (32, 32)])
def test_an_image_that_is_too_small_is_named(name, shape):
    with pytest.raises(InputError, match=r"at least 16x16.*Received: \(") as error:
        networks.build_encoder(name, shape)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("width", [0, -1, float("nan")])
def test_a_width_must_be_positive(width):
    with pytest.raises(InputError, match=f"width={width}"):
        networks.lenet_encoder((16, 16, 1), width)


def test_an_unknown_encoder_is_named():
    with pytest.raises(InputError, match=r"'resnet'.*densenet, .*generate_to_adapt, lenet"):
        networks.build_encoder("resnet", (32, 32, 1))


def users_model(shape, flat=False):
    images = keras.Input(shape)
    x = keras.layers.Conv2D(5, 8, 8)(images)
    return keras.Model(images, keras.layers.Flatten()(x) if flat else x, name="own")


@pytest.mark.parametrize(
    "own",
    [users_model((16, 32, 1)), users_model((32, 32, 3)), users_model((32, 32, 1), flat=True)],
    ids=["another size", "another number of channels", "no map"],
)
def test_a_users_model_of_another_shape_is_named(own):
    with pytest.raises(InputError, match=r"\(None, 32, 32, 1\).*Received: ") as error:
        networks.build_encoder(own, (32, 32, 1))
    assert f"Received: {own.input_shape} → {own.output_shape}" in str(error.value)


@pytest.mark.parametrize("shape", [(32, 32, 1), (28, 20, 3), (8, 8, 1)])
def test_a_users_model_may_have_any_size_and_stride(shape):
    own = users_model(shape)
    assert networks.build_encoder(own, shape) is own


def test_unknown_sharing_is_named(encoder):
    with pytest.raises(InputError, match=r"all, all_but_batch_norm, none.*'some'"):
        networks.second_encoder(encoder, "some")


# load_encoder


def test_a_users_encoder_is_read_from_its_file(randomized, noise, tmp_path, monkeypatch):
    own = randomized(users_model((16, 16, 1)))
    own.compile("adam", "mse")
    own.save(tmp_path / "encoder.keras")
    images = noise(2, 16, 16, 1)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (tmp_path / "encoder.keras", str(tmp_path / "encoder.keras"), "~/encoder.keras"):
        loaded = networks.load_encoder(path)
        assert loaded.name == "own" and not loaded.compiled
        np.testing.assert_array_equal(loaded(images), own(images))
        assert networks.build_encoder(loaded, (16, 16, 1)) is loaded


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "none.keras", tmp_path):
        with pytest.raises(InputError, match=f"no encoder file {path}"):
            networks.load_encoder(path)


@pytest.mark.parametrize("name", ["encoder.keras", "encoder.h5", "encoder.txt", "encoder"])
def test_a_file_that_is_no_model_is_named(name, tmp_path):
    (tmp_path / name).write_text("no model")
    with pytest.raises(InputError, match=f"{name} is no model that Keras can read: .+ Save it"):
        networks.load_encoder(tmp_path / name)


def test_a_truncated_file_is_named(tmp_path):
    users_model((16, 16, 1)).save(tmp_path / "whole.keras")
    whole = (tmp_path / "whole.keras").read_bytes()
    (tmp_path / "half.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"half.keras is no model"):
        networks.load_encoder(tmp_path / "half.keras")


def test_a_file_with_an_unknown_layer_is_named(tmp_path):
    class Mine(keras.layers.Layer):
        def call(self, x):
            return x

    images = keras.Input((16, 16, 1))
    keras.Model(images, Mine()(images)).save(tmp_path / "mine.keras")
    with pytest.raises(InputError, match=r"mine.keras is no model.*registered"):
        networks.load_encoder(tmp_path / "mine.keras")
