"""I2I-Adapt: its whole step re-derived, its gradient rules, its special cases, its use."""

import json
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i import losses
from keras_i2i.errors import InputError
from keras_i2i.models import PRESETS, TERMS, I2IAdapt
from keras_i2i.optimizers import Adam

from . import segmenting
from .conftest import TINY
from .reference import ReferenceStep

ADAM = {"rate": 5e-3, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}
# Weights far from each other, so that a swap shows; all terms but `target_task`.
ALL_TERMS = {
    "task": 1.0, "feature": 0.7, "translation": 0.4, "identity": 1.3, "cycle": 0.6,
    "translated_task": 0.3, "information": 0.2,
}  # fmt: skip
DIRECTIONS = ("source_to_target", "target_to_source")


def adam():
    # A large epsilon: Adam's first steps divide a gradient by its own size, so that rounding noise
    # of a gradient that is zero in theory would move a weight by the whole learning rate.
    return keras.optimizers.Adam(ADAM["rate"], ADAM["beta_1"], ADAM["beta_2"], ADAM["epsilon"])


# The step


@pytest.mark.parametrize(
    ("sharing", "feature", "image", "pixel", "eagerly"),
    [
        ("all", "least_squares", "wasserstein", "l1", False),
        ("all_but_batch_norm", "wasserstein", "non_saturating", "l2", True),
        ("none", "non_saturating", "least_squares", "l1", True),
    ],
)
def test_two_steps_equal_the_papers_equations(
    build, batches, train, sharing, feature, image, pixel, eagerly
):
    model = build(
        loss_weights=ALL_TERMS,
        encoder_sharing=sharing,
        seed=3,
        compile={
            "optimizer": adam(),
            "discriminator_optimizer": adam(),
            "feature_objective": feature,
            "image_objective": image,
            "pixel_loss": pixel,
            "run_eagerly": eagerly,
        },
    )
    reference = ReferenceStep(model, TINY["seed"], ADAM, feature, image, pixel)
    compare_steps(model, reference, batches(2), train)


def test_a_step_with_a_few_target_labels_equals_the_papers_equations(build, batches, train):
    model = build(
        loss_weights={**ALL_TERMS, "target_task": 0.8},
        compile={"optimizer": adam(), "discriminator_optimizer": adam()},
    )
    (images, labels), (others, other_labels) = batches(2)
    images["target_labelled"] = others["target"][:2]
    images["target_labels"] = other_labels[:2]
    reference = ReferenceStep(model, TINY["seed"], ADAM, "least_squares", "wasserstein", "l1")
    compare_steps(model, reference, [(images, labels)], train)


@pytest.mark.parametrize(("sharing", "encoder_rate"), [("all", 1.0), ("none", 0.25)])
def test_two_steps_of_a_segmentation_equal_the_papers_equations(
    build, train, sharing, encoder_rate
):
    model = build(
        **segmenting.options(
            loss_weights=segmenting.WEIGHTS, encoder_sharing=sharing, encoder_rate=encoder_rate
        ),
        compile={"optimizer": Adam(*ADAM.values()), "discriminator_optimizer": adam()},
    )
    reference = segmenting.SegmentationStep(
        model, TINY["seed"], ADAM, "least_squares", "wasserstein", "l1", encoder_rate=encoder_rate
    )
    batches = [segmenting.make_batch(seed=seed) for seed in (0, 1)]
    compare_steps(model, reference, batches, train)


def compare_steps(model, reference, batches, train, atol=2e-5):
    weights = [v for v in model.variables if id(v) in reference.copy and v.dtype == "float32"]
    for batch in batches:
        before = [v.numpy() for v in weights]
        expected = reference.step(batch)
        logs = train(model, [batch])
        assert logs.keys() == expected.keys()
        for name, value in expected.items():
            assert logs[name] == pytest.approx(value, rel=2e-4, abs=1e-5), name
        for v in weights:
            np.testing.assert_allclose(v, reference[v].numpy(), atol=atol, err_msg=v.path)
        moved = [not np.array_equal(old, v) for old, v in zip(before, weights, strict=True)]
        assert np.mean(moved) > 0.9


def test_ms_ssim_trains(build, batch, train):
    model = build(compile={"pixel_loss": "ms_ssim"})
    logs = train(model, [batch])
    assert 0 < logs["cycle"] <= 2 and 0 < logs["identity"] <= 2


@pytest.mark.parametrize(
    ("feature", "image"),
    [
        ("wasserstein", "least_squares"),
        ("least_squares", "non_saturating"),
        ("non_saturating", "wasserstein"),
    ],
)
def test_objectives_are_interchangeable(build, batch, train, feature, image):
    model = build(
        loss_weights={"feature": 1, "translation": 1},
        compile={"feature_objective": feature, "image_objective": losses.get_objective(image)},
    )
    assert all(np.isfinite(value) for value in train(model, [batch]).values())


# Where gradients stop


MOVES = {
    "task": {"f_x", "h"},
    "feature": {"f_y"},
    "translation": {"f_x", "f_y", "trunk", "g_x", "g_y"},
    "identity": {"f_x", "f_y", "trunk", "g_x", "g_y"},
    "cycle": {"f_x", "f_y", "trunk", "g_x", "g_y"},
    "translated_task": {"f_y", "h"},
    "information": {"f_y", "h"},
}


def record(model, batch):
    """One forward pass: the tape, the outputs and each term's mean."""
    images, labels = batch
    data = {**images, "source_labels": labels}
    with tf.GradientTape(persistent=True) as tape:
        outputs = model.forward(data)
        terms = model.generator_losses(data, outputs)
        terms = {name: tf.reduce_mean(loss) for name, loss in terms.items()}
    return tape, outputs, terms


def moved_by_each_term(model, batch):
    """Term → the networks to which its gradient reaches."""
    networks = {
        "f_x": model.source_encoder, "f_y": model.target_encoder, "h": model.head,
        "trunk": model.decoder_trunk, "g_x": model.source_branch, "g_y": model.target_branch,
    }  # fmt: skip
    variables = {
        name: [v.value for v in network.trainable_variables] for name, network in networks.items()
    }
    tape, _, terms = record(model, batch)
    moved = {}
    for term, loss in terms.items():
        gradients = tape.gradient(loss, variables)
        moved[term] = {
            name
            for name, found in gradients.items()
            if any(g is not None and np.any(g.numpy()) for g in found)
        }
    return moved


def test_each_term_moves_only_its_networks(build, batch):
    model = build(loss_weights=ALL_TERMS, encoder_sharing="none")
    assert moved_by_each_term(model, batch) == MOVES


def test_each_term_of_a_segmentation_moves_only_its_networks(build):
    options = segmenting.options(loss_weights=segmenting.WEIGHTS, encoder_sharing="none")
    assert moved_by_each_term(build(**options), segmenting.make_batch()) == {
        term: MOVES[term] for term in segmenting.WEIGHTS
    }


def test_masks_of_which_no_pixel_counts_move_nothing(build, train, snapshot):
    model = build(**segmenting.options(loss_weights={"task": 1}))
    weights = snapshot(model, "trainable_variables")
    images, masks = segmenting.make_batch()
    assert train(model, [(images, np.full_like(masks, 255))]) == {"loss": 0.0, "task": 0.0}
    assert weights.unchanged


def test_tied_encoders_learn_from_the_feature_term_through_target_features_only(build, batch):
    tape, outputs, terms = record(build("fcns_in_the_wild"), batch)
    in_outputs = tape.gradient(terms["feature"], outputs)
    assert in_outputs["z_x"] is None
    assert np.abs(in_outputs["z_y"]).max() > 0


def test_translated_task_leaves_decoder_and_source_encoder_bit_identical(build, batch, snapshot):
    def after_a_step(weight):
        model = build(
            loss_weights={"task": 1, "identity": 1, "translated_task": weight},
            encoder_sharing="none",
        )
        model.train_on_batch(*batch)
        spared = [model.source_encoder, model.decoder_trunk, model.source_branch]
        spared += [model.target_branch]
        return [snapshot(network) for network in (*spared, model.target_encoder, model.head)]

    little, much = after_a_step(1e-6), after_a_step(5.0)
    same = [a.equal(b) for a, b in zip(little, much, strict=True)]
    assert same == [True] * 4 + [False] * 2


# Special cases: the paper's Table 1


def built(model):
    names = {
        "head": model.head, "trunk": model.decoder_trunk, "source_branch": model.source_branch,
        "target_branch": model.target_branch,
    }  # fmt: skip
    return {name for name, network in names.items() if network is not None} | {
        f"d_{name}" for name in model.discriminators
    }


@pytest.mark.parametrize(
    ("preset", "networks"),
    [
        ("i2i_adapt", {"head", "trunk", "source_branch", "target_branch",
                       "d_feature", "d_source", "d_target"}),
        ("fcns_in_the_wild", {"head", "d_feature"}),
        ("adda", {"head", "d_feature"}),
        ("drcn", {"head", "trunk", "target_branch"}),
        ("cyclegan", {"trunk", "source_branch", "target_branch", "d_source", "d_target"}),
    ],
)  # fmt: skip
def test_a_preset_builds_only_the_networks_of_its_terms(build, preset, networks):
    model = build(preset)
    assert built(model) == networks
    assert (model.source_encoder is model.target_encoder) == (preset not in ("adda", "cyclegan"))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_trains_all_its_networks_and_logs_its_terms(build, batch, train, snapshot, preset):
    model = build(preset)
    before = snapshot(model, "trainable_variables"), snapshot(model, "discriminator_variables")
    logs = train(model, [batch])
    assert set(logs) == {
        "loss",
        *PRESETS[preset]["loss_weights"],
        *(f"d_{name}" for name in model.discriminators),
    }
    assert not any(weights.values and weights.unchanged for weights in before)
    weighted = sum(weight * logs[t] for t, weight in PRESETS[preset]["loss_weights"].items())
    assert logs["loss"] == pytest.approx(weighted, rel=1e-5)


def test_adda_moves_the_target_encoder_alone(build, batches, train, snapshot):
    model = build("adda")
    frozen = [snapshot(model.source_encoder), snapshot(model.head)]
    target = snapshot(model.target_encoder, "trainable_variables")
    train(model, batches(3))
    assert all(weights.unchanged for weights in frozen), "batch norm statistics count too"
    assert not target.unchanged


def test_drcn_reconstructs_the_target_only(build, batch):
    model = build("drcn")
    images, labels = batch
    outputs = model.forward({**images, "source_labels": labels})
    assert set(outputs) == {"z_x", "z_y", "identity_y"}
    loss = model.generator_losses({**images, "source_labels": labels}, outputs)["identity"]
    expected = np.abs(images["target"] - outputs["identity_y"]).mean((1, 2, 3))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.fixture
def calls(monkeypatch, build):
    """Counts the calls of each network by name, from `calls.clear()` on."""
    counter = Counter()
    functional = type(build("fcns_in_the_wild").source_encoder)
    original = functional.call

    def counting(self, *args, **kwargs):
        counter[self.name] += 1
        return original(self, *args, **kwargs)

    monkeypatch.setattr(functional, "call", counting)
    return counter


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"task": 1}, {"encoder": 1, "head": 1}),
        ({"task": 1, "feature": 1}, {"encoder": 1, "head": 1, "feature_discriminator": 2}),
        (
            {"identity": 1},
            {"encoder": 1, "decoder_trunk": 1, "source_branch": 1, "target_branch": 1},
        ),
        (
            {"translated_task": 1, "identity": 1},
            {"encoder": 2, "decoder_trunk": 1, "source_branch": 1, "target_branch": 1, "head": 1},
        ),
        (
            # The cycle is the second pass; a penalty is the discriminators' third.
            {"translation": 1, "cycle": 1, "identity": 1},
            {"encoder": 2, "decoder_trunk": 2, "source_branch": 2, "target_branch": 2,
             "source_discriminator": 3, "target_discriminator": 3},
        ),
    ],
)  # fmt: skip
def test_a_term_without_weight_costs_nothing(build, batch, calls, weights, expected):
    model = build(loss_weights={**dict.fromkeys(TERMS, 0.0), **weights})
    calls.clear()
    model.train_on_batch(*batch)
    assert calls == expected


# Using a model


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(5)
    model = I2IAdapt(loss_weights=ALL_TERMS, encoder_sharing="none", **TINY)
    rng = np.random.default_rng(5)
    model.set_weights(
        [
            w if w.dtype.kind == "u" else w + rng.uniform(0.01, 0.2, w.shape)
            for w in model.get_weights()
        ]
    )
    return model


def test_translate_and_reconstruct_are_compositions_of_the_networks(trained, images):
    f = {"source": trained.source_encoder, "target": trained.target_encoder}
    g = {"source": trained.source_branch, "target": trained.target_branch}
    for domain, other in (("source", "target"), ("target", "source")):
        trunk = trained.decoder_trunk(f[domain](images))
        np.testing.assert_allclose(
            trained.translate(images, f"{domain}_to_{other}"), g[other](trunk), atol=1e-5
        )
        np.testing.assert_allclose(trained.reconstruct(images, domain), g[domain](trunk), atol=1e-5)
    assert not np.allclose(*(trained.translate(images, d) for d in DIRECTIONS))


def test_a_model_translates_where_it_has_a_decoder(build, images):
    assert build().can_translate
    drcn = build("drcn")
    assert drcn.directions == ("source_to_target",)
    assert drcn.reconstruct(images, "target").shape == images.shape
    with pytest.raises(InputError, match="cannot reconstruct"):
        drcn.reconstruct(images, "source")
    with pytest.raises(InputError, match=r"cannot translate.*term"):
        drcn.translate(images, "target_to_source")
    for direction in DIRECTIONS:
        with pytest.raises(InputError, match=r"cannot translate.*term"):
            build("fcns_in_the_wild").translate(images, direction)


def test_a_model_without_head_refuses_to_classify(build, images):
    cyclegan = build("cyclegan")
    assert not cyclegan.can_classify
    with pytest.raises(InputError, match="cannot classify"):
        cyclegan.classify(images)
    np.testing.assert_allclose(
        cyclegan(images), cyclegan.translate(images, "source_to_target"), atol=1e-5
    )
    with pytest.raises(InputError, match="cannot classify"):
        cyclegan.start_from(cyclegan.source_encoder, None)


@pytest.mark.parametrize("sharing", ["all", "all_but_batch_norm", "none"])
def test_start_from_copies_encoder_and_head(build, images, sharing):
    teacher = build("fcns_in_the_wild", seed=9)
    model = build("fcns_in_the_wild", encoder_sharing=sharing)
    model.start_from(teacher.source_encoder, teacher.head)
    for domain in ("source", "target"):
        np.testing.assert_array_equal(
            model.classify(images, domain), teacher.classify(images, domain)
        )
    teacher.head.set_weights([w + 1 for w in teacher.head.get_weights()])
    assert not np.allclose(model.classify(images), teacher.classify(images)), "copied, not shared"


# Office's networks: a head on averages, a feature discriminator of 1x1 convolutions


OFFICE = {
    "loss_weights": {"task": 1.0, "feature": 0.5},
    "image_shape": (32, 48, 1),
    "pooling": "average",
    "feature_discriminator": "convolutional",
}


def test_the_head_may_read_the_average_of_the_features(build):
    model = build(**OFFICE)
    images = np.random.default_rng(0).uniform(-1, 1, (3, *OFFICE["image_shape"]))
    features = model.embed(images).reshape(3, 2, 3, -1)
    kernel, bias = model.head.get_weights()
    np.testing.assert_allclose(
        model.classify(images), features.mean((1, 2)) @ kernel + bias, atol=1e-5
    )


def test_each_position_of_the_features_may_have_a_score(build, train):
    model = build(**OFFICE)
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 3, *OFFICE["image_shape"])).astype("float32")
    batch = {"source": x, "target": y, "source_labels": np.arange(3)}
    outputs = model.forward(batch)

    def scores(features):
        weights = model.discriminators["feature"].get_weights()
        for kernel, bias in zip(weights[:4:2], weights[1:4:2], strict=True):
            features = features @ kernel[0, 0] + bias
            features = np.where(features > 0, features, 0.2 * features)
        return features @ weights[4][0, 0] + weights[5]

    real, fake = (scores(outputs[name].numpy()) for name in ("z_x", "z_y"))
    assert real.shape == (3, 2, 3, 1)
    np.testing.assert_allclose(
        model.generator_losses(batch, outputs)["feature"],
        ((fake - 1) ** 2).mean((1, 2, 3)),
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        model.discriminator_losses(batch, outputs)["feature"],
        ((real - 1) ** 2).mean((1, 2, 3)) + (fake**2).mean((1, 2, 3)),
        rtol=1e-4,
    )
    logs = train(model, [({"source": x, "target": y}, np.arange(3))])
    assert all(np.isfinite(value) for value in logs.values())


# A learning rate of the encoders' own


@pytest.mark.parametrize("sharing", ["all", "none"])
def test_the_encoders_move_by_their_share_of_the_rate(build, batch, sharing):
    def movements(share):
        model = build(
            encoder_sharing=sharing,
            encoder_rate=share,
            loss_weights={"task": 1, "feature": 1},
            compile={"optimizer": Adam(0.01)},
        )
        before = [np.array(v.numpy()) for v in model.trainable_variables]
        model.train_on_batch(*batch)
        encoders = (model.source_encoder, model.target_encoder)
        slow = {id(v) for encoder in encoders for v in encoder.trainable_variables}
        moved = [
            np.array(v) - old for v, old in zip(model.trainable_variables, before, strict=True)
        ]
        return moved, [id(v) in slow for v in model.trainable_variables]

    (as_the_rest, slow), (by_a_tenth, _) = movements(1.0), movements(0.1)
    assert any(slow) and not all(slow)
    for one, other, of_an_encoder in zip(as_the_rest, by_a_tenth, slow, strict=True):
        assert np.abs(one).max() > 0
        share = 0.1 if of_an_encoder else 1.0
        np.testing.assert_allclose(other, share * one, rtol=1e-2, atol=1e-6)


# Configuration


@pytest.mark.parametrize(
    "options",
    [
        segmenting.options(loss_weights=segmenting.WEIGHTS),
        {**OFFICE, "encoder_rate": 0.1},
    ],
    ids=["segmentation", "office"],
)
def test_config_round_trip_of_what_is_not_for_digits(build, options):
    model = build(**options, name="mine")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))["config"]
    again = I2IAdapt.from_config(config)
    one, two = (json.dumps(either.get_config(), sort_keys=True) for either in (model, again))
    assert one == two
    for name in ("segmentation", "pooling", "feature_discriminator", "encoder_rate"):
        assert again.get_config()[name] == options.get(name, model.get_config()[name])
    assert [v.shape for v in again.weights] == [v.shape for v in model.weights]
    rates = {v.learning_rate_factor for v in again.source_encoder.trainable_variables}
    assert rates == {options.get("encoder_rate", 1.0)}


@pytest.mark.parametrize("preset", PRESETS)
def test_config_round_trip(build, preset):
    model = build(preset, name="mine")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))["config"]
    again = I2IAdapt.from_config(config)
    assert again.get_config() == model.get_config()
    assert [v.shape for v in again.weights] == [v.shape for v in model.weights]


def test_default_weights_are_the_papers_system():
    assert I2IAdapt(**TINY).loss_weights == {
        **dict.fromkeys(TERMS, 0.0), **PRESETS["i2i_adapt"]["loss_weights"]
    }  # fmt: skip


def test_arguments_are_stronger_than_the_presets():
    model = I2IAdapt.from_preset(
        "drcn", **TINY, identity_of=("source",), loss_weights={"identity": 2}
    )
    assert model.identity_of == ("source",)
    assert model.loss_weights["identity"] == 2 and model.loss_weights["task"] == 0


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"loss_weights": {"taks": 1}}, r"\['taks'\].*task, feature"),
        ({"loss_weights": {"task": -1}}, "≥ 0.*'task': -1"),
        ({"loss_weights": {"task": float("nan")}}, "≥ 0.*nan"),
        ({"loss_weights": {"task": 0}}, "one of them positive"),
        ({"loss_weights": {}}, "one of them positive"),
        ({"encoder_sharing": "some"}, "'some'"),
        ({"encoder": "alexnet"}, "'alexnet'"),
        ({"image_shape": (28, 28, 1)}, r"multiples of 16.*\(28, 28, 1\), features 14 times"),
        ({"image_shape": (16, 20, 1)}, r"\(16, 20, 1\) into features of 1 x 2; .*encoder's stride"),
        ({"image_shape": (8, 16, 1)}, r"16x16.*\(8, 16, 1\)"),
        ({"encoder_width": 0}, "width=0"),
        ({"identity_of": ("sauce",)}, "sauce"),
        ({"identity_of": "target"}, "target"),
        ({"identity_of": (), "loss_weights": {"task": 1, "identity": 1}}, "identity"),
        ({"encoder_sharing": "all", "freeze_source": True}, "freeze_source"),
        ({"pooling": "max"}, "'max'"),
        ({"feature_discriminator": "patch"}, "'patch'"),
        (
            {"segmentation": True, "loss_weights": {"task": 1, "information": 0.1}},
            "information.*leave it out.*segmentation=True",
        ),
        (
            {"segmentation": True, "loss_weights": {"task": 1, "feature": 0.1}},
            "dense feature discriminator.*'convolutional'",
        ),
    ],
)
def test_a_wrong_argument_is_named(kwargs, message):
    with pytest.raises(InputError, match=message):
        I2IAdapt(**{**TINY, **kwargs})


def encoder_of_stride(stride, shape=TINY["image_shape"]):
    images = keras.Input(shape)
    return keras.Model(images, keras.layers.Conv2D(5, stride, stride)(images), name="own")


def test_an_encoder_that_the_decoders_cannot_undo_is_named():
    with pytest.raises(
        InputError, match=r"8, 16, 32 times.*images \(16, 16, 1\), features 4 times"
    ):
        I2IAdapt(**TINY, encoder=encoder_of_stride(4))


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_the_decoders_undo_each_of_their_strides(stride, build, train):
    shape = (32, 64, 1)
    model = build(
        loss_weights={"task": 1, "identity": 1, "translated_task": 1},
        encoder=lambda: encoder_of_stride(stride, shape),
        image_shape=shape,
    )
    assert model.stride_of(model.source_encoder) == stride
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 2, *shape)).astype("float32")
    logs = train(model, [({"source": x, "target": y}, np.arange(2))])
    assert all(np.isfinite(value) for value in logs.values())
    assert model.translate(x, "source_to_target").shape == x.shape
    assert model.reconstruct(x, "source").shape == x.shape


@pytest.mark.parametrize("preset", ["fcns_in_the_wild", "adda"])
@pytest.mark.parametrize(
    "kwargs",
    [
        {"encoder": lambda: encoder_of_stride(8)},
        {"image_shape": (20, 18, 1)},
        {"image_shape": (20, 18, 1), "encoder": "generate_to_adapt"},
    ],
    ids=["stride 8", "20x18", "20x18, generate_to_adapt"],
)
def test_without_decoders_any_size_and_stride_will_do(build, train, preset, kwargs):
    model = build(preset, **kwargs)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 3, *model.image_shape)).astype("float32")
    logs = train(model, [({"source": x, "target": y}, np.arange(3))])
    assert all(np.isfinite(value) for value in logs.values())
    assert model.classify(y).shape == (3, 3)


def test_an_unknown_preset_is_named():
    with pytest.raises(InputError, match=r"'dann'.*i2i_adapt, fcns_in_the_wild, adda"):
        I2IAdapt.from_preset("dann")


@pytest.mark.parametrize(
    "kwargs",
    [{"feature_objective": "hinge"}, {"image_objective": "hinge"}, {"pixel_loss": "hinge"}],
)
def test_compile_names_an_unknown_choice(kwargs):
    with pytest.raises(InputError, match="'hinge'"):
        I2IAdapt(**TINY).compile(**kwargs)


def test_networks_follow_the_models_own_dtype(images):
    model = I2IAdapt(**TINY, dtype="mixed_bfloat16")
    assert model.source_encoder.get_layer("conv_1").compute_dtype == "bfloat16"
    assert model.classify(images).dtype == np.float32
