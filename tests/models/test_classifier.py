"""The baseline: encoder and head, nothing else."""

import json

import keras
import numpy as np
import pytest

from keras_i2i.models import Classifier

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
