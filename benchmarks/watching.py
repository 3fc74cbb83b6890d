"""What it costs that a run looks at itself: monitors, validators, the look for what is not finite.

    python benchmarks/watching.py [CONFIG] [--images=300]

On noise, with the config's model and batch. Counted is processor time, of all threads, so that what
else runs on the machine hardly matters; the least of several repetitions. Shares are of an epoch of
100 steps.
"""

import argparse
import time

import numpy as np
from measuring import build_model, made_up_batch, markdown, read_config

STEPS = 100


def main(arguments=None):
    """Reads the arguments, measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", default="quickstart.cfg")
    parser.add_argument("--images", type=int, default=300, help="that are looked at, per domain")
    options = parser.parse_args(arguments)
    print(table(*measure(read_config(options.config), options.images)))


def measure(experiment, count):
    """Processor seconds of a training step, and of each look: name → (seconds, times an epoch)."""
    import tensorflow as tf

    from keras_i2i.evaluation.validators import validate
    from keras_i2i.training import divergence, monitors, selection

    model = build_model(experiment)
    source_only = experiment.build_classifier("source")
    rng = np.random.default_rng(0)
    images = {
        domain: rng.uniform(-1, 1, (count, *model.image_shape_of(domain))).astype("float32")
        for domain in ("source", "target")
    }
    labels = rng.integers(0, experiment.num_classes, count)
    reader = selection.OwnHead(images["source"], labels, images["target"])
    reading = reader.read(model)
    translate = {
        way: (lambda way=way: model.translate(images[way.split("_to_")[0]], way))
        for way in model.directions
    }
    translations = {way: function() for way, function in translate.items()}
    chosen = [
        monitors.Diversity(images),
        monitors.DiscriminatorWon(model.undecided),
        monitors.PermutedClasses(source_only, labels, list(map(str, set(labels)))),
    ]
    stops = divergence.StopsDivergence("step", STEPS, lambda: None)
    losses = {name: 1.0 for name in ("loss", *model.terms, *model.undecided)}
    batch = tf.nest.map_structure(tf.constant, made_up_batch(experiment))
    step = tf.function(lambda: model.train_step(batch))
    looks = {
        "losses, after each step": (lambda: stops.on_train_batch_end(0, losses), STEPS),
        "weights": (lambda: divergence.not_finite(model), 1),
        "validators: reading both domains": (lambda: reader.read(model), 1),
        "validators: the numbers": (lambda: validate(reading), 1),
        "monitors: translating": (lambda: [function() for function in translate.values()], 1),
        "monitors: the numbers": (
            lambda: [monitor.measure(model, translations) for monitor in chosen],
            1,
        ),
    }
    return seconds_of(step), {
        name: (seconds_of(look), times) for name, (look, times) in looks.items()
    }


def seconds_of(function, repetitions=5):
    """Processor time of a call, all threads: the least of several."""
    function()
    found = []
    for _ in range(repetitions):
        before = time.process_time()
        function()
        found.append(time.process_time() - before)
    return min(found)


def table(step, looks):
    """The table, in Markdown."""
    rows = [["a training step", f"{step:.3f}", ""]]
    shares = []
    for name, (seconds, times) in looks.items():
        shares.append(times * seconds / (STEPS * step))
        rows.append([name, f"{seconds:.4f}", f"{shares[-1]:.2%}"])
    rows.append(["all looks", "", f"{sum(shares):.2%}"])
    return markdown(["", "processor seconds", f"of {STEPS} steps"], rows)


if __name__ == "__main__":
    main()
