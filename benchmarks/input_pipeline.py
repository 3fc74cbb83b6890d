"""How fast this machine prepares training images, and how much memory that takes as time goes by.

    python benchmarks/input_pipeline.py --flagfile=mnist_usps.cfg --data_dir=... [--json=FILE]
        [--measure_step] [--folders=png,jpeg --files=256 --side=256]

All flags of a training change the config, as there: --cache=memory, --batch_size, augmentation. The
batches are those that the training would get, from the config's own domains (--nodatasets leaves
them out) and from folders of made-up image files of each kind of --folders, source and target.
Nothing is trained while they are read. Each in a process of its own:

    images/s    of both domains together, median and quartiles of --blocks blocks of --seconds
    memory      resident, after the first block, after the last, and at most; a leak would show
    of a step   images/s as a multiple of those that the training step asks for, by --step_rate or,
                with --measure_step, measured as train_step.py does; above 1 the input keeps up, if
                it has cores of its own
"""

import dataclasses
import pathlib
import tempfile
import time

import numpy as np
from absl import flags as absl_flags
from full_size import noise
from measuring import (
    build_model,
    in_own_process,
    markdown,
    memory,
    quartiles,
    said,
    spread,
    write_json,
)
from train_step import step_seconds

FILE_KINDS = ("png", "jpeg")
SPLITS = {"train": 1.0, "test": 0.1}  # share of --files


def main():
    """Reads the flags, measures, and says what it found."""
    from keras_i2i.training import flags
    from keras_i2i.training.main import run_command

    read_experiment = flags.define_experiment_flags()
    own = absl_flags.FLAGS
    absl_flags.DEFINE_bool("datasets", True, "Read the config's own domains.")
    absl_flags.DEFINE_list("folders", list(FILE_KINDS), "Kinds of made-up files: png, jpeg.")
    absl_flags.DEFINE_integer("files", 256, "Made-up training images of each domain.", 20)
    absl_flags.DEFINE_integer("side", 256, "Their height and width.", 20)
    absl_flags.DEFINE_float("seconds", 3.0, "About how long a block takes.")
    absl_flags.DEFINE_integer("blocks", 9, "Blocks of batches.", 1)
    absl_flags.DEFINE_float("step_rate", 0.0, "Pairs of images that a step trains on in a second.")
    absl_flags.DEFINE_bool("measure_step", False, "Measure that.")
    absl_flags.DEFINE_string("json", "", "File for the results.")
    absl_flags.register_validator(
        "folders", lambda kinds: set(kinds) <= set(FILE_KINDS), "Known are: png, jpeg."
    )
    run_command(lambda problems: report(read_experiment(problems), own))


def report(experiment, options):
    """Prints the table for an experiment."""
    rate = options.step_rate
    if options.measure_step:
        rate = in_own_process(measure_step, dataclasses.asdict(experiment))
        said(f"The step: {rate:,.1f} pairs/s")
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, case in cases(experiment, options, pathlib.Path(temporary)):
            fields = dataclasses.asdict(case)
            found = in_own_process(measure, fields, options.seconds, options.blocks)
            results.append({"images": name, **found, "step_pairs_per_second": rate or None})
            said(" | ".join(row(results[-1])))
    print(table(results))
    write_json(options.json, "input_pipeline", results)


def cases(experiment, options, place):
    """What to read, in words, with the experiment that reads it."""
    if options.datasets:
        yield f"{experiment.source} → {experiment.target}", experiment
    for kind in options.folders:
        names = {}
        for number, domain in enumerate(("source", "target")):
            folder = place / kind / domain
            make_folder(folder, kind, options.files, options.side, seed=number)
            names[domain] = f"image_folder:{folder}"
        yield (
            f"folders of {kind}, {options.side}x{options.side}",
            dataclasses.replace(experiment, **names),
        )


def make_folder(folder, kind, files, side, seed=0):
    """A folder of images of two classes, of noise, with a test part."""
    rng = np.random.default_rng(seed)
    for split, share in SPLITS.items():
        for number in range(max(4, round(share * files))):
            home = folder / split / ("one", "two")[number % 2]
            home.mkdir(parents=True, exist_ok=True)
            (home / f"{number:06}.{kind}").write_bytes(noise(rng, (side, side), kind.upper()))


def measure(fields, seconds, blocks):
    """In a process of its own: `read_batches` of an experiment with these fields."""
    from keras_i2i.training.experiment import Experiment

    return read_batches(Experiment(**fields), seconds, blocks)


def read_batches(experiment, seconds, blocks=1):
    """Prepares training batches of both domains, and throws them away.

    Args:
        experiment: whose.
        seconds: about how long a block takes.
        blocks: how many.

    Returns:
        "images_per_second" of each block, of both domains together; "memory_mib" after each block,
        and "peak_memory_mib" at most.
    """
    from keras_i2i import data
    from keras_i2i.training.run_data import RunData

    step = "adapted" if experiment.adapts_by == "joint" else "translator"
    batches = iter(RunData(experiment).batches(step, 0, 0))
    rates, held = [], []
    with data.input_errors():
        next(batches)
        for _ in range(blocks):
            started, steps, passed = time.perf_counter(), 0, 0.0
            while passed < seconds or not steps:
                next(batches)
                steps += 1
                passed = time.perf_counter() - started
            rates.append(2 * experiment.batch_size * steps / passed)
            held.append(memory())
    return {
        "batch_size": experiment.batch_size,
        "images_per_second": rates,
        "memory_mib": held,
        "peak_memory_mib": memory("VmHWM"),
    }


def measure_step(fields):
    """In a process of its own: how many pairs of images a step trains on in a second."""
    from keras_i2i.training.experiment import Experiment

    experiment = Experiment(**fields)
    times, _ = step_seconds(build_model(experiment), experiment, blocks=5, seconds=2.0)
    return experiment.batch_size / quartiles(times)[1]


def row(result):
    """A line of the table, as texts."""
    rate, held = result["step_pairs_per_second"], result["memory_mib"]
    _, middle, _ = quartiles(result["images_per_second"])
    return [
        result["images"],
        str(result["batch_size"]),
        spread(result["images_per_second"], 0),
        f"{held[0]:,.0f}, {held[-1]:,.0f}, {result['peak_memory_mib']:,.0f}",
        f"{middle / 2 / rate:,.1f}" if rate else "–",
    ]


def table(results):
    """The results as Markdown."""
    header = ["images", "batch", "images/s", "memory: first, last, peak, MiB", "of a step"]
    return markdown(header, [row(result) for result in results])


if __name__ == "__main__":
    main()
