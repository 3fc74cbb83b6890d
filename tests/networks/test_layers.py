"""The choices that all networks share."""

import pytest

from keras_i2i.errors import InputError
from keras_i2i.networks.layers import scaled


@pytest.mark.parametrize(
    ("filters", "width", "expected"), [(64, 1.0, 64), (64, 0.25, 16), (500, 0.05, 25), (64, 2, 128)]
)
def test_scaled_multiplies_and_rounds(filters, width, expected):
    assert scaled(filters, width) == expected


def test_scaled_refuses_a_width_that_is_not_positive():
    with pytest.raises(InputError, match="Received: width=0"):
        scaled(64, 0)
