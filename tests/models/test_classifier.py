"""The baseline: encoder and head, nothing else."""

import json

import keras
import numpy as np
import pytest

from keras_i2i.errors import InputError
from keras_i2i.models import Classifier, CycleGAN
from keras_i2i.optimizers import Adam

from . import segmenting
from .conftest import SHAPE

KWARGS = {"image_shape": SHAPE, "num_classes": 2, "encoder_width": 0.1}


def separable(size, seed):
    """Images that are bright above or bright below."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    images = rng.uniform(-0.2, 0.2, (size, *SHAPE))
    images[labels == 0, :8] += 0.8
    images[labels == 1, 8:] += 0.8
    return images.astype("float32"), labels


@pytest.fixture
def classifier():
    keras.utils.set_random_seed(2)
    model = Classifier(**KWARGS)
    model.compile(keras.optimizers.Adam(0.03))
    return model


def test_a_separable_set_is_learned_in_a_few_steps(classifier):
    images, labels = separable(64, 1)

    def accuracy():
        return np.mean(classifier.classify(images).argmax(1) == labels)

    before = accuracy()
    history = classifier.fit(
        *separable(64, 0), batch_size=16, epochs=4, shuffle=False, verbose=0
    ).history
    assert before < 0.8 and accuracy() > 0.95
    assert history.keys() == {"loss", "task"}
    np.testing.assert_array_equal(history["loss"], history["task"])
    assert history["loss"][-1] < 0.2 * history["loss"][0]


def test_one_encoder_reads_both_domains(classifier):
    images, _ = separable(5, 0)
    np.testing.assert_array_equal(
        classifier.classify(images, "source"), classifier.classify(images, "target")
    )
    expected = classifier.head(classifier.encoder(images))
    np.testing.assert_allclose(classifier.classify(images), expected, atol=1e-6)


def test_it_neither_translates_nor_has_discriminators(classifier):
    assert classifier.can_classify and not classifier.can_translate
    assert classifier.discriminators == {}


@pytest.mark.parametrize("own", [False, True], ids=["lenet", "own encoder"])
def test_config_round_trip(own_encoder, own):
    model = Classifier(**KWARGS, encoder=own_encoder() if own else "lenet", name="mine")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))["config"]
    again = Classifier.from_config(config)
    one, two = (json.dumps(either.get_config(), sort_keys=True) for either in (model, again))
    assert one == two
    assert [v.shape for v in again.weights] == [v.shape for v in model.weights]


def test_training_continues_after_a_file_as_if_nothing_had_happened(classifier, tmp_path, snapshot):
    classifier.fit(*separable(16, 0), batch_size=8, shuffle=False, verbose=0)
    classifier.save(tmp_path / "classifier.keras")
    loaded = keras.models.load_model(tmp_path / "classifier.keras")
    for model in (classifier, loaded):
        model.fit(*separable(16, 3), batch_size=8, shuffle=False, verbose=0)
    assert snapshot(loaded).equal(snapshot(classifier))


# Segmentation


def two_sides(size, seed):
    """Images with a bright rectangle, and masks of it; a border does not count."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(-0.2, 0.2, (size, *segmenting.SHAPE)).astype("float32")
    masks = np.zeros(images.shape[:3], "uint8")
    for mask in masks:
        top, left = 8 * rng.integers(0, 2), 8 * rng.integers(0, 4)
        mask[top : top + 8, left:] = 1
    images[masks == 1] += 0.8
    masks[:, 0] = 255
    return images, masks


@pytest.fixture
def segmenter():
    keras.utils.set_random_seed(2)
    model = Classifier(
        segmenting.SHAPE, 2, segmenting.encoder(), segmentation=True, encoder_rate=0.5
    )
    model.compile(Adam(0.1), run_eagerly=True)
    return model


def test_pixels_of_two_brightnesses_are_told_apart_after_a_few_steps(segmenter):
    images, masks = two_sides(16, 1)

    def scores():
        return segmenter.evaluate(images, masks, verbose=0, return_dict=True)

    before = scores()
    history = segmenter.fit(
        *two_sides(16, 0), batch_size=8, epochs=5, shuffle=False, verbose=0
    ).history
    after = scores()
    assert before["mean_iou"] < 0.6 and after["mean_iou"] > 0.75
    assert after.keys() == {"loss", "mean_iou", "iou_0", "iou_1"}
    assert history.keys() == {"loss", "task"}
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_a_segmentation_continues_after_a_file_as_if_nothing_had_happened(
    segmenter, tmp_path, snapshot
):
    segmenter.fit(*two_sides(8, 0), batch_size=4, shuffle=False, verbose=0)
    segmenter.save(tmp_path / "classifier.keras")
    loaded = keras.models.load_model(tmp_path / "classifier.keras")
    assert (loaded.has_masks, loaded.encoder_rate) == (True, 0.5)
    for model in (segmenter, loaded):
        model.fit(*two_sides(8, 3), batch_size=4, shuffle=False, verbose=0)
    assert snapshot(loaded).equal(snapshot(segmenter))
    image = two_sides(1, 4)[0][0, :, :20]
    np.testing.assert_array_equal(loaded.segment(image), segmenter.segment(image))


def test_a_segmentation_neither_pools_nor_needs_to_know_sizes(segmenter):
    config = segmenter.get_config()
    assert config["segmentation"] is True
    assert segmenter.encoder.input_shape == (None, None, None, 1)
    assert segmenter.head.output_shape == (None, None, None, 2)


# On translations, on the fly


@pytest.fixture(scope="module")
def translator():
    keras.utils.set_random_seed(3)
    return CycleGAN(SHAPE, generator_width=0.05, discriminator_width=0.05)


@pytest.fixture
def twins():
    """Two classifiers with the same weights."""
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(2)
        models.append(Classifier(**KWARGS))
        models[-1].compile(keras.optimizers.SGD(0.3))
    return models


def test_on_the_fly_is_training_on_images_translated_before(translator, twins, snapshot):
    on_the_fly, before = twins
    on_the_fly.train_on_translations(translator.mapping("source", "target"))
    images, labels = separable(8, 0)
    translated = translator.translate(images, "source_to_target")
    start = snapshot(before, "trainable_variables")
    logs = [
        model.fit(x, labels, batch_size=4, shuffle=False, verbose=0).history
        for model, x in ((on_the_fly, images), (before, translated))
    ]
    assert start.all_changed
    for one, other in zip(on_the_fly.weights, before.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=one.path)
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], rel=1e-4)


def test_a_model_that_was_trained_before_learns_from_translations_too(twins):
    model, calls = twins[0], []
    images, labels = separable(4, 0)
    model.run_eagerly = False
    model.fit(images, labels, batch_size=4, verbose=0)

    def translate(images):
        calls.append(images.shape)
        return images

    model.train_on_translations(translate)
    model.fit(images, labels, batch_size=4, verbose=0)
    assert calls
    calls.clear()
    model.train_on_translations(None)
    model.fit(images, labels, batch_size=4, verbose=0)
    assert not calls


@pytest.mark.parametrize("weights", ["sample_weight", "class_weight"])
def test_weights_of_images_or_classes_are_refused(twins, weights):
    images, labels = separable(4, 0)
    given = {"sample_weight": np.zeros(4), "class_weight": {0: 0.0, 1: 1.0}}[weights]
    with pytest.raises(InputError, match="no sample_weight or class_weight"):
        twins[0].fit(images, labels, batch_size=4, verbose=0, **{weights: given})
    if weights == "sample_weight":
        with pytest.raises(InputError, match="no sample_weight or class_weight"):
            twins[0].evaluate(images, labels, verbose=0, sample_weight=given)


def test_the_translator_is_not_trained(translator, twins, snapshot):
    model = twins[0]
    ours = [id(v) for v in model.variables]
    weights = snapshot(translator, "variables")
    model.train_on_translations(translator.mapping("source", "target"))
    assert [id(v) for v in model.variables] == ours
    model.fit(*separable(8, 0), batch_size=4, shuffle=False, verbose=0)
    assert weights.unchanged
    assert not {id(v) for v in model.optimizer.variables} & {id(v) for v in translator.variables}


def test_only_training_translates(translator, twins):
    model, plain = twins
    model.train_on_translations(translator.mapping("source", "target"))
    images, labels = separable(5, 0)
    for domain in ("source", "target"):
        np.testing.assert_array_equal(
            model.classify(images, domain), plain.classify(images, domain)
        )
        np.testing.assert_array_equal(model.embed(images, domain), plain.embed(images, domain))
    scores = [m.evaluate(images, labels, verbose=0, return_dict=True) for m in (model, plain)]
    assert scores[0] == scores[1]


def test_translations_may_have_another_shape_than_what_is_translated(twins):
    on_the_fly, before = twins
    on_the_fly.train_on_translations(lambda x: keras.ops.mean(x, -1, keepdims=True)[:, ::2, ::2])
    wide = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype("float32")
    losses = [
        model.train_on_batch(x, np.array([0, 1, 0, 1]), return_dict=True)["loss"]
        for model, x in ((on_the_fly, wide), (before, wide.mean(-1, keepdims=True)[:, ::2, ::2]))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_translator_is_not_saved_along(translator, twins, tmp_path, snapshot):
    model, plain = twins
    model.train_on_translations(translator.mapping("source", "target"))
    model.save(tmp_path / "classifier.keras")
    loaded = keras.models.load_model(tmp_path / "classifier.keras")
    assert snapshot(loaded).equal(snapshot(plain))
    assert loaded.get_config() == model.get_config()
    # From a file it trains on images as they are, until it is told to translate again.
    for either in (loaded, plain):
        either.fit(*separable(4, 0), batch_size=4, shuffle=False, verbose=0)
    assert snapshot(loaded).equal(snapshot(plain))
