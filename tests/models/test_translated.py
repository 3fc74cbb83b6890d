"""Classifiers that read the other domain's images translated, and the sum of two."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.errors import InputError
from keras_i2i.models import (
    Classifier,
    CycleGAN,
    ReadsThroughTranslation,
    WeightedSum,
    choose_weight,
)
from keras_i2i.models.image_model import DIRECTIONS, ImageModel, OnImages
from keras_i2i.models.translated import probabilities

SHAPES = {"source": (4, 4, 1), "target": (2, 2, 3)}


class Translator(ImageModel):
    """Between domains of different shapes; half or a quarter as bright, by direction."""

    def __init__(self, directions=DIRECTIONS, source_shape=SHAPES["source"]):
        super().__init__(source_shape, SHAPES["target"])
        self.offered = directions

    def mapping(self, origin, destination):
        if f"{origin}_to_{destination}" not in self.offered:
            return None
        if destination == "target":
            return lambda x: np.repeat(x[:, ::2, ::2], 3, axis=-1) * 0.5
        return lambda y: y.mean(-1, keepdims=True).repeat(2, 1).repeat(2, 2) * 0.25


class Linear(OnImages):
    """A classifier that knows one domain, and says so if it is asked for the other."""

    can_classify = can_embed = True
    num_classes = 3

    def __init__(self, domain, seed):
        self.domain = domain
        size = int(np.prod(SHAPES[domain]))
        self.weights = np.random.default_rng(seed).normal(size=(size, 3))

    def image_shape_of(self, domain):
        return SHAPES[domain]

    def features(self, domain="target"):
        assert domain == self.domain
        return lambda images: np.reshape(images, (len(images), -1))

    def reader(self, domain="target"):
        features = self.features(domain)
        return lambda images: features(images) @ self.weights


@pytest.fixture
def translator():
    return Translator()


@pytest.fixture
def x():
    return np.random.default_rng(0).uniform(-1, 1, (7, *SHAPES["source"])).astype("float32")


@pytest.fixture
def y():
    return np.random.default_rng(1).uniform(-1, 1, (7, *SHAPES["target"])).astype("float32")


def reader_of(domain, translator, seed=0):
    return ReadsThroughTranslation(translator, Linear(domain, seed), domain)


# One reader


@pytest.mark.parametrize("domain", ["source", "target"])
def test_the_other_domains_images_are_translated_first(translator, x, y, domain):
    reader, given = reader_of(domain, translator), {"source": x, "target": y}
    (other,) = set(given) - {domain}
    known = translator.translate(given[other], f"{other}_to_{domain}")
    assert known.shape == given[domain].shape
    classifier = reader.classifier
    np.testing.assert_array_equal(
        reader.classify(given[other], other), classifier.classify(known, domain)
    )
    np.testing.assert_array_equal(
        reader.embed(given[other], other), classifier.embed(known, domain)
    )


@pytest.mark.parametrize("domain", ["source", "target"])
def test_its_own_domains_images_are_read_as_they_are(translator, x, y, domain):
    reader, given = reader_of(domain, translator), {"source": x, "target": y}[domain]
    for method in ("classify", "embed"):
        np.testing.assert_array_equal(
            getattr(reader, method)(given, domain),
            getattr(reader.classifier, method)(given, domain),
        )


def test_by_default_the_classifier_knows_the_source_and_reads_the_target(translator, y):
    reader = ReadsThroughTranslation(translator, Linear("source", 0))
    assert reader.domain == "source"
    np.testing.assert_array_equal(reader.classify(y), reader.classify(y, "target"))
    np.testing.assert_array_equal(reader.embed(y), reader.embed(y, "target"))


def test_it_translates_as_its_translator(translator, x):
    reader = reader_of("source", translator)
    assert reader.can_classify and reader.can_translate
    assert reader.directions == DIRECTIONS
    assert reader.image_shape == SHAPES["source"]
    assert {domain: reader.image_shape_of(domain) for domain in SHAPES} == SHAPES
    np.testing.assert_array_equal(
        reader.translate(x, "source_to_target"), translator.translate(x, "source_to_target")
    )
    assert not reader.can_reconstruct("source")
    with pytest.raises(InputError, match="cannot reconstruct"):
        reader.reconstruct(x, "source")


def test_it_needs_one_direction_only(y):
    one_way = Translator(("target_to_source",))
    reader = reader_of("source", one_way)
    assert reader.directions == ("target_to_source",) and reader.classify(y).shape == (7, 3)
    with pytest.raises(
        InputError, match=r"from source to target\. Received one for: target_to_source"
    ):
        reader_of("target", one_way)
    with pytest.raises(InputError, match=r"from target to source.*neither direction"):
        reader_of("source", Translator(()))


def test_a_translator_of_other_shapes_is_named():
    with pytest.raises(InputError, match=r"source images \(4, 4, 1\).* source images \(2, 2, 1\)"):
        reader_of("source", Translator(source_shape=(2, 2, 1)))


def test_what_is_known_of_a_reader_is_known_of_its_classifier(translator):
    reader = reader_of("source", translator)
    assert reader.num_classes == 3 and reader.can_embed and not reader.has_masks
    reader.classifier.can_embed = False
    assert not reader.can_embed


def test_an_unknown_domain_is_named(translator, y):
    reader = reader_of("source", translator)
    for method in (reader.classify, reader.embed, reader.image_shape_of):
        with pytest.raises(InputError, match="'src'"):
            method(*(("src",) if method == reader.image_shape_of else (y, "src")))
    with pytest.raises(InputError, match="'src'"):
        ReadsThroughTranslation(translator, Linear("source", 0), "src")


def test_real_models_read_through_each_other():
    keras.utils.set_random_seed(6)
    shape = (16, 16, 1)
    translator = CycleGAN(shape, generator_width=0.05, discriminator_width=0.05)
    classifier = Classifier(shape, num_classes=3, encoder_width=0.05)
    images = np.random.default_rng(0).uniform(-1, 1, (3, *shape)).astype("float32")
    translated = translator.translate(images, "target_to_source")
    read = ReadsThroughTranslation(translator, classifier).classify(images)
    np.testing.assert_array_equal(read, classifier.classify(translated))
    assert not np.allclose(read, classifier.classify(images))


@pytest.mark.parametrize("domain", ["source", "target"])
def test_functions_of_tensors_can_be_traced_and_give_what_methods_give(domain):
    keras.utils.set_random_seed(7)
    shape = (16, 16, 1)
    translator = CycleGAN(shape, generator_width=0.05, discriminator_width=0.05)
    one, other = (Classifier(shape, num_classes=3, encoder_width=0.05) for _ in range(2))
    summed = WeightedSum(
        ReadsThroughTranslation(translator, one, "target"),
        ReadsThroughTranslation(translator, other, "source"),
        0.3,
    )
    images = np.random.default_rng(0).uniform(-1, 1, (3, *shape)).astype("float32")
    for function, expected in (
        (summed.reader(domain), summed.classify(images, domain)),
        (summed.features(domain), summed.embed(images, domain)),
    ):
        traced = tf.function(function, input_signature=[tf.TensorSpec((None, *shape))])
        np.testing.assert_allclose(traced(images), expected, atol=1e-5)


# The sum


@pytest.fixture
def readers(translator):
    return reader_of("target", translator, 1), reader_of("source", translator, 2)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


@pytest.mark.parametrize("weight", [0, 0.3, 0.5, 1])
@pytest.mark.parametrize("domain", ["source", "target"])
def test_probabilities_are_summed(readers, x, y, weight, domain):
    images = {"source": x, "target": y}[domain]
    one, other = (softmax(reader.classify(images, domain)) for reader in readers)
    logits = WeightedSum(*readers, weight).classify(images, domain)
    assert logits.shape == (7, 3)
    np.testing.assert_allclose(
        softmax(logits), weight * one + (1 - weight) * other, rtol=1e-5, atol=1e-6
    )


def test_all_the_weight_on_one_is_that_one(readers, y):
    for weight, reader in ((1, readers[0]), (0, readers[1])):
        np.testing.assert_array_equal(
            WeightedSum(*readers, weight).classify(y).argmax(1), reader.classify(y).argmax(1)
        )


@pytest.mark.parametrize("weight", [-0.1, 30, float("nan")])
def test_a_weight_that_is_no_share_is_named(readers, weight):
    with pytest.raises(InputError, match=rf"\[0, 1\]. Received: {weight}"):
        WeightedSum(*readers, weight)


def test_readers_that_are_swapped_are_told(readers):
    with pytest.raises(InputError, match="Received: source and target"):
        WeightedSum(*reversed(readers), 0.5)


@pytest.mark.parametrize(("weight", "heavier"), [(0, 1), (0.49, 1), (0.5, 0), (1, 0)])
def test_features_are_the_heavier_readers(readers, x, y, weight, heavier):
    summed = WeightedSum(*readers, weight)
    for domain, images in (("source", x), ("target", y)):
        np.testing.assert_array_equal(
            summed.embed(images, domain), readers[heavier].embed(images, domain)
        )


def test_the_sum_translates_too(readers, translator, y):
    summed = WeightedSum(*readers, 0.5)
    np.testing.assert_array_equal(
        summed.translate(y, "target_to_source"), translator.translate(y, "target_to_source")
    )
    assert summed.image_shape_of("target") == SHAPES["target"]


def test_a_certain_reader_leaves_no_infinity(readers, y):
    for reader in readers:
        reader.classifier.weights *= 1e4
    assert np.isfinite(WeightedSum(*readers, 0.5).classify(y)).all()


def test_probabilities_are_a_softmax():
    logits = np.array([[1, 2, 3], [1e4, 0, -1e4]])
    np.testing.assert_allclose(
        probabilities(logits), [softmax([1.0, 2.0, 3.0]), [1, 0, 0]], rtol=1e-6
    )


# The weight


class Says:
    """A reader with logits of its own, whatever it reads."""

    def __init__(self, logits):
        self.logits, self.asked = np.asarray(logits, "float32"), []

    def classify(self, *given):
        self.asked.append(given)
        return self.logits


IMAGES = np.zeros((30, *SHAPES["target"]), "float32")
SURE = 8 * np.eye(3)[np.arange(30) % 3]
UNSURE = np.zeros((30, 3))
ONE_CLASS = np.tile([8.0, 0.0, 0.0], (30, 1))


@pytest.mark.parametrize("useless", [UNSURE, ONE_CLASS], ids=["unsure", "one class"])
def test_the_informative_reader_is_chosen(useless):
    assert choose_weight(Says(SURE), Says(useless), IMAGES) == pytest.approx(1, abs=1e-5)
    assert choose_weight(Says(useless), Says(SURE), IMAGES) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("logits", [SURE, UNSURE, ONE_CLASS, 0.1 * SURE])
def test_equals_get_even_shares(logits):
    assert choose_weight(Says(logits), Says(logits), IMAGES) == 0.5


def test_equal_merit_counts_also_where_they_disagree():
    assert choose_weight(Says(SURE), Says(SURE[:, ::-1]), IMAGES) == pytest.approx(0.5, abs=1e-6)


def test_two_that_are_of_no_use_get_even_shares():
    # Nothing definite carries nothing at all; one class for all, nothing but rounding.
    assert choose_weight(Says(UNSURE), Says(UNSURE[::-1]), IMAGES) == 0.5
    assert 0 <= choose_weight(Says(UNSURE), Says(ONE_CLASS), IMAGES) <= 1


def test_shares_are_by_information():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(30, 3)), 3 * rng.normal(size=(30, 3))

    def information(logits):
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        mean = p.mean(0)
        return -np.sum(mean * np.log(mean)) + np.mean(np.sum(p * np.log(p), 1))

    expected = information(one) / (information(one) + information(other))
    assert 0.05 < expected < 0.45
    assert choose_weight(Says(one), Says(other), IMAGES) == pytest.approx(expected, rel=1e-4)
    assert choose_weight(Says(other), Says(one), IMAGES) == pytest.approx(1 - expected, rel=1e-4)


def test_each_reader_is_asked_once_for_unlabelled_target_images():
    readers = Says(SURE), Says(UNSURE)
    weight = choose_weight(*readers, IMAGES)
    assert isinstance(weight, float)
    for reader in readers:
        assert len(reader.asked) == 1
        images, domain = reader.asked[0]
        assert images is IMAGES and domain == "target"
