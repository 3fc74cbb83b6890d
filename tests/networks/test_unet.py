"""CycleGAN's U-Net and PatchGANs: sizes, blocks, skips, what a score sees, dropout."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i import networks
from keras_i2i.errors import InputError
from keras_i2i.networks import unet
from keras_i2i.networks.convolutions import Conv2D, Conv2DTranspose
from keras_i2i.networks.normalization import InstanceNormalization

# name → filters of a stage at full width, and its stride. In a stage the first has the stride.
DOWN = {"down_1": 64, "down_2": 128, "down_3": 256}
UP = {"up_3": 128, "up_2": 64, "up_1": 64}


@pytest.fixture(scope="module")
def generator():
    """At full width."""
    keras.utils.set_random_seed(0)
    return networks.unet_generator((16, 24, 3))


@pytest.fixture(scope="module")
def discriminator():
    """At full width."""
    keras.utils.set_random_seed(0)
    return networks.patch_discriminator((32, 40, 3))


def convs(network):
    kinds = keras.layers.Conv2D, keras.layers.Conv2DTranspose
    return [layer for layer in network.layers if isinstance(layer, kinds)]


def check_block(network, name, kind, filters, stride, shape):
    """A convolution, its instance norm and its leaky ReLU, each reading the one before."""
    conv, norm, leaky = (network.get_layer(f"{name}_{part}") for part in ("conv", "norm", "leaky"))
    assert type(conv) is kind
    assert (conv.filters, conv.kernel_size, conv.strides, conv.padding, conv.use_bias) == (
        filters,
        (3, 3),
        (stride, stride),
        "same",
        False,
    )
    assert conv.activation is keras.activations.linear
    assert tuple(conv.output.shape) == (None, *shape, filters)
    assert norm.input is conv.output and leaky.input is norm.output
    assert type(norm) is InstanceNormalization and norm.groups == filters
    assert type(leaky) is keras.layers.LeakyReLU
    np.testing.assert_allclose(leaky(np.array([-1.0, 2.0])), [-0.2, 2.0], rtol=1e-6)


# The generator


def test_the_way_down_halves_three_times(generator):
    for depth, (stage, filters) in enumerate(DOWN.items(), start=1):
        shape = 16 // 2**depth, 24 // 2**depth
        for number, stride in ((1, 2), (2, 1), (3, 1)):
            check_block(generator, f"{stage}_{number}", Conv2D, filters, stride, shape)


def test_the_way_up_doubles_three_times(generator):
    for depth, (stage, filters) in zip((2, 1, 0), UP.items(), strict=True):
        shape = 16 // 2**depth, 24 // 2**depth
        transposed, plain = Conv2DTranspose, Conv2D
        check_block(generator, f"{stage}_1", transposed, filters, 2, shape)
        check_block(generator, f"{stage}_2", plain, filters, 1, shape)
        check_block(generator, f"{stage}_3", plain, filters, 1, shape)


def test_each_stage_up_sees_what_has_its_size_on_the_way_down(generator):
    skips = {
        "up_3": generator.get_layer("down_2_3_leaky").output,
        "up_2": generator.get_layer("down_1_3_leaky").output,
        "up_1": generator.inputs[0],
    }
    for stage, skip in skips.items():
        concat = generator.get_layer(f"{stage}_skip")
        own, other = concat.input
        assert own is generator.get_layer(f"{stage}_1_leaky").output
        assert other is skip
        assert generator.get_layer(f"{stage}_2_conv").input is concat.output


def test_there_is_nothing_else_but_the_last_convolution(generator):
    assert len(convs(generator)) == 3 * len(DOWN) + 3 * len(UP) + 1
    last = generator.get_layer("out")
    assert last.input is generator.get_layer("up_1_3_leaky").output
    assert (last.filters, last.kernel_size, last.strides) == (3, (3, 3), (1, 1))
    assert last.use_bias and not np.any(last.bias.numpy())
    assert generator.layers[-1].activation is keras.activations.tanh
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in generator.layers)


def test_the_last_convolution_sees_the_image_if_asked_to():
    network = networks.unet_generator((16, 16, 3), 0.05, image_skip=True)
    features, image = network.get_layer("out_skip").input
    assert features is network.get_layer("up_1_3_leaky").output
    assert image is network.inputs[0]
    assert network.get_layer("out").input is network.get_layer("out_skip").output


@pytest.mark.parametrize("shape", [(8, 8, 1), (16, 32, 3), (32, 8, 2)])
def test_images_become_images_of_their_shape_in_range(shape, randomized, noise):
    generator = randomized(networks.unet_generator(shape, 0.05))
    assert generator.output_shape == (None, *shape)
    images = generator(100 * noise(2, *shape)).numpy()
    assert images.shape == (2, *shape)
    assert np.abs(images).max() <= 1 and images.std() > 0


@pytest.mark.parametrize(
    ("stages", "down"),
    [(1, (64,)), (2, (64, 128)), (4, (64, 128, 256, 512)), (6, (64, 128, 256, 512, 512, 512))],
)
def test_a_generator_may_have_other_depths(stages, down):
    width, side = 1 / 16, 2 ** (stages + 1)
    network = networks.unet_generator((side, 2 * side, 3), width, stages=stages)
    plain = Conv2D
    sizes = [network.inputs[0]]
    for depth, filters in enumerate(down, start=1):
        shape = side // 2**depth, 2 * side // 2**depth
        for number, stride in ((1, 2), (2, 1), (3, 1)):
            check_block(network, f"down_{depth}_{number}", plain, filters // 16, stride, shape)
        sizes.append(network.get_layer(f"down_{depth}_3_leaky").output)
    for depth, filters in zip(range(stages, 0, -1), [*down[-2::-1], 64], strict=True):
        shape = side // 2 ** (depth - 1), 2 * side // 2 ** (depth - 1)
        transposed = Conv2DTranspose
        check_block(network, f"up_{depth}_1", transposed, filters // 16, 2, shape)
        for number in (2, 3):
            check_block(network, f"up_{depth}_{number}", plain, filters // 16, 1, shape)
        assert network.get_layer(f"up_{depth}_skip").input[1] is sizes[depth - 1]
    assert len(convs(network)) == 6 * stages + 1
    assert network.output_shape == (None, side, 2 * side, 3)


def cut_skip(network, stage):
    """Makes a stage up blind for what the way down has of its size, or the end for the image."""
    conv = network.get_layer("out" if stage == "out" else f"{stage}_2_conv")
    own, _ = network.get_layer(f"{stage}_skip").input
    kernel = conv.kernel.numpy()
    kernel[:, :, own.shape[-1] :] = 0
    conv.kernel.assign(kernel)


def cut_way_down(network, stage):
    """Lets nothing through from this stage on."""
    kernel = network.get_layer(f"{stage}_1_conv").kernel
    kernel.assign(np.zeros(kernel.shape))


@pytest.mark.parametrize(
    ("skips", "blind_from", "side"),
    [
        # Three 3x3 convolutions, or the last one: what the image's own skips bring is in place.
        (("out",), "down_1", 7),
        (("up_1",), "down_1", 3),
        (("out", "up_1"), "down_2", None),
        (("out", "up_1", "up_2"), "down_3", None),
        (("out", "up_1", "up_2", "up_3"), "down_3", 0),
    ],
)
def test_an_image_passes_by_each_skip(monkeypatch, randomized, noise, skips, blind_from, side):
    """Cut the way down at a stage, and all skips before it: one remains, or in the end none."""
    # Without instance norm, whose moments couple all pixels.
    monkeypatch.setattr(unet, "instance_norm", lambda name: keras.layers.Identity(name=name))
    network = randomized(networks.unet_generator((64, 64, 1), 0.05, image_skip=True))
    for stage in skips:
        cut_skip(network, stage)
    cut_way_down(network, blind_from)
    # Before tanh, which flattens the slopes of large numbers.
    network = keras.Model(network.input, network.get_layer("out").output)
    images = tf.constant(noise(1, 64, 64, 1))
    with tf.GradientTape() as tape:
        tape.watch(images)
        pixel = network(images)[0, 31, 32, 0]
    slopes = tape.gradient(pixel, images).numpy()[0, ..., 0]
    seen = [np.flatnonzero(np.any(slopes, axis=axis)) for axis in (1, 0)]
    if side in (3, 7):
        rows, columns = (range(n - side // 2, n + side // 2 + 1) for n in (31, 32))
        assert [pixels.tolist() for pixels in seen] == [[*rows], [*columns]]
    elif side == 0:
        assert not np.any(slopes)
    else:
        assert all(7 < len(pixels) < 64 for pixels in seen)


# Dropout


def test_dropout_is_on_the_first_two_stages_up_before_the_skip():
    network = networks.unet_generator((16, 16, 1), 0.05, dropout=0.3)
    drops = [layer for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    assert [(layer.name, layer.rate) for layer in drops] == [
        ("up_3_dropout", 0.3),
        ("up_2_dropout", 0.3),
    ]
    for stage, drop in zip(("up_3", "up_2"), drops, strict=True):
        assert drop.input is network.get_layer(f"{stage}_1_leaky").output
        assert network.get_layer(f"{stage}_skip").input[0] is drop.output


@pytest.mark.parametrize(
    ("stages", "dropping"), [(1, ["up_1"]), (2, ["up_2", "up_1"]), (4, ["up_4", "up_3"])]
)
def test_dropout_is_on_the_first_two_stages_up_of_any_depth(stages, dropping):
    network = networks.unet_generator((16, 16, 1), 0.05, dropout=0.3, stages=stages)
    drops = [layer.name for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    assert drops == [f"{stage}_dropout" for stage in dropping]


def test_dropout_works_in_training_and_rests_after_it(randomized, noise):
    network = randomized(networks.unet_generator((16, 16, 1), 0.05, dropout=0.5))
    plain = randomized(networks.unet_generator((16, 16, 1), 0.05))
    images = noise(2, 16, 16, 1)
    np.testing.assert_array_equal(network(images), plain(images))
    assert not np.allclose(network(images, training=True), network(images, training=True))


def test_dropout_at_inference_is_random_and_comes_again_with_the_seed(noise):
    images = noise(2, 16, 16, 1)

    def twice(seed):
        keras.utils.set_random_seed(seed)
        network = networks.unet_generator((16, 16, 1), 0.2, 0.5, dropout_at_inference=True)
        return network(images).numpy(), network(images).numpy()

    first, second = twice(1)
    assert not np.allclose(first, second)
    for one, again in zip((first, second), twice(1), strict=True):
        np.testing.assert_array_equal(one, again)
    assert not np.allclose(first, twice(2)[0])


@pytest.mark.parametrize("at_inference", [False, True])
def test_a_generator_survives_a_file(at_inference, reloaded, randomized, noise):
    network = networks.unet_generator((16, 16, 1), 0.05, 0.5, at_inference)
    # One by one: the dropouts' random states are weights that are no numbers to choose.
    for layer in convs(network):
        randomized(layer)
    again, images = reloaded(network), noise(2, 16, 16, 1)
    for one, two in zip(network.trainable_weights, again.trainable_weights, strict=True):
        np.testing.assert_array_equal(one, two)
    # What is dropped after it is another question: Keras does not save a layer's random state.
    assert np.array_equal(again(images), network(images)) is not at_inference


# The discriminator


def test_the_discriminator_has_the_papers_blocks(discriminator):
    for stage, filters in enumerate((64, 128, 256), start=1):
        shape = 32 // 2**stage, 40 // 2**stage
        check_block(discriminator, f"stage_{stage}", Conv2D, filters, 2, shape)
    last = discriminator.get_layer("scores")
    assert last.input is discriminator.get_layer("stage_3_leaky").output
    assert len(convs(discriminator)) == 4 and discriminator.layers[-1] is last
    assert last.activation is keras.activations.linear
    assert not np.any(last.bias.numpy())


@pytest.mark.parametrize(
    ("shape", "scores"),
    [((16, 16, 1), (1, 1)), ((32, 32, 3), (3, 3)), ((64, 24, 1), (7, 2)), ((20, 28, 1), (2, 3))],
)
def test_one_score_for_each_patch(shape, scores, noise):
    network = networks.patch_discriminator(shape, 0.05)
    assert network.output_shape == (None, *scores, 1)
    assert tuple(network(noise(2, *shape)).shape) == (2, *scores, 1)


def test_the_discriminator_of_larger_patches_has_the_papers_blocks():
    network = networks.patch_discriminator((64, 48, 3), 1 / 16, patch=70)
    x = network.inputs[0]
    shapes = {1: (32, 24), 2: (16, 12), 3: (8, 6), 4: (7, 5)}
    for stage, filters in enumerate((4, 8, 16, 32), start=1):
        conv, leaky = (network.get_layer(f"stage_{stage}_{part}") for part in ("conv", "leaky"))
        assert (conv.filters, conv.kernel_size) == (filters, (4, 4))
        assert conv.strides == ((1, 1) if stage == 4 else (2, 2))
        assert tuple(conv.output.shape) == (None, *shapes[stage], filters)
        assert conv.use_bias is (stage == 1)
        if stage == 4:
            padding = network.get_layer("stage_4_padding")
            assert padding.padding == ((1, 1), (1, 1)) and padding.input is x
            x = padding.output
        assert conv.input is x
        x = conv.output
        if stage > 1:
            norm = network.get_layer(f"stage_{stage}_norm")
            assert norm.input is x and norm.groups == filters
            x = norm.output
        assert leaky.input is x
        x = leaky.output
    assert not any(layer.name == "stage_1_norm" for layer in network.layers)
    last = network.get_layer("scores")
    assert (last.filters, last.kernel_size, last.strides) == (1, (4, 4), (1, 1))
    assert len(convs(network)) == 5 and network.layers[-1] is last
    for layer in convs(network):
        assert layer.kernel_initializer.stddev == 0.02


@pytest.mark.parametrize(
    ("shape", "scores"), [((24, 24, 1), (1, 1)), ((256, 256, 3), (30, 30)), ((64, 40, 1), (6, 3))]
)
def test_one_score_for_each_larger_patch(shape, scores, noise):
    """30x30 for 256x256, as published."""
    network = networks.patch_discriminator(shape, 0.02, patch=70)
    assert network.output_shape == (None, *scores, 1)
    assert tuple(network(noise(1, *shape)).shape) == (1, *scores, 1)


@pytest.mark.parametrize(
    ("patch", "side", "place"), [(23, 64, (2, 3)), (70, 128, (5, 6))], ids=["23", "70"]
)
def test_a_score_sees_its_patch(monkeypatch, randomized, noise, patch, side, place):
    # Instance norm's moments couple all pixels; what the convolutions see is asked here.
    monkeypatch.setattr(unet, "instance_norm", lambda name: keras.layers.Identity(name=name))
    network = randomized(networks.patch_discriminator((side, side, 1), 0.05, patch=patch))
    images = tf.constant(noise(1, side, side, 1))
    corners = []
    for down, right in ((0, 0), (1, 0), (1, 1)):
        with tf.GradientTape() as tape:
            tape.watch(images)
            score = network(images)[0, place[0] + down, place[1] + right, 0]
        slopes = tape.gradient(score, images).numpy()[0, ..., 0]
        seen = [np.flatnonzero(np.any(slopes, axis=axis)) for axis in (1, 0)]
        assert [pixels[-1] - pixels[0] + 1 for pixels in seen] == [patch, patch]
        corners.append([pixels[0] for pixels in seen])
    assert np.diff(corners, axis=0).tolist() == [[8, 0], [0, 8]]


def test_nothing_follows_the_scores(randomized, noise):
    network, images = (
        randomized(networks.patch_discriminator((16, 16, 1), 0.05)),
        noise(2, 16, 16, 1),
    )
    scores = network(images).numpy()
    for shift in (-50.0, 50.0):
        network.layers[-1].bias.assign_add([shift])
        np.testing.assert_allclose(network(images), scores + shift, rtol=1e-4)
        network.layers[-1].bias.assign_add([-shift])


@pytest.mark.parametrize("patch", unet.PATCHES)
def test_a_discriminator_survives_a_file(patch, reloaded, randomized, noise):
    network = randomized(networks.patch_discriminator((24, 24, 1), 0.05, patch=patch))
    images = noise(2, 24, 24, 1)
    np.testing.assert_array_equal(reloaded(network)(images), network(images))


# Both


def test_all_kernels_start_from_a_narrow_gaussian(generator, discriminator):
    for network in (generator, discriminator):
        for layer in convs(network):
            kernel = layer.kernel.numpy().ravel()
            error = 0.02 / np.sqrt(kernel.size)
            assert abs(kernel.mean()) < 4.5 * error, layer.name
            assert abs(kernel.std() - 0.02) < 4.5 * error / np.sqrt(2), layer.name
            if kernel.size > 1000:
                # Not truncated: 4.55% of a Gaussian lie beyond two deviations.
                beyond = np.mean(np.abs(kernel) > 0.04)
                assert abs(beyond - 0.0455) < 4.5 * np.sqrt(0.0455 / kernel.size), layer.name


def test_no_two_kernels_start_alike(generator):
    firsts = [layer.kernel.numpy().ravel()[0] for layer in convs(generator)]
    assert len(set(firsts)) == len(firsts)


@pytest.mark.parametrize("training", [False, True])
def test_an_image_does_not_depend_on_its_batch(training, randomized, noise):
    for build in (networks.unet_generator, networks.patch_discriminator):
        network, x = randomized(build((16, 16, 1), 0.05)), noise(3, 16, 16, 1)
        alone = np.concatenate([network(x[i : i + 1], training=training) for i in range(3)])
        np.testing.assert_allclose(network(x, training=training), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: networks.unet_generator((20, 16, 1)), r"multiples of 8.*\(20, 16, 1\)"),
        (lambda: networks.unet_generator((16, 12, 1)), r"multiples of 8.*\(16, 12, 1\)"),
        (lambda: networks.unet_generator((0, 0, 1)), r"multiples of 8.*\(0, 0, 1\)"),
        (lambda: networks.unet_generator((16, 16)), r"\(H, W, C\).*\(16, 16\)"),
        (lambda: networks.unet_generator((16, 16, 1), dropout=1), r"\[0, 1\). Received: 1$"),
        (lambda: networks.unet_generator((16, 16, 1), dropout=-0.1), "-0.1"),
        (lambda: networks.unet_generator((16, 16, 1), dropout=float("nan")), "nan"),
        (lambda: networks.unet_generator((16, 16, 1), 0), "width=0"),
        (
            lambda: networks.unet_generator((32, 48, 1), stages=5),
            r"5 times.*multiples of 32.*\(128, 128, 3\).*\(32, 48, 1\)",
        ),
        (lambda: networks.unet_generator((16, 16, 1), stages=0), "stages=0"),
        (lambda: networks.patch_discriminator((15, 16, 1)), r"16x16.*\(15, 16, 1\)"),
        (lambda: networks.patch_discriminator((32, 8, 1)), r"16x16.*\(32, 8, 1\)"),
        (lambda: networks.patch_discriminator((16, 16)), r"\(H, W, C\).*\(16, 16\)"),
        (lambda: networks.patch_discriminator((16, 16, 1), -1), "width=-1"),
        (lambda: networks.patch_discriminator((23, 64, 1), patch=70), r"24x24.*\(23, 64, 1\)"),
        (lambda: networks.patch_discriminator((32, 32, 1), patch=16), "23 or 70.*patch=16"),
    ],
)
def test_a_wrong_argument_is_named(build, message):
    with pytest.raises(InputError, match=message):
        build()
