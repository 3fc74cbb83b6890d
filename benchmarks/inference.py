"""How fast a model classifies and translates, in the ways that TensorFlow and Keras offer.

    python benchmarks/inference.py [CONFIG ...] [--precisions float32 mixed_bfloat16]
        [--batch_sizes 1 64] [--json=FILE]

Models are made from configs and stay untrained: that costs the same. serving.py asks how a finished
run is best served, each way alone in a process with its cold start and its other formats; here all
ways share one process and one model.

    model.predict    Keras's loop; for translations, of a Keras model of the path between domains
    model.classify   and model.translate: the methods of this package, from numpy to numpy
    tf.function      the same function as one graph, from a tensor to a tensor
    SavedModel       signatures `classify` and `translate_source_to_target`, which take pixels as
                     stored, prepare and check them, and give names of classes, or pixels

Latency is that of one call, median and 95th percentile; images/s is the batch by its median.
"""

import argparse
import itertools
import pathlib
import tempfile

import numpy as np
from measuring import (
    build_model,
    in_own_process,
    made_up_batch,
    markdown,
    read_config,
    said,
    timed,
    write_json,
)
from train_step import PRECISIONS

CONFIGS = ("mnist_usps.cfg", "cyclegan_mnist_mnist_m.cfg")


def main(arguments=None):
    """Reads the arguments, measures, and says what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", default=CONFIGS)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["float32"])
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each way and batch size")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args(arguments)
    results = []
    for case in itertools.product(options.configs, options.precisions):
        results += in_own_process(measure, *case, options.batch_sizes, options.seconds)
        said(f"{' '.join(case)} is done")
    print(table(results))
    write_json(options.json, "inference", results)


def measure(config, precision, batch_sizes, seconds):
    """In a process of its own: all ways of a config's model."""
    mixed = precision.removeprefix("mixed_").removeprefix("float32")
    experiment = read_config(config, mixed_precision=mixed, batch_size=max(batch_sizes))
    model, (images, _) = build_model(experiment), made_up_batch(experiment)
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for function, way, answer, given in ways(model, experiment, images, temporary):
            for size in batch_sizes:
                times = timed(lambda: answer(given[:size]), seconds)  # noqa: B023, called now
                results.append(
                    {
                        "config": config,
                        "precision": precision,
                        "function": function,
                        "way": way,
                        "batch_size": size,
                        "latency_ms": 1e3 * float(np.median(times)),
                        "latency_ms_p95": 1e3 * float(np.percentile(times, 95)),
                        "images_per_second": size / float(np.median(times)),
                    }
                )
    return results


def ways(model, experiment, images, place):
    """What a model can do, in each way: (function, way, a function of images, images for it).

    Args:
        model: compiled.
        experiment: what it was made from.
        images: domain → float32 (n, H, W, C) in [-1, 1].
        place: a folder for a SavedModel.
    """
    import keras
    import tensorflow as tf

    from keras_i2i.data.preprocessing import to_uint8
    from keras_i2i.serving.signatures import save

    path = str(pathlib.Path(place) / "saved_model")
    save(model, path, experiment.domain("source").class_names, experiment.geometry)
    signatures = tf.saved_model.load(path).signatures

    def graph(function, shape):
        function = tf.function(function, [tf.TensorSpec((None, *shape))])
        return lambda images: function(images).numpy()

    def signature(name, output):
        return lambda images: signatures[name](images=tf.constant(images))[output].numpy()

    def predict(model):
        return lambda images: model.predict(images, batch_size=len(images), verbose=0)

    if model.can_classify:
        floats, shape = images["target"], model.image_shape_of("target")
        yield "classify", "model.predict", predict(model), floats
        yield "classify", "model.classify", model.classify, floats
        yield "classify", "tf.function", graph(model.reader("target"), shape), floats
        pixels = np.asarray(to_uint8(floats))
        yield "classify", "SavedModel", signature("classify", "probabilities"), pixels
    direction = "source_to_target"
    if direction in model.directions:
        floats, shape = images["source"], model.image_shape_of("source")
        translate = model.mapping("source", "target")
        inputs = keras.Input(shape)
        path_alone = keras.Model(inputs, translate(inputs))
        yield "translate", "model.predict", predict(path_alone), floats
        yield (
            "translate",
            "model.translate",
            lambda images: model.translate(images, direction),
            floats,
        )
        yield "translate", "tf.function", graph(translate, shape), floats
        pixels = np.asarray(to_uint8(floats))
        yield "translate", "SavedModel", signature(f"translate_{direction}", "images"), pixels


def table(results):
    """The results as Markdown."""
    header = ["config", "precision", "function", "way", "batch", "median, p95, ms", "images/s"]
    rows = [
        [
            result["config"].removesuffix(".cfg"),
            result["precision"],
            result["function"],
            result["way"],
            str(result["batch_size"]),
            f"{result['latency_ms']:.2f}, {result['latency_ms_p95']:.2f}",
            f"{result['images_per_second']:,.0f}",
        ]
        for result in results
    ]
    return markdown(header, rows)


if __name__ == "__main__":
    main()
