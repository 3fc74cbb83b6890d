"""How fast this machine trains: the steps of all methods, by batch size and precision.

    python benchmarks/train_step.py [CONFIG ...] [--batch_sizes 16 64]
        [--precisions float32 mixed_bfloat16] [--deterministic] [--json=FILE]

Without a config: each method at the paper's widths, and as the config for two cores makes it
narrower. Each case runs in a process of its own, through `fit` on one batch of noise that repeats,
so that nothing is read or decoded:

    pairs/s      pairs of images, source and target, that pass a step in a second: median and
                 quartiles of blocks of steps, after some to warm up
    GFLOP        operations of a step, as in scaling.py
    of peak      what a step does in a second, as a share of what this machine does multiplying
                 large matrices through TensorFlow in that precision, measured first
    memory       the most that the process held, libraries and all; in brackets before the model
    first step   seconds until `fit` has done one step: tracing, optimizing the graph, the step
"""

import argparse
import itertools
import math
import time

from measuring import (
    build_model,
    in_own_process,
    made_up_batch,
    markdown,
    matrix_rate,
    memory,
    quartiles,
    read_config,
    said,
    spread,
    step_operations,
    write_json,
)

CONFIGS = (
    "mnist_usps.cfg",
    "mnist_usps_cpu.cfg",
    "cyclegan_mnist_mnist_m.cfg",
    "cyclegan_mnist_mnist_m_cpu.cfg",
    "dtn_svhn_mnist.cfg",
    "dtn_mnist_m_mnist_cpu.cfg",
    "lstnet_mnist_usps.cfg",
    "lstnet_mnist_usps_cpu.cfg",
)
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def main(arguments=None):
    """Reads the arguments, measures, and says what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", default=CONFIGS)
    parser.add_argument(
        "--batch_sizes", nargs="+", type=int, default=[16, 64], help="0: the config's own"
    )
    parser.add_argument(
        "--precisions", nargs="+", choices=PRECISIONS, default=["float32", "mixed_bfloat16"]
    )
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long a block takes")
    parser.add_argument(
        "--deterministic", action="store_true", help="as a run with that flag computes"
    )
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args(arguments)
    peaks = {}
    for precision in options.precisions:
        peaks[precision] = in_own_process(matrix_rate, precision)
        said(f"{precision}: {peaks[precision] / 1e9:,.0f} GFLOP/s multiplying matrices")
    cases = itertools.product(options.configs, options.precisions, options.batch_sizes)
    results = []
    for case in cases:
        how = options.blocks, options.seconds, options.deterministic
        results.append(in_own_process(measure, *case, *how))
        said(" | ".join(row(results[-1], peaks)))
    print(table(results, peaks))
    rates = {precision: peak / 1e9 for precision, peak in peaks.items()}
    write_json(options.json, "train_step", results, matrix_gflops_per_second=rates)


def measure(config, precision, batch_size, blocks, seconds, deterministic=False):
    """In a process of its own: one case."""
    if deterministic:
        import keras
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(0)
    changes = {"mixed_precision": precision.removeprefix("mixed_").removeprefix("float32")}
    if batch_size:
        changes["batch_size"] = batch_size
    experiment = read_config(config, **changes)
    before = memory()
    model = build_model(experiment)
    times, first = step_seconds(model, experiment, blocks, seconds)
    most = memory("VmHWM")
    # Traced last: that takes memory too.
    operations = step_operations(model, experiment)
    return {
        "config": config,
        "method": experiment.method,
        "precision": precision,
        "batch_size": experiment.batch_size,
        "step_seconds": times,
        "operations": operations,
        "peak_memory_mib": most,
        "memory_before_mib": before,
        "first_step_seconds": first,
    }


def step_seconds(model, experiment, blocks, seconds):
    """Seconds of a step in each of some blocks of steps, and of the very first, through `fit`.

    Args:
        model: compiled, not trained yet.
        experiment: what it was made from.
        blocks: how many.
        seconds: about how long one takes.
    """
    import keras
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensors(made_up_batch(experiment)).repeat()
    began, lasted = [], []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: began.append(time.perf_counter()),
        on_epoch_end=lambda epoch, logs: lasted.append(time.perf_counter() - began[-1]),
    )

    def fit(blocks, steps):
        lasted.clear()
        model.fit(batches, epochs=blocks, steps_per_epoch=steps, verbose=0, callbacks=[clock])
        return [block / steps for block in lasted]

    (first,) = fit(1, 1)
    warm = fit(2, 2)
    return fit(blocks, max(1, math.ceil(seconds / warm[-1]))), first


def row(result, peaks):
    """A line of the table, as texts."""
    rates = [result["batch_size"] / seconds for seconds in result["step_seconds"]]
    _, step, _ = quartiles(result["step_seconds"])
    share = result["operations"] / step / peaks[result["precision"]]
    return [
        result["config"].removesuffix(".cfg"),
        result["precision"],
        str(result["batch_size"]),
        spread(rates),
        f"{1e3 * step:,.0f}",
        f"{result['operations'] / 1e9:,.1f}",
        f"{share:.0%}",
        f"{result['peak_memory_mib']:,.0f} ({result['memory_before_mib']:,.0f})",
        f"{result['first_step_seconds']:.1f}",
    ]


def table(results, peaks):
    """The results as Markdown."""
    header = [
        "config", "precision", "batch", "pairs/s", "step, ms", "GFLOP", "of peak", "memory, MiB",
        "first step, s",
    ]  # fmt: skip
    rates = ", ".join(f"{peak / 1e9:,.0f} GFLOP/s in {name}" for name, peak in peaks.items())
    lines = markdown(header, [row(result, peaks) for result in results])
    return f"{lines}\n\nPeak, multiplying matrices: {rates}."


if __name__ == "__main__":
    main()
