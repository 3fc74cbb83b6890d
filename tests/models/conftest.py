"""Tiny models and batches: 16x16 images, networks of a few filters, fast steps."""

import keras
import numpy as np
import pytest

from keras_i2i.models import I2IAdapt

SHAPE = (16, 16, 1)
CLASSES = 3
TINY = {
    "image_shape": SHAPE,
    "num_classes": CLASSES,
    "encoder_width": 0.05,
    "decoder_width": 0.02,
    "discriminator_width": 0.05,
    "seed": 0,
}


def make_batch(size=4, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-1, 1, (2, size, *SHAPE)).astype("float32")
    return {"source": x, "target": 0.5 * y + 0.2}, rng.integers(0, CLASSES, size)


@pytest.fixture
def batch():
    """`({"source": x, "target": y}, labels)`, four images of each domain."""
    return make_batch()


@pytest.fixture
def images():
    """Seven target images."""
    return make_batch(7, seed=1)[0]["target"]


@pytest.fixture(scope="session")
def batches():
    """`batches(n)`: n different batches."""
    return lambda n: [make_batch(seed=seed) for seed in range(n)]


@pytest.fixture(scope="session")
def build():
    """`build(preset, compile={...}, **kwargs)`: a tiny compiled `I2IAdapt`, always the same.

    An encoder is a name or a function that makes one, called with the seed set.
    """

    def build(preset="i2i_adapt", compile=None, seed=1, **kwargs):
        keras.utils.set_random_seed(seed)
        if callable(kwargs.get("encoder")):
            kwargs["encoder"] = kwargs["encoder"]()
        model = I2IAdapt.from_preset(preset, **{**TINY, **kwargs})
        # Eagerly: tracing these graphs takes longer than a few steps.
        model.compile(
            **{
                "optimizer": keras.optimizers.SGD(0.05),
                "discriminator_optimizer": keras.optimizers.SGD(0.005),
                "run_eagerly": True,
                **(compile or {}),
            }
        )
        return model

    return build


@pytest.fixture(scope="session")
def own_encoder():
    """`own_encoder()`: a user's functional encoder, without batch norm."""

    def make():
        images = keras.Input(SHAPE)
        x = keras.layers.Conv2D(3, 4, 4, activation="tanh", name="one")(images)
        return keras.Model(images, keras.layers.Conv2D(5, 4, 4, name="two")(x), name="own")

    return make


@pytest.fixture(scope="session")
def train():
    """`train(model, batches)`: one step on each, the last step's logs."""

    def train(model, batches):
        for inputs, labels in batches:
            model.reset_metrics()
            logs = model.train_on_batch(inputs, labels, return_dict=True)
        return {name: float(value) for name, value in logs.items()}

    return train


class Weights:
    """A copy of a network's or model's weights, to compare with later."""

    def __init__(self, network, only="weights"):
        self.network, self.only = network, only
        self.values = self.now()

    def now(self):
        return [np.array(weight.numpy()) for weight in getattr(self.network, self.only)]

    @property
    def unchanged(self):
        """Whether all are bit for bit what they were."""
        return all(map(np.array_equal, self.values, self.now()))

    @property
    def all_changed(self):
        return not any(map(np.array_equal, self.values, self.now()))

    def equal(self, other):
        return len(self.values) == len(other.values) and all(
            map(np.array_equal, self.values, other.values)
        )


@pytest.fixture
def snapshot():
    """`snapshot(network)`: a `Weights`."""
    return Weights
