"""What a config would take on 1 to 64 GPUs, on paper: computing, exchanging, reading.

    python benchmarks/scaling.py --flagfile=mnist_usps.cfg [--batch_per_device=64]

All flags of a training change the config, as there. Nothing is trained. Counted in the traced
training step are its floating-point operations, as TensorFlow's profiler counts them, and the
trained parameters. From these, for n GPUs,

    computing   operations / n / --tflops
    exchanging  a ring's all-reduce of all gradients, 2 (n - 1) / n * 4 bytes * parameters, through
                its slowest link: --within GB/s in a machine of --per_machine GPUs, --between GB/s
                from machine to machine; not overlapped with computing
    reading     images of both domains that one machine's CPUs must prepare in a second

The config's batch is the global one; --batch_per_device lets it grow with n instead. With --seconds
(and the config's data), also what the input pipeline of this machine gives.
"""

import keras
import numpy as np
from absl import flags as absl_flags
from input_pipeline import read_batches
from measuring import build_model, step_operations

from keras_i2i.training import flags
from keras_i2i.training.main import run_command

COUNTS = (1, 2, 4, 8, 16, 32, 64)


def main():
    """Reads the flags, counts, and prints a table."""
    read_experiment = flags.define_experiment_flags()
    own = absl_flags.FLAGS
    absl_flags.DEFINE_integer("batch_per_device", 0, "0: the config's batch, shared out.")
    absl_flags.DEFINE_float("tflops", 30.0, "What a GPU does, not its peak.")
    absl_flags.DEFINE_float("within", 200.0, "GB/s.")
    absl_flags.DEFINE_float("between", 20.0, "GB/s.")
    absl_flags.DEFINE_integer("per_machine", 8, "GPUs.")
    absl_flags.DEFINE_float("seconds", 0.0, "To measure the input for.")
    run_command(lambda problems: report(read_experiment(problems), own))


def report(experiment, options):
    """Prints the table for an experiment."""
    operations, parameters = count(experiment)
    print(
        f"{experiment.method}, batch {experiment.batch_size}: {operations / 1e9:,.0f} GFLOP a "
        f"step, {parameters / 1e6:.1f} million parameters, {4 * parameters / 1e6:.0f} MB of "
        "gradients"
    )
    print("| GPUs | batch | computing | exchanging | step | images/s | efficiency | reading |")
    print("|---|---|---|---|---|---|---|---|")
    for row in table(experiment.batch_size, operations, parameters, options):
        print("| " + " | ".join(row) + " |")
    if options.seconds:
        rate = read_batches(experiment, options.seconds)["images_per_second"][0]
        print(f"The input pipeline of this machine gives {rate:,.0f} images/s.")


def count(experiment):
    """Floating-point operations of a step on one device, and trained parameters."""
    model = build_model(experiment)
    operations = step_operations(model, experiment)
    trained = [*model.trainable_variables, *model.discriminator_variables]
    keras.backend.clear_session()
    return operations, sum(int(np.prod(variable.shape)) for variable in trained)


def table(batch_size, operations, parameters, options):
    """Rows of the table, as text."""
    alone = None
    for devices in COUNTS:
        batch = batch_size
        if options.batch_per_device:
            batch = options.batch_per_device * devices
        elif batch % devices:
            return
        computing = operations * batch / batch_size / devices / (options.tflops * 1e12)
        link = options.within if devices <= options.per_machine else options.between
        exchanging = 2 * (devices - 1) / devices * 4 * parameters / (link * 1e9)
        step = computing + exchanging
        rate = 2 * batch / step
        alone = alone or rate
        yield (
            str(devices),
            str(batch),
            f"{1e3 * computing:.1f} ms",
            f"{1e3 * exchanging:.1f} ms",
            f"{1e3 * step:.1f} ms",
            f"{rate:,.0f}",
            f"{rate / alone / devices:.0%}",
            f"{rate * min(devices, options.per_machine) / devices:,.0f}",
        )


if __name__ == "__main__":
    main()
