"""What every trained model can do with images: numpy in, numpy out, errors that help."""

import keras
import numpy as np
import pytest

from keras_i2i.errors import InputError

from .conftest import make_batch


@pytest.fixture(scope="module")
def model(build, batches, train):
    model = build("fcns_in_the_wild", encoder_sharing="none")
    train(model, batches(2))
    return model


@pytest.mark.parametrize("domain", ["source", "target"])
def test_classify_and_embed_are_compositions_of_the_networks(model, images, domain):
    features = getattr(model, f"{domain}_encoder")(images)
    np.testing.assert_allclose(model.classify(images, domain), model.head(features), atol=1e-5)
    np.testing.assert_allclose(
        model.embed(images, domain), np.reshape(features, (7, -1)), atol=1e-5
    )


def test_the_domains_differ_and_target_is_the_default(model, images):
    assert not np.allclose(model.classify(images, "source"), model.classify(images, "target"))
    np.testing.assert_array_equal(model.classify(images), model.classify(images, "target"))
    np.testing.assert_array_equal(model.embed(images), model.embed(images, "target"))


def test_calling_predicting_and_classifying_agree(model, images):
    logits = model.classify(images)
    np.testing.assert_allclose(model(images), logits, atol=1e-6)
    np.testing.assert_allclose(model.predict(images, batch_size=3, verbose=0), logits, atol=1e-5)


def test_results_are_numpy_and_do_not_depend_on_batches(model):
    def network(x):
        return model.head(model.target_encoder(x))

    many = make_batch(9)[0]["target"]
    at_once = model.infer(network, many)
    in_batches = model.infer(network, many, batch_size=4)
    assert isinstance(at_once, np.ndarray) and at_once.shape == (9, 3)
    np.testing.assert_allclose(in_batches, at_once, atol=1e-6)


def test_results_follow_the_weights(model, images):
    before = model.classify(images)
    kernel, bias = model.head.get_weights()
    model.head.set_weights([kernel, bias + 1])
    after = model.classify(images)
    model.head.set_weights([kernel, bias])
    np.testing.assert_allclose(after, before + 1, atol=1e-5)


def test_using_a_model_does_not_change_it(model, images, snapshot):
    weights = snapshot(model)
    model.classify(images)
    model.embed(images, "source")
    model.evaluate(images, np.zeros(7, int), verbose=0)
    assert weights.unchanged, "batch norm must not learn from test images"


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_any_floating_point_images_will_do(model, images, dtype):
    np.testing.assert_allclose(
        model.classify(images.astype(dtype)), model.classify(images), atol=1e-2
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 16, 16)), r"\(n, 16, 16, 1\).*Received: \(2, 16, 16\)"),
        (np.zeros((16, 16, 1)), r"Received: \(16, 16, 1\)"),
        (np.zeros((2, 32, 32, 1)), r"Received: \(2, 32, 32, 1\)"),
        (np.zeros((2, 16, 16, 3)), r"Received: \(2, 16, 16, 3\)"),
        (np.zeros((0, 16, 16, 1)), r"n ≥ 1.*Received: \(0, 16, 16, 1\)"),
        (np.full((2, 16, 16, 1), 255.0), r"\[-1, 1\].*preprocess.*float64 in \[255.0, 255.0\]"),
        (np.full((2, 16, 16, 1), -1.5), r"\[-1, 1\].*-1.5"),
        (np.full((2, 16, 16, 1), np.nan), "nan"),
        (np.zeros((2, 16, 16, 1), "uint8"), "preprocess.*uint8"),
        (np.zeros((2, 16, 16, 1), "int64"), "int64"),
    ],
)
def test_images_of_another_shape_or_range_are_named(model, given, message):
    for method in (model.classify, model.embed):
        with pytest.raises(InputError, match=message):
            method(given)


def test_translate_checks_its_images_and_its_direction(build, images):
    translator = build("cyclegan")
    with pytest.raises(InputError, match=r"preprocess.*uint8"):
        translator.translate(np.zeros((1, 16, 16, 1), "uint8"), "source_to_target")
    for direction in ("source", "target_to_target", "y_to_x"):
        with pytest.raises(InputError, match=f"source_to_target.*'{direction}'"):
            translator.translate(images, direction)


def test_an_unknown_domain_is_named(model, build, images):
    for method in (model.classify, model.embed, build("drcn").reconstruct):
        with pytest.raises(InputError, match=r"source, target.*'src'"):
            method(images, "src")


def test_evaluate_gives_mean_cross_entropy_and_accuracy_on_the_target(model, images):
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    logits = model.classify(images)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    scores = model.evaluate(images, labels, batch_size=3, verbose=0, return_dict=True)
    assert scores == {
        "loss": pytest.approx(-log_p[np.arange(7), labels].mean(), rel=1e-4),
        "accuracy": pytest.approx(np.mean(logits.argmax(1) == labels)),
    }


def test_each_evaluation_starts_anew(model, images):
    right = model.classify(images).argmax(1)
    wrong = (right + 1) % 3

    def accuracy(labels):
        return model.evaluate(images, labels, verbose=0, return_dict=True)["accuracy"]

    assert [accuracy(right), accuracy(wrong), accuracy(right)] == [1.0, 0.0, 1.0]


def test_an_uncompiled_model_can_be_used(build, images):
    model = build("fcns_in_the_wild")
    fresh = type(model).from_config(model.get_config())
    fresh.set_weights(model.get_weights())
    np.testing.assert_array_equal(fresh.classify(images), model.classify(images))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(fresh(images)), model.classify(images), atol=1e-6
    )
