"""`.keras` files: the model, both optimizers and the rest of the training come back."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i import losses
from keras_i2i.models import I2IAdapt
from keras_i2i.optimizers import Adam

from . import segmenting
from .conftest import TINY


@pytest.fixture
def through_a_file(tmp_path):
    def through(model):
        model.save(tmp_path / "model.keras")
        return keras.models.load_model(tmp_path / "model.keras")

    return through


@pytest.mark.parametrize("preset", ["fcns_in_the_wild", "cyclegan"])
def test_keras_exports_what_the_model_is_called_for(preset, build, images, tmp_path):
    model = build(preset)
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "exported")
    for some in (images, images[:1]):
        np.testing.assert_allclose(loaded.serve(some), model(some), atol=1e-5)


def adam():
    return {
        "optimizer": keras.optimizers.Adam(0.01, beta_1=0.5),
        "discriminator_optimizer": keras.optimizers.Adam(0.02, beta_1=0.4),
    }


FEW_TERMS = {"loss_weights": {"task": 1, "feature": 1}}
VARIANTS = {
    "tied": {},
    "own batch norms": {**FEW_TERMS, "encoder_sharing": "all_but_batch_norm"},
    "untied": {**FEW_TERMS, "encoder_sharing": "none"},
    "own encoder": {**FEW_TERMS, "encoder": True},
    "own encoder, untied": {**FEW_TERMS, "encoder": True, "encoder_sharing": "none"},
    "average and 1x1 convolutions": {
        **FEW_TERMS, "pooling": "average", "feature_discriminator": "convolutional",
    },
    "adda": {"preset": "adda"},
    "drcn": {"preset": "drcn"},
    "cyclegan": {"preset": "cyclegan"},
}  # fmt: skip


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS)
def model(request, build, own_encoder, batch, train):
    """A model of each kind, trained one step."""
    kwargs = dict(request.param)
    if "encoder" in kwargs:
        kwargs["encoder"] = own_encoder
    model = build(compile=adam(), **kwargs)
    train(model, [batch])
    return model


def test_a_loaded_model_is_the_model(model, through_a_file, images, batches, train, snapshot):
    loaded = through_a_file(model)

    # The same outputs,
    for domain in ("source", "target"):
        np.testing.assert_array_equal(loaded.embed(images, domain), model.embed(images, domain))
        if model.can_classify:
            np.testing.assert_array_equal(
                loaded.classify(images, domain), model.classify(images, domain)
            )
    assert loaded.directions == model.directions
    for direction in model.directions:
        np.testing.assert_array_equal(
            loaded.translate(images, direction), model.translate(images, direction)
        )

    # the same optimizers,
    for name in ("optimizer", "discriminator_optimizer"):
        one, two = getattr(model, name), getattr(loaded, name)
        assert type(one) is type(two) and one.get_config() == two.get_config()
        assert snapshot(one, "variables").equal(snapshot(two, "variables")), name

    # the same layers in common,
    assert shared(loaded) == shared(model)
    assert loaded.source_encoder.trainable == model.source_encoder.trainable

    # the same future.
    logs = [train(either, batches(2)[1:]) for either in (model, loaded)]
    assert logs[0] == logs[1]
    assert snapshot(loaded).equal(snapshot(model))


@pytest.mark.parametrize("sharing", ["all", "none"])
def test_a_loaded_segmentation_is_the_model(sharing, build, through_a_file, train, snapshot):
    model = build(
        **segmenting.options(
            loss_weights=segmenting.WEIGHTS, encoder_sharing=sharing, encoder_rate=0.1
        ),
        compile={**adam(), "optimizer": Adam(0.01, beta_1=0.5)},
    )
    batches = [segmenting.make_batch(seed=seed) for seed in (0, 1)]
    train(model, batches[:1])
    loaded = through_a_file(model)
    image = batches[0][0]["target"][0, :, :27]
    for domain in ("source", "target"):
        np.testing.assert_array_equal(loaded.segment(image, domain), model.segment(image, domain))
    for direction in model.directions:
        np.testing.assert_array_equal(
            loaded.translate(batches[0][0]["source"], direction),
            model.translate(batches[0][0]["source"], direction),
        )
    assert (type(loaded.optimizer), loaded.encoder_rate, loaded.has_masks) == (Adam, 0.1, True)
    # The same future: at the rates that each part of it had.
    logs = [train(either, batches[1:]) for either in (model, loaded)]
    assert logs[0] == logs[1]
    assert snapshot(loaded).equal(snapshot(model))


def shared(model):
    """Of each weight of the target encoder, whether it is the source encoder's."""
    theirs = {id(v) for v in model.source_encoder.weights}
    return [id(v) in theirs for v in model.target_encoder.weights]


def test_a_loaded_model_is_compiled_as_it_was(build, through_a_file):
    model = build(
        loss_weights={"task": 1, "feature": 1, "translation": 1, "identity": 1},
        compile={
            **adam(),
            "feature_objective": "non_saturating",
            "image_objective": losses.Wasserstein(3.5),
            "pixel_loss": "l2",
            "discriminator_steps": 3,
            "generator_steps": 2,
            "run_eagerly": False,
            "steps_per_execution": 4,
        },
    )
    loaded = through_a_file(model)
    assert type(loaded.feature_objective) is losses.NonSaturating
    assert loaded.image_objective.penalty_weight == 3.5
    assert loaded.pixel_loss == "l2"
    assert (loaded.discriminator_steps, loaded.generator_steps) == (3, 2)
    assert (loaded.run_eagerly, loaded.jit_compile, loaded.steps_per_execution) == (False, False, 4)
    assert float(loaded.discriminator_optimizer.learning_rate) == pytest.approx(0.02)


def test_a_schedule_of_the_learning_rate_survives_a_file(build, through_a_file):
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 50)
    model = build("fcns_in_the_wild", compile={"optimizer": keras.optimizers.Adam(schedule)})
    assert through_a_file(model).optimizer.get_config() == model.optimizer.get_config()


def test_averaged_weights_survive_a_file(build, through_a_file, batch, snapshot):
    optimizer = keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.5)
    model = build("fcns_in_the_wild", compile={"optimizer": optimizer})
    model.train_on_batch(*batch)
    loaded = through_a_file(model)
    for either in (model, loaded):
        either.train_on_batch(*batch)
        either.optimizer.finalize_variable_values(either.trainable_variables)
    assert snapshot(loaded).equal(snapshot(model))


def test_an_uncompiled_model_survives_a_file(through_a_file, images):
    model = I2IAdapt(**TINY)
    loaded = through_a_file(model)
    assert not loaded.compiled
    np.testing.assert_array_equal(loaded.classify(images), model.classify(images))


def test_weights_alone_survive_a_file(build, tmp_path, images):
    model, other = build(), build(seed=4)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(
        other.translate(images, "source_to_target"), model.translate(images, "source_to_target")
    )


def test_mixed_precision_survives_a_file(through_a_file, images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = I2IAdapt(**TINY)
        model.compile()
    finally:
        keras.config.set_dtype_policy("float32")
    loaded = through_a_file(model)
    np.testing.assert_array_equal(loaded.classify(images), model.classify(images))
