"""The choices that all networks share."""

import numpy as np
import pytest

from keras_i2i.errors import InputError
from keras_i2i.networks.layers import instance_norm, scaled


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


@pytest.mark.parametrize(
    ("filters", "width", "expected"), [(64, 1.0, 64), (64, 0.25, 16), (500, 0.05, 25), (64, 2, 128)]
)
def test_scaled_multiplies_and_rounds(filters, width, expected):
    assert scaled(filters, width) == expected


def test_scaled_refuses_a_width_that_is_not_positive():
    with pytest.raises(InputError, match="Received: width=0"):
        scaled(64, 0)
