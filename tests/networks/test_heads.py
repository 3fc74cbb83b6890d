"""Heads: one dense layer for an image, or for each position."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i import networks
from keras_i2i.errors import InputError
from keras_i2i.networks.heads import BilinearUpSampling2D


@pytest.fixture
def mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


# Classification


def test_the_head_is_linear_in_the_flattened_features(randomized, noise):
    head = randomized(networks.classification_head((2, 2, 3), 5))
    features = noise(4, 2, 2, 3)
    kernel, bias = head.get_weights()
    assert kernel.shape == (12, 5)
    np.testing.assert_allclose(
        head(features), features.reshape(4, 12) @ kernel + bias, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("shape", [(2, 3, 4), (None, None, 4)])
def test_an_averaging_head_is_linear_in_the_features_mean(shape, randomized, noise):
    head = randomized(networks.classification_head(shape, 5, pooling="average"))
    features = noise(4, 2, 3, 4)
    kernel, bias = head.get_weights()
    assert kernel.shape == (4, 5)
    expected = features.mean((1, 2)) @ kernel + bias
    np.testing.assert_allclose(head(features), expected, rtol=1e-4, atol=1e-5)


def test_the_head_has_the_names_of_files_written_before_there_was_a_choice():
    head = networks.classification_head((2, 2, 3), 5)
    assert [layer.name for layer in head.layers] == ["features", "flatten", "logits"]


def test_an_unknown_pooling_is_named():
    with pytest.raises(InputError, match=r"flatten, average.*'max'"):
        networks.classification_head((2, 2, 3), 5, pooling="max")


# Segmentation


def enlarged(values, factor):
    """Bilinear interpolation along both sides, from its definition.

    A new pixel's center, in the old pixels' coordinates, lies between two of their centers, which
    are at 0.5, 1.5, ...; beyond the outermost of them the nearest counts alone.
    """
    for axis in (1, 2):
        side = values.shape[axis]
        position = (np.arange(side * factor) + 0.5) / factor - 0.5
        low = np.floor(position)
        share = (position - low).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        below, above = (
            np.take(values, np.clip(low + step, 0, side - 1).astype(int), axis) for step in (0, 1)
        )
        values = (1 - share) * below + share * above
    return values


@pytest.mark.parametrize(("stride", "shape"), [(8, (3, 2)), (2, (1, 4)), (3, (2, 2)), (1, (2, 3))])
def test_logits_are_dense_on_each_position_and_enlarged(stride, shape, randomized, noise):
    head = randomized(networks.segmentation_head((*shape, 4), 5, stride))
    features = noise(2, *shape, 4)
    kernel, bias = head.get_weights()
    assert kernel.shape == (1, 1, 4, 5)
    expected = enlarged(features @ kernel[0, 0] + bias, stride)
    logits = head(features)
    assert tuple(logits.shape) == (2, stride * shape[0], stride * shape[1], 5)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_enlarging_is_that_of_images(randomized, noise):
    """`segment` and the data resize by the same rule."""
    head = randomized(networks.segmentation_head((3, 4, 2), 3, 4))
    coarse = keras.Model(head.input, head.get_layer("coarse_logits").output)
    features = noise(1, 3, 4, 2)
    for resize in (tf.image.resize, keras.ops.image.resize):
        np.testing.assert_allclose(
            head(features), resize(coarse(features), (12, 16)), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("factor", [1, 2, 5, 8])
def test_a_traced_enlargement_of_any_size_is_kerass(factor, noise):
    layer = BilinearUpSampling2D(factor)
    traced = tf.function(layer, [tf.TensorSpec((None,) * 3 + (2,), "float32")])
    for shape in ((1, 1), (3, 1), (2, 5)):
        images = noise(2, *shape, 2)
        size = factor * shape[0], factor * shape[1]
        expected = keras.ops.image.resize(images, size)
        np.testing.assert_allclose(traced(images), expected, rtol=1e-5, atol=1e-6)
    assert layer(keras.Input((3, None, 2))).shape == (None, 3 * factor, None, 2)


def test_a_segmentation_head_takes_features_of_any_size(randomized, noise):
    free = randomized(networks.segmentation_head((None, None, 4), 3, 8))
    assert free.output_shape == (None, None, None, 3)
    traced = tf.function(free, [tf.TensorSpec((None, None, None, 4), "float32")])
    for shape in ((2, 3), (5, 1)):
        fixed = networks.segmentation_head((*shape, 4), 3, 8)
        fixed.set_weights(free.get_weights())
        features = noise(2, *shape, 4)
        np.testing.assert_allclose(traced(features), fixed(features), rtol=1e-5, atol=1e-6)


def test_every_position_gets_a_gradient(randomized, noise):
    head = randomized(networks.segmentation_head((3, 3, 2), 2, 4))
    features = tf.constant(noise(1, 3, 3, 2))
    with tf.GradientTape() as tape:
        tape.watch(features)
        total = tf.reduce_sum(head(features))
    # Interpolation shares each new pixel out among the old: all of them weigh a stride's square.
    expected = 16 * head.get_weights()[0][0, 0].sum(-1)
    np.testing.assert_allclose(
        tape.gradient(total, features), np.broadcast_to(expected, (1, 3, 3, 2)), rtol=1e-4
    )


# Both


def both():
    return (
        networks.classification_head((1, 1, 3), 2),
        networks.classification_head((1, 1, 3), 2, pooling="average"),
        networks.segmentation_head((1, 1, 3), 2, 4),
    )


@pytest.mark.usefixtures("mixed_precision")
def test_logits_are_float32_in_mixed_precision(noise):
    for head in both():
        assert head(noise(2, 1, 1, 3).astype("float32")).dtype == "float32"
        assert head.layers[1].name in ("flatten", "average", "coarse_logits")
        assert all(w.dtype == "float32" for w in head.weights)


def test_heads_survive_a_file(reloaded, randomized, noise):
    features = noise(2, 1, 1, 3)
    for head in both():
        np.testing.assert_array_equal(reloaded(randomized(head))(features), head(features))
