"""What a served model answers: the same as evaluation, in a process without this package."""

import io
import os
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_i2i.data.geometry import Geometry
from keras_i2i.data.image_files import native_shape, read_image
from keras_i2i.data.preprocessing import preprocess, to_uint8
from keras_i2i.errors import InputError
from keras_i2i.models import (
    Classifier,
    CycleGAN,
    I2IAdapt,
    LSTNet,
    ReadsThroughTranslation,
    WeightedSum,
)
from keras_i2i.models.image_model import OnImages
from keras_i2i.models.translated import probabilities
from keras_i2i.serving import signatures as serving

SHAPE = (16, 16, 1)
NAMES = ("cat", "dog", "größer")
WIDTHS = {"decoder_width": 0.02, "discriminator_width": 0.05}
CROP = Geometry(load_size=20, crop_size=18, fit="crop")
InvalidArgument = tf.errors.InvalidArgumentError


def floats(n=5, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape)).astype("float32")


def bytes_of(n=5, shape=SHAPE, seed=0):
    """uint8 images."""
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


def i2i_adapt(**options):
    keras.utils.set_random_seed(0)
    options = {"image_shape": SHAPE, "num_classes": 3, "encoder_width": 0.05, **WIDTHS, **options}
    return I2IAdapt.from_preset("i2i_adapt", **options)


def cyclegan(**options):
    keras.utils.set_random_seed(1)
    return CycleGAN(SHAPE, generator_width=0.05, discriminator_width=0.05, **options)


def segmenter():
    keras.utils.set_random_seed(2)
    images = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(4, 8, 8, activation="tanh")(images)
    return Classifier((16, 32, 3), 3, keras.Model(images, features), segmentation=True)


class Sees(OnImages):
    """Neither reads nor translates: it gives back what it sees, and three of its pixels."""

    can_classify = can_embed = True
    num_classes = 3
    offered = ("source_to_target",)

    def __init__(self, shape=SHAPE):
        self.shape = shape

    def image_shape_of(self, domain):
        return self.shape

    def features(self, domain="target"):
        return lambda images: tf.reshape(images, (-1, np.prod(self.shape)))

    def reader(self, domain="target"):
        return lambda images: 5 * self.features(domain)(images)[:, 40:43]

    def mapping(self, origin, destination):
        return tf.identity if f"{origin}_to_{destination}" in self.offered else None


class SeesPixels(Sees):
    """The same of a model that segments: a pixel's logits are its colors, and its own negative."""

    has_masks = True
    can_embed = False
    offered = ()

    def pixel_reader(self, domain="target"):
        def read(images, size):
            images = 5 * tf.image.resize(images, size)
            return tf.concat([images, -images], -1)[..., -3:]

        return read


def pixels(file):
    """A PNG file as an array."""
    return np.asarray(Image.open(io.BytesIO(file)))


def images_of(files, folder):
    """Files as evaluation reads a folder of such files: uint8 (h, w, 1 or 3) each."""
    images = []
    for data in files:
        file = folder / "file"
        file.write_bytes(data)
        images.append(read_image(file, native_shape(file)[2]))
    return images


def views_of(files, shape, geometry, folder):
    """What evaluation makes networks see of them."""
    return np.stack([geometry.for_test(image, shape) for image in images_of(files, folder)])


# A server


SERVER = """
import pickle, sys

# TensorFlow imports Keras when something of it is used; here that would fail, as where it is not
# installed.
sys.modules.update(dict.fromkeys(["keras", "tf_keras", "keras_i2i"]))
import tensorflow as tf

path, requests = sys.argv[1:3]
models, answers = {}, []
for model, signature, name, value in pickle.load(open(requests, "rb")):
    if model not in models:
        models[model] = tf.saved_model.load(f"{path}/{model}")
    function = models[model].signatures[signature]
    try:
        answer = {k: v.numpy() for k, v in function(**{name: tf.constant(value)}).items()}
    except tf.errors.InvalidArgumentError as error:
        answer = error.message
    answers.append(answer)
pickle.dump(answers, sys.stdout.buffer)
"""


@pytest.fixture(scope="module")
def models():
    return {"digits": i2i_adapt(), "streets": segmenter()}


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    for name, model in models.items():
        serving.save(model, folder / name, NAMES)
    return folder


@pytest.fixture(scope="module")
def requests(picture, encoded):
    """Name → (model, signature, tensor's name, value); one process answers them all."""
    files = [encoded(picture("L", (20, 12)), "png"), encoded(picture("L"), "jpeg")]
    streets = [encoded(picture(), "png"), encoded(picture(size=(40, 16)), "jpeg")]
    images, digits = bytes_of(), "digits"
    requests = {}
    for n in (1, 7, 64):
        requests[f"floats {n}"] = digits, "classify_float", "images", floats(n)
        requests[f"bytes {n}"] = digits, "classify", "images", bytes_of(n)
    requests |= {
        "embed": (digits, "embed", "images", images),
        "files": (digits, "classify_bytes", "image_bytes", files),
        "default": (digits, "serving_default", "images", images),
        "to target": (digits, "translate_source_to_target", "images", images),
        "to source": (digits, "translate_target_to_source", "images", images),
        "file to source": (digits, "translate_target_to_source_bytes", "image_bytes", files),
        "file": (digits, "translate_bytes", "image_bytes", files),
        "segment": ("streets", "segment", "images", bytes_of(2, (23, 40, 3))),
        "segment files": ("streets", "segment_bytes", "image_bytes", streets),
    }
    for name, signature, value in (
        ("shape", "classify_float", floats(2, (16, 18, 1))),
        ("channels", "classify", bytes_of(2, (16, 16, 3))),
        ("range", "classify_float", 255 * floats()),
        ("nan", "classify_float", floats() * np.nan),
        ("type", "classify", floats()),
        ("empty", "classify", images[:0]),
        ("empty floats", "classify_float", floats(0)),
        ("no pixels", "classify", images[:, :0]),
    ):
        requests[f"wrong {name}"] = digits, signature, "images", value
        requests[f"after {name}"] = digits, "classify", "images", images
    for name, value in (
        ("file", [files[0], b"no image"]),
        ("damage", [files[0][:-30], files[1]]),
        ("no files", np.zeros(0, object)),
    ):
        requests[f"wrong {name}"] = digits, "classify_bytes", "image_bytes", value
        requests[f"after {name}"] = digits, "classify_bytes", "image_bytes", files
    return requests


@pytest.fixture(scope="module")
def answers(saved, requests, tmp_path_factory):
    folder = tmp_path_factory.mktemp("requests")
    script, file = folder / "server.py", folder / "requests"
    script.write_text(SERVER)
    file.write_bytes(pickle.dumps(list(requests.values())))
    done = subprocess.run(
        [sys.executable, script, saved, file],
        cwd=folder,  # where this package is not found by chance
        env={**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
    )
    assert not done.returncode, done.stderr.decode()
    return dict(zip(requests, pickle.loads(done.stdout), strict=True))


@pytest.mark.parametrize("n", [1, 7, 64])
def test_probabilities_are_those_of_predict(models, answers, n):
    for given, images in (("floats", floats(n)), ("bytes", preprocess(bytes_of(n), SHAPE))):
        answer = answers[f"{given} {n}"]
        logits = models["digits"].predict(images, verbose=0)
        np.testing.assert_allclose(answer["probabilities"], probabilities(logits), atol=1e-5)
        np.testing.assert_array_equal(answer["class_ids"], logits.argmax(1))
        names = [name.decode() for name in answer["class_names"]]
        assert names == [NAMES[k] for k in logits.argmax(1)]


def test_embeddings_and_translations_are_the_models(models, answers):
    model, images = models["digits"], preprocess(bytes_of(), SHAPE).numpy()
    expected = model.embed(images)
    np.testing.assert_allclose(answers["embed"]["embeddings"], expected, atol=1e-5)
    for name, direction in (("to target", "source_to_target"), ("to source", "target_to_source")):
        expected = to_uint8(model.translate(images, direction)).astype(int)
        # Not more than rounding: an untrained network's outputs are close to 127.5.
        assert np.abs(answers[name]["images"] - expected).max() <= 1


def test_files_are_classified_and_translated(models, requests, answers, tmp_path):
    views = views_of(requests["files"][-1], SHAPE, Geometry(), tmp_path)
    model = models["digits"]
    np.testing.assert_allclose(
        answers["files"]["probabilities"], probabilities(model.classify(views)), atol=1e-5
    )
    for name, way in (("file", "source_to_target"), ("file to source", "target_to_source")):
        pictures = [pixels(file) for file in answers[name]["image_bytes"]]
        expected = to_uint8(model.translate(views, way)).astype(int)
        assert np.abs(np.stack(pictures)[..., np.newaxis] - expected).max() <= 1


def test_images_of_any_size_are_segmented(models, requests, answers):
    model, images = models["streets"], requests["segment"][-1]
    answer = answers["segment"]
    for image, p, class_ids in zip(
        images, answer["probabilities"], answer["class_ids"], strict=True
    ):
        view = np.asarray(Geometry().whole(image, (16, 32, 3)))
        expected = probabilities(model.segment(view, size=(23, 40)))
        np.testing.assert_allclose(p, expected, atol=1e-5)
        np.testing.assert_array_equal(class_ids, p.argmax(-1))
    sizes = [pixels(file).shape for file in answers["segment files"]["image_bytes"]]
    assert sizes == [(23, 31), (16, 40)]


def test_types_and_shapes_are_those_of_the_documentation(answers):
    classes = {"class_ids": ("int64", (5,)), "probabilities": ("float32", (5, 3))}
    digit, streets = ("uint8", (5, *SHAPE)), (2, 23, 40)
    for name, expected in (
        ("default", {**classes, "class_names": ("object", (5,))}),
        ("embed", {"embeddings": ("float32", answers["embed"]["embeddings"].shape)}),
        ("to target", {"images": digit}),
        ("file", {"image_bytes": ("object", (2,))}),
        ("segment", {"class_ids": ("uint8", streets), "probabilities": ("float32", (*streets, 3))}),
        ("segment files", {"image_bytes": ("object", (2,))}),
    ):
        assert {k: (str(v.dtype), v.shape) for k, v in answers[name].items()} == expected


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("shape", "[2,16,18,1] is not compatible with expected shape [?,16,16,1]"),
        ("channels", "[2,16,16,3] is not compatible with expected shape [?,?,?,1]"),
        ("range", "Expected images in [-1, 1]"),
        ("nan", "Expected images in [-1, 1]"),
        ("type", "expected to be a uint8 tensor"),
        ("empty", "Expected at least one image"),
        ("empty floats", "Expected at least one image"),
        ("no pixels", "Expected at least one image"),
        ("file", "Expected a JPEG or PNG file"),
        ("damage", "PNG"),
        ("no files", "Expected at least one image"),
    ],
)
def test_a_wrong_request_is_refused_and_the_next_is_answered(answers, what, message):
    assert isinstance(answers[f"wrong {what}"], str) and message in answers[f"wrong {what}"]
    right = "files" if what in ("file", "damage", "no files") else "default"
    for name, value in answers[right].items():
        np.testing.assert_array_equal(answers[f"after {what}"][name], value)


# What is saved


@pytest.fixture(scope="module")
def loaded(saved):
    return tf.saved_model.load(str(saved / "digits"))


def test_only_what_is_used_is_saved(models, saved, loaded):
    model = models["digits"]
    others = {id(v) for network in model.discriminators.values() for v in network.variables}
    networks = (model.target_encoder, model.source_encoder, model.head, model.decoder_trunk)
    networks += (model.source_branch, model.target_branch)
    used = {id(v): tuple(v.shape) for network in networks for v in network.weights}
    assert others and not others & used.keys()
    assert sorted(tuple(v.shape) for v in loaded.read) == sorted(used.values())
    stored = tf.train.list_variables(str(saved / "digits/variables/variables"))
    assert len(stored) == len(used) + 1  # and the graph of objects


def test_labels_are_an_asset(saved):
    assert (saved / "digits/assets/labels.txt").read_text("utf-8") == "cat\ndog\ngrößer\n"


def test_in_python_each_signature_is_a_function(loaded):
    images = bytes_of()
    of_bytes = loaded.classify(images)
    of_floats = loaded.classify(preprocess(images, SHAPE).numpy())
    for name, value in loaded.signatures["classify"](images=tf.constant(images)).items():
        np.testing.assert_array_equal(of_bytes[name], value)
        if name == "probabilities":
            np.testing.assert_allclose(of_floats[name], value, atol=1e-6)
    answer = loaded.translate_source_to_target(images)["images"]
    assert answer.shape == images.shape and answer.dtype == tf.uint8


def test_random_layers_are_saved_with_their_state(tmp_path):
    model = cyclegan(dropout=0.5, dropout_at_inference=True)
    serving.save(model, tmp_path, ())
    assert not (tmp_path / "assets/labels.txt").exists()
    translate = tf.saved_model.load(str(tmp_path)).translate_source_to_target
    images = bytes_of()
    assert np.any(translate(images)["images"] != translate(images)["images"])


# The same as in evaluation


@pytest.fixture(scope="module")
def files(picture, encoded):
    """Gray and colored files of several sizes, smaller and larger than the networks."""
    sizes = ((16, 16), (31, 23), (12, 20), (8, 9), (15, 40))
    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        *(encoded(picture(mode, size), "png") for size in sizes for mode in ("L", "RGB")),
        *(encoded(picture(mode, size), "jpeg") for size in sizes for mode in ("L", "RGB")),
        encoded(picture(), "jpeg", exif=turned),
        encoded(picture("RGBA"), "png"),
        encoded(picture("I;16"), "png"),
    ]


@pytest.mark.parametrize("geometry", [Geometry(), CROP], ids=["stretch", "crop"])
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_see_of_files_what_they_see_in_evaluation(files, tmp_path, geometry, channels):
    model = Sees((16, 16, channels))
    functions = serving.signatures(model, NAMES, geometry)
    views = views_of(files, model.shape, geometry, tmp_path)
    answer = functions["classify_bytes"](tf.constant(files))
    expected = probabilities(views.reshape(len(files), -1)[:, 40:43] * 5)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    np.testing.assert_array_equal(answer["class_ids"], expected.argmax(1))
    pictures = functions["translate_bytes"](tf.constant(files))["image_bytes"].numpy()
    expected = to_uint8(views)[..., 0] if channels == 1 else to_uint8(views)
    differences = np.stack([pixels(file) for file in pictures]) - expected.astype(int)
    # Of values half way between two, the rounding of a division decides.
    assert np.abs(differences).max() <= 1 and np.mean(differences != 0) < 0.01


@pytest.mark.parametrize("geometry", [None, CROP], ids=["stretch", "crop"])
def test_networks_see_of_arrays_what_they_see_in_evaluation(geometry):
    functions = serving.signatures(Sees(), NAMES, geometry)
    for size in ((16, 16), (9, 12), (40, 31), (8, 40)):
        images = bytes_of(3, (*size, 1))
        views = [(geometry or Geometry()).for_test(image, SHAPE) for image in images]
        seen = functions["embed"](images)["embeddings"]
        # But for the rounding of a division, for which graphs multiply.
        np.testing.assert_allclose(seen, np.reshape(views, (3, -1)), rtol=0, atol=2e-7)


@pytest.mark.parametrize(
    "geometry", [Geometry(), CROP, Geometry(crop_size=8)], ids=["stretch", "crop", "enlarge"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_read_as_in_evaluation(files, tmp_path, geometry, channels):
    model = SeesPixels((16, 16, channels))
    model.num_classes = min(2 * channels, 3)
    functions = serving.signatures(model, NAMES[: model.num_classes], geometry)
    assert functions.keys() == {"segment", "segment_bytes", "serving_default"}
    read = model.pixel_reader()
    masks = functions["segment_bytes"](tf.constant(files))["image_bytes"].numpy()
    for image, mask in zip(images_of(files, tmp_path), masks, strict=True):
        view = geometry.whole(image, model.shape)
        logits = read(view[tf.newaxis], image.shape[:2])
        np.testing.assert_array_equal(pixels(mask), tf.argmax(logits[0], -1))
        if image.shape[-1] == channels:
            answer = functions["segment"](np.stack([image, image]))
            for p in answer["probabilities"]:
                np.testing.assert_allclose(p, probabilities(logits[0]), atol=1e-5)


def test_large_files_are_read_in_small_and_large_arrays_are_refused(monkeypatch, picture, encoded):
    monkeypatch.setattr(serving, "MOST_PIXELS", 20 * 30)
    model = SeesPixels((16, 16, 3))
    functions = serving.signatures(model, NAMES)
    files = [encoded(picture(size=size), "png") for size in ((80, 40), (20, 30), (600, 2))]
    masks = functions["segment_bytes"](tf.constant(files))["image_bytes"].numpy()
    sizes = (17, 35), (30, 20), (1, 424)  # as many pixels or fewer
    for file, mask, smaller in zip(files, masks, sizes, strict=True):
        image = pixels(file)
        logits = model.pixel_reader()(Geometry().whole(image, model.shape)[tf.newaxis], smaller)
        small = Image.fromarray(tf.argmax(logits[0], -1).numpy().astype("uint8"))
        expected = small.resize(image.shape[1::-1], Image.Resampling.NEAREST)
        assert np.mean(pixels(mask) == expected) > 0.99
    with pytest.raises(InvalidArgument, match="at most 600 pixels; segment_bytes takes larger"):
        functions["segment"](bytes_of(1, (21, 30, 3)))


def test_a_network_reads_no_more_pixels_than_fit_into_memory(monkeypatch, picture, encoded):
    """A small crop, enlarged to what the network reads, makes more of an image than it has."""
    monkeypatch.setattr(serving, "MOST_PIXELS", 20 * 30)
    model, geometry, image = SeesPixels((16, 16, 3)), Geometry(crop_size=4), picture(size=(30, 20))
    functions = serving.signatures(model, NAMES, geometry)
    view = geometry.whole(np.asarray(image), model.shape, at_most=20 * 30)
    assert view.shape == (20, 30, 3)
    expected = model.pixel_reader()(view[tf.newaxis], (20, 30))[0]
    answer = functions["segment"](np.asarray(image)[np.newaxis])
    np.testing.assert_allclose(answer["probabilities"][0], probabilities(expected), atol=1e-5)
    (file,) = functions["segment_bytes"](tf.constant([encoded(image, "png")]))["image_bytes"]
    np.testing.assert_array_equal(pixels(file.numpy()), tf.argmax(expected, -1))


# Kinds of models


def classifier(seed):
    keras.utils.set_random_seed(seed)
    return Classifier(SHAPE, 3, encoder_width=0.05)


class Inverts(Sees):
    """A translator of both ways; the domains are each other's negatives."""

    can_classify = can_embed = False

    def mapping(self, origin, destination):
        return tf.identity if origin == destination else tf.negative


def test_readers_through_translation_and_their_sum():
    translator = Inverts()
    summed = WeightedSum(
        ReadsThroughTranslation(translator, classifier(3), "target"),
        ReadsThroughTranslation(translator, classifier(4), "source"),
        0.4,
    )
    images = bytes_of()
    seen = preprocess(images, SHAPE).numpy()
    for reader in (summed, *summed.readers):
        functions = serving.signatures(reader, NAMES)
        answer = functions["classify"](images)
        expected = probabilities(reader.classify(seen))
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
        answer = functions["classify_float"](seen)
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
        embeddings = functions["embed"](images)["embeddings"]
        np.testing.assert_allclose(embeddings, reader.embed(seen), atol=1e-5)
        assert "translate_target_to_source_bytes" in functions
        assert functions["serving_default"] is functions["classify"]


def names_of(*directions, others=()):
    """The signatures of a model that translates so."""
    ways = [f"translate_{direction}" for direction in directions]
    files = [f"{way}_bytes" for way in ways]
    return {*ways, *files, "translate_bytes", "serving_default", *others}


def test_a_translator_is_served_without_classes():
    model, images = cyclegan(), bytes_of()
    functions = serving.signatures(model, ())
    assert functions.keys() == names_of("source_to_target", "target_to_source")
    assert functions["serving_default"] is functions["translate_source_to_target"]
    assert functions["translate_bytes"] is functions["translate_source_to_target_bytes"]
    expected = to_uint8(model.translate(preprocess(images, SHAPE).numpy(), "target_to_source"))
    translated = functions["translate_target_to_source"](images)["images"]
    assert np.abs(translated - expected.astype(int)).max() <= 1


def test_domains_of_two_shapes_are_served_at_their_own(picture, encoded):
    keras.utils.set_random_seed(5)
    source, target = (28, 28, 1), (16, 16, 3)
    model = LSTNet(source, target, width=0.05, discriminator_width=0.05)
    functions = serving.signatures(model, ())
    files = tf.constant([encoded(picture(), "png")])
    for way, given, gives in (
        ("source_to_target", source, target),
        ("target_to_source", target, source),
    ):
        assert functions[f"translate_{way}"](bytes_of(2, given))["images"].shape == (2, *gives)
        (file,) = functions[f"translate_{way}_bytes"](files)["image_bytes"].numpy()
        assert pixels(file).shape == (gives if gives[-1] == 3 else gives[:2])
    seen = preprocess(bytes_of(2, target), target).numpy()
    embeddings = functions["embed"](bytes_of(2, target))["embeddings"]
    np.testing.assert_allclose(embeddings, model.embed(seen), atol=1e-5)


def test_one_direction_alone():
    model = Sees()
    model.can_classify = model.can_embed = False
    model.offered = ("target_to_source",)
    functions = serving.signatures(model, ())
    assert functions.keys() == names_of("target_to_source")
    assert functions["translate_bytes"] is functions["translate_target_to_source_bytes"]


def test_a_model_that_segments_has_no_classes_of_images():
    functions = serving.signatures(segmenter(), NAMES)
    assert functions.keys() == {"segment", "segment_bytes", "embed", "serving_default"}
    assert functions["serving_default"] is functions["segment"]


def test_functions_for_converters_are_the_networks_alone():
    model, images = i2i_adapt(), floats()
    functions = serving.float_functions(model)
    expected = {
        "classify": {"probabilities": probabilities(model.classify(images))},
        "embed": {"embeddings": model.embed(images)},
        "translate_source_to_target": {"images": model.translate(images, "source_to_target")},
        "translate_target_to_source": {"images": model.translate(images, "target_to_source")},
    }
    assert functions.keys() == expected.keys()
    for name, (function, shape) in functions.items():
        assert shape == SHAPE
        answer = function(tf.constant(images))
        assert answer.keys() == expected[name].keys()
        for key, value in expected[name].items():
            np.testing.assert_allclose(answer[key], value, atol=1e-6)
    model = segmenter()
    function, shape = serving.float_functions(model)["segment"]
    (image,) = floats(1, shape)
    expected = probabilities(model.segment(image))
    np.testing.assert_allclose(function(image[np.newaxis])["probabilities"][0], expected, atol=1e-6)


def test_half_precision_is_answered_in_float32():
    keras.utils.set_random_seed(6)
    model = Classifier(SHAPE, 3, encoder_width=0.05, dtype="mixed_bfloat16")
    functions = serving.signatures(model, NAMES)
    images = bytes_of()
    answer = functions["classify"](images)["probabilities"]
    assert answer.dtype == functions["embed"](images)["embeddings"].dtype == tf.float32
    expected = probabilities(model.classify(preprocess(images, SHAPE).numpy()))
    np.testing.assert_allclose(answer, expected, atol=1e-2)


def test_a_wrong_number_of_names_or_nothing_to_serve_is_named(tmp_path):
    with pytest.raises(InputError, match="Got 2 class names for a model of 3 classes"):
        serving.save(Sees(), tmp_path / "served", NAMES[:2])
    assert not (tmp_path / "served").exists()
    model = Sees()
    model.can_classify, model.offered = False, ()
    with pytest.raises(InputError, match="nothing to serve"):
        serving.signatures(model, ())
