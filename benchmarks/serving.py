"""What it takes to serve a run that classifies, in each way there is: time, size and agreement.

    python benchmarks/serving.py --run=runs/quickstart [--data_dir=...] [--out=serving.json]

Exports the run to a temporary folder in every format and asks each way for the classes of the
target's first test images, in a process of its own:

    cold start   seconds from the start of a process until libraries are imported, the model is
                 loaded, one image is answered
    latency      of one image alone, median and 95th percentile, in milliseconds
    throughput   images a second in batches of 64
    agreement    the largest difference of a probability from those of `model.classify`, and the
                 accuracy

"classify" and "classify_bytes" are signatures of the SavedModel, called from Python; they take
pixels as stored, and PNG files, and prepare them. The other ways take floats that were prepared
before. All may use all cores. Prints a table, and writes JSON to --out.
"""

import argparse
import io
import json
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import time

import numpy as np
from measuring import timed

ROOT = pathlib.Path(__file__).resolve().parents[1]
BATCH = 64


def main(arguments=None):
    """Reads the arguments, exports, measures, and says what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="folder of a finished run that classifies")
    parser.add_argument("--data_dir", default="", help="its datasets, if they have moved")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--images", type=int, default=500, help="for agreement and accuracy")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each of a way's two times")
    parser.add_argument("--starts", type=int, default=3, help="cold starts; their median counts")
    parser.add_argument("--out", help="JSON file for the results")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        place = pathlib.Path(temporary)
        result = export(options.run, place, options.images, options.data_dir)
        result |= {"run": options.run, "cores": os.cpu_count(), "ways": {}}
        for way in options.ways:
            if way == "model.predict" and not result["predicts"]:
                continue
            starts = [run_child("start", way, place) for _ in range(options.starts)]
            result["ways"][way] = {
                "cold_start_seconds": {
                    moment: round(float(np.median([start[moment] for start in starts])), 2)
                    for moment in starts[0]
                },
                **run_child("measure", way, place, options.seconds),
            }
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


def export(run, place, count, data_dir=""):
    """Writes a run in every format, and what to ask, into a folder.

    Args:
        run: the run's folder.
        place: where to: a folder for each format, and for the processes inputs.pickle, the target's
            first test images as stored, as files and as floats, with their labels and the
            probabilities of `model.classify`.
        count: how many images at most.
        data_dir: as for `keras_i2i.load_run`.

    Returns:
        "megabytes" on disk, the number of "images", and whether the model "predicts": what reads
        images may be made of several Keras models.
    """
    import keras
    from PIL import Image

    import keras_i2i
    from keras_i2i.models.translated import probabilities
    from keras_i2i.serving.export import FORMATS

    loaded = keras_i2i.load_run(run, data_dir=data_dir)
    model, experiment = loaded.model, loaded.experiment
    if not model.can_classify or model.has_masks:
        sys.exit(f"{run} does not classify images; expected a run that does.")
    paths = {
        format: keras_i2i.export_run(
            run, place / format, format=format, data_dir=data_dir, log=lambda line: None
        )
        for format in FORMATS
    }
    shape, inputs = model.image_shape_of("target"), {"pixels": [], "files": [], "floats": []}
    examples = keras_i2i.load(
        experiment.target, "test", data_dir=experiment.data_dir or None, storage=experiment.storage
    )[:count]
    labels = []
    for _, image, label in examples.readable():
        inputs["floats"].append(np.asarray(loaded.geometry.for_test(image, shape)))
        # Signatures take the model's number of channels.
        image = keras_i2i.preprocess(image[np.newaxis], (*image.shape[:2], shape[-1]))
        image = np.asarray(keras_i2i.to_uint8(image))[0]
        inputs["pixels"].append(image)
        file = io.BytesIO()
        Image.fromarray(image if shape[-1] == 3 else image[..., 0]).save(file, "PNG")
        inputs["files"].append(file.getvalue())
        labels.append(label)
    inputs["labels"] = np.array(labels)
    inputs["expected"] = probabilities(model.classify(np.stack(inputs["floats"])))
    inputs["run"] = str(pathlib.Path(run).absolute()), data_dir
    inputs["paths"] = paths
    (place / "inputs.pickle").write_bytes(pickle.dumps(inputs))
    sizes = {
        "saved_model": paths["saved_model"],
        "classify.onnx": paths["onnx"] / "classify.onnx",
        "classify.tflite": paths["tflite"] / "classify.tflite",
    } | {path.name: path for path in sorted(pathlib.Path(run).glob("*.keras"))}
    return {
        "megabytes": {name: round(megabytes(path), 3) for name, path in sizes.items()},
        "images": len(labels),
        "predicts": isinstance(model, keras.Model),
    }


def megabytes(path):
    """The size of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file()) / 1e6


def run_child(function, way, place, *arguments):
    """Calls a function of this file in a process of its own; returns what it returns, by JSON."""
    answer = pathlib.Path(place) / "answer.json"
    given = (way, str(place), *arguments)
    code = f"import sys; sys.path[:0] = [{str(ROOT / 'benchmarks')!r}, {str(ROOT)!r}]; "
    code += "import json, pathlib, serving; "
    code += f"pathlib.Path({str(answer)!r}).write_text("
    code += f"json.dumps(serving.{function}(*{given!r}, began={time.time()!r})))"
    child = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT
    )
    if child.returncode:
        sys.exit(child.stdout.decode()[-3000:])
    return json.loads(answer.read_text())


def start(way, place, began):
    """In a process of its own: seconds since `began` at each moment of a cold start."""
    moments = {}

    def note(moment):
        moments[moment] = time.time() - began

    inputs = pickle.loads((pathlib.Path(place) / "inputs.pickle").read_bytes())
    open_way, kind = WAYS[way]
    answer = open_way(inputs, lambda: note("imported"))
    note("loaded")
    answer(stacked(inputs[kind][:1]))
    note("answered")
    return moments


def measure(way, place, seconds, began=None):
    """In a process of its own: latency, throughput and agreement."""
    inputs = pickle.loads((pathlib.Path(place) / "inputs.pickle").read_bytes())
    open_way, kind = WAYS[way]
    answer = open_way(inputs, lambda: None)
    given = inputs[kind]
    alone = timed(lambda: answer(stacked(given[:1])), seconds)
    many = stacked(given[:1] * BATCH)
    together = timed(lambda: answer(many), seconds)
    # One at a time: pixels may be of many sizes.
    found = np.concatenate([answer(stacked([one])) for one in given])
    return {
        "latency_ms": round(1e3 * float(np.median(alone)), 2),
        "latency_ms_p95": round(1e3 * float(np.percentile(alone, 95)), 2),
        "images_per_second": round(BATCH / float(np.median(together)), 1),
        "largest_difference": float(np.abs(found - inputs["expected"]).max()),
        "accuracy": float(np.mean(found.argmax(-1) == inputs["labels"])),
    }


def stacked(images):
    """A batch: an array of images, or a list of files."""
    return images if isinstance(images[0], bytes) else np.stack(images)


# Each way takes `inputs`, and what to call once all is imported; it returns a function from a batch
# to probabilities. It imports for itself: who serves needs no more.


def predict(inputs, imported):
    """The Keras model, by `predict`."""
    model = load_model(inputs, imported)
    import keras

    return lambda images: keras.ops.convert_to_numpy(
        keras.ops.softmax(model.predict(images, batch_size=BATCH, verbose=0))
    )


def classify(inputs, imported):
    """The model, by the method that `keras_i2i` adds."""
    model = load_model(inputs, imported)
    from keras_i2i.models.translated import probabilities

    return lambda images: probabilities(model.classify(images))


def load_model(inputs, imported):
    """What the run reads target images with."""
    from keras_i2i import load_run

    imported()
    run, data_dir = inputs["run"]
    return load_run(run, data_dir=data_dir).model


def signature(name, tensor):
    """A way: a signature of the SavedModel, by its only input."""

    def open_signature(inputs, imported):
        import tensorflow as tf

        imported()
        loaded = tf.saved_model.load(inputs["paths"]["saved_model"])

        def answer(batch):
            return loaded.signatures[name](**{tensor: tf.constant(batch)})["probabilities"].numpy()

        return answer

    return open_signature


def onnx(inputs, imported):
    """ONNX by onnxruntime."""
    import onnxruntime

    imported()
    path = inputs["paths"]["onnx"] / "classify.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def tflite(inputs, imported):
    """TensorFlow Lite by LiteRT's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    imported()
    path = inputs["paths"]["tflite"] / "classify.tflite"
    runner = Interpreter(str(path), num_threads=os.cpu_count()).get_signature_runner()
    return lambda images: runner(images=images)["probabilities"]


# Name → (the way, which of the inputs it takes).
WAYS = {
    "model.predict": (predict, "floats"),
    "model.classify": (classify, "floats"),
    "classify": (signature("classify", "images"), "pixels"),
    "classify_bytes": (signature("classify_bytes", "image_bytes"), "files"),
    "onnxruntime": (onnx, "floats"),
    "LiteRT": (tflite, "floats"),
}


def table(result):
    """The results as Markdown."""
    lines = [
        "| way | imported, loaded, answered (s) | batch 1: median, p95 (ms) | batch 64 (images/s) "
        "| differs by | accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for way, found in result["ways"].items():
        moments = ", ".join(f"{seconds:.2f}" for seconds in found["cold_start_seconds"].values())
        lines.append(
            f"| {way} | {moments} | {found['latency_ms']:.2f}, {found['latency_ms_p95']:.2f} "
            f"| {found['images_per_second']:.0f} | {found['largest_difference']:.1g} "
            f"| {100 * found['accuracy']:.1f} |"
        )
    sizes = ", ".join(f"{name} {size:.2f} MB" for name, size in result["megabytes"].items())
    return "\n".join([*lines, "", f"{result['images']} images. On disk: {sizes}."])


if __name__ == "__main__":
    main()
