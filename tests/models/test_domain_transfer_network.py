"""The Domain Transfer Network: its whole step re-derived, f fixed, its gradient rules, its use."""

import json
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.errors import InputError
from keras_i2i.models.domain_transfer_network import PRESETS, DomainTransferNetwork
from keras_i2i.networks.domain_transfer import domain_transfer_encoder

GRAY, COLOR = (16, 16, 1), (16, 16, 3)
TINY = {"width": 0.02, "discriminator_width": 0.03}
# Weights far from each other, so that a swap shows.
ALL_TERMS = {"translation": 1.3, "constancy": 7.0, "identity": 2.0, "total_variation": 0.5}
RATE, DISCRIMINATOR_RATE = 0.05, 0.02


def randomized(network, seed=0):
    """A network as if trained: no bias zero, no statistic one, activations of size one."""
    rng = np.random.default_rng(seed)

    def values(w):
        if w.ndim == 1:
            return rng.uniform(0.1, 0.9, w.shape)
        return rng.normal(0, 1.5 / np.sqrt(w[..., 0].size), w.shape)

    network.set_weights([values(w) for w in network.get_weights()])
    return network


def digit_encoder(shape=GRAY):
    return randomized(domain_transfer_encoder(shape, 0.08))


def own_encoder(shape=COLOR):
    """A user's encoder: sequential, with batch norm and dropout, flat features."""
    layers = keras.layers
    own = [
        keras.Input(shape),
        layers.Conv2D(4, 4, 4),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(6),
    ]
    return randomized(keras.Sequential(own, name="own"))


def make_batch(source=GRAY, target=GRAY, size=4, seed=0):
    rng = np.random.default_rng(seed)
    x, y = (rng.uniform(-1, 1, (size, *shape)).astype("float32") for shape in (source, target))
    return {"source": x, "target": 0.5 * y + 0.2}


def build(encoder=None, source=GRAY, target=None, compile=None, seed=1, **kwargs):
    """A tiny compiled model, always the same."""
    keras.utils.set_random_seed(seed)
    encoder = digit_encoder(source) if encoder is None else encoder
    model = DomainTransferNetwork(encoder, source, target, **{**TINY, **kwargs})
    model.compile(
        **{
            "optimizer": keras.optimizers.SGD(RATE),
            "discriminator_optimizer": keras.optimizers.SGD(DISCRIMINATOR_RATE),
            "run_eagerly": True,
            **(compile or {}),
        }
    )
    return model


def step(model, batch):
    model.reset_metrics()
    logs = model.train_on_batch(batch, return_dict=True)
    return {name: float(value) for name, value in logs.items()}


# The step


class ReferenceStep:
    """One alternation from the paper's equations and plain TensorFlow, on copies of the weights.

    Images are 16x16, gray or in color on either side; f is the text's, for digits.
    """

    def __init__(self, model, constancy):
        self.model, self.constancy = model, constancy
        self.copy = {id(v): tf.Variable(v.numpy()) for v in model.variables}

    def __getitem__(self, variable):
        return self.copy[id(variable)]

    def batch_norm(self, x, layer):
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        for moving, moment in (layer.moving_mean, mean), (layer.moving_variance, variance):
            self[moving].assign(0.9 * self[moving] + 0.1 * moment)
        return self[layer.gamma] * (x - mean) / tf.sqrt(variance + 1e-3) + self[layer.beta]

    def f(self, x):
        channels = self.model.image_shape[-1]
        if x.shape[-1] < channels:
            x = tf.concat([x, x, x], -1)
        elif x.shape[-1] > channels:
            r, g, b = tf.unstack(x, axis=-1)
            x = (0.2989 * r + 0.5870 * g + 0.1140 * b)[..., None]
        for stage in (1, 2, 3, 4):
            layer = self.model.encoder.get_layer(f"conv_{stage}")
            padding = "SAME" if stage < 4 else "VALID"
            x = tf.nn.relu(tf.nn.conv2d(x, self[layer.kernel], 1, padding) + self[layer.bias])
            x = tf.nn.avg_pool2d(x, 2, 2, "VALID") if stage < 4 else x
        return x[:, 0, 0]

    def g(self, z):
        x, layers = z[:, None, None], self.model.generator.get_layer
        for stage, side in enumerate((2, 4, 8, 16), start=1):
            kernel = self[layers(f"conv_{stage}").kernel]
            shape = (len(z), side, side, kernel.shape[2])
            stride, padding = (1, "VALID") if stage == 1 else (2, "SAME")
            x = tf.nn.conv2d_transpose(x, kernel, shape, stride, padding)
            if stage < 4:
                x = tf.nn.relu(self.batch_norm(x, layers(f"norm_{stage}")))
        return tf.tanh(x + self[layers("conv_4").bias])

    def d(self, *kinds):
        """Logarithms of D's probabilities for batches of several kinds, read as one."""
        x, layers = tf.concat(kinds, 0), self.model.discriminators["ternary"].get_layer
        for stage in (1, 2, 3):
            x = tf.nn.conv2d(x, self[layers(f"conv_{stage}").kernel], 2, "SAME")
            x = self.batch_norm(x, layers(f"norm_{stage}"))
            x = tf.where(x > 0, x, 0.2 * x)
        last = layers("conv_4")
        x = tf.nn.conv2d(x, self[last.kernel], 1, "VALID") + self[last.bias]
        return tf.split(tf.math.log(tf.nn.softmax(x[:, 0, 0])), 3)

    def distance(self, a, b):
        if self.constancy == "l2":
            return tf.reduce_mean((a - b) ** 2)
        cosine = tf.reduce_sum(a * b, 1) / (tf.norm(a, axis=1) * tf.norm(b, axis=1))
        return tf.reduce_mean(1 - cosine)

    def step(self, batch):
        """Trains the copies; returns what is to be logged."""
        x, y = batch["source"], batch["target"]
        n = len(x)
        with tf.GradientTape() as tape:
            images = self.g(tf.concat([self.f(x), self.f(y)], 0))
            of_x, of_y = images[:n], images[n:]

            with tf.GradientTape() as discriminator_tape:
                p_x, p_y, p_real = self.d(*map(tf.stop_gradient, (of_x, of_y)), y)
                l_d = -tf.reduce_mean(p_x[:, 0] + p_y[:, 1] + p_real[:, 2])
            theirs = self.model.discriminators["ternary"].trainable_variables
            self.descend(theirs, discriminator_tape.gradient, l_d, DISCRIMINATOR_RATE)

            p_x, p_y, _ = self.d(of_x, of_y, y)
            down, right = images[:, 1:] - images[:, :-1], images[:, :, 1:] - images[:, :, :-1]
            terms = {
                "translation": -tf.reduce_mean(p_x[:, 2] + p_y[:, 2]),
                "constancy": self.distance(self.f(x), self.f(of_x)),
                "identity": tf.reduce_mean((of_y - y) ** 2),
                # Both kinds have n images: the sum of their means is twice the mean of all.
                "total_variation": 2 * (tf.reduce_mean(down**2) + tf.reduce_mean(right**2)),
            }
            loss = tf.add_n([ALL_TERMS[name] * term for name, term in terms.items()])
        self.descend(self.model.generator.trainable_variables, tape.gradient, loss, RATE)
        fooled = tf.argmax(tf.concat([p_x, p_y], 0), 1) == 2
        logs = {**terms, "loss": loss, "d_ternary": l_d, "fooled": np.mean(fooled)}
        return {name: float(value) for name, value in logs.items()}

    def descend(self, variables, gradient, loss, rate):
        slopes = gradient(loss, [self[v] for v in variables])
        for variable, slope in zip(variables, slopes, strict=True):
            self[variable].assign_sub(rate * slope)


@pytest.mark.parametrize(
    ("source", "target", "constancy", "eagerly"),
    [(GRAY, GRAY, "l2", True), (COLOR, GRAY, "cosine", False), (GRAY, COLOR, "l2", True)],
)
def test_two_steps_equal_the_papers_equations(source, target, constancy, eagerly):
    model = build(
        source=source,
        target=target,
        constancy=constancy,
        loss_weights=ALL_TERMS,
        compile={"run_eagerly": eagerly},
    )
    randomized(model.generator)
    reference = ReferenceStep(model, constancy)
    frozen = {id(v) for v in model.encoder.variables}
    weights = [v for v in model.variables if v.dtype == "float32" and id(v) in reference.copy]
    for seed in (0, 1):
        batch = make_batch(source, target, seed=seed)
        before = [v.numpy() for v in weights]
        expected, logs = reference.step(batch), step(model, batch)
        assert logs.keys() == expected.keys()
        assert min(weight * logs[name] for name, weight in ALL_TERMS.items()) > 0.01
        for name, value in expected.items():
            assert logs[name] == pytest.approx(value, rel=2e-4, abs=1e-5), name
        for v in weights:
            np.testing.assert_allclose(v, reference[v], rtol=1e-4, atol=2e-5, err_msg=v.path)
        for old, v in zip(before, weights, strict=True):
            assert np.array_equal(old, v) == (id(v) in frozen), v.path


# What moves


@pytest.mark.parametrize("encoder", [digit_encoder, own_encoder])
def test_the_encoder_stays_as_it_was(encoder, snapshot):
    model = build(encoder(COLOR), source=COLOR, target=GRAY)
    f, g = snapshot(model.encoder), snapshot(model.generator)
    d = snapshot(model.discriminators["ternary"])
    data = tf.data.Dataset.from_tensor_slices(make_batch(COLOR, GRAY, 12)).batch(4)
    history = model.fit(data, epochs=2, shuffle=False, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert f.unchanged, "batch norm statistics count too"
    assert g.all_changed and d.all_changed


def test_an_encoder_runs_as_at_inference():
    batch = make_batch(COLOR, GRAY)
    model = build(own_encoder(), source=COLOR, target=GRAY, loss_weights=ALL_TERMS)
    outputs = model.forward(batch)
    np.testing.assert_allclose(
        outputs["features"], model.encoder(batch["source"], training=False), atol=1e-6
    )


def moved(tape, loss, networks):
    variables = {name: [v.value for v in n.trainable_variables] for name, n in networks.items()}
    gradients = tape.gradient(loss, variables)
    return {
        name
        for name, found in gradients.items()
        if any(g is not None and np.any(g.numpy()) for g in found)
    }


def test_each_term_moves_the_generator_and_nothing_else_of_the_generators():
    model, batch = build(loss_weights=ALL_TERMS), make_batch()
    with tf.GradientTape(persistent=True) as tape:
        outputs = model.forward(batch)
        terms = {k: tf.reduce_sum(v) for k, v in model.generator_losses(batch, outputs).items()}
        in_features = tf.identity(outputs["translated"])
        again = tf.reduce_sum(model.encoder_of("target")(in_features))
    networks = {"f": model.encoder, "g": model.generator}
    assert all(moved(tape, loss, networks) == {"g"} for loss in terms.values())
    assert np.any(tape.gradient(again, in_features)), "gradients pass through f"
    # Each term looks at its own kind of image.
    kinds = {
        term: {k for k in ("translated", "rebuilt") if tape.gradient(loss, outputs[k]) is not None}
        for term, loss in terms.items()
    }
    both = {"translated", "rebuilt"}
    assert kinds == {
        "translation": both, "constancy": {"translated"}, "identity": {"rebuilt"},
        "total_variation": both,
    }  # fmt: skip


@pytest.mark.parametrize("still", ["optimizer", "discriminator_optimizer"])
def test_each_player_moves_its_own_network(still, snapshot):
    model = build(compile={still: keras.optimizers.SGD(0.0)})
    g, d = (
        snapshot(network, "trainable_variables")
        for network in (model.generator, model.discriminators["ternary"])
    )
    step(model, make_batch())
    resting, playing = (g, d) if still == "optimizer" else (d, g)
    assert resting.unchanged and playing.all_changed


def test_players_variables_are_the_generators_and_the_discriminators():
    model = build()
    assert ids(model.trainable_variables) == ids(model.generator.trainable_variables)
    d = model.discriminators["ternary"]
    assert ids(model.discriminator_variables) == ids(d.trainable_variables)


def ids(variables):
    return [id(v) for v in variables]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"translation": 1}, {"encoder": 8, "generator": 8, "discriminator": 24}),
        ({"constancy": 1}, {"encoder": 8, "generator": 4}),
        ({"identity": 1}, {"encoder": 4, "generator": 4}),
        ({"total_variation": 1}, {"encoder": 8, "generator": 8}),
        ({"constancy": 1, "identity": 1}, {"encoder": 12, "generator": 8}),
    ],
)
def test_a_term_without_weight_costs_nothing(monkeypatch, weights, expected):
    """Images that each network reads in a step on four of each domain."""
    model = build(loss_weights=weights)
    read = Counter()
    original = keras.Model.__call__

    def counting(self, images, **kwargs):
        read[self.name] += len(images)
        return original(self, images, **kwargs)

    monkeypatch.setattr(keras.Model, "__call__", counting)
    logs = step(model, make_batch())
    assert read == expected
    adversarial = {"d_ternary", "fooled"} if "translation" in weights else set()
    assert logs.keys() == {"loss", *weights, *adversarial}


def test_the_discriminator_fooled_by_all_is_fooled_entirely():
    model = build(compile={"discriminator_optimizer": keras.optimizers.SGD(0.0)})
    bias = model.discriminators["ternary"].get_layer("conv_4").bias
    for sure, expected in ((2, 1.0), (0, 0.0)):
        bias.assign(100.0 * np.eye(3)[sure])
        assert step(model, make_batch())["fooled"] == expected


# Faces


def test_faces_train_a_step(snapshot):
    shape = (96, 96, 3)
    layers = keras.layers
    own = [keras.Input(shape), layers.Conv2D(4, 8, 8), layers.GlobalAveragePooling2D()]
    model = DomainTransferNetwork.from_preset("faces", randomized(keras.Sequential(own)), **TINY)
    model.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01))
    assert (model.constancy, model.image_shape) == ("cosine", shape)
    g = snapshot(model.generator, "trainable_variables")
    batch = make_batch(shape, shape, size=2)
    logs = step(model, batch)
    weights = PRESETS["faces"]["loss_weights"]
    assert logs["loss"] == pytest.approx(sum(w * logs[t] for t, w in weights.items()), rel=1e-5)
    assert 0 <= logs["constancy"] <= 2 and not g.unchanged
    assert model.translate(batch["source"], "source_to_target").shape == (2, *shape)


# Using a model


def test_it_translates_and_rebuilds_by_encoder_and_generator():
    model, batch = build(source=COLOR, target=GRAY), make_batch(COLOR, GRAY)
    x, y = batch["source"], batch["target"]
    z, z_y = model.encoder(x), model.encoder(np.repeat(y, 3, axis=-1))
    translated = model.translate(x, "source_to_target")
    np.testing.assert_allclose(translated, model.generator(z), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model(x), translated, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        model.reconstruct(y, "target"), model.generator(z_y), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        model.embed(x, "source"), np.reshape(z, (4, -1)), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(model.embed(y), np.reshape(z_y, (4, -1)), rtol=1e-4, atol=1e-5)
    assert model.directions == ("source_to_target",)


def test_what_it_cannot_do_is_said():
    model, y = build(), make_batch()["target"]
    assert not model.can_classify and not model.can_reconstruct("source")
    with pytest.raises(InputError, match="cannot translate from target to source"):
        model.translate(y, "target_to_source")
    with pytest.raises(InputError, match="cannot reconstruct source"):
        model.reconstruct(y, "source")
    with pytest.raises(InputError, match="cannot classify"):
        model.classify(y)
    with pytest.raises(InputError, match="'sauce'"):
        model.encoder_of("sauce")


def test_domains_may_differ_in_size():
    model = build(source=COLOR, target=(24, 32, 1), loss_weights=ALL_TERMS)
    logs = step(model, make_batch(COLOR, (24, 32, 1)))
    assert all(map(np.isfinite, logs.values()))


def test_networks_follow_the_models_own_dtype():
    model = build(dtype="mixed_bfloat16", loss_weights=ALL_TERMS)
    assert model.generator.get_layer("conv_1").compute_dtype == "bfloat16"
    assert model.discriminators["ternary"].get_layer("conv_1").compute_dtype == "bfloat16"
    assert model.encoder.get_layer("conv_1").compute_dtype == "float32", "it is the user's"
    batch = make_batch()
    assert all(map(np.isfinite, step(model, batch).values()))
    assert model.translate(batch["source"], "source_to_target").dtype == np.float32


# Files and configuration


@pytest.mark.parametrize("encoder", [digit_encoder, own_encoder])
def test_a_loaded_model_is_the_model(encoder, tmp_path, snapshot):
    model = build(
        encoder(COLOR),
        source=COLOR,
        target=GRAY,
        loss_weights=ALL_TERMS,
        constancy="cosine",
        compile={
            "optimizer": keras.optimizers.Adam(0.01, beta_1=0.5),
            "discriminator_optimizer": keras.optimizers.Adam(0.02, beta_1=0.4),
        },
    )
    step(model, make_batch(COLOR, GRAY))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")

    assert snapshot(loaded).equal(snapshot(model))
    assert not loaded.encoder.trainable
    # As JSON: a file makes lists of the layers' tuples.
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
    for name in ("optimizer", "discriminator_optimizer"):
        one, two = getattr(model, name), getattr(loaded, name)
        assert one.get_config() == two.get_config()
        assert snapshot(one, "variables").equal(snapshot(two, "variables")), name
    batch = make_batch(COLOR, GRAY, seed=1)
    assert step(loaded, batch) == step(model, batch)
    assert snapshot(loaded).equal(snapshot(model))
    images = [m.translate(batch["source"], "source_to_target") for m in (model, loaded)]
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize("preset", PRESETS)
def test_config_round_trip(preset):
    shape = (96, 96, 3) if preset == "faces" else (32, 32, 1)
    encoder = keras.Sequential([keras.Input(shape), keras.layers.GlobalAveragePooling2D()])
    model = DomainTransferNetwork.from_preset(preset, encoder, name="mine", **TINY)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))["config"]
    again = DomainTransferNetwork.from_config(config)
    assert again.get_config() == model.get_config()
    assert [v.shape for v in again.weights] == [v.shape for v in model.weights]


def test_defaults_are_the_texts_digits():
    assert build().loss_weights == {
        "translation": 1, "constancy": 0.001, "identity": 1000, "total_variation": 0,
    }  # fmt: skip


def test_arguments_are_stronger_than_the_presets():
    model = DomainTransferNetwork.from_preset(
        "digits", digit_encoder(), image_shape=GRAY, loss_weights={"identity": 2}, **TINY
    )
    assert model.image_shape == GRAY and model.terms == ("identity",)


def no_input_shape():
    return keras.Sequential([keras.layers.Dense(3)])


def no_known_features():
    unknown = keras.layers.Lambda(lambda x: x, output_shape=(None,))
    return keras.Sequential([keras.Input(GRAY), unknown])


def two_outputs():
    images = keras.Input(GRAY)
    return keras.Model(images, [images, images])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"loss_weights": {"identiy": 1}}, r"\['identiy'\].*translation, constancy"),
        ({"loss_weights": {"identity": -1}}, "≥ 0.*'identity': -1"),
        ({"loss_weights": {}}, "one of them positive"),
        ({"networks": "cats"}, "networks must be one of digits, faces.*'cats'"),
        ({"constancy": "l1"}, "constancy must be one of l2, cosine.*'l1'"),
        ({"width": 0}, "width=0"),
        ({"discriminator_width": -1}, "width=-1"),
        ({"image_shape": COLOR}, r"\(None, 16, 16, 3\).*Received.*\(None, 16, 16, 1\)"),
        ({"target_shape": (28, 28, 1)}, r"multiples of 8.*\(28, 28, 1\)"),
        ({"target_shape": (16, 16, 2)}, r"gray \(1\) and color \(3\).*\(16, 16, 2\)"),
        ({"target_shape": (16, 16)}, r"target_shape must be \(H, W, C\).*\(16, 16\)"),
        ({"encoder": "lenet"}, "functional or sequential.*'lenet'"),
        ({"encoder": no_input_shape}, "functional or sequential"),
        ({"encoder": no_known_features}, "one known shape.*None"),
        ({"encoder": two_outputs}, "one known shape"),
    ],
)
def test_a_wrong_argument_is_named(kwargs, message):
    encoder = kwargs.get("encoder", digit_encoder)
    encoder = encoder() if callable(encoder) else encoder
    with pytest.raises(InputError, match=message):
        DomainTransferNetwork(**{"image_shape": GRAY, **TINY, **kwargs, "encoder": encoder})


def test_an_unknown_preset_is_named():
    with pytest.raises(InputError, match=r"digits, faces.*'svhn'"):
        DomainTransferNetwork.from_preset("svhn", digit_encoder())
