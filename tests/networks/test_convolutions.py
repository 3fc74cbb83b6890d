"""Convolutions are Keras's, and so are their gradients, however these are computed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.networks import convolutions
from keras_i2i.networks.convolutions import Conv2D, Conv2DTranspose

KINDS = [(Conv2D, keras.layers.Conv2D), (Conv2DTranspose, keras.layers.Conv2DTranspose)]
# Odd sides, and kernels and strides that pad unevenly.
SHAPES = [((3, 8, 8, 2), 4, 2), ((2, 5, 3, 3), 3, 2), ((2, 4, 4, 2), 3, 1), ((4, 2, 1, 2), 4, 2)]


@pytest.fixture
def everywhere(monkeypatch):
    """In float32, too, in which results can be compared."""
    monkeypatch.setattr(
        convolutions, "_pays", lambda layer, shape: layer.compute_dtype == "float32"
    )


def results(layer, x, weights):
    """Outputs, gradients, and gradients of a sum of gradients' squares, as a penalty has them."""
    x, weights = tf.constant(x), tf.constant(weights)

    @tf.function
    def run(x):
        watched = [x, layer.kernel.value]
        with tf.GradientTape() as outer:
            outer.watch(watched)
            with tf.GradientTape() as inner:
                inner.watch(watched)
                outputs = layer(x)
                value = tf.reduce_sum(tf.nn.leaky_relu(outputs) ** 2 * weights)
            first = inner.gradient(value, watched)
            slope = tf.reduce_sum(first[0] ** 2)
        return [outputs, *first, *outer.gradient(slope, watched)]

    return run(x)


@pytest.mark.parametrize(("shape", "size", "stride"), SHAPES)
@pytest.mark.parametrize(("ours", "theirs"), KINDS)
def test_they_are_keras_s(everywhere, noise, ours, theirs, shape, size, stride):
    both = [cls(5, size, stride, "same", use_bias=False) for cls in (ours, theirs)]
    for layer in both:
        layer.build(shape)
    both[1].set_weights(both[0].get_weights())
    x, weights = noise(*shape), noise(*both[0].compute_output_shape(shape))
    got, expected = (results(layer, x, weights) for layer in both)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
def test_in_half_precision(noise, ours, theirs):
    """As it is used, with an activation and for batches of any size."""
    images = keras.Input((4, 4, 2))
    networks = [
        keras.Model(images, cls(3, 4, 2, "same", use_bias=False, activation="relu",
                                dtype="mixed_bfloat16")(images))
        for cls in (ours, theirs)
    ]  # fmt: skip
    networks[1].set_weights(networks[0].get_weights())
    x = noise(6, 4, 4, 2)
    gradients = []
    for network in networks:
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(tf.cast(network(x), "float32") ** 2)
        gradients.append(tape.gradient(value, network.layers[1].kernel.value))
    assert gradients[0].dtype == "float32"
    scale = np.abs(gradients[1]).max()
    np.testing.assert_allclose(gradients[0], gradients[1], atol=2e-2 * scale)


@pytest.mark.parametrize(
    ("policy", "side", "pays"),
    [("mixed_bfloat16", 8, True), ("mixed_float16", 8, True), ("mixed_bfloat16", 10, False),
     ("mixed_bfloat16", None, False), ("float32", 8, False)],
)  # fmt: skip
def test_where_it_pays(monkeypatch, policy, side, pays):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    layer = Conv2D(3, 4, 2, "same", dtype=policy)
    shape = layer.compute_output_shape((None, side, side, 2))
    assert convolutions._pays(layer, shape) is pays


def test_on_a_gpu_it_does_not(monkeypatch):
    layer = Conv2D(3, 4, 2, "same", dtype="mixed_bfloat16")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    assert not convolutions._pays(layer, (None, 4, 4, 3))


def test_where_it_does_not_pay_layers_are_keras_s(noise):
    x = noise(2, 12, 12, 2)
    for ours, theirs in KINDS:
        both = [cls(3, 4, 2, "same", dtype="mixed_bfloat16") for cls in (ours, theirs)]
        for layer in both:
            layer.build(x.shape)
        both[1].set_weights(both[0].get_weights())
        np.testing.assert_array_equal(*(np.array(layer(x), "float32") for layer in both))
