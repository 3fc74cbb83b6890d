"""A run as something that a production stack serves.

    keras-i2i-export --run=runs/quickstart --to=served/digits

writes the next version of the model, `served/digits/1/`, as TensorFlow Serving expects it:

    saved_model.pb, variables/, assets/labels.txt    see keras_i2i.serving.signatures
    assets.extra/tf_serving_warmup_requests          see keras_i2i.serving.requests
    metadata.json, MODEL_CARD.md                     see keras_i2i.serving.model_card

With `--format=onnx` or `tflite` there is one file for each function, `classify.onnx` and so on,
and labels.txt instead of the first two lines; see keras_i2i.serving.converters.

A version appears whole or not at all: it is written to a hidden folder, which servers do not look
at, and renamed.
"""

import contextlib
import os
import pathlib
import shlex
import shutil
import tempfile
import time

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_i2i import data
from keras_i2i.errors import InputError
from keras_i2i.files import write_json, write_text
from keras_i2i.serving import FORMATS, converters, model_card, requests
from keras_i2i.serving.main import export_main
from keras_i2i.serving.signatures import LABELS, save
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.train import load_reader

_COMPARED = 500  # test images of each domain
_HIDDEN = ".export-"
# No export is silent for so long: what is older was left by one that was killed.
_STALE_SECONDS = 3600


def export_run(run, to, *, seed=None, version=None, format="saved_model", data_dir="", log=print):
    """Exports what a run reads target images with, or translates, as a new version.

    Args:
        run: the run's folder, or a `RunDirectory`. It need not have been evaluated; the model card
            then says so.
        to: folder of the model's versions, made if need be. Its name is the model's.
        seed: whose model; None: the run's first.
        version: a whole number, at least 1; None: one more than the highest there is.
        format: one of `FORMATS`.
        data_dir: where the run's datasets are, if not where the training had them.
        log: where to say what happens, a line at a time.

    Returns:
        The version's folder, a `pathlib.Path`.

    Raises:
        InputError: the run is not finished or has no such seed, the version exists, `to` is no
            folder for versions of this format, or a converter cannot convert the model.
        OSError: nothing can be written there. Whatever goes wrong, no version appears.
    """
    base = _checked(to, version, format)
    if not isinstance(run, RunDirectory):
        run = RunDirectory.open(run, data_dir)
    experiment = run.experiment
    seed = experiment.seeds[0] if seed is None else seed
    model = load_reader(run, seed)
    name = base.absolute().name
    base.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(base)
    with tempfile.TemporaryDirectory(prefix=_HIDDEN, dir=base) as hidden:
        # A folder in it: the hidden one itself is closed to other users, as a server may be.
        folder = pathlib.Path(hidden) / "version"
        folder.mkdir()
        if format == "saved_model":
            signatures = _write_saved_model(model, folder, experiment, name, log)
        else:
            signatures = _convert(model, folder, experiment, format, log)
        facts = model_card.metadata(
            run, seed, model, name=name, format=format, signatures=signatures
        )
        write_json(folder / "metadata.json", facts)
        write_text(folder / "MODEL_CARD.md", model_card.model_card(facts))
        _sync(folder)
        written = _publish(folder, base, version)
    _sync_folder(base)
    _announce(written, run, seed, facts, log)
    return written


def _checked(to, version, format):
    """The folder of versions; raises an `InputError` unless such a one may be written there."""
    if format not in FORMATS:
        raise InputError(f"--format must be one of {', '.join(FORMATS)}. Received: {format!r}")
    if version is not None and not 1 <= version <= requests.LARGEST_VERSION:
        raise InputError(
            f"--version must be from 1 to {requests.LARGEST_VERSION}. Received: {version}"
        )
    base = pathlib.Path(to).expanduser()
    if "://" in str(to) or (base.exists() and not base.is_dir()):
        raise InputError(
            f"--to must be a folder of this machine, for the model's versions. Received: {to}"
        )
    if (base / "saved_model.pb").exists():
        raise InputError(f"{base} is a version itself. Give the folder of the model's versions.")
    there = requests.versions_of(base)
    if version in there:
        raise _taken(there[version])
    for path in there.values():
        # A server takes the highest number, whatever is in it.
        if (path / "saved_model.pb").exists() != (format == "saved_model"):
            raise InputError(
                f"{path} is not of --format={format}, and versions of one model must be. "
                "Give another --to."
            )
    return base


def _taken(path):
    return InputError(f"{path} exists. Give another --version, or none for the next free one.")


def _write_saved_model(model, folder, experiment, name, log):
    """Writes the SavedModel and its warm-up requests; returns its signatures."""
    save(model, folder, experiment.domain("source").class_names, experiment.geometry)
    signatures = saved_signatures(folder)
    try:
        requests.write_warmup(folder, signatures, model.image_shape_of("target"), name)
    except InputError as error:
        log(f"Without warm-up requests: {error}")
    return signatures


def saved_signatures(folder):
    """The signatures of a SavedModel, without loading it.

    Args:
        folder: the SavedModel's.

    Returns:
        name → {"inputs": ..., "outputs": ...}, each tensor → {"dtype", "shape"}: TensorFlow's name
        of the type, and a list with None for what is open, or None if even the rank is.
    """
    saved = saved_model_pb2.SavedModel.FromString(
        (pathlib.Path(folder) / "saved_model.pb").read_bytes()
    )

    def described(tensors):
        return {
            name: _described(tf.TensorShape(tensors[name].tensor_shape), tensors[name].dtype)
            for name in sorted(tensors)
        }

    return {
        name: {"inputs": described(signature.inputs), "outputs": described(signature.outputs)}
        for name, signature in sorted(saved.meta_graphs[0].signature_def.items())
        if not name.startswith("__")
    }


def _described(shape, dtype):
    return {
        "dtype": tf.as_dtype(dtype).name,
        "shape": None if shape.rank is None else shape.as_list(),
    }


def _convert(model, folder, experiment, format, log):
    """Writes what a converter makes of the model, and labels; returns its functions' tensors."""
    convert = converters.to_onnx if format == "onnx" else converters.to_tflite
    images = _test_images(experiment, log)
    differences = convert(model, folder, images).values()
    if None in differences:
        log("Not compared with Keras: what runs such files is not installed.")
    else:
        kind = "test images" if images else "random pixels"
        log(f"Compared with Keras on {kind}: outputs differ by {max(differences):.1g} at most.")
    class_names = experiment.domain("source").class_names
    if class_names:
        write_text(folder / LABELS, "".join(f"{name}\n" for name in class_names))
    signatures = {}
    for name, graph in converters.graphs(model).items():
        (images,) = graph.input_signature
        outputs = graph.get_concrete_function().structured_outputs
        signatures[name] = {
            "inputs": {images.name: _described(images.shape, images.dtype)},
            "outputs": {key: _described(out.shape, out.dtype) for key, out in outputs.items()},
        }
    return signatures


def _test_images(experiment, log):
    """Test images of both domains to compare formats on, as converters want them, or None."""
    shapes = {"source": experiment.image_shape, "target": experiment.target_shape}
    place = {"data_dir": experiment.data_dir or None, "storage": experiment.storage}
    images = {}
    try:
        for domain, shape in shapes.items():
            examples = data.load(getattr(experiment, domain), "test", **place)[:_COMPARED]
            ready = data.in_memory(examples.without_labels(), shape, experiment.geometry)
            images[domain] = ready.images
    except (InputError, OSError) as error:
        # A model may be exported where its images are not.
        log(f"No test images to compare on: {error}")
        return None
    return images


def _publish(folder, base, version):
    """Renames the folder to its version; returns where it is."""
    while True:
        target = base / str(version or max(requests.versions_of(base), default=0) + 1)
        try:
            return folder.rename(target)
        except OSError:
            # Where another export was quicker, a rename fails and that version stays.
            if not target.exists():
                raise
        if version:
            raise _taken(target)


def _remove_leftovers(base):
    """Removes what exports left that were killed."""
    for folder in base.glob(f"{_HIDDEN}*"):
        with contextlib.suppress(OSError):  # Another export removes it too.
            newest = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
            if time.time() - newest > _STALE_SECONDS:
                # Under another name first: should its export live after all, it fails as a whole.
                shutil.rmtree(folder.rename(f"{folder}-stale"))


def _sync(folder):
    """Has the disk hold all files of a folder before its name says that they are there."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
        else:
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(path):
    with contextlib.suppress(OSError):  # Not every file system can.
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _announce(written, run, seed, facts, log):
    """Says what was written and what to do with it."""
    size = sum(path.stat().st_size for path in written.rglob("*") if path.is_file())
    log(f"Exported: {written} ({size / 1e6:.1f} MB, {facts['format']}; {run.path}, seed {seed})")
    for item in facts["signatures"].items():
        log(f"  {model_card.signature_line(*item)}")
    if facts["format"] != "saved_model":
        log("How to run it: docs/serving.md")
        return
    base, name = written.parent, facts["name"]
    log(
        "To serve it, as docs/serving.md explains:\n"
        f"  keras-i2i-label {_flag('base', base)} "
        f"{_flag('base_path', f'/models/{name}')} --label=stable:{written.name}\n"
        f"  SERVED={shlex.quote(str(base.absolute().parent))} "
        "docker compose --file=examples/serving/compose.yaml up"
    )


def _flag(name, value):
    return f"--{name}={shlex.quote(str(value))}"


if __name__ == "__main__":
    export_main()
