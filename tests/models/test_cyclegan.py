"""CycleGAN: its whole step re-derived, who moves when, its terms, its pools, its use."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i import losses
from keras_i2i.errors import InputError
from keras_i2i.models.cyclegan import TERMS, WEIGHTS, CycleGAN
from keras_i2i.models.history_pool import HistoryPool

from .reference import moments

SGD = keras.optimizers.SGD
# Not square, and two patches, so that a mean in the wrong place shows.
SHAPE = (24, 16, 2)
TINY = {
    "image_shape": SHAPE,
    "generator_width": 0.05,
    "discriminator_width": 0.05,
    "seed": 0,
}
# Weights far from each other, so that a swap shows.
UNEQUAL = {"translation": 0.7, "cycle": 3.0, "identity": 1.9}
RATE, DISCRIMINATOR_RATE = 0.005, 0.02
DIRECTIONS = ("source_to_target", "target_to_source")


# The scores at which discriminators are undecided, of objectives that have one.
MIDDLES = {"least_squares": 0.5, "non_saturating": 0.0}


def make_images(size=3, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-1, 1, (2, size, *SHAPE)).astype("float32")
    return {"source": x, "target": 0.5 * y + 0.2}


@pytest.fixture
def images():
    return make_images()


@pytest.fixture(scope="module")
def build():
    """`build(compile={...}, **kwargs)`: a tiny compiled `CycleGAN`, always the same.

    Its U-Nets halve an image once.
    """

    def build(compile=None, seed=1, **kwargs):
        keras.utils.set_random_seed(seed)
        model = CycleGAN(**{**TINY, "generator_stages": 1, **kwargs})
        # Away from the initial weights: no scale one, no offset zero. Not far: with large weights
        # a step's rounding grows.
        rng = np.random.default_rng(seed)
        for v in [*model.trainable_variables, *model.discriminator_variables]:
            v.assign(v + rng.uniform(-0.05, 0.05, v.shape))
        # SGD: Adam would not notice that a loss was halved.
        model.compile(
            **{
                "optimizer": SGD(RATE),
                "discriminator_optimizer": SGD(DISCRIMINATOR_RATE),
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
    """The step once more, from the paper's sections 4.1.3 and 4.3 and nothing of the package.

    Args:
        model: whose weights are copied; the copies are trained.
        objective: "least_squares", "wasserstein" or "non_saturating".
        pixel: "l1" or "l2".
        shown: function of (domain, fakes): what a discriminator sees instead of the fakes.
    """

    def __init__(self, model, objective="least_squares", pixel="l1", shown=None):
        self.model, self.objective, self.pixel = model, objective, pixel
        self.shown = shown or (lambda domain, fakes: fakes)
        self.copy = {id(v): tf.Variable(v.numpy()) for v in model.variables}
        self.random = keras.random.SeedGenerator(TINY["seed"])

    def __getitem__(self, variable):
        return self.copy[id(variable)]

    # Networks

    def block(self, network, name, x, up=False, stride=1):
        kernel = self[network.get_layer(f"{name}_conv").kernel]
        if up:
            n, h, w, _ = x.shape
            x = tf.nn.conv2d_transpose(x, kernel, (n, 2 * h, 2 * w, kernel.shape[2]), 2)
        else:
            x = tf.nn.conv2d(x, kernel, stride, "SAME")
        norm = network.get_layer(f"{name}_norm")
        mean, variance = moments(x, [1, 2])
        x = self[norm.gamma] * (x - mean) / tf.sqrt(variance + 1e-3) + self[norm.beta]
        return tf.where(x > 0, x, 0.2 * x)

    def last(self, network, name, x, padding):
        layer = network.get_layer(name)
        return tf.nn.conv2d(x, self[layer.kernel], 1, padding) + self[layer.bias]

    def generate(self, network, x):
        images, skips = x, []
        stages = range(1, self.model.get_config()["generator_stages"] + 1)
        for stage in stages:
            skips.append(x)
            for part, stride in ((1, 2), (2, 1), (3, 1)):
                x = self.block(network, f"down_{stage}_{part}", x, stride=stride)
        for stage in reversed(stages):
            x = self.block(network, f"up_{stage}_1", x, up=True)
            x = tf.concat([x, skips[stage - 1]], -1)
            for part in (2, 3):
                x = self.block(network, f"up_{stage}_{part}", x)
        if self.model.get_config()["image_skip"]:
            x = tf.concat([x, images], -1)
        return tf.tanh(self.last(network, "out", x, "SAME"))

    def g(self, x):
        return self.generate(self.model.to_target, x)

    def f(self, y):
        return self.generate(self.model.to_source, y)

    def score(self, domain, x):
        network = self.model.discriminators[domain]
        for stage in (1, 2, 3):
            x = self.block(network, f"stage_{stage}", x, stride=2)
        return self.last(network, "scores", x, "VALID")

    # Losses

    def distance(self, a, b):
        return tf.reduce_mean(tf.abs(a - b) if self.pixel == "l1" else (a - b) ** 2)

    def fooling(self, domain, fake):
        score = self.score(domain, fake)
        return tf.reduce_mean(
            {
                "least_squares": lambda: (score - 1) ** 2,
                "wasserstein": lambda: -score,
                "non_saturating": lambda: -tf.math.log_sigmoid(score),
            }[self.objective]()
        )

    def half_of_telling_apart(self, domain, real, fake):
        r, f = self.score(domain, real), self.score(domain, fake)
        if self.objective == "least_squares":
            return tf.reduce_mean((r - 1) ** 2 + f**2) / 2
        if self.objective == "non_saturating":
            return -tf.reduce_mean(tf.math.log_sigmoid(r) + tf.math.log_sigmoid(-f)) / 2
        mix = keras.random.uniform((real.shape[0], 1, 1, 1), seed=self.random)
        between = mix * real + (1 - mix) * fake
        with tf.GradientTape() as tape:
            tape.watch(between)
            # An image's score is the mean of its patches'.
            score = tf.reduce_sum(tf.reduce_mean(self.score(domain, between), [1, 2, 3]))
        slope = tf.reshape(tape.gradient(score, between), (real.shape[0], -1))
        penalty = tf.reduce_mean((tf.norm(slope, axis=1) - 1) ** 2)
        return (tf.reduce_mean(f - r) + 10 * penalty) / 2

    def accuracy(self, domain, real, fake):
        middle = MIDDLES[self.objective]
        r, f = self.score(domain, real).numpy(), self.score(domain, fake).numpy()
        return ((r > middle).sum() + (f < middle).sum()) / (r.size + f.size)

    # The step

    def step(self, images):
        """One alternation; returns what is to be logged."""
        x, y = images["source"], images["target"]
        weights, logs, terms = self.model.loss_weights, {}, {}

        if weights["translation"]:
            fakes = {"source": self.f(y), "target": self.g(x)}
            pairs = {
                domain: (images[domain], tf.constant(self.shown(domain, fakes[domain])))
                for domain in ("source", "target")
            }
            theirs = self.model.discriminator_variables
            if self.objective in MIDDLES:
                for domain, pair in pairs.items():
                    logs[f"d_{domain}_accuracy"] = self.accuracy(domain, *pair)
            with tf.GradientTape() as tape:
                for domain, pair in pairs.items():
                    logs[f"d_{domain}"] = self.half_of_telling_apart(domain, *pair)
                total = logs["d_source"] + logs["d_target"]
            gradients = tape.gradient(total, [self[v] for v in theirs])
            for v, gradient in zip(theirs, gradients, strict=True):
                self[v].assign_sub(DISCRIMINATOR_RATE * gradient)

        ours = [*self.model.to_target.trainable_variables]
        ours += self.model.to_source.trainable_variables
        with tf.GradientTape() as tape:
            if weights["translation"]:
                terms["translation"] = self.fooling("target", self.g(x))
                terms["translation"] += self.fooling("source", self.f(y))
            if weights["cycle"]:
                terms["cycle"] = self.distance(self.f(self.g(x)), x)
                terms["cycle"] += self.distance(self.g(self.f(y)), y)
            if weights["identity"]:
                terms["identity"] = self.distance(self.g(y), y) + self.distance(self.f(x), x)
            loss = tf.add_n([weights[name] * term for name, term in terms.items()])
        gradients = tape.gradient(loss, [self[v] for v in ours])
        for v, gradient in zip(ours, gradients, strict=True):
            self[v].assign_sub(RATE * gradient)
        return {name: float(value) for name, value in {**logs, **terms, "loss": loss}.items()}


FIRST_IMAGES = 10  # at which no L1 or leaky ReLU bends: there a rounding error decides for one side


def compare_steps(model, reference, steps=2):
    weights = [*model.trainable_variables, *model.discriminator_variables]
    for step in range(steps):
        images = make_images(seed=FIRST_IMAGES + step)
        before = [v.numpy() for v in weights]
        expected = reference.step(images)
        logs = train(model, images)
        assert logs.keys() == expected.keys()
        for name, value in expected.items():
            assert logs[name] == pytest.approx(value, rel=2e-4, abs=1e-5), name
        for old, v in zip(before, weights, strict=True):
            moved = np.abs(v - old).max()
            # Real and fake scores alike, so Wasserstein's critic has no use for a bias.
            assert moved > 1e-6 or v.path == "scores/bias", v.path
            np.testing.assert_allclose(
                v, reference[v].numpy(), rtol=0, atol=5e-3 * moved + 5e-6, err_msg=v.path
            )


@pytest.mark.parametrize(
    ("weights", "objective", "pixel", "stages"),
    [
        (None, "least_squares", "l1", 3),
        (UNEQUAL, "wasserstein", "l2", 2),
        ({**UNEQUAL, "identity": 0}, "least_squares", "l1", 1),
        ({**UNEQUAL, "cycle": 0}, "non_saturating", "l1", 1),
        ({"cycle": 1.0, "identity": 2.0}, "least_squares", "l2", 2),
    ],
)
def test_two_steps_equal_the_papers_equations(build, weights, objective, pixel, stages):
    model = build(
        {"image_objective": objective, "pixel_loss": pixel},
        loss_weights=weights,
        generator_stages=stages,
        image_skip=stages == 2,
    )
    compare_steps(model, Reference(model, objective, pixel))


def test_the_defaults_are_the_papers_and_each_player_has_its_networks(build):
    model = build()
    assert model.loss_weights == WEIGHTS == {"translation": 1.0, "cycle": 8.0, "identity": 0.8}
    assert isinstance(model.image_objective, losses.LeastSquares) and model.pixel_loss == "l1"
    ours = {id(v) for v in model.trainable_variables}
    theirs = {id(v) for v in model.discriminator_variables}
    generators, discriminators = (
        {id(v) for network in networks for v in network.trainable_variables}
        for networks in ((model.to_target, model.to_source), model.discriminators.values())
    )
    assert (ours, theirs) == (generators, discriminators) and not ours & theirs
    assert [*model.discriminators] == ["source", "target"]


# Who moves


def test_the_discriminators_update_leaves_every_generator_weight_bit_identical(
    build, images, snapshot
):
    model = build({"optimizer": SGD(0.0), "discriminator_steps": 2})
    generators, theirs = snapshot(model, "trainable_variables"), []
    theirs = [snapshot(network, "trainable_variables") for network in model.discriminators.values()]
    train(model, images)
    assert generators.unchanged
    assert all(weights.all_changed for weights in theirs)


def test_the_generators_update_leaves_every_discriminator_weight_bit_identical(
    build, images, snapshot
):
    model = build({"discriminator_optimizer": SGD(0.0)})
    generators = [snapshot(model.to_target), snapshot(model.to_source)]
    discriminators = [snapshot(network) for network in model.discriminators.values()]
    train(model, images)
    assert all(weights.all_changed for weights in generators)
    assert all(weights.unchanged for weights in discriminators)


def slopes(model, images):
    """Which networks each term's gradient reaches, players' losses alike."""
    networks = {
        "G": model.to_target, "F": model.to_source,
        **{f"D_{name}": network for name, network in model.discriminators.items()},
    }  # fmt: skip
    variables = {name: [v.value for v in n.trainable_variables] for name, n in networks.items()}
    with tf.GradientTape(persistent=True) as tape:
        outputs = model.forward(images)
        terms = model.generator_losses(images, outputs)
        fixed = {name: tf.stop_gradient(value) for name, value in outputs.items()}
        for name, loss in model.discriminator_losses(images, fixed).items():
            terms[f"d_{name}"] = loss
    return {
        term: {
            name
            for name, found in tape.gradient(loss, variables).items()
            if any(g is not None and np.any(g.numpy()) for g in found)
        }
        for term, loss in terms.items()
    }


def test_each_loss_moves_its_networks(build, images):
    moved = slopes(build(), images)
    # The generators' optimizer holds none of D's weights, so what reaches them does not count.
    assert {term: found - {"D_source", "D_target"} for term, found in moved.items()} == {
        "translation": {"G", "F"},
        "cycle": {"G", "F"},
        "identity": {"G", "F"},
        "d_source": set(),
        "d_target": set(),
    }
    assert moved["d_source"] == {"D_source"} and moved["d_target"] == {"D_target"}
    assert moved["cycle"] == moved["identity"] == {"G", "F"}


# Terms without weight


@pytest.fixture
def calls(monkeypatch, build):
    """How often each network runs, by its name, from `calls.clear()` on."""
    counter, functional = {}, type(build().to_target)
    original = functional.call

    def counting(self, *args, **kwargs):
        counter[self.name] = counter.get(self.name, 0) + 1
        return original(self, *args, **kwargs)

    monkeypatch.setattr(functional, "call", counting)
    return counter


@pytest.mark.parametrize(
    ("weights", "objective", "passes", "discriminator_passes"),
    [
        # Translation and identity in one pass, then the cycle; both players' in one, then the game.
        ({}, "least_squares", 2, 2),
        ({"identity": 0}, "least_squares", 2, 2),
        ({"cycle": 0, "identity": 0}, "wasserstein", 1, 3),
        ({"translation": 0, "cycle": 0}, "least_squares", 1, 0),
    ],
)
def test_a_term_without_weight_costs_nothing(
    build, images, calls, weights, objective, passes, discriminator_passes
):
    weights = {**UNEQUAL, **weights}
    model = build({"image_objective": objective}, loss_weights=weights, pool_size=2)
    calls.clear()
    logs = train(model, images)
    expected = {"to_target": passes, "to_source": passes}
    if discriminator_passes:
        for domain in ("source", "target"):
            expected[f"{domain}_discriminator"] = discriminator_passes
    assert calls == expected
    terms = {name for name, weight in weights.items() if weight}
    assert model.terms == tuple(name for name in TERMS if name in terms)
    game = {"d_source", "d_target"}
    if objective in MIDDLES:
        game |= {"d_source_accuracy", "d_target_accuracy"}
    assert logs.keys() == terms | {"loss"} | (game if discriminator_passes else set())
    assert bool(model.discriminators) == bool(model.pools) == bool(discriminator_passes)


# How often the discriminators are right


@pytest.mark.parametrize(("objective", "middle"), MIDDLES.items())
def test_the_logged_accuracy_counts_patches_of_all_images(build, objective, middle):
    frozen = {"optimizer": SGD(0.0), "discriminator_optimizer": SGD(0.0)}
    model = build({**frozen, "image_objective": objective}, loss_weights={"translation": 1})
    images = make_images(7)
    made = {
        "source": model.translate(images["target"], "target_to_source"),
        "target": model.translate(images["source"], "source_to_target"),
    }
    expected = {}
    for name, discriminator in model.discriminators.items():
        # Biased so that some of each are right.
        scores = np.concatenate([discriminator(images[name]), discriminator(made[name])])
        discriminator.layers[-1].bias.assign_add([middle - np.median(scores)])
        right = (discriminator(images[name]).numpy() > middle).sum()
        right += (discriminator(made[name]).numpy() < middle).sum()
        expected[f"d_{name}_accuracy"] = right / scores.size
    data = tf.data.Dataset.from_tensor_slices(images).batch(4)  # and a last one of 3
    history = model.fit(data, epochs=2, shuffle=False, verbose=0).history
    for name, value in expected.items():
        assert 0 < value < 1
        assert history[name] == pytest.approx([value, value], abs=1e-6), name
    assert set(model.measures) == set(expected)


def test_a_critic_is_neither_right_nor_wrong(build, images):
    model = build({"image_objective": "wasserstein"})
    assert model.measures == ()
    assert not [name for name in train(model, images) if "accuracy" in name]


def test_an_undecided_score_is_no_right_answer(build, images):
    model = build({"discriminator_optimizer": SGD(0.0)})
    for discriminator in model.discriminators.values():
        last = discriminator.layers[-1]
        last.set_weights([np.zeros(last.kernel.shape), np.array([0.5])])
    logs = train(model, images)
    assert logs["d_source_accuracy"] == logs["d_target_accuracy"] == 0
    assert logs["d_source"] == pytest.approx(0.25), "half of 1/2, for one that knows nothing"


# The history


def test_the_discriminators_see_what_the_pool_shows_and_the_generators_do_not(build, monkeypatch):
    def shown(domain, fakes):
        return np.full(fakes.shape, {"source": 0.3, "target": -0.6}[domain], "float32")

    given = []

    def call(self, images):
        given.append(np.asarray(images))
        return tf.constant(shown(self.name.removesuffix("_pool"), images))

    monkeypatch.setattr(HistoryPool, "call", call)
    model = build(pool_size=2, loss_weights=UNEQUAL)
    reference = Reference(model, shown=shown)
    images = make_images(seed=FIRST_IMAGES)
    fakes = [reference.f(images["target"]), reference.g(images["source"])]
    compare_steps(model, reference)
    for one, two in zip(given, fakes, strict=False):
        np.testing.assert_allclose(one, two, atol=1e-5)
    assert len(given) == 4, "each domain's at each step"


def test_the_pools_keep_each_domains_fakes(build):
    model = build(pool_size=3)
    first, second = make_images(2, 0), make_images(2, 1)
    directions = {"source": "target_to_source", "target": "source_to_target"}
    origins = {"source": "target", "target": "source"}
    expected = {domain: [] for domain in directions}
    for images in (first, second):
        for domain, direction in directions.items():
            expected[domain] += [*model.translate(images[origins[domain]], direction)]
        train(model, images)
    for domain, pool in model.pools.items():
        assert int(pool.filled) == 3 and pool.images.shape == (3, *SHAPE)
        np.testing.assert_allclose(pool.images[:2], np.stack(expected[domain][:2]), atol=1e-5)
        # The fourth may already have taken another's place.
        kept = [np.allclose(pool.images[2], made, atol=1e-5) for made in expected[domain][2:]]
        assert any(kept)


def test_several_updates_on_a_batch_are_shown_the_same_from_the_pool(build, monkeypatch):
    calls = []

    def call(self, images):
        calls.append(self.name)
        return images

    monkeypatch.setattr(HistoryPool, "call", call)
    train(build({"discriminator_steps": 3}, pool_size=2), make_images())
    assert sorted(calls) == ["source_pool", "target_pool"]


def test_without_a_size_there_is_no_pool(build):
    assert build().pools == {}
    assert build(pool_size=2, loss_weights={"cycle": 1}).pools == {}


# Dropout


def test_dropout_is_for_training_unless_inference_is_asked_for(build, images):
    x = images["source"]
    plain = build()
    trained, both = build(dropout=0.5), build(dropout=0.5, dropout_at_inference=True)
    # A dropout layer draws a seed, after which other weights are drawn.
    pairs = zip(plain.trainable_variables, trained.trainable_variables, strict=True)
    for one, other in pairs:
        other.assign(one)

    def translated(model):
        return model.translate(x, "source_to_target")

    np.testing.assert_array_equal(translated(trained), translated(plain))
    outputs = [trained.forward(images)["fake_y"].numpy() for _ in range(2)]
    assert not np.allclose(*outputs)
    assert not np.allclose(translated(both), translated(both))


# Using a model


def test_translate_and_reconstruct_are_the_generators(build, images):
    model = build()
    x, y = images["source"], images["target"]
    for given in (x, y):
        np.testing.assert_allclose(
            model.translate(given, "source_to_target"), model.to_target(given), atol=1e-6
        )
        np.testing.assert_allclose(
            model.translate(given, "target_to_source"), model.to_source(given), atol=1e-6
        )
        # The identity: a generator on images of the domain that it makes.
        np.testing.assert_allclose(
            model.reconstruct(given, "target"), model.to_target(given), atol=1e-6
        )
        np.testing.assert_allclose(
            model.reconstruct(given, "source"), model.to_source(given), atol=1e-6
        )
    assert not np.allclose(model.to_target(x), model.to_source(x))
    assert model.directions == DIRECTIONS
    np.testing.assert_allclose(model(x), model.to_target(x), atol=1e-6)
    np.testing.assert_allclose(
        model.predict(x, batch_size=3, verbose=0), model.to_target(x), atol=1e-5
    )


def test_it_has_no_classifier(build, images):
    model = build()
    assert not model.can_classify
    with pytest.raises(InputError, match="cannot classify"):
        model.classify(images["target"])


def test_an_unknown_domain_or_direction_is_named(build, images):
    model = build()
    with pytest.raises(InputError, match="'src'"):
        model.reconstruct(images["source"], "src")
    with pytest.raises(InputError, match="'y_to_x'"):
        model.translate(images["source"], "y_to_x")


def test_fit_does_not_look_at_labels(build, snapshot):
    models = [build(loss_weights={"translation": 1}) for _ in range(2)]
    data = make_images(4)
    for model, part in zip(models, (data, (data, np.arange(4))), strict=True):
        dataset = tf.data.Dataset.from_tensor_slices(part).batch(2)
        model.fit(dataset, shuffle=False, verbose=0)
    assert snapshot(models[0]).equal(snapshot(models[1]))


# Several replicas


@pytest.mark.slow
def test_two_replicas_take_the_step_of_one_on_the_same_global_batch(build, two_replicas):
    # One step: the second would also show how the first one's rounding grows. Without cycles, whose
    # graphs take long to trace.
    weights = {"translation": 0.7, "identity": 1.9}

    def trained(**compile):
        model = build(compile, loss_weights=weights)
        data = tf.data.Dataset.from_tensor_slices(make_images(4)).batch(4)
        return model, model.fit(data, shuffle=False, verbose=0).history

    with two_replicas.scope():
        two, two_logs = trained(run_eagerly=False)
    one, one_logs = trained()
    start = build()
    for a, b, c in zip(one.get_weights(), two.get_weights(), start.get_weights(), strict=True):
        moved = np.abs(a - c).max()
        assert moved > 0
        np.testing.assert_allclose(a, b, rtol=0, atol=5e-3 * moved + 1e-6)
    assert two_logs.keys() == one_logs.keys()
    for name, values in one_logs.items():
        assert two_logs[name] == pytest.approx(values, rel=1e-4), name


@pytest.mark.slow
def test_two_replicas_train_with_a_pool(build, two_replicas):
    with two_replicas.scope():
        # Without cycles, whose graphs take long to trace.
        model = build({"run_eagerly": False}, pool_size=3, loss_weights={"translation": 1})
    data = tf.data.Dataset.from_tensor_slices(make_images(8)).batch(4)
    history = model.fit(data, shuffle=False, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    pools = [keras.ops.convert_to_numpy(pool.images) for pool in model.pools.values()]
    for pool in model.pools.values():
        assert int(keras.ops.convert_to_numpy(pool.filled)) == 3
    losses = model.evaluate(data, verbose=0, return_dict=True)
    assert losses.keys() == history.keys() and np.isfinite([*losses.values()]).all()
    for pool, before in zip(model.pools.values(), pools, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(pool.images), before)


# Files and configuration


@pytest.fixture
def through_a_file(tmp_path):
    def through(model):
        model.save(tmp_path / "model.keras")
        return keras.models.load_model(tmp_path / "model.keras")

    return through


def adam():
    return {
        "optimizer": keras.optimizers.Adam(0.01, beta_1=0.5),
        "discriminator_optimizer": keras.optimizers.Adam(0.02, beta_1=0.4),
    }


@pytest.mark.parametrize(
    "kwargs",
    [
        {"loss_weights": {"cycle": 1}},
        {"dropout": 0.5, "dropout_at_inference": True, "image_skip": True, "pool_size": 3},
    ],
    ids=["no game", "all there is"],
)
def test_a_loaded_model_is_the_model(build, through_a_file, snapshot, kwargs):
    # With a gradient penalty: its random points have to come again too.
    compile = {**adam(), "image_objective": losses.Wasserstein(3.5), "pixel_loss": "l2"}
    model = build(compile, **kwargs)
    for seed in range(2):
        train(model, make_images(2, seed))
    loaded = through_a_file(model)
    assert snapshot(loaded).equal(snapshot(model))
    assert loaded.get_config() == model.get_config()

    # The same compilation,
    assert type(loaded.image_objective) is losses.Wasserstein
    assert (loaded.image_objective.penalty_weight, loaded.pixel_loss) == (3.5, "l2")
    for name in ("optimizer", "discriminator_optimizer"):
        one, two = getattr(model, name), getattr(loaded, name)
        assert type(one) is type(two) and one.get_config() == two.get_config()
        assert snapshot(one, "variables").equal(snapshot(two, "variables")), name

    # the same outputs, also where they are random,
    for direction in DIRECTIONS:
        given = make_images()["source"]
        np.testing.assert_array_equal(
            loaded.translate(given, direction), model.translate(given, direction)
        )

    # the same future.
    logs = [train(either, make_images(2, 2)) for either in (model, loaded)]
    assert logs[0] == logs[1]
    assert snapshot(loaded, "variables").equal(snapshot(model, "variables"))


@pytest.mark.parametrize(
    "kwargs",
    [{"generator": "resnet"}, {"generator_stages": 4, "patch": 70}],
    ids=["residual", "deeper, larger patches"],
)
def test_networks_for_larger_images_train_and_survive_a_file(
    build, through_a_file, snapshot, kwargs
):
    model = build(adam(), image_shape=(32, 32, 2), loss_weights={"translation": 1}, **kwargs)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 2, 32, 32, 2)).astype("float32")
    players = [model.to_target, model.to_source, *model.discriminators.values()]
    before = [snapshot(network, "trainable_variables") for network in players]
    logs = train(model, {"source": x, "target": y})
    assert all(np.isfinite(value) for value in logs.values())
    assert all(weights.all_changed for weights in before)

    loaded = through_a_file(model)
    assert loaded.get_config() == model.get_config()
    assert snapshot(loaded).equal(snapshot(model))
    made = model.translate(x, "source_to_target")
    assert made.shape == x.shape and np.abs(made).max() <= 1
    np.testing.assert_array_equal(loaded.translate(x, "source_to_target"), made)


def test_the_networks_are_those_asked_for():
    def blocks(**kwargs):
        model = CycleGAN(**{**TINY, "image_shape": (32, 32, 1), **kwargs})
        generators = {
            frozenset(layer.name for layer in g.layers) for g in (model.to_target, model.to_source)
        }
        (names,) = generators
        scores = {d.output_shape for d in model.discriminators.values()}
        return names, scores

    names, scores = blocks()
    assert "down_3_1_conv" in names and "down_4_1_conv" not in names
    assert scores == {(None, 3, 3, 1)}
    assert "down_5_1_conv" in blocks(generator_stages=5)[0]
    assert "block_6_2_conv" in blocks(generator="resnet")[0]
    assert blocks(patch=70)[1] == {(None, 2, 2, 1)}


def test_a_file_from_before_there_was_a_choice_has_the_default_networks(build):
    model = build(generator_stages=3)
    config = model.get_config()
    old = {k: v for k, v in config.items() if k not in ("generator", "generator_stages", "patch")}
    again = CycleGAN.from_config(old)
    assert again.get_config() == config
    for name in ("to_target", "to_source"):
        assert getattr(again, name).get_config() == getattr(model, name).get_config()


def test_an_uncompiled_model_survives_a_file(through_a_file, images):
    model = CycleGAN(**TINY)
    loaded = through_a_file(model)
    assert not loaded.compiled
    np.testing.assert_array_equal(loaded(images["source"]), model(images["source"]))


def test_config_round_trip(build):
    model = build(
        loss_weights=UNEQUAL, dropout=0.25, dropout_at_inference=True, pool_size=5, name="mine"
    )
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))["config"]
    again = CycleGAN.from_config(config)
    assert again.get_config() == model.get_config()
    assert config["pool_size"] == 5 and config["loss_weights"] == UNEQUAL
    assert [v.shape for v in again.weights] == [v.shape for v in model.weights]


def test_the_same_seed_gives_the_same_weights(build, snapshot):
    objective = {"image_objective": "wasserstein"}
    options = {"pool_size": 3, "dropout": 0.5, "loss_weights": {"translation": 1}}
    one, two, other = (build(objective, seed=seed, **options) for seed in (1, 1, 2))
    for model in (one, two, other):
        for seed in range(2):
            train(model, make_images(2, seed))
    assert snapshot(one).equal(snapshot(two))
    assert not snapshot(one).equal(snapshot(other))


def test_it_trains_in_mixed_precision(images, snapshot):
    model = CycleGAN(**TINY, dtype="mixed_bfloat16", pool_size=2, dropout=0.5)
    assert model.to_target.get_layer("down_1_1_conv").compute_dtype == "bfloat16"
    assert model.pools["source"].images.dtype == "float32"
    model.compile(SGD(RATE), SGD(RATE), run_eagerly=True)
    before = snapshot(model, "trainable_variables"), snapshot(model, "discriminator_variables")
    for _ in range(2):
        logs = train(model, images)
        assert all(np.isfinite(value) for value in logs.values())
    assert not any(weights.unchanged for weights in before)
    made = model.translate(images["source"], "source_to_target")
    assert made.dtype == np.float32 and np.abs(made).max() <= 1


def test_mixed_precision_is_close_to_full_precision(build, images):
    full = build(generator_stages=3)
    mixed = CycleGAN(**TINY, dtype="mixed_bfloat16")
    mixed.set_weights(full.get_weights())
    mixed.compile(SGD(RATE), SGD(DISCRIMINATOR_RATE), run_eagerly=True)
    logs = [train(model, images) for model in (full, mixed)]
    for name in ("loss", "cycle", "identity", "d_source", "d_target"):
        assert logs[1][name] == pytest.approx(logs[0][name], rel=0.1), name


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"loss_weights": {"cicle": 1}}, r"\['cicle'\].*translation, cycle, identity"),
        ({"loss_weights": {"cycle": -1}}, "≥ 0.*'cycle': -1"),
        ({"loss_weights": {"cycle": 0}}, "one of them positive"),
        ({"image_shape": (20, 16, 1)}, r"multiples of 8.*\(20, 16, 1\)"),
        ({"image_shape": (8, 16, 1)}, r"16x16.*\(8, 16, 1\)"),
        ({"image_shape": (16, 16)}, r"\(16, 16\)"),
        ({"generator_width": 0}, "width=0"),
        ({"discriminator_width": -1}, "width=-1"),
        ({"dropout": 1}, r"\[0, 1\).*1"),
        ({"dropout_at_inference": True}, "something to drop.*dropout=0"),
        ({"pool_size": -1}, "pool_size.*-1"),
        ({"generator": "vit"}, "unet, resnet.*'vit'"),
        ({"generator": "resnet", "dropout": 0.5}, "no dropout.*dropout=0.5"),
        ({"generator": "resnet", "image_skip": True}, "no skips.*image_skip=False"),
        ({"generator": "resnet", "image_shape": (18, 16, 1)}, r"multiples of 4.*\(18, 16, 1\)"),
        ({"generator_stages": 4}, r"multiples of 16.*\(24, 16, 2\)"),
        ({"patch": 70}, r"24x24.*\(24, 16, 2\)"),
    ],
)
def test_a_wrong_argument_is_named(kwargs, message):
    with pytest.raises(InputError, match=message):
        CycleGAN(**{**TINY, **kwargs})


@pytest.mark.parametrize("kwargs", [{"image_objective": "hinge"}, {"pixel_loss": "hinge"}])
def test_compile_names_an_unknown_choice(kwargs):
    with pytest.raises(InputError, match="'hinge'"):
        CycleGAN(**TINY).compile(**kwargs)
