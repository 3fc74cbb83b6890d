"""A source classifier that reads target images through a translator."""

import keras
import numpy as np
import pytest

from keras_i2i.errors import InputError
from keras_i2i.models import Classifier, ReadsThroughTranslation

from .conftest import SHAPE


@pytest.fixture(scope="module")
def pair(build):
    translator = build("cyclegan")
    keras.utils.set_random_seed(6)
    classifier = Classifier(image_shape=SHAPE, num_classes=3, encoder_width=0.05)
    return translator, classifier, ReadsThroughTranslation(translator, classifier)


def test_target_images_are_translated_first(pair, images):
    translator, classifier, reader = pair
    as_source = translator.translate(images, "target_to_source")
    np.testing.assert_array_equal(reader.classify(images), classifier.classify(as_source))
    np.testing.assert_array_equal(reader.embed(images), classifier.embed(as_source))
    assert not np.allclose(reader.classify(images), classifier.classify(images))


def test_source_images_are_read_as_they_are(pair, images):
    _, classifier, reader = pair
    np.testing.assert_array_equal(
        reader.classify(images, "source"), classifier.classify(images, "source")
    )
    np.testing.assert_array_equal(
        reader.embed(images, "source"), classifier.embed(images, "source")
    )


def test_it_says_what_it_can_do(pair):
    reader = pair[2]
    assert reader.can_classify and reader.can_translate
    assert reader.image_shape == SHAPE


def test_an_unknown_domain_is_named(pair, images):
    for method in (pair[2].classify, pair[2].embed):
        with pytest.raises(InputError, match="'src'"):
            method(images, "src")
