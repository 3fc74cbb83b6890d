"""Decoders: the paper's sizes for every stride, images at the end."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i import networks
from keras_i2i.errors import InputError
from keras_i2i.networks.normalization import BatchNormalization

UP, PLAIN = (keras.layers.Conv2DTranspose, 4, 2), (keras.layers.Conv2D, 3, 1)
# stride → the layers of trunk and branch: their kind, kernel and stride; filters, 3 the channels.
PAPER = {
    8: ([(*PLAIN, 512), (*UP, 256)], [(*UP, 128), (*UP, 3)]),
    16: ([(*UP, 512), (*UP, 256)], [(*UP, 128), (*UP, 3)]),
    32: ([(*UP, 512), (*UP, 256)], [(*UP, 128), (*UP, 64), (*UP, 3)]),
}


def test_the_trunk_has_the_papers_first_two_layers():
    trunk = networks.decoder_trunk((2, 2, 128))
    assert trunk.count_params() == (16 * 128 * 512 + 4 * 512) + (16 * 512 * 256 + 4 * 256)
    assert trunk.output_shape == (None, 8, 8, 256)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_branch_has_the_papers_last_two_layers(channels):
    branch = networks.decoder_branch((8, 8, 256), channels)
    assert branch.count_params() == (16 * 256 * 128 + 4 * 128) + (16 * 128 * channels + channels)
    assert branch.output_shape == (None, 32, 32, channels)


@pytest.mark.parametrize("stride", networks.DECODER_STRIDES)
def test_each_stride_has_the_papers_layers_one_after_the_other(stride):
    trunk = networks.decoder_trunk((2, 3, 16), stride=stride)
    branch = networks.decoder_branch(trunk.output_shape[1:], 3, stride=stride)
    number = 0
    for network, paper in zip((trunk, branch), PAPER[stride], strict=True):
        x = network.input
        for kind, kernel, step, filters in paper:
            number += 1
            conv = network.get_layer(f"conv_{number}")
            assert isinstance(conv, kind) and conv.input is x
            assert (conv.kernel_size, conv.strides) == ((kernel, kernel), (step, step))
            assert (conv.filters, conv.padding) == (filters, "same")
            assert conv.activation is keras.activations.linear
            x = conv.output
            if filters > 3:
                assert not conv.use_bias
                norm, relu = (network.get_layer(f"{part}_{number}") for part in ("norm", "relu"))
                assert type(norm) is BatchNormalization and norm.input is x
                assert type(relu) is keras.layers.ReLU and relu.input is norm.output
                x = relu.output
        if network is branch:
            assert conv.use_bias
            tanh = network.get_layer("tanh")
            assert tanh.activation is keras.activations.tanh and tanh.input is x
            x = tanh.output
        assert network.output is x
    assert trunk.output_shape == (None, *{8: (4, 6)}.get(stride, (8, 12)), 256)
    assert branch.output_shape == (None, 2 * stride, 3 * stride, 3)


def test_stride_16_has_the_names_of_files_written_before_there_were_others():
    names = ["conv_{}", "norm_{}", "relu_{}"]
    trunk, branch = networks.decoder_trunk((2, 2, 4)), networks.decoder_branch((8, 8, 4), 1)
    assert [layer.name for layer in trunk.layers] == [
        "features", *(name.format(number) for number in (1, 2) for name in names),
    ]  # fmt: skip
    assert [layer.name for layer in branch.layers] == [
        "trunk_features", *(name.format(3) for name in names), "conv_4", "tanh",
    ]  # fmt: skip


@pytest.mark.parametrize("stride", networks.DECODER_STRIDES)
@pytest.mark.parametrize(("shape", "width"), [((1, 1, 7), 0.05), ((3, 2, 4), 0.02)])
def test_a_decoder_undoes_an_encoders_stride(shape, width, stride, noise):
    trunk = networks.decoder_trunk(shape, width, stride=stride)
    branch = networks.decoder_branch(trunk.output_shape[1:], 3, width, stride=stride)
    assert trunk.output_shape[-1] == round(256 * width)
    images = branch(trunk(noise(2, *shape)))
    assert tuple(images.shape) == (2, stride * shape[0], stride * shape[1], 3)


@pytest.mark.parametrize("stride", networks.DECODER_STRIDES)
def test_a_decoder_of_any_size_is_that_of_each_size(stride, randomized, noise):
    def build(height, width):
        trunk = networks.decoder_trunk((height, width, 4), 0.02, stride=stride)
        trunk_shape = trunk.output_shape[1:]
        return trunk, networks.decoder_branch(trunk_shape, 2, 0.02, stride=stride)

    free = [randomized(network) for network in build(None, None)]
    assert free[1].output_shape == (None, None, None, 2)
    # As in training and in the test of whole images: traced without a size.
    traced = tf.function(
        lambda z: free[1](free[0](z)), [tf.TensorSpec((None, None, None, 4), "float32")]
    )
    for shape in ((3, 2), (1, 5)):
        trunk, branch = build(*shape)
        for network, other in zip((trunk, branch), free, strict=True):
            network.set_weights(other.get_weights())
        z = noise(2, *shape, 4)
        np.testing.assert_allclose(traced(z), branch(trunk(z)), atol=1e-5)


@pytest.mark.parametrize("stride", networks.DECODER_STRIDES)
def test_images_stay_in_range_however_large_the_features(stride, randomized, noise):
    branch = randomized(networks.decoder_branch((4, 4, 3), 1, 0.05, stride=stride))
    images = branch(1e3 * noise(4, 4, 4, 3)).numpy()
    assert images.min() >= -1 and images.max() <= 1
    assert np.ptp(images) > 1, "both ends of the range are in reach"


def test_images_are_float32_in_mixed_precision(noise):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        branch = networks.decoder_branch((2, 2, 3), 1, 0.05, stride=32)
    finally:
        keras.config.set_dtype_policy(before)
    assert branch.get_layer("conv_5").compute_dtype == "bfloat16"
    assert branch(noise(1, 2, 2, 3)).dtype == "float32"


@pytest.mark.parametrize("stride", networks.DECODER_STRIDES)
def test_both_parts_survive_a_file(stride, reloaded, randomized, noise):
    for network, shape in (
        (networks.decoder_trunk((1, 1, 6), 0.02, stride=stride), (1, 1, 6)),
        (networks.decoder_branch((4, 4, 3), 2, 0.05, stride=stride), (4, 4, 3)),
    ):
        features = noise(2, *shape)
        np.testing.assert_array_equal(reloaded(randomized(network))(features), network(features))


@pytest.mark.parametrize("stride", [4, 0, 64])
def test_a_stride_without_a_decoder_is_named(stride):
    with pytest.raises(InputError, match=rf"8, 16, 32 times.*stride={stride}$"):
        networks.decoder_trunk((2, 2, 3), stride=stride)
    with pytest.raises(InputError, match=rf"8, 16, 32 times.*stride={stride}$"):
        networks.decoder_branch((2, 2, 3), 1, stride=stride)
