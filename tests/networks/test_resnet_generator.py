"""CycleGAN's residual generator: the paper's layers, re-derived; reflection at the borders."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i import networks
from keras_i2i.errors import InputError
from keras_i2i.networks.resnet_generator import ReflectionPadding2D


@pytest.fixture(scope="module")
def generator():
    """At full width, of two blocks."""
    keras.utils.set_random_seed(0)
    return networks.resnet_generator((16, 24, 3), blocks=2)


def convs(network):
    kinds = keras.layers.Conv2D, keras.layers.Conv2DTranspose
    return [layer for layer in network.layers if isinstance(layer, kinds)]


def test_it_has_the_papers_layers(generator):
    expected = [
        ("first_conv", 64, 7, 1),
        ("down_1_conv", 128, 3, 2),
        ("down_2_conv", 256, 3, 2),
        *((f"block_{block}_{part}_conv", 256, 3, 1) for block in (1, 2) for part in (1, 2)),
        ("up_1_conv", 128, 3, 2),
        ("up_2_conv", 64, 3, 2),
        ("out", 3, 7, 1),
    ]
    found = convs(generator)
    assert [(c.name, c.filters, c.kernel_size[0], c.strides[0]) for c in found] == expected
    assert [c.name for c in found if isinstance(c, keras.layers.Conv2DTranspose)] == [
        "up_1_conv",
        "up_2_conv",
    ]
    norms = [n for n in generator.layers if isinstance(n, keras.layers.GroupNormalization)]
    assert [n.groups for n in norms] == [c.filters for c in found[:-1]]
    assert [c.name for c in found if c.use_bias] == ["out"]


def test_it_has_the_papers_number_of_weights():
    # Zhu et al.'s for 256x256: kernels, an instance norm's scale and offset, the last bias.
    kernels = 49 * 3 * 64 + 9 * 64 * 128 + 9 * 128 * 256 + 18 * 9 * 256**2
    kernels += 9 * 256 * 128 + 9 * 128 * 64 + 49 * 64 * 3
    norms = 2 * (64 + 128 + 256 + 18 * 256 + 128 + 64)
    assert networks.resnet_generator((256, 256, 3)).count_params() == kernels + norms + 3


@pytest.mark.parametrize(
    ("shape", "blocks"),
    [((128, 128, 1), 6), ((252, 256, 1), 6), ((256, 256, 1), 9), ((512, 256, 1), 9)],
)
def test_larger_images_have_more_blocks(shape, blocks):
    network = networks.resnet_generator(shape, 0.01)
    assert sum(isinstance(layer, keras.layers.Add) for layer in network.layers) == blocks
    assert network.output_shape == (None, *shape)


def test_it_is_what_the_papers_say(randomized, noise):
    """The whole network once more, in TensorFlow and numpy."""
    network = randomized(networks.resnet_generator((8, 12, 2), 0.05, blocks=2))
    x = noise(2, 8, 12, 2)

    def kernel(name):
        return network.get_layer(name).kernel.numpy()

    def convolution(x, name, border):
        x = np.pad(x, ((0, 0), (border, border), (border, border), (0, 0)), mode="reflect")
        return tf.nn.conv2d(x, kernel(name), 1, "VALID").numpy()

    def normalized(x, name, relu=True):
        norm = network.get_layer(name)
        mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
        x = norm.gamma.numpy() * (x - mean) / np.sqrt(variance + 1e-3) + norm.beta.numpy()
        return np.maximum(x, 0) if relu else x

    expected = normalized(convolution(x, "first_conv", 3), "first_norm")
    for stage in (1, 2):
        expected = tf.nn.conv2d(expected, kernel(f"down_{stage}_conv"), 2, "SAME").numpy()
        expected = normalized(expected, f"down_{stage}_norm")
    for block in ("block_1", "block_2"):
        y = normalized(convolution(expected, f"{block}_1_conv", 1), f"{block}_1_norm")
        y = normalized(convolution(y, f"{block}_2_conv", 1), f"{block}_2_norm", relu=False)
        expected = expected + y
    for stage in (1, 2):
        weights = kernel(f"up_{stage}_conv")
        n, height, width, _ = expected.shape
        shape = n, 2 * height, 2 * width, weights.shape[2]
        expected = tf.nn.conv2d_transpose(expected, weights, shape, 2, "SAME").numpy()
        expected = normalized(expected, f"up_{stage}_norm")
    expected = convolution(expected, "out", 3) + network.get_layer("out").bias.numpy()

    before_tanh = keras.Model(network.input, network.get_layer("out").output)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(before_tanh(x), expected, atol=1e-5 * scale)
    np.testing.assert_allclose(network(x), np.tanh(before_tanh(x)), atol=1e-6)


def test_without_blocks_it_only_resamples(noise):
    network = networks.resnet_generator((8, 8, 1), 0.05, blocks=0)
    assert not any("block" in layer.name for layer in network.layers)
    assert tuple(network(noise(1, 8, 8, 1)).shape) == (1, 8, 8, 1)


@pytest.mark.parametrize("shape", [(8, 8, 1), (12, 20, 3)])
def test_images_become_images_of_their_shape_in_range(shape, noise):
    network = networks.resnet_generator(shape, 0.05, blocks=1)
    last = network.get_layer("out").kernel
    last.assign(1e4 * last)
    images = network(noise(2, *shape)).numpy()
    assert images.shape == (2, *shape)
    assert np.abs(images).max() <= 1
    assert np.ptp(images) > 1, "both ends of the range are in reach"


def test_all_kernels_start_from_a_narrow_gaussian(generator):
    firsts = set()
    for layer in convs(generator):
        values = layer.kernel.numpy().ravel()
        error = 0.02 / np.sqrt(values.size)
        assert abs(values.mean()) < 4.5 * error, layer.name
        assert abs(values.std() - 0.02) < 4.5 * error / np.sqrt(2), layer.name
        firsts.add(values[0])
    assert len(firsts) == len(convs(generator)), "no two start alike"


@pytest.mark.parametrize("training", [False, True])
def test_an_image_does_not_depend_on_its_batch(training, randomized, noise):
    network = randomized(networks.resnet_generator((8, 8, 1), 0.05, blocks=1))
    x = noise(3, 8, 8, 1)
    alone = np.concatenate([network(x[i : i + 1], training=training) for i in range(3)])
    np.testing.assert_allclose(network(x, training=training), alone, rtol=1e-4, atol=1e-5)


def test_it_survives_a_file(reloaded, randomized, noise):
    network = randomized(networks.resnet_generator((8, 8, 1), 0.05, blocks=1))
    images = noise(2, 8, 8, 1)
    np.testing.assert_array_equal(reloaded(network)(images), network(images))


def test_images_are_float32_in_mixed_precision(noise):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = networks.resnet_generator((8, 8, 1), 0.05, blocks=1)
    finally:
        keras.config.set_dtype_policy(before)
    assert network.get_layer("first_conv").compute_dtype == "bfloat16"
    assert network(noise(1, 8, 8, 1)).dtype == "float32"


# The padding


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_padding_mirrors_without_repeating_the_border(padding, noise):
    x = noise(2, 4, 5, 3)
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = ReflectionPadding2D(padding)(x)
    np.testing.assert_array_equal(padded, np.pad(x, sides, mode="reflect"))


def test_padding_knows_its_shape_and_takes_any():
    layer = ReflectionPadding2D(2)
    assert layer(keras.Input((4, 5, 3))).shape == (None, 8, 9, 3)
    assert layer(keras.Input((None, None, 3))).shape == (None, None, None, 3)
    assert ReflectionPadding2D.from_config(layer.get_config()).padding == 2


def test_a_mirrored_pixel_has_several_gradients():
    x = tf.reshape(tf.range(4.0), (1, 1, 4, 1)) * tf.ones((1, 3, 1, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(ReflectionPadding2D(1)(x))
    expected = np.outer([1, 3, 1], [1, 2, 2, 1])
    np.testing.assert_array_equal(tape.gradient(total, x)[0, ..., 0], expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: networks.resnet_generator((10, 8, 1)), r"multiples of 4.*\(10, 8, 1\)"),
        (lambda: networks.resnet_generator((8, 4, 1)), r"at least 8.*\(8, 4, 1\)"),
        (lambda: networks.resnet_generator((8, 8)), r"\(H, W, C\).*\(8, 8\)"),
        (lambda: networks.resnet_generator((8, 8, 1), blocks=-1), "blocks.*-1"),
        (lambda: networks.resnet_generator((8, 8, 1), 0), "width=0"),
    ],
)
def test_a_wrong_argument_is_named(build, message):
    with pytest.raises(InputError, match=message):
        build()
