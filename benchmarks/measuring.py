"""What the benchmarks share: the machine, time, memory, processes, experiments, tables and JSON.

Libraries are imported where they are used: a process that measures one does not hold another.
"""

import concurrent.futures
import dataclasses
import datetime
import importlib.metadata
import json
import multiprocessing
import os
import pathlib
import platform
import subprocess
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("keras-i2i", "keras", "tensorflow", "numpy", "torch")
# What decides how fast a CPU multiplies matrices.
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")


def machine():
    """What a measurement depends on, beside the code, and of which code it is."""
    facts = {}
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    except OSError:
        pass  # not Linux
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": facts.get("model name") or platform.processor() or platform.machine(),
        "cpu_features": [name for name in CPU_FEATURES if name in facts.get("flags", "").split()],
        "cores": cores(),
        # Over the last minutes, the benchmark's own included.
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(terse=True),
        "versions": versions,
        "date": datetime.date.today().isoformat(),
        "revision": revision(),
    }


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def revision():
    """The clone's commit, with "-dirty" if files have changed since; None without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--match="]
    try:
        asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked.stdout.strip()


def memory(kind="VmRSS"):
    """MiB that this process holds; "VmHWM": that it held at most. NaN where there is no /proc."""
    # Not getrusage's maximum: on Linux a child begins with its parent's.
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    (line,) = (line for line in lines if line.startswith(f"{kind}:"))
    return int(line.split()[1]) / 2**10


def in_own_process(function, *arguments):
    """Calls a module's function in a fresh process; returns what it returns."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except Exception as error:
            # Its class would bring TensorFlow into this process.
            if type(error).__name__ == "InputError":
                sys.exit(f"error: {error}")
            raise


def timed(function, seconds):
    """Seconds of each call: after some to warm up, as many as fit, but ten at least."""
    for _ in range(3):
        function()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 10 or time.perf_counter() < end:
        before = time.perf_counter()
        function()
        times.append(time.perf_counter() - before)
    return times


def quartiles(values):
    """The lower quartile, the median and the upper quartile."""
    return tuple(float(value) for value in np.percentile(values, (25, 50, 75)))


def spread(values, digits=1):
    """The median and, in brackets, the quartiles, as text."""
    low, middle, high = quartiles(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def markdown(header, rows):
    """A table in Markdown, of texts."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_json(path, benchmark, results, **more):
    """Writes what a benchmark found, and on what machine, if there is a path to write it to."""
    if path:
        found = {"benchmark": benchmark, "machine": machine(), **more, "results": results}
        pathlib.Path(path).write_text(json.dumps(found, indent=1) + "\n")


def said(line):
    """Says on stderr how far a benchmark has got: stdout is for the table."""
    print(line, file=sys.stderr, flush=True)


def read_config(config, **changes):
    """The experiment of a config, by its name or path, with other values for some fields."""
    from keras_i2i.training import configs, flags

    return dataclasses.replace(flags.from_flagfile(configs.find(config)), **changes)


def build_model(experiment):
    """An experiment's model, compiled, from random weights."""
    from keras_i2i.training.methods import METHODS

    needs_first = METHODS[experiment.method].needs_source_only(experiment)
    return experiment.build_model(0, experiment.build_classifier("source") if needs_first else None)


def batch_specs(experiment):
    """What a training step takes, as `tf.TensorSpec`s: ({"source": ..., "target": ...}, labels)."""
    import tensorflow as tf

    size, (height, width, _) = experiment.batch_size, experiment.image_shape
    images = {
        "source": tf.TensorSpec((size, *experiment.image_shape)),
        "target": tf.TensorSpec((size, *experiment.target_shape)),
    }
    if experiment.segments:
        return images, tf.TensorSpec((size, height, width), tf.uint8)
    return images, tf.TensorSpec((size,), tf.int64)


def made_up_batch(experiment):
    """A batch of noise with labels drawn by lot, numpy."""
    rng = np.random.default_rng(0)
    images, labels = batch_specs(experiment)
    return (
        {
            domain: rng.uniform(-1, 1, spec.shape).astype("float32")
            for domain, spec in images.items()
        },
        rng.integers(0, experiment.num_classes or 1, labels.shape, labels.dtype.as_numpy_dtype),
    )


def step_operations(model, experiment):
    """Floating-point operations of a training step on one device, as TensorFlow's profiler counts.

    It counts what the traced step's graph holds, before TensorFlow rewrites it.
    """
    import tensorflow as tf

    step = tf.function(lambda images, labels: model.train_step((images, labels)))
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    profile = tf.compat.v1.profiler.profile(
        step.get_concrete_function(*batch_specs(experiment)).graph,
        options={**options, "output": "none"},
    )
    return profile.total_float_ops


def matrix_rate(precision, side=4096):
    """Operations a second of a large product of matrices by TensorFlow, the best of several.

    Args:
        precision: "float32", or a mixed policy: its half precision counts.
        side: of the square matrices.
    """
    import tensorflow as tf

    kind = precision.removeprefix("mixed_")
    left, right = (tf.cast(tf.random.normal((side, side)), kind) for _ in range(2))
    product = tf.function(tf.matmul)
    # A number of the result: where there is a GPU, the product is done only then.
    return 2 * side**3 / min(timed(lambda: product(left, right)[0, 0].numpy(), 2.0))
