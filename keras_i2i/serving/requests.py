"""Files for TensorFlow Serving that are made of its own messages: warm-up requests, model config.

    keras-i2i-label --base=served/digits --label=stable:1 --label=canary:2

writes `served/models.config`, with which a server offers both versions by these names.

The messages come with tensorflow-serving-api, `pip install 'keras-i2i[serving]'`; without it there
is an `InputError` that says so.
"""

import importlib
import pathlib

import numpy as np
import tensorflow as tf
from google.protobuf import text_format

from keras_i2i.errors import InputError
from keras_i2i.files import write_text

# Where TensorFlow Serving looks for warm-up requests, in a version's folder.
WARMUP_FILE = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
# TensorFlow Serving does not take larger numbers for versions.
LARGEST_VERSION = 2**63 - 1

_BATCH = 8
_CHEAP = 2**16  # pixels of a batch that no server minds at its start: 8 images of 90x90


def versions_of(base):
    """The versions that TensorFlow Serving finds in a folder: number → path, in rising order.

    Args:
        base: folder of the model's versions; it need not exist.
    """
    base = pathlib.Path(base)
    paths = base.iterdir() if base.is_dir() else ()
    found = {int(path.name): path for path in paths if path.name.isascii() and path.name.isdigit()}
    return {number: found[number] for number in sorted(found) if number <= LARGEST_VERSION}


def write_warmup(folder, signatures, image_shape, name="model"):
    """Writes requests that a server answers before it takes a new version into use.

    One request to each signature with one image and, where that is cheap, one with eight: a first
    call builds and allocates what later ones find.

    Args:
        folder: a version's folder.
        signatures: name → {"inputs": input → {"dtype", "shape"}}, as in `metadata.json`: dtype a
            TensorFlow name, shape with None where it is open.
        image_shape: (H, W, C) of the images to make where a signature leaves that open.
        name: the model's name at the server.

    Returns:
        The path of the file, a TFRecord of `PredictionLog` messages.

    Raises:
        InputError: tensorflow-serving-api is not installed.
    """
    predict, log = _messages("apis.predict_pb2"), _messages("apis.prediction_log_pb2")
    path = pathlib.Path(folder) / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    batches = [1, _BATCH] if _BATCH * image_shape[0] * image_shape[1] <= _CHEAP else [1]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in sorted(signatures):
            for batch in batches:
                request = predict.PredictRequest()
                request.model_spec.name = name
                request.model_spec.signature_name = signature
                for tensor, spec in signatures[signature]["inputs"].items():
                    images = _images(spec, image_shape, batch, rng)
                    request.inputs[tensor].CopyFrom(tf.make_tensor_proto(images))
                record = log.PredictionLog(predict_log=log.PredictLog(request=request))
                writer.write(record.SerializeToString())
    return path


def _images(spec, image_shape, batch, rng):
    """Noise as an input wants it: pixels, numbers in [-1, 1], or files, PNG and JPEG in turn."""
    # Of files the shape is only (n,): all that is open is filled from the image's shape.
    shape = [None] * 4 if spec["dtype"] == "string" else spec["shape"]
    filled = (batch, *image_shape)
    shape = [there if there is not None else own for there, own in zip(shape, filled, strict=True)]
    pixels = rng.integers(0, 256, shape, "uint8")
    if spec["dtype"] == "string":
        encoders = tf.io.encode_png, tf.io.encode_jpeg
        return np.array([encoders[i % 2](image).numpy() for i, image in enumerate(pixels)], object)
    return pixels if spec["dtype"] == "uint8" else (pixels / 127.5 - 1).astype(spec["dtype"])


def write_model_config(base, name="", labels=None, base_path=""):
    """Has the server's configuration name versions of a model by labels.

    The configuration is `models.config` beside the model's folder. It may hold other models, which
    stay; what it held of this one is replaced. The server loads exactly the labelled versions. It
    reads the file again every `--model_config_file_poll_wait_seconds`, so a label moves when this
    is called anew; to know a label before its version is loaded, as at its start, it needs
    `--allow_version_labels_for_unavailable_models`.

    Args:
        base: folder of the model's versions, as `export_run` fills it.
        name: the model's name at the server; empty: the folder's.
        labels: label → version, like {"stable": 1, "canary": 2}.
        base_path: where the server sees `base`, if that is elsewhere, as in a container; empty: as
            the file has it, or where `base` is here.

    Returns:
        The path of the file, a `ModelServerConfig` in text format.

    Raises:
        InputError: no label is given, or an empty one; a labelled version does not exist; the file
            is there and cannot be read; or tensorflow-serving-api is not installed.
    """
    base = pathlib.Path(base).expanduser().absolute()
    name = name or base.name
    if not labels or "" in labels:
        raise InputError(
            f"Expected labels of versions, such as stable:1. Received: {labels or 'none'}"
        )
    there = [
        number for number, path in versions_of(base).items() if (path / "saved_model.pb").is_file()
    ]
    missing = sorted(set(labels.values()) - set(there))
    if missing:
        raise InputError(
            f"{base} has no version {', '.join(map(str, missing))} to label. "
            f"There are: {', '.join(map(str, there)) or 'none'}"
        )
    path = base.parent / "models.config"
    config = _messages("config.model_server_config_pb2").ModelServerConfig()
    if path.exists():
        try:
            text_format.Parse(path.read_text(encoding="utf-8"), config)
        except (text_format.ParseError, ValueError) as error:
            raise InputError(
                f"{path} is no ModelServerConfig in text format ({error}). Move it away."
            ) from error
    models = config.model_config_list.config
    model = next((model for model in models if model.name == name), None) or models.add(name=name)
    model.base_path = str(base_path or model.base_path or base)
    model.model_platform = "tensorflow"
    model.model_version_policy.specific.versions[:] = sorted(set(labels.values()))
    model.version_labels.clear()
    for label, version in labels.items():
        model.version_labels[label] = version
    return write_text(path, text_format.MessageToString(config))


def _messages(module):
    """One of tensorflow-serving-api's modules of messages."""
    try:
        return importlib.import_module(f"tensorflow_serving.{module}")
    except ImportError as error:
        raise InputError(
            "Messages of TensorFlow Serving need tensorflow-serving-api, which is not installed. "
            "Install it with `pip install 'keras-i2i[serving]'`."
        ) from error
