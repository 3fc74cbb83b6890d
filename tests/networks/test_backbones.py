"""Backbones: exact dilation, weights, and all that has to survive files and clones."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_i2i.errors import InputError
from keras_i2i.networks import backbones
from keras_i2i.networks.backbones import BACKBONES, DilatedPooling2D, backbone
from keras_i2i.networks.encoders import second_encoder

# A few layers of each kind stand in for the real architectures where depth does not matter.
TINY = {
    "resnet18": {"stackwise_filters": [64, 8, 8, 16], "stackwise_blocks": [1, 1, 1, 1]},
    "resnet50": {"stackwise_filters": [4, 4, 8, 8], "stackwise_blocks": [1, 1, 1, 1]},
    "resnet50_v2": {"stackwise_filters": [4, 4, 8, 8], "stackwise_blocks": [2, 2, 2, 2]},
    "densenet121": {"stackwise_num_repeats": [1, 1, 1, 1], "growth_rate": 4},
}


def change(monkeypatch, name, **arguments):
    architecture = BACKBONES[name]
    changed = architecture._replace(arguments=architecture.arguments | arguments)
    monkeypatch.setitem(BACKBONES, name, changed)


@pytest.fixture
def tiny(monkeypatch):
    for name, arguments in TINY.items():
        change(monkeypatch, name, **arguments)


def with_statistics(network, seed=0):
    """Gives all batch norms moments, scales and offsets that matter."""
    rng = np.random.default_rng(seed)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = (rng.uniform(-0.5, 0.5, w.shape) for w in layer.weights)
            layer.set_weights([1 + gamma, beta, mean, 1 + variance])
        elif layer.weights and layer.weights[-1].path.endswith("bias"):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, rng.uniform(-0.5, 0.5, bias.shape)])
    return network


def assert_close(actual, expected):
    actual, expected = np.array(actual), np.array(expected)
    assert actual.shape == expected.shape
    assert expected.std() > 0
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


# --- Architectures


def test_the_number_in_a_name_counts_its_layers():
    for name, (constructor, arguments, _) in BACKBONES.items():
        if constructor == "DenseNetBackbone":
            # Two convolutions each, the stem, three transitions, the classifier that is left out.
            depth = 2 * sum(arguments["stackwise_num_repeats"]) + 1 + 3 + 1
        else:
            each = 2 if arguments["block_type"] == "basic_block" else 3
            depth = each * sum(arguments["stackwise_blocks"]) + 1 + 1
        assert f"{depth}" in name


def test_resnet18_has_the_published_number_of_parameters():
    import keras_cv

    network = backbone("resnet18", (None, None, 3))
    published = keras_cv.models.ResNetBackbone.presets["resnet18"]["metadata"]["params"]
    assert network.count_params() == published
    assert network.output_shape == (None, None, None, 512)


@pytest.mark.parametrize(
    ("name", "width", "features"), [("resnet18", 0.5, 8), ("resnet50", 0.5, 16)]
)
def test_width_multiplies_the_filters_of_a_resnet(tiny, name, width, features):
    network = backbone(name, (64, 32, 2), width=width)
    assert network.output_shape == (None, 2, 1, features)
    assert network.get_layer("conv1_conv").filters == 64


def test_width_multiplies_the_growth_of_a_densenet(tiny):
    network = backbone("densenet121", (32, 32, 3), width=0.5)
    assert network.get_layer("conv2_block_0_2_conv").filters == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "vgg"}, "Unknown backbone 'vgg'. Known are: resnet18"),
        ({"image_shape": (32, 28, 3)}, r"at least 32x32 .* Received: \(32, 28, 3\)"),
        ({"image_shape": (32, 32)}, r"Received: \(32, 32\)"),
        ({"output_stride": 4}, "one of 32, 16, 8. Received: 4"),
        ({"width": 0}, "Received: width=0"),
        ({"preprocessing": "caffe"}, "one of unit, imagenet, symmetric. Received: 'caffe'"),
        ({"preprocessing": "imagenet", "image_shape": (32, 32, 2)}, "images of 2 channels"),
        ({"weights": "imagenet", "image_shape": (32, 32, 4)}, "images of 4 channels"),
        ({"weights": "imagenet", "width": 0.5}, "of width 1. Received: width=0.5"),
        ({"weights": "mine.keras"}, '"unit" .* "imagenet" .* "symmetric"'),
        ({"weights": "mine.keras", "preprocessing": "unit"}, "There is no weights file mine.keras"),
        ({"weights": "imagenet"}, "no ImageNet weights for resnet18. It has for: resnet50, "),
    ],
)
def test_refuses_what_it_cannot_use(arguments, message):
    with pytest.raises(InputError, match=message):
        backbone(**{"name": "resnet18", "image_shape": (32, 32, 3)} | arguments)


# --- Output stride


def assert_dilation_is_exact(plain, dilated, output_stride, noise):
    assert [w.path for w in plain.weights] == [w.path for w in dilated.weights]
    with_statistics(plain)
    dilated.set_weights(plain.get_weights())
    images = noise(2, 96, 64, 3)
    factor = 32 // output_stride
    features = np.array(dilated(images, training=False))
    assert features.shape[1:3] == (96 // output_stride, 64 // output_stride)
    assert_close(features[:, ::factor, ::factor], plain(images, training=False))


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [
        ("resnet18", 8),
        ("resnet50", 8),
        ("resnet50_v2", 16),
        ("densenet121", 16),
        ("densenet121", 8),
    ],
)
def test_dilated_features_hold_the_plain_ones(tiny, name, output_stride, noise):
    plain = backbone(name, (None, None, 3))
    dilated = backbone(name, (None, None, 3), output_stride)
    assert_dilation_is_exact(plain, dilated, output_stride, noise)


def test_dilation_is_exact_in_a_real_network(noise):
    plain = backbone("resnet18", (96, 64, 3), width=0.125)
    dilated = backbone("resnet18", (96, 64, 3), 8, width=0.125)
    assert_dilation_is_exact(plain, dilated, 8, noise)


@pytest.mark.parametrize("output_stride", [16, 8, 2])
def test_dilation_is_exact_for_any_window(output_stride, noise):
    images = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 4, 2, "same")(images)
    x = layers.MaxPooling2D(3, 2, "same")(x)
    x = layers.DepthwiseConv2D(3, 2, "same")(x)
    x = layers.AveragePooling2D(3, 2, "same")(x)
    x = layers.DepthwiseConv2D(5, 1, "same")(x)
    x = layers.MaxPooling2D(3, 1, "same")(x)
    x = layers.Conv2D(4, (2, 3), 2, "same")(x)
    x = layers.Conv2D(4, (3, 4), 1, "same")(x)
    network = keras.Model(images, layers.AveragePooling2D((2, 3), 1, "same")(x))

    def rebuilt(stride):
        images = keras.Input((None, None, 3))
        return keras.Model(images, backbones._rebuilt(network, images, stride, False))

    assert_dilation_is_exact(rebuilt(32), rebuilt(output_stride), output_stride, noise)


def test_dilated_pooling_by_hand():
    x = np.arange(1.0, 6.0, dtype="float32").reshape(1, 5, 1, 1)
    expected = {
        # x[p - 2], x[p], x[p + 2], as far as there is such a p.
        ("max", 1): [3, 4, 5, 4, 5],
        ("average", 1): [2, 3, 3, 3, 4],
        # x[p], x[p + 2], x[p + 4].
        ("average", 0): [3, 3, 4, 4, 5],
    }
    for (mode, before), values in expected.items():
        pooled = DilatedPooling2D((3, 1), (before, 0), 2, mode)(x)
        np.testing.assert_allclose(np.ravel(pooled), values)


# --- The whole graph


def everything(name="densenet121", image_shape=(None, None, 1)):
    network = backbone(
        name,
        image_shape,
        8,
        preprocessing="imagenet",
        anti_gridding=True,
        freeze_batch_norm=True,
        model_name="backbone",
    )
    return with_statistics(network)


@pytest.mark.parametrize("name", TINY)
def test_reads_back_from_a_file(tiny, name, noise, reloaded):
    network, images = everything(name), noise(2, 32, 64, 1)
    again = reloaded(network)
    np.testing.assert_array_equal(network(images), again(images))
    names = [v.path for v in network.trainable_variables]
    assert [v.path for v in again.trainable_variables] == names
    assert network.name == "backbone"
    assert network.input.name == "images"


@pytest.mark.parametrize("sharing", ["all_but_batch_norm", "none"])
def test_has_a_target_encoder(tiny, sharing, noise):
    network, images = everything("resnet50"), noise(2, 32, 32, 1)
    other = second_encoder(network, sharing)
    np.testing.assert_array_equal(network(images), other(images))
    assert len(other.trainable_variables) == len(network.trainable_variables)


def test_reads_back_from_its_config(tiny):
    network = everything("resnet18")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
    assert again.get_config() == network.get_config()


def test_anti_gridding_adds_two_dilated_convolutions(tiny):
    plain = backbone("densenet121", (64, 64, 3), 8)
    smoothed = backbone("densenet121", (64, 64, 3), 8, anti_gridding=True)
    assert smoothed.output_shape == plain.output_shape
    added = smoothed.layers[len(plain.layers) :]
    assert [type(layer).__name__ for layer in added] == 2 * [
        "Conv2D",
        "BatchNormalization",
        "ReLU",
    ]
    assert [layer.dilation_rate for layer in (added[0], added[3])] == [(2, 2), (1, 1)]


def test_anti_gridding_has_512_filters_at_most(monkeypatch):
    change(monkeypatch, "resnet50", stackwise_blocks=[1, 1, 1, 1])
    assert backbone("resnet50", (32, 32, 3), anti_gridding=True).output_shape[-1] == 512


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_batch_norms_keep_everything_in_training(tiny, frozen, noise, reloaded):
    options = {"anti_gridding": True, "freeze_batch_norm": frozen}
    network = reloaded(with_statistics(backbone("resnet18", (32, 32, 3), 8, **options)))
    before = {w.path: np.array(w) for w in network.weights}
    network.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    network.train_on_batch(noise(4, 32, 32, 3), noise(4, *network.output_shape[1:]))
    kept = {w.path for w in network.weights if np.array_equal(np.array(w), before[w.path])}
    norms = {
        w.path
        for layer in network.layers
        if isinstance(layer, layers.BatchNormalization)
        for w in layer.weights
        if not layer.name.startswith("anti_gridding")
    }
    assert kept == (norms if frozen else set())


# --- Pixels


@pytest.mark.parametrize("preprocessing", ["unit", "imagenet"])
def test_preprocessing(tiny, preprocessing, noise):
    images = noise(2, 32, 32, 3)
    unit = (images + 1) / 2
    expected = {
        "unit": unit,
        "imagenet": (unit - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    }[preprocessing]
    network = backbone("resnet18", (32, 32, 3), preprocessing=preprocessing)
    pixels = keras.Model(network.input, network.get_layer("preprocessing").output)
    np.testing.assert_allclose(pixels(images), expected, rtol=1e-5, atol=1e-6)
    assert not pixels.weights


# --- Weights

SUFFIXES = ".weights.h5", ".keras"


@pytest.fixture(scope="module")
def source():
    with pytest.MonkeyPatch.context() as monkeypatch:
        change(monkeypatch, "resnet50", **TINY["resnet50"])
        return with_statistics(backbone("resnet50", (None, None, 3)))


def saved(network, path):
    if path.suffix == ".keras":
        network.save(path)
    else:
        network.save_weights(path)
    return path


def assert_has_weights_of(network, source, noise):
    """`network`, of output stride 8 and preprocessing "unit", is `source` on a finer grid."""
    images = noise(2, 32, 64, 3)
    assert_close(network(images)[:, ::4, ::4], source((images + 1) / 2))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_from_a_file(tiny, source, suffix, tmp_path, noise):
    options = {"anti_gridding": True, "freeze_batch_norm": True}
    dilated = backbone("resnet50", (64, 64, 1), 16, preprocessing="imagenet", **options)
    dilated.set_weights(source.get_weights() + dilated.get_weights()[len(source.weights) :])
    path = saved(dilated, tmp_path / f"resnet{suffix}")
    network = backbone("resnet50", (None, None, 3), 8, weights=path, preprocessing="unit")
    assert_has_weights_of(network, source, noise)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_from_a_file_of_keras_cv(tiny, source, suffix, tmp_path, noise):
    theirs = backbones._plain("resnet50", 3, 1.0)
    theirs.set_weights(source.get_weights())
    path = str(saved(theirs, tmp_path / f"resnet{suffix}"))
    network = backbone("resnet50", (32, 64, 3), 8, weights=path, preprocessing="unit")
    assert_has_weights_of(network, source, noise)


def test_a_gray_image_is_repeated_for_weights(tiny, source, tmp_path, noise):
    path = saved(source, tmp_path / "resnet.weights.h5")
    network = backbone("resnet50", (32, 32, 1), weights=path, preprocessing="symmetric")
    images = noise(2, 32, 32, 1)
    assert_close(network(images), source(np.repeat(images, 3, -1)))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_of_another_backbone_are_refused(tiny, source, suffix, tmp_path, monkeypatch):
    def assert_refused(name, path, **changed):
        with monkeypatch.context() as changing:
            change(changing, name, **changed)
            with pytest.raises(InputError, match=f"of another backbone|weights of a {name}"):
                backbone(name, (32, 32, 3), weights=path, preprocessing="unit")

    path = saved(source, tmp_path / f"color{suffix}")
    assert_refused("densenet121", path)
    assert_refused("resnet50", path, stackwise_blocks=[1, 1, 2, 1])
    gray = saved(backbone("resnet50", (32, 32, 1)), tmp_path / f"gray{suffix}")
    assert_refused("resnet50", gray)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_broken_file_is_refused(tiny, suffix, tmp_path):
    path = tmp_path / f"network{suffix}"
    path.write_text("nothing")
    with pytest.raises(InputError, match="does not hold weights of a resnet18"):
        backbone("resnet18", (32, 32, 3), weights=path, preprocessing="unit")


# --- ImageNet


def test_weights_of_keras_cv(tiny, source, tmp_path, monkeypatch, noise):
    import kagglehub
    import keras_cv
    from keras_cv.src.utils.preset_utils import save_to_preset

    # As published: the network expects pixels in [0, 255].
    theirs = keras_cv.models.ResNetBackbone(
        **BACKBONES["resnet50"].arguments, include_rescaling=True
    )
    theirs.set_weights(source.get_weights())
    save_to_preset(theirs, tmp_path)
    fetched = []

    def fetch(handle, path):
        fetched.append(handle)
        return str(tmp_path / path)

    monkeypatch.setattr(kagglehub, "model_download", fetch)
    network = backbone("resnet50", (None, None, 3), 8, weights="imagenet")
    assert set(fetched) == {"keras/resnetv1/keras/resnet50_imagenet/2"}
    assert_has_weights_of(network, source, noise)
    images = noise(2, 32, 32, 3)
    assert_close(network(images)[:, ::4, ::4], theirs((images + 1) * 127.5))


@pytest.mark.parametrize("error", [OSError("no route to host"), SystemError("403")])
def test_tells_what_a_missing_network_means(tiny, error, monkeypatch):
    import kagglehub

    def fail(*_):
        raise error

    monkeypatch.setattr(kagglehub, "model_download", fail)
    with pytest.raises(InputError, match=rf"resnet50_imagenet from Kaggle: .*{error}.* \.keras"):
        backbone("resnet50", (32, 32, 3), weights="imagenet")
