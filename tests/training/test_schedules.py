"""The learning rate over a run."""

import keras
import numpy as np
import pytest

from keras_i2i.training.schedules import ConstantThenLinear


@pytest.mark.parametrize(
    ("update", "share"),
    [(0, 1), (1, 1), (50, 1), (51, 0.98), (75, 0.5), (99, 0.02), (100, 0), (101, 0), (10**6, 0)],
)
def test_it_is_constant_for_one_half_and_linear_for_the_other(update, share):
    rate = ConstantThenLinear(0.2, 100)(update)
    assert float(rate) == pytest.approx(0.2 * share, abs=1e-7)


@pytest.mark.parametrize(("updates", "rates"), [(1, [1, 0]), (2, [1, 1, 0]), (3, [1, 1, 2 / 3, 0])])
def test_short_runs(updates, rates):
    schedule = ConstantThenLinear(1.0, updates)
    assert [float(schedule(step)) for step in range(updates + 1)] == pytest.approx(rates, abs=1e-6)


def test_it_is_a_float_of_an_integer_variable():
    step = keras.Variable(75, dtype="int64", trainable=False)
    rate = ConstantThenLinear(0.2, 100)(step)
    assert keras.backend.standardize_dtype(rate.dtype) == "float32"
    assert float(rate) == pytest.approx(0.1)


def test_it_survives_serialization():
    schedule = ConstantThenLinear(0.3, 40)
    config = keras.saving.serialize_keras_object(schedule)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is ConstantThenLinear
    assert again.get_config() == schedule.get_config() == {"learning_rate": 0.3, "updates": 40}


class Rates(keras.callbacks.Callback):
    """The optimizer's rate and the one weight, after each update."""

    def __init__(self):
        super().__init__()
        self.rates, self.weights = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))
        self.weights.append(float(self.model.get_weights()[0].item()))


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.Adam(ConstantThenLinear(0.1, 8)), "mse")
    return model


def fit(model, epochs, initial=0):
    rates = Rates()
    model.fit(
        np.ones((4, 1)),
        np.full((4, 1), 100.0),
        batch_size=1,
        epochs=epochs,
        initial_epoch=initial,
        shuffle=False,
        verbose=0,
        callbacks=[rates],
    )
    return rates


def test_adam_follows_it_inside_fit(model):
    start = model.get_weights()[0].item()
    rates = fit(model, epochs=2)
    # After n updates, the rate of the update to come.
    expected = [0.1, 0.1, 0.1, 0.1, 0.075, 0.05, 0.025, 0.0]
    assert rates.rates == pytest.approx(expected, abs=1e-6)
    # Far from its goal Adam moves by its rate, which was 0.1 five times and then sank.
    moved = np.diff([start, *rates.weights])
    assert moved == pytest.approx([0.1] * 5 + [0.075, 0.05, 0.025], rel=1e-2)


def test_a_resumed_run_goes_on_where_it_was(model, tmp_path):
    fit(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    rates = [fit(either, epochs=2, initial=1).rates for either in (model, loaded)]
    assert rates[0] == rates[1] == pytest.approx([0.1 * s for s in (0.75, 0.5, 0.25, 0)], abs=1e-6)
