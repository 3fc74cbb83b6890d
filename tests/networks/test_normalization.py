"""Normalizations: what they compute, and that they are Keras's own to rounding."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.networks.normalization import (
    BatchNormalization,
    InstanceNormalization,
    batch_norm,
    instance_norm,
    synchronize_batch_norm,
)

SHAPE = (6, 4, 5, 3)


def pair(ours, theirs, noise, dtype="float32", **options):
    """Our layer and Keras's, with the same variables, which are not those of a fresh layer."""
    both = [cls(dtype=dtype, **options) for cls in (ours, theirs)]
    for layer in both:
        layer.build(SHAPE)
    values = [1.5 + 0.3 * noise(*v.shape) for v in both[0].variables]
    for layer in both:
        layer.set_weights(values)
    return both


def by_definition(layer, axes):
    """The layer's normalization by its formula, which TensorFlow can differentiate twice.

    Keras's layers cannot be compared there: `tf.nn.moments` holds the mean fixed in the variance,
    which is right for a gradient and wrong for the gradient of a gradient.
    """

    def normalized(x):
        gamma, beta = gamma_and_beta(layer)
        mean = tf.reduce_mean(x, axes, keepdims=True)
        variance = tf.reduce_mean((x - mean) ** 2, axes, keepdims=True)
        return gamma * (x - mean) / tf.sqrt(variance + layer.epsilon) + beta

    return normalized


def run(normalized, variables, x, weights):
    """Outputs, the gradients of a sum of their squares, and those of a sum of these' squares."""
    x, weights = tf.constant(x), tf.constant(weights)

    @tf.function
    def run(x):
        watched = [x, *variables]
        with tf.GradientTape() as outer:
            outer.watch(watched)
            with tf.GradientTape() as inner:
                inner.watch(watched)
                outputs = normalized(x)
                value = tf.reduce_sum(outputs**2 * weights)
            first = inner.gradient(value, watched)
            slope = tf.reduce_sum(first[0] ** 2 * weights)
        return outputs, first, outer.gradient(slope, watched)

    return run(x)


def gamma_and_beta(layer):
    return [layer.gamma.value, layer.beta.value]


def assert_same(ours, theirs, tolerance=1e-4):
    for a, b in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
        if a is None or b is None:
            assert a is b
            continue
        a, b = np.asarray(a, "float32"), np.asarray(b, "float32")
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_keras_s(noise, training):
    """Outputs, gradients, and where its moving averages go."""
    ours, theirs = pair(BatchNormalization, keras.layers.BatchNormalization, noise)
    x, weights = 2 + 3 * noise(*SHAPE), noise(*SHAPE)
    results = [
        run(lambda x, layer=layer: layer(x, training=training), gamma_and_beta(layer), x, weights)
        for layer in (ours, theirs)
    ]
    for a, b in zip(*(result[:2] for result in results), strict=True):
        assert_same(a, b)
    assert_same(ours.get_weights(), theirs.get_weights(), 1e-6)


@pytest.mark.parametrize(
    ("cls", "axes", "options"),
    [(BatchNormalization, [0, 1, 2], {}), (InstanceNormalization, [1, 2], {"groups": -1})],
)
def test_norms_can_be_differentiated_twice(noise, cls, axes, options):
    """As a gradient penalty does."""
    layer = cls(**options)
    layer.build(SHAPE)
    layer.set_weights([1.5 + 0.3 * noise(*v.shape) for v in layer.variables])
    x, weights = 2 + 3 * noise(*SHAPE), noise(*SHAPE)
    variables = gamma_and_beta(layer)
    training = {"training": True} if cls is BatchNormalization else {}
    got = run(lambda x: layer(x, **training), variables, x, weights)
    expected = run(lambda x: by_definition(layer, axes)(x), variables, x, weights)
    for a, b in zip(got, expected, strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_batch_norm_in_half_precision(noise, policy):
    ours, theirs = pair(BatchNormalization, keras.layers.BatchNormalization, noise, policy)
    x = tf.cast(2 + 3 * noise(*SHAPE), ours.compute_dtype)
    outputs = [layer(x, training=True) for layer in (ours, theirs)]
    assert outputs[0].dtype == ours.compute_dtype
    assert_same(outputs[:1], outputs[1:], 1e-2)
    assert_same(ours.get_weights(), theirs.get_weights(), 1e-5)


@pytest.mark.parametrize("options", [{"axis": 1}, {"scale": False}, {"center": False}])
def test_batch_norm_that_the_kernel_does_not_know(noise, options):
    ours, theirs = pair(BatchNormalization, keras.layers.BatchNormalization, noise, **options)
    x = noise(*SHAPE)
    np.testing.assert_array_equal(ours(x, training=True), theirs(x, training=True))


def test_batch_norm_of_vectors(noise):
    x = noise(8, 3)
    ours, theirs = (cls() for cls in (BatchNormalization, keras.layers.BatchNormalization))
    np.testing.assert_array_equal(ours(x, training=True), theirs(x, training=True))


def test_frozen_batch_norm_does_not_train(noise):
    layer = batch_norm()
    layer.build(SHAPE)
    layer.trainable = False
    before = layer.get_weights()
    x = noise(*SHAPE)
    np.testing.assert_allclose(layer(x, training=True), x / np.sqrt(1 + 1e-3), rtol=1e-5)
    assert_same(layer.get_weights(), before, 0)


def test_batch_norm_of_one_value(noise):
    """Its variance is zero, not infinite."""
    layer = batch_norm()
    layer(noise(1, 1, 1, 3), training=True)
    np.testing.assert_allclose(layer.moving_variance, 0.9, rtol=1e-6)


def test_instance_norm_is_keras_s(noise):
    ours, theirs = pair(InstanceNormalization, keras.layers.GroupNormalization, noise, groups=-1)
    x, weights = 2 + 3 * noise(*SHAPE), noise(*SHAPE)
    results = [run(layer, gamma_and_beta(layer), x, weights) for layer in (ours, theirs)]
    for a, b in zip(*(result[:2] for result in results), strict=True):
        assert_same(a, b)


def test_norms_of_images_of_any_size(noise):
    """Batch, height and width are not known when a network is built."""
    images = keras.Input((None, None, 3))
    network = keras.Model(images, instance_norm()(batch_norm()(images)))
    for shape in (SHAPE, (2, 7, 3, 3)):
        x = noise(*shape)
        normalized = (x - x.mean((0, 1, 2))) / x.std((0, 1, 2))
        normalized -= normalized.mean((1, 2), keepdims=True)
        expected = normalized / normalized.std((1, 2), keepdims=True)
        got = tf.function(network)(x, training=True)
        np.testing.assert_allclose(got, expected, atol=2e-2)


def test_instance_norm_is_per_image_and_channel(noise):
    x = 3 * noise(2, 5, 4, 3) + 1
    expected = np.empty_like(x)
    for image in range(2):
        for channel in range(3):
            one = x[image, :, :, channel]
            expected[image, :, :, channel] = (one - one.mean()) / np.sqrt(one.var() + 1e-3)
    np.testing.assert_allclose(instance_norm()(x), expected, atol=1e-5)


def test_instance_norm_is_the_same_in_training_and_inference(noise):
    norm, x = instance_norm(), noise(2, 4, 4, 3)
    np.testing.assert_array_equal(norm(x, training=True), norm(x, training=False))


def test_synchronized_batch_norm_is_that_of_the_global_batch(noise, two_replicas):
    """Also in networks within networks, and its moving averages; unless asked for, each its own."""

    def model():
        inner = keras.Sequential([keras.Input((3,)), batch_norm()])
        return keras.Sequential([keras.Input((3,)), inner])

    def on_two(synchronized):
        with two_replicas.scope():
            network = model()
        if synchronized:
            synchronize_batch_norm(network)
        parts = two_replicas.experimental_distribute_values_from_function(
            lambda context: tf.constant(x[4 * context.replica_id_in_sync_group :][:4])
        )
        run = tf.function(lambda x: two_replicas.run(lambda x: network(x, training=True), (x,)))
        given = two_replicas.experimental_local_results(run(parts))
        return np.concatenate(given), network.get_weights()

    x = np.concatenate([noise(4, 3), 2 + 3 * noise(4, 3)])
    one = model()
    expected = one(x, training=True)
    given, weights = on_two(synchronized=True)
    np.testing.assert_allclose(given, expected, atol=1e-5)
    for a, b in zip(weights, one.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert np.abs(on_two(synchronized=False)[0] - expected).max() > 0.1
