"""The alternation: who moves when, what is logged, and that Keras's own machinery works on it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.errors import InputError
from keras_i2i.models import (
    AdversarialModel,
    CycleGAN,
    DomainTransferNetwork,
    I2IAdapt,
    LSTNet,
)
from keras_i2i.models.adversarial import checked_weights
from keras_i2i.networks.domain_transfer import domain_transfer_encoder

from .conftest import SHAPE, TINY, make_batch

SGD = keras.optimizers.SGD


def dataset(size, batch_size):
    return tf.data.Dataset.from_tensor_slices(make_batch(size)).batch(batch_size)


# Who moves


def test_the_discriminators_update_leaves_every_generator_weight_bit_identical(
    build, batch, snapshot
):
    model = build(compile={"optimizer": SGD(0.0), "discriminator_steps": 2})
    generators = snapshot(model, "trainable_variables")
    discriminators = snapshot(model, "discriminator_variables")
    model.train_on_batch(*batch)
    assert generators.unchanged
    assert not discriminators.unchanged


def test_the_generators_update_leaves_every_discriminator_weight_bit_identical(
    build, batch, snapshot
):
    model = build(compile={"discriminator_optimizer": SGD(0.0)})
    generators = snapshot(model, "trainable_variables")
    discriminators = [snapshot(network) for network in model.discriminators.values()]
    model.train_on_batch(*batch)
    assert not generators.unchanged
    assert all(weights.unchanged for weights in discriminators)


def test_every_trainable_weight_has_exactly_one_optimizer(build):
    model = build()
    ours = {id(v) for v in model.trainable_variables}
    theirs = {id(v) for v in model.discriminator_variables}
    assert not ours & theirs
    networks = [model.source_encoder, model.head, model.decoder_trunk, model.source_branch]
    networks += [model.target_branch, *model.discriminators.values()]
    assert ours | theirs == {id(v) for network in networks for v in network.trainable_variables}
    assert len(model.trainable_variables) == len(ours)


def test_generators_answer_to_the_updated_discriminators(build, batch):
    """A discriminator that moves makes another feature loss than one that stands still."""

    def feature_loss(rate):
        model = build("fcns_in_the_wild", compile={"discriminator_optimizer": SGD(rate)})
        return float(model.train_on_batch(*batch, return_dict=True)["feature"])

    assert abs(feature_loss(0.5) - feature_loss(0.0)) > 1e-3


@pytest.mark.parametrize(
    ("steps", "iterations"),
    [
        ({}, (3, 3)),
        ({"discriminator_steps": 2}, (3, 6)),
        ({"generator_steps": 2}, (6, 6)),
        ({"discriminator_steps": 3, "generator_steps": 2}, (6, 18)),
    ],
)
def test_numbers_of_steps(build, batches, train, steps, iterations):
    model = build("fcns_in_the_wild", compile=steps)
    train(model, batches(3))
    assert int(model.optimizer.iterations) == iterations[0]
    assert int(model.discriminator_optimizer.iterations) == iterations[1]


def test_two_generator_steps_are_two_batches_of_the_same_images(build, batch, train, snapshot):
    twice = build("fcns_in_the_wild", compile={"generator_steps": 2})
    one = build("fcns_in_the_wild")
    train(twice, [batch])
    train(one, [batch, batch])
    assert snapshot(twice).equal(snapshot(one))


@pytest.mark.parametrize("name", ["discriminator_steps", "generator_steps"])
def test_a_number_of_steps_below_one_is_named(name):
    with pytest.raises(InputError, match=f"{name} must be at least 1. Received: 0"):
        I2IAdapt(**TINY).compile(**{name: 0})


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("player", ["optimizer", "discriminator_optimizer"])
def test_gradients_cannot_be_accumulated_by_an_optimizer(build, player, scaled):
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    with pytest.raises(InputError, match="alternate"):
        build(compile={player: optimizer})


def test_one_optimizer_cannot_serve_both_players():
    shared = keras.optimizers.Adam()
    with pytest.raises(InputError, match="optimizer"):
        I2IAdapt(**TINY).compile(optimizer=shared, discriminator_optimizer=shared)


# Reproducibility


def test_the_same_seed_gives_the_same_weights(build, batches, train, snapshot):
    # With a gradient penalty: its random points have to come again too.
    terms = {"loss_weights": {"task": 1, "translation": 1}}
    one, two, other = build(**terms), build(**terms), build(**terms, seed=8)
    for model in (one, two, other):
        train(model, batches(2))
    assert snapshot(one).equal(snapshot(two))
    assert not snapshot(one).equal(snapshot(other))


def test_eager_steps_and_graph_steps_agree(build, batches, train):
    eager = build("fcns_in_the_wild")
    graph = build("fcns_in_the_wild", compile={"run_eagerly": False})
    logs = [train(model, batches(2)) for model in (eager, graph)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)
    for one, two in zip(eager.weights, graph.weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


# fit, evaluate, predict


@pytest.fixture
def steady(build, own_encoder):
    """A model of which nothing moves: no learning rate, no batch norm."""
    return build(
        "fcns_in_the_wild",
        encoder=own_encoder,
        compile={"optimizer": SGD(0.0), "discriminator_optimizer": SGD(0.0)},
    )


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@pytest.mark.parametrize("kind", ["numpy", "tf.data"])
def test_an_epochs_logs_are_means_over_its_images_whatever_the_batches(steady, kind):
    images, labels = make_batch(7)
    if kind == "numpy":
        history = steady.fit(images, labels, batch_size=4, shuffle=False, epochs=2, verbose=0)
    else:
        history = steady.fit(dataset(7, 4), epochs=2, shuffle=False, verbose=0)
    logits = steady.classify(images["source"], "source")
    task = -log_softmax(logits)[np.arange(7), labels].mean()
    score = {
        domain: steady.discriminators["feature"](encoder(images[domain])).numpy()
        for domain, encoder in (
            ("source", steady.source_encoder), ("target", steady.target_encoder)
        )
    }  # fmt: skip
    feature = ((score["target"] - 1) ** 2).mean()
    expected = {
        "task": task,
        "feature": feature,
        "d_feature": ((score["source"] - 1) ** 2 + score["target"] ** 2).mean(),
        "loss": task + 0.2 * feature,
    }
    assert history.history.keys() == expected.keys()
    for name, value in expected.items():
        assert history.history[name] == pytest.approx([value, value], rel=1e-4), name


def test_the_logged_loss_is_the_weighted_sum_of_the_logged_terms(build):
    model = build()
    logs = model.fit(dataset(6, 4), epochs=2, shuffle=False, verbose=0).history
    for epoch in range(2):
        weighted = sum(model.loss_weights[term] * logs[term][epoch] for term in model.terms)
        assert logs["loss"][epoch] == pytest.approx(weighted, rel=1e-5)


def test_validation_in_fit_is_evaluate_afterwards(build):
    model = build("fcns_in_the_wild")
    images, labels = make_batch(8, seed=4)
    held_out = images["target"], labels
    history = model.fit(
        dataset(8, 4), epochs=3, validation_data=held_out, shuffle=False, verbose=0
    ).history
    scores = model.evaluate(*held_out, verbose=0, return_dict=True)
    assert history["val_loss"][-1] == pytest.approx(scores["loss"], rel=1e-5)
    assert history["val_accuracy"][-1] == pytest.approx(scores["accuracy"])


# Keras's optimizers and callbacks


class Recorder(keras.callbacks.Callback):
    """The generators' weights after each step."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append([v.numpy() for v in self.model.trainable_variables])


def averages(steps, momentum):
    """Exponential moving averages that start at the first step's weights."""
    average = steps[0]
    for weights in steps[1:]:
        average = [momentum * a + (1 - momentum) * w for a, w in zip(average, weights, strict=True)]
    return average


def ema_model(build, name="fcns_in_the_wild"):
    return build(name, compile={"optimizer": SGD(0.1, use_ema=True, ema_momentum=0.8)})


def test_averaged_weights_are_the_generators_after_fit_and_not_the_discriminators(build):
    model, plain, recorder = ema_model(build), build("fcns_in_the_wild"), Recorder()
    plain.optimizer.learning_rate = 0.1
    model.fit(dataset(8, 4), epochs=2, callbacks=[recorder], shuffle=False, verbose=0)
    plain.fit(dataset(8, 4), epochs=2, shuffle=False, verbose=0)
    expected = averages(recorder.steps, 0.8)
    for variable, average in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable, average, atol=1e-6)
    assert not np.allclose(expected[0], recorder.steps[-1][0], atol=1e-6)
    for one, two in zip(model.discriminator_variables, plain.discriminator_variables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_swap_ema_weights_lets_a_checkpoint_see_the_averages(build, tmp_path, images):
    model, recorder = ema_model(build), Recorder()
    path = str(tmp_path / "{epoch}.keras")
    model.fit(
        dataset(8, 4),
        epochs=2,
        callbacks=[
            recorder,
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            keras.callbacks.ModelCheckpoint(path),
        ],
        shuffle=False,
        verbose=0,
    )
    saved = keras.models.load_model(tmp_path / "1.keras")
    expected = averages(recorder.steps[:2], 0.8)
    for variable, average in zip(saved.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable, average, atol=1e-6)
    assert not np.allclose(saved.classify(images), model.classify(images))


def test_a_schedule_callback_sets_the_generators_rate_only(build):
    model = build("fcns_in_the_wild")
    model.fit(
        dataset(4, 4),
        epochs=2,
        callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate)],
        shuffle=False,
        verbose=0,
    )
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05 / 4)
    assert float(model.discriminator_optimizer.learning_rate) == pytest.approx(0.005)


def test_early_stopping_stops_and_restores_the_best_epoch(build, snapshot):
    model, best = build("fcns_in_the_wild"), []
    remember = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: best.append(snapshot(model))
    )
    stop = keras.callbacks.EarlyStopping(
        "task", mode="min", min_delta=1e9, patience=1, restore_best_weights=True
    )
    history = model.fit(
        dataset(4, 4), epochs=9, callbacks=[remember, stop], shuffle=False, verbose=0
    )
    assert history.epoch == [0, 1]
    assert snapshot(model).equal(best[0]) and not best[0].equal(best[1])


# Models without a head


def headless(name, **compile):
    """A tiny model of a method that does not classify; random and with states where it can be."""
    keras.utils.set_random_seed(1)
    widths = {"generator_width": 0.03, "discriminator_width": 0.03}
    narrow = {"width": 0.03, "discriminator_width": 0.03}
    model = {
        "cyclegan": lambda: CycleGAN(
            SHAPE, generator_stages=2, dropout=0.5, pool_size=2, seed=0, **widths
        ),
        "lstnet": lambda: LSTNet(SHAPE, SHAPE, **narrow),
        "dtn": lambda: DomainTransferNetwork(
            domain_transfer_encoder(SHAPE, 0.03), SHAPE, (24, 24, 1), **narrow
        ),
        "i2i_adapt": lambda: I2IAdapt.from_preset("cyclegan", **TINY),
    }[name]()
    model.compile(SGD(0.0), SGD(0.0), **compile)
    return model


def batches_for(model, size=4):
    images, labels = make_batch(size)
    if model.target_shape != SHAPE:
        images["target"] = np.resize(images["target"], (size, *model.target_shape))
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(size)


HEADLESS = ("cyclegan", "lstnet", "dtn", "i2i_adapt")


@pytest.mark.parametrize("name", HEADLESS)
def test_without_a_head_evaluate_measures_the_losses_and_changes_nothing(name, snapshot):
    """A step of players that do not learn says the same, but moves averages, pools and seeds."""
    model, twin = headless(name, run_eagerly=True), headless(name, run_eagerly=True)
    before = snapshot(model, "variables")
    measured = model.evaluate(batches_for(model), return_dict=True, verbose=0)
    assert before.unchanged
    expected = twin.fit(batches_for(twin), verbose=0).history
    assert measured.keys() == expected.keys()
    for term, (value,) in expected.items():
        assert measured[term] == pytest.approx(value, rel=1e-5, abs=1e-6), term


def test_without_a_head_training_is_validated_and_stops_early():
    model = headless("cyclegan", run_eagerly=True)
    data = batches_for(model)
    stop = keras.callbacks.EarlyStopping("val_cycle", mode="min", patience=0, min_delta=1e9)
    history = model.fit(data, validation_data=data, epochs=5, callbacks=[stop], verbose=0)
    assert history.epoch == [0, 1]
    assert {f"val_{term}" for term in ("loss", *model.terms, "d_source")} <= {*history.history}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADLESS)
def test_a_step_compiled_by_xla_is_the_step(name):
    logs = [
        headless(name, jit_compile=jit).fit(batches_for(headless(name)), verbose=0).history
        for jit in (False, True)
    ]
    # XLA draws other random numbers: of dropout and penalties only what has none is compared.
    deterministic = {"cyclegan": (), "i2i_adapt": ("cycle",)}.get(name, logs[0])
    assert logs[0].keys() == logs[1].keys()
    for term in deterministic:
        assert logs[1][term] == pytest.approx(logs[0][term], rel=1e-3, abs=1e-5), term


# Arguments that would be passed over


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cyclegan", {"loss": "mse"}, "image_objective, pixel_loss.*Received: loss"),
        ("cyclegan", {"loss_weights": {"cycle": 9}}, "Give loss_weights to the constructor"),
        ("cyclegan", {"metrics": ["mae"]}, "steps_per_execution. Received: metrics"),
        ("lstnet", {"image_objective": "minimax"}, "objective, pixel_loss.*: image_objective"),
        ("dtn", {"image_objective": "minimax", "loss": "l1"}, "Received: image_objective, loss"),
    ],
)
def test_compile_names_what_it_does_not_take(name, arguments, message):
    with pytest.raises(InputError, match=message):
        headless(name, **arguments)


# What a method logs beside its losses


@keras.saving.register_keras_serializable("tests")
class Toy(AdversarialModel):
    """One weight against another; measures and random numbers of its own."""

    measures = ("level", "chance")

    def __init__(self, image_shape=(1,), seed=None, drop=0.0, **kwargs):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.loss_weights, self.drop = {"a": 2.0, "b": 0.0}, drop

        def network(name):
            x = images = keras.Input((1,))
            if drop:
                x = keras.layers.Dropout(drop)(x)
            x = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(x)
            return keras.Model(images, x, name=name)

        self.player, self.discriminators = network("player"), {"d": network("opponent")}
        self.built = True

    def forward(self, batch):
        return {"out": self.player(batch["source"], training=True)}

    def generator_losses(self, batch, outputs):
        out = outputs["out"][:, 0]
        # If it had a gradient, it would be a large one.
        self.measure("level", 100 * out)
        return {"a": out}

    def discriminator_losses(self, batch, outputs):
        scores = self.discriminators["d"](outputs["out"], training=True)[:, 0]
        noise = keras.random.uniform(keras.ops.shape(scores), seed=self.seed_generator)
        self.measure("chance", noise)
        return {"d": scores * noise}

    def get_config(self):
        config = super().get_config()
        del config["target_shape"]
        return {**config, "seed": self._seed, "drop": self.drop}


def toy(optimizer=None, run_eagerly=True, **kwargs):
    model = Toy(**kwargs)
    model.compile(optimizer or SGD(0.0), SGD(0.1), run_eagerly=run_eagerly)
    return model


@pytest.mark.parametrize("eagerly", [True, False])
def test_measures_are_logged_as_means_over_an_epochs_images(eagerly):
    model, x = toy(run_eagerly=eagerly, seed=1), np.arange(5.0, dtype="float32")[:, None]
    history = model.fit(x, batch_size=2, epochs=2, shuffle=False, verbose=0).history
    assert history.keys() == {"loss", "a", "d_d", "level", "chance"}
    assert history["level"] == pytest.approx([200.0, 200.0], rel=1e-6)
    assert history["a"] == pytest.approx([2.0, 2.0]) and history["loss"] == pytest.approx([4, 4])
    assert all(0 < value < 1 for value in history["chance"])
    assert {metric.name for metric in model.metrics} >= {"level", "chance"}


def test_a_measure_is_no_loss():
    model = toy(SGD(0.1))
    model.train_on_batch(np.ones((4, 1), "float32"))
    # 1 - 0.1 · 2: the slope of the weighted term alone.
    assert model.player.get_weights()[0].item() == pytest.approx(0.8)


def test_a_measure_must_have_been_announced():
    with pytest.raises(KeyError):
        toy().measure("surprise", np.ones(3))


def chances(model, n):
    x = np.ones((3, 1), "float32")
    logs = []
    for _ in range(n):
        model.reset_metrics()
        logs.append(model.train_on_batch(x, return_dict=True))
    return [tuple(float(value) for value in log.values()) for log in logs]


def test_a_steps_random_numbers_come_from_the_models_seed():
    one, two, other = (chances(toy(seed=seed), 3) for seed in (5, 5, 6))
    assert one == two != other
    assert len(set(one)) == 3
    assert chances(toy(), 3) != chances(toy(), 3), "without a seed, one is drawn"


@pytest.mark.parametrize("drop", [0.0, 0.5], ids=["own", "layers too"])
def test_random_numbers_go_on_after_a_file(tmp_path, drop):
    """Also those of a layer inside, whose state Keras does not save by itself."""
    model = toy(seed=5, drop=drop)
    chances(model, 2)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded, other = keras.models.load_model(tmp_path / "model.keras"), toy(seed=7, drop=drop)
    other.load_weights(tmp_path / "model.weights.h5")
    expected = chances(model, 4)
    assert chances(loaded, 4) == expected
    assert chances(other, 4) == expected


# Weights of terms


TERMS = ("one", "two", "three")
DEFAULT = {"one": 1, "two": 0.5}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {"one": 1.0, "two": 0.5, "three": 0.0}),
        ({"three": 2}, {"one": 0.0, "two": 0.0, "three": 2.0}),
        ({"three": 0, "one": 1e-9}, {"one": 1e-9, "two": 0.0, "three": 0.0}),
    ],
)
def test_every_term_gets_its_weight_in_the_methods_order(given, expected):
    weights = checked_weights(given, TERMS, DEFAULT)
    assert weights == expected and tuple(weights) == TERMS
    assert all(type(weight) is float for weight in weights.values())
    assert weights is not given and DEFAULT == {"one": 1, "two": 0.5}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"four": 1, "five": 1}, r"\['five', 'four'\]\. Known are: one, two, three\."),
        ({"one": 1, "two": -0.1}, r"≥ 0.*'two': -0.1"),
        ({"one": float("nan")}, "≥ 0.*nan"),
        ({}, r"one of them positive. Received: \{\}"),
        ({"one": 0, "two": 0.0}, "one of them positive"),
    ],
)
def test_a_wrong_weight_is_named(given, message):
    with pytest.raises(InputError, match=message):
        checked_weights(given, TERMS, DEFAULT)


# Several replicas


@pytest.mark.parametrize("steps", [{}, {"discriminator_steps": 2}])
def test_two_replicas_take_the_step_of_one_on_the_same_global_batch(
    build, own_encoder, two_replicas, steps
):
    def trained(**compile):
        # No batch norm: its statistics are each replica's own.
        model = build(
            "fcns_in_the_wild",
            encoder=own_encoder,
            compile={
                "optimizer": SGD(0.2),
                "discriminator_optimizer": SGD(0.1),
                **steps,
                **compile,
            },
        )
        history = model.fit(dataset(24, 8), shuffle=False, verbose=0).history
        return model.get_weights(), history

    with two_replicas.scope():
        two, two_logs = trained(run_eagerly=False)
    one, one_logs = trained()
    assert two_replicas.num_replicas_in_sync == 2
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)
    assert two_logs.keys() == one_logs.keys()
    for name, values in one_logs.items():
        assert two_logs[name] == pytest.approx(values, rel=1e-4), name


# A term of one's own


@keras.saving.register_keras_serializable("tests")
class Bright(I2IAdapt):
    """I2I-Adapt with one more term, as examples/3_losses.ipynb adds one."""

    TERMS = (*I2IAdapt.TERMS, "bright")

    def generator_losses(self, batch, outputs):
        terms = super().generator_losses(batch, outputs)
        if self.loss_weights["bright"]:
            terms["bright"] = 1.0 - keras.ops.mean(outputs["fake_y"], axis=(1, 2, 3))
        return terms


def test_a_subclass_adds_a_term_that_is_weighed_logged_learned_and_saved(tmp_path, images):
    weights = {"identity": 1, "translation": 0.1, "bright": 3}
    keras.utils.set_random_seed(1)
    model = Bright(loss_weights=weights, **TINY)
    model.compile(SGD(0.05), SGD(0.005), run_eagerly=True)
    assert model.terms == ("translation", "identity", "bright")
    before = model.translate(images, "source_to_target").mean()
    logs = model.fit(dataset(4, 4), epochs=3, verbose=0).history
    for epoch in range(3):
        weighted = sum(weight * logs[term][epoch] for term, weight in weights.items())
        assert logs["loss"][epoch] == pytest.approx(weighted, rel=1e-5)
    assert logs["bright"][2] < logs["bright"][0]
    assert model.translate(images, "source_to_target").mean() > before
    model.save(tmp_path / "bright.keras")
    loaded = keras.saving.load_model(tmp_path / "bright.keras")
    assert type(loaded) is Bright and loaded.loss_weights == model.loss_weights


def test_a_term_of_ones_own_has_no_weight_until_it_is_given_one(batch):
    class Always(Bright):
        """Computes its term whether or not it counts."""

        def generator_losses(self, batch, outputs):
            bright = 1.0 - keras.ops.mean(outputs["fake_y"], axis=(1, 2, 3))
            return {**super().generator_losses(batch, outputs), "bright": bright}

    logs = []
    for kind in (Always, I2IAdapt):
        keras.utils.set_random_seed(1)
        model = kind(loss_weights={"translation": 1}, **TINY)
        model.compile(SGD(0.05), SGD(0.005), run_eagerly=True)
        logs.append(model.train_on_batch(*batch, return_dict=True))
    assert logs[0] == logs[1] and "bright" not in logs[0]


@pytest.mark.parametrize(("given", "weights"), [({}, {"bright": 1}), ({"brihgt": 0.0}, {})])
def test_terms_that_are_missing_or_unknown_are_named(batch, given, weights):
    class Wrong(Bright):
        def generator_losses(self, batch, outputs):
            terms = I2IAdapt.generator_losses(self, batch, outputs)
            return {**terms, **{name: keras.ops.zeros(4) for name in given}}

    model = Wrong(loss_weights={"translation": 1, **weights}, **TINY)
    model.compile(SGD(0.05), SGD(0.005), run_eagerly=True)
    with pytest.raises(InputError, match="Wrong must give each term that has a weight"):
        model.train_on_batch(*batch)


def test_the_methods_themselves_do_not_know_it():
    with pytest.raises(InputError, match=r"Unknown loss terms \['bright'\]"):
        I2IAdapt(loss_weights={"bright": 1}, **TINY)


def test_a_dataset_is_fitted_without_a_warning_and_arrays_are_still_shuffled():
    seen = []

    class Watching(Toy):
        def train_step(self, data):
            seen.extend(np.ravel(data[0] if isinstance(data, tuple) else data).tolist())
            return super().train_step(data)

    model, x = Watching(seed=1), np.arange(64.0, dtype="float32")[:, None]
    model.compile(SGD(0.0), SGD(0.0), run_eagerly=True)
    model.fit(tf.data.Dataset.from_tensor_slices(x).batch(8), verbose=0)
    assert seen == x.ravel().tolist()
    seen.clear()
    model.fit(x, batch_size=8, verbose=0)
    assert seen != x.ravel().tolist() and sorted(seen) == x.ravel().tolist()
