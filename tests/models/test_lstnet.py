"""LSTNet: its whole step re-derived, who moves when, its terms, its use."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i import losses
from keras_i2i.errors import InputError
from keras_i2i.models.lstnet import TERMS, WEIGHTS, LSTNet

SGD = keras.optimizers.SGD
TINY = {
    "image_shape": (16, 16, 1),
    "target_shape": (10, 10, 3),
    "width": 0.03,
    "discriminator_width": 0.03,
}
# Weights far from each other, so that a swap shows.
UNEQUAL = dict(zip(TERMS, (2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0), strict=True))
DIRECTIONS = ("source_to_target", "target_to_source")


def make_images(size=4, seed=0, shapes=(TINY["image_shape"], TINY["target_shape"])):
    rng = np.random.default_rng(seed)
    source, target = (rng.uniform(-1, 1, (size, *shape)).astype("float32") for shape in shapes)
    return {"source": source, "target": 0.5 * target + 0.2}


@pytest.fixture
def images():
    return make_images()


@pytest.fixture(scope="module")
def build():
    """`build(compile={...}, **kwargs)`: a tiny compiled `LSTNet`, always the same."""

    def build(compile=None, seed=1, **kwargs):
        keras.utils.set_random_seed(seed)
        model = LSTNet(**{**TINY, **kwargs})
        model.compile(
            **{
                "optimizer": SGD(1e-3),
                "discriminator_optimizer": SGD(1e-2),
                "run_eagerly": True,
                **(compile or {}),
            }
        )
        return model

    return build


def train(model, images):
    model.reset_metrics()
    logs = model.train_on_batch(images, return_dict=True)
    return {name: float(value) for name, value in logs.items()}


# The step


class Reference:
    """The train step once more, from the paper's text and nothing of the package.

    Only where the weights lie is asked of the model. Domains are the paper's, 1 and 2.
    """

    def __init__(self, model, objective, pixel, rates):
        self.model, self.objective, self.pixel, self.rates = model, objective, pixel, rates
        self.copy = {id(v): tf.Variable(v.numpy()) for v in model.variables}
        self.averaging = True  # whether batch norm's moving averages follow
        sides = model.image_shape[0], model.target_shape[0]
        # "Slash is used to distinguish the first and second domain": by size, here.
        self.first = {i + 1: side == max(sides) for i, side in enumerate(sides)}

    def __getitem__(self, variable):
        return self.copy[id(variable)]

    # Table 1

    def norm_leaky(self, x, network, number):
        layer = network.get_layer(f"norm_{number}")
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        if self.averaging:
            for moving, moment in (layer.moving_mean, mean), (layer.moving_variance, variance):
                self[moving].assign(0.9 * self[moving] + 0.1 * moment)
        x = self[layer.gamma] * (x - mean) / tf.sqrt(variance + 1e-3) + self[layer.beta]
        return tf.where(x > 0, x, 0.2 * x)

    def conv(self, x, network, number, stride, padding="SAME"):
        kernel = self[network.get_layer(f"conv_{number}").kernel]
        return self.norm_leaky(tf.nn.conv2d(x, kernel, stride, padding), network, number)

    def dconv(self, x, network, number, stride, padding="SAME"):
        kernel = self[network.get_layer(f"conv_{number}").kernel]
        side = x.shape[1] * stride + (kernel.shape[0] - 1 if padding == "VALID" else 0)
        shape = (len(x), side, side, kernel.shape[2])
        x = tf.nn.conv2d_transpose(x, kernel, shape, stride, padding)
        return self.norm_leaky(x, network, number)

    def encode(self, x1, x2):
        def own(i, x):
            network = (self.model.source_entry, self.model.target_entry)[i - 1]
            x = self.conv(x, network, 1, 1)
            x = self.conv(x, network, 2, 2)
            x = self.conv(x, network, 3, 2 if self.first[i] else 1)
            return self.conv(x, network, 4, 1, "SAME" if self.first[i] else "VALID")

        x = tf.concat([own(1, x1), own(2, x2)], 0)
        x = self.conv(x, self.model.encoder_trunk, 5, 1)
        x = self.conv(x, self.model.encoder_trunk, 6, 1)
        return tf.split(x, 2)

    def shared_generator(self, z1, z2):
        x = self.dconv(tf.concat([z1, z2], 0), self.model.decoder_trunk, 1, 1)
        return tf.split(self.dconv(x, self.model.decoder_trunk, 2, 1), 2)

    def own_generator(self, i, x):
        network = (self.model.source_branch, self.model.target_branch)[i - 1]
        x = self.dconv(x, network, 3, 1, "SAME" if self.first[i] else "VALID")
        x = self.dconv(x, network, 4, 2)
        x = self.dconv(x, network, 5, 2 if self.first[i] else 1)
        x = self.dconv(x, network, 6, 1)
        last = network.get_layer("conv_7")
        return tf.tanh(tf.einsum("nhwi,oi->nhwo", x, self[last.kernel][0, 0]) + self[last.bias])

    def probability(self, i, x):
        """D_1, D_2 or D_l, with its sigmoid."""
        network = self.model.discriminators[{1: "source", 2: "target", "l": "latent"}[i]]
        if i == "l":
            rows = (1, "SAME"), (2, "SAME"), (1, "SAME")
        elif self.first[i]:
            rows = (1, "SAME"), (2, "SAME"), (2, "SAME"), (2, "SAME")
        else:
            rows = (1, "SAME"), (1, "SAME"), (2, "SAME"), (2, "VALID")
        for number, (stride, padding) in enumerate(rows, start=1):
            layer = network.get_layer(f"conv_{number}")
            x = tf.nn.conv2d(x, self[layer.kernel], 1, padding) + self[layer.bias]
            x = tf.nn.max_pool2d(tf.where(x > 0, x, 0.2 * x), 2, stride, "SAME")
        layer = network.get_layer("scores")
        return tf.sigmoid(tf.reshape(x, (len(x), -1)) @ self[layer.kernel] + self[layer.bias])

    # Equation 1

    def distance(self, a, b):
        return tf.reduce_mean(tf.abs(a - b) if self.pixel == "l1" else (a - b) ** 2)

    def game(self, i, real, fake):
        """J_AN."""
        return tf.reduce_mean(
            tf.math.log(self.probability(i, real)) + tf.math.log(1 - self.probability(i, fake))
        )

    def fooling(self, i, fake):
        d = self.probability(i, fake)
        if self.objective == "minimax":
            return tf.reduce_mean(tf.math.log(1 - d))
        return -tf.reduce_mean(tf.math.log(d))

    def mixing(self, z1, z2):
        if self.objective == "minimax":
            return self.game("l", z1, z2)
        d1, d2 = self.probability("l", z1), self.probability("l", z2)
        return -tf.reduce_mean(tf.math.log(1 - d1) + tf.math.log(d2))

    def step(self, images):
        """First the discriminators' update, then the encoders' and generators'."""
        x1, x2 = images["source"], images["target"]
        with tf.GradientTape() as tape:
            z1, z2 = self.encode(x1, x2)
            t1, t2 = self.shared_generator(z1, z2)
            same1, fake1 = tf.split(self.own_generator(1, tf.concat([t1, t2], 0)), 2)
            same2, fake2 = tf.split(self.own_generator(2, tf.concat([t2, t1], 0)), 2)
            self.averaging = False  # from here on, translations are read
            t_fake1, t_fake2 = self.shared_generator(*self.encode(fake1, fake2))
            cycle1, cycle2 = self.own_generator(1, t_fake2), self.own_generator(2, t_fake1)
            self.averaging = True

            pairs = {1: (x1, fake1), 2: (x2, fake2), "l": (z1, z2)}
            with tf.GradientTape() as discriminators_tape:
                j = {i: self.game(i, *map(tf.stop_gradient, pair)) for i, pair in pairs.items()}
                to_minimize = -tf.add_n(list(j.values()))
            theirs = self.model.discriminator_variables
            self.update(theirs, discriminators_tape, to_minimize, self.rates[1])

            terms = {
                "translation_to_source": self.fooling(1, fake1),
                "translation_to_target": self.fooling(2, fake2),
                "latent": self.mixing(z1, z2),
                "identity_source": self.distance(x1, same1),
                "identity_target": self.distance(x2, same2),
                "cycle_source": self.distance(x1, cycle1),
                "cycle_target": self.distance(x2, cycle2),
            }
            loss = tf.add_n([UNEQUAL[name] * term for name, term in terms.items()])
        known = {id(v) for v in theirs}
        ours = [v for v in self.networks_variables() if id(v) not in known]
        self.update(ours, tape, loss, self.rates[0])
        logs = {"d_source": -j[1], "d_target": -j[2], "d_latent": -j["l"], **terms, "loss": loss}
        return {name: float(value) for name, value in logs.items()}

    def networks_variables(self):
        m = self.model
        networks = [m.source_entry, m.target_entry, m.encoder_trunk, m.decoder_trunk]
        networks += [m.source_branch, m.target_branch]
        return [v for network in networks for v in network.trainable_variables]

    def update(self, variables, tape, loss, rate):
        gradients = tape.gradient(loss, [self[v] for v in variables])
        for variable, gradient in zip(variables, gradients, strict=True):
            self[variable].assign_sub(rate * gradient)


@pytest.mark.parametrize(
    ("objective", "pixel", "shapes", "eagerly"),
    [
        ("non_saturating", "l1", ((16, 16, 1), (10, 10, 3)), False),
        ("minimax", "l2", ((10, 10, 2), (16, 16, 1)), True),
    ],
)
def test_two_steps_equal_the_papers_equations(build, objective, pixel, shapes, eagerly):
    rates = 1e-3, 1e-2
    model = build(
        image_shape=shapes[0],
        target_shape=shapes[1],
        loss_weights=UNEQUAL,
        compile={
            "optimizer": SGD(rates[0]),
            "discriminator_optimizer": SGD(rates[1]),
            "objective": objective,
            "pixel_loss": pixel,
            "run_eagerly": eagerly,
        },
    )
    reference = Reference(model, objective, pixel, rates)
    weights = model.weights
    for seed in range(2):
        images = make_images(seed=seed, shapes=shapes)
        before = [v.numpy() for v in weights]
        expected = reference.step(images)
        logs = train(model, images)
        assert logs.keys() == expected.keys()
        for name, value in expected.items():
            assert logs[name] == pytest.approx(value, rel=1e-4), name
        for v in weights:
            np.testing.assert_allclose(v, reference[v].numpy(), atol=5e-6, err_msg=v.path)
        # Each by more than the tolerance, so that the comparison says something.
        moved = [np.abs(old - v).max() > 2e-5 for old, v in zip(before, weights, strict=True)]
        assert np.mean(moved) > 0.95


# Who moves


def test_the_discriminators_update_leaves_every_generator_weight_bit_identical(
    build, images, snapshot
):
    model = build(compile={"optimizer": SGD(0.0)})
    generators = snapshot(model, "trainable_variables")
    discriminators = snapshot(model, "discriminator_variables")
    train(model, images)
    assert generators.unchanged
    assert discriminators.all_changed


def test_the_generators_update_leaves_every_discriminator_weight_bit_identical(
    build, images, snapshot
):
    model = build(compile={"discriminator_optimizer": SGD(0.0)})
    generators = snapshot(model, "trainable_variables")
    discriminators = snapshot(model, "discriminator_variables")
    train(model, images)
    assert generators.all_changed
    assert discriminators.unchanged


def test_every_trainable_weight_has_exactly_one_optimizer(build):
    model = build()
    ours = {id(v) for v in model.trainable_variables}
    theirs = {id(v) for v in model.discriminator_variables}
    assert len(ours) == len(model.trainable_variables) and not ours & theirs
    assert ours == {id(v) for v in Reference(model, None, None, None).networks_variables()}


@pytest.mark.parametrize("objective", ["non_saturating", "minimax"])
def test_the_latent_game_moves_each_domain_towards_the_others_label(build, images, objective):
    model = build(compile={"objective": objective})
    outputs = model.forward(images)
    latents = {domain: outputs[f"latent_{domain}"] for domain in ("source", "target")}
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(latents)
        scores = {d: tf.reduce_sum(model.discriminators["latent"](z)) for d, z in latents.items()}
        moved = {**outputs, **{f"latent_{domain}": z for domain, z in latents.items()}}
        loss = tf.reduce_sum(model.generator_losses(images, moved)["latent"])
    downhill = tape.gradient(loss, latents)
    for domain, sign in (("source", -1), ("target", 1)):
        higher = tape.gradient(scores[domain], latents[domain])
        assert sign * tf.reduce_sum(-downhill[domain] * higher) > 0, domain


# Terms without weight


def built(model):
    names = ("decoder_trunk", "source_branch", "target_branch")
    return {name for name in names if getattr(model, name) is not None} | {
        f"d_{name}" for name in model.discriminators
    }


BOTH_BRANCHES = {"decoder_trunk", "source_branch", "target_branch"}
BOTH_FAKES = {"fake_source", "fake_target"}


@pytest.mark.parametrize(
    ("terms", "networks", "made", "directions"),
    [
        (["latent"], {"d_latent"}, set(), ()),
        (
            ["identity_source"],
            {"decoder_trunk", "source_branch"},
            {"identity_source"},
            ("target_to_source",),
        ),
        (
            ["translation_to_target", "latent"],
            {"decoder_trunk", "target_branch", "d_target", "d_latent"},
            {"fake_target"},
            ("source_to_target",),
        ),
        (["cycle_source"], BOTH_BRANCHES, BOTH_FAKES | {"cycle_source"}, DIRECTIONS),
        (
            ["cycle_target", "translation_to_source"],
            BOTH_BRANCHES | {"d_source"},
            BOTH_FAKES | {"cycle_target"},
            DIRECTIONS,
        ),
        (
            ["identity_source", "identity_target"],
            BOTH_BRANCHES,
            {"identity_source", "identity_target"},
            DIRECTIONS,
        ),
    ],
)  # fmt: skip
def test_a_term_without_weight_costs_nothing(
    build, images, snapshot, terms, networks, made, directions
):
    model = build(loss_weights={**dict.fromkeys(TERMS, 0.0), **dict.fromkeys(terms, 1.0)})
    assert built(model) == networks
    assert set(model.forward(images)) == {"latent_source", "latent_target"} | made
    assert model.directions == directions
    weights = snapshot(model, "trainable_variables")
    # Nor is anything trained that no term reaches: Keras would warn, and a warning is an error.
    logs = train(model, images)
    assert set(logs) == {"loss", *terms, *(name for name in networks if name.startswith("d_"))}
    assert not weights.unchanged


def test_a_model_that_cannot_translate_says_so(build, images):
    model = build(loss_weights={"latent": 1})
    with pytest.raises(InputError, match=r"cannot translate.*term"):
        model.translate(images["source"], "source_to_target")
    with pytest.raises(InputError, match="cannot reconstruct"):
        model.reconstruct(images["target"], "target")


# Using a model


def test_the_encoders_share_one_trunk_and_the_generators_another(build, images):
    model = build()

    def used(function, domain):
        with tf.GradientTape() as tape:
            function(images[domain])
        return {id(v) for v in tape.watched_variables()}

    def values(*networks):
        return {id(v.value) for network in networks for v in network.trainable_variables}

    source, target = (used(model.encoder_of(domain), domain) for domain in ("source", "target"))
    assert source == values(model.source_entry, model.encoder_trunk)
    assert target == values(model.target_entry, model.encoder_trunk)
    there, back = (
        used(model.mapping("source", domain), "source") for domain in ("source", "target")
    )
    assert there - source == values(model.decoder_trunk, model.source_branch)
    assert back - source == values(model.decoder_trunk, model.target_branch)


@pytest.fixture(scope="module")
def trained(build):
    """A model of the paper's sizes whose moments are not those of a fresh one."""
    model = build(image_shape=(28, 28, 1), target_shape=(16, 16, 1))
    rng = np.random.default_rng(5)
    model.set_weights([w + rng.uniform(0.01, 0.2, w.shape) for w in model.get_weights()])
    return model


def test_images_of_both_native_sizes_are_read_and_made(trained):
    images = make_images(7, shapes=((28, 28, 1), (16, 16, 1)))
    for domain, other in (("source", "target"), ("target", "source")):
        made = trained.translate(images[domain], f"{domain}_to_{other}")
        assert made.shape == images[other].shape
        assert trained.reconstruct(images[domain], domain).shape == images[domain].shape
        assert trained.embed(images[domain], domain).shape == (7, 7 * 7 * 4)
    np.testing.assert_allclose(
        trained(images["source"]), trained.translate(images["source"], DIRECTIONS[0]), atol=1e-5
    )
    with pytest.raises(InputError, match=r"\(n, 16, 16, 1\).*Received: \(7, 28, 28, 1\)"):
        trained.translate(images["source"], "target_to_source")


def test_translate_and_reconstruct_are_compositions_of_the_networks(trained):
    images = make_images(3, shapes=((28, 28, 1), (16, 16, 1)))
    for domain, other in (("source", "target"), ("target", "source")):
        latents = trained.encoder_trunk(getattr(trained, f"{domain}_entry")(images[domain]))
        np.testing.assert_allclose(
            trained.embed(images[domain], domain), np.reshape(latents, (3, -1)), atol=1e-5
        )
        trunk = trained.decoder_trunk(latents)
        for made, destination in (
            (trained.translate(images[domain], f"{domain}_to_{other}"), other),
            (trained.reconstruct(images[domain], domain), domain),
        ):
            branch = getattr(trained, f"{destination}_branch")
            np.testing.assert_allclose(made, branch(trunk), atol=1e-5)


def test_an_objectives_penalty_counts(build, images):
    class Penalized(losses.NonSaturating):
        def penalty(self, discriminator, real, fake, seed):
            return tf.fill(real.shape[:1], 7.0)

    plain, penalized = (
        train(build({"objective": objective}), images)
        for objective in ("non_saturating", Penalized())
    )
    for name in ("d_source", "d_target", "d_latent"):
        assert penalized[name] == pytest.approx(plain[name] + 7, rel=1e-5)


def test_it_has_no_classifier(build, images):
    model = build()
    assert not model.can_classify
    with pytest.raises(InputError, match="cannot classify"):
        model.classify(images["target"])


def test_fit_does_without_labels(build):
    images = make_images(6)
    labelled = (images, np.zeros(6, int))
    logs = [
        build()
        .fit(tf.data.Dataset.from_tensor_slices(data).batch(4), shuffle=False, verbose=0)
        .history
        for data in (images, labelled)
    ]
    assert logs[0] == logs[1]
    weighted = sum(weight * logs[0][term][0] for term, weight in WEIGHTS.items())
    assert logs[0]["loss"][0] == pytest.approx(weighted, rel=1e-5)


@pytest.mark.slow
def test_two_replicas_take_the_step_of_one(build, two_replicas):
    """Both get the same images: batch norm's moments are each replica's own."""
    half = make_images(3)
    images = {name: np.concatenate([x, x]) for name, x in half.items()}
    # The terms whose passes differ most; tracing a graph for each replica takes time.
    weights = {"latent": 3.0, "cycle_source": 5.0}

    def trained(**compile):
        model = build(loss_weights=weights, compile=compile)
        data = tf.data.Dataset.from_tensor_slices(images).batch(6).repeat(2)
        logs = model.fit(data, shuffle=False, verbose=0).history
        return model.get_weights(), logs

    with two_replicas.scope():
        two, two_logs = trained(run_eagerly=False)
    one, one_logs = trained()
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=5e-6)
    assert two_logs.keys() == one_logs.keys()
    for name, values in one_logs.items():
        assert two_logs[name] == pytest.approx(values, rel=1e-4), name


# Files


@pytest.fixture
def through_a_file(tmp_path):
    def through(model):
        model.save(tmp_path / "model.keras")
        return keras.models.load_model(tmp_path / "model.keras")

    return through


@pytest.mark.parametrize(
    "weights", [None, {"latent": 1, "identity_target": 2}], ids=["all", "few terms"]
)
def test_a_loaded_model_is_the_model(build, through_a_file, images, snapshot, weights):
    model = build(
        loss_weights=weights,
        compile={
            "optimizer": keras.optimizers.Adam(0.01, beta_1=0.8),
            "discriminator_optimizer": keras.optimizers.Adam(0.02, beta_1=0.7),
            "objective": "minimax",
            "pixel_loss": "l2",
            "discriminator_steps": 2,
        },
    )
    train(model, images)
    loaded = through_a_file(model)
    assert type(loaded.objective) is type(model.objective)
    assert (loaded.pixel_loss, loaded.discriminator_steps) == ("l2", 2)
    assert loaded.get_config() == model.get_config() and loaded.directions == model.directions
    for direction in model.directions:
        np.testing.assert_array_equal(
            *(m.translate(images[direction.split("_")[0]], direction) for m in (model, loaded))
        )
    for name in ("optimizer", "discriminator_optimizer"):
        one, two = getattr(model, name), getattr(loaded, name)
        assert one.get_config() == two.get_config()
        assert snapshot(one, "variables").equal(snapshot(two, "variables")), name
    assert train(loaded, images) == train(model, images)
    assert snapshot(loaded).equal(snapshot(model))


def test_an_uncompiled_model_survives_a_file(through_a_file, images):
    model = LSTNet(**TINY)
    loaded = through_a_file(model)
    assert not loaded.compiled
    np.testing.assert_array_equal(loaded(images["source"]), model(images["source"]))


def test_config_round_trip(build):
    model = build(loss_weights=UNEQUAL, discriminator_width=0.05, name="mine")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))["config"]
    again = LSTNet.from_config(config)
    assert again.get_config() == model.get_config()
    assert [v.shape for v in again.weights] == [v.shape for v in model.weights]


# Configuration


def test_defaults_are_the_papers():
    model = LSTNet(width=0.03, discriminator_width=0.03)
    assert (model.image_shape, model.target_shape) == ((28, 28, 1), (16, 16, 1))
    assert model.loss_weights == {
        "translation_to_source": 20, "translation_to_target": 20, "latent": 30,
        "identity_source": 100, "identity_target": 100, "cycle_source": 100, "cycle_target": 100,
    }  # fmt: skip
    assert tuple(model.discriminators) == ("source", "target", "latent")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"loss_weights": {"cycle": 1}}, r"\['cycle'\].*translation_to_source"),
        ({"loss_weights": {"latent": -1}}, "≥ 0.*'latent': -1"),
        ({"loss_weights": {"latent": float("nan")}}, "≥ 0.*nan"),
        ({"loss_weights": {}}, "one of them positive"),
        ({"width": 0}, "width=0"),
        ({"discriminator_width": -1}, "width=-1"),
        ({"image_shape": (28, 20, 1)}, r"square.*\(28, 20, 1\)"),
        ({"target_shape": (17, 17, 1)}, r"28 with 28 or 16.*\(17, 17, 1\)"),
        ({"target_shape": (16, 16)}, r"\(16, 16\)"),
    ],
)
def test_a_wrong_argument_is_named(kwargs, message):
    with pytest.raises(InputError, match=message):
        LSTNet(**{**TINY, **kwargs})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"objective": "hinge"}, "Unknown.*'hinge'"),
        ({"objective": "least_squares"}, "logits.*'least_squares'"),
        ({"objective": "wasserstein"}, "logits.*'wasserstein'"),
        ({"pixel_loss": "hinge"}, "'hinge'"),
    ],
)
def test_compile_names_a_wrong_choice(kwargs, message):
    with pytest.raises(InputError, match=message):
        LSTNet(**TINY).compile(**kwargs)


def test_networks_follow_the_models_own_dtype(images):
    model = LSTNet(**TINY, dtype="mixed_bfloat16")
    assert model.target_entry.get_layer("conv_1").compute_dtype == "bfloat16"
    assert model.translate(images["source"], "source_to_target").dtype == np.float32
