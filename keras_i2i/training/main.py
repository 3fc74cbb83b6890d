"""The commands `keras-i2i-train` and `keras-i2i-evaluate`; a clone's scripts are the same."""

import sys

from absl import app
from absl import flags as absl_flags

from keras_i2i.errors import InputError, TrainingDiverged
from keras_i2i.training import configs, flags, logs
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.stopping import RUN_AGAIN, Signals, Stopped


def train_main():
    """`keras-i2i-train --flagfile=quickstart.cfg`."""
    read_experiment = flags.define_experiment_flags()
    only = absl_flags.DEFINE_list(
        "only", [], "Run these steps of the run and nothing else; see keras_i2i.training.train."
    )
    list_configs = absl_flags.DEFINE_bool(
        "list_configs", False, "Print which configs --flagfile knows by name, and do nothing else."
    )

    def command():
        if list_configs.value:
            print(configs.listing())
        else:
            experiment = read_experiment()
            # Only now, because it imports TensorFlow.
            from keras_i2i.training.train import train

            train(experiment, only=only.value)

    run_command(command)


def evaluate_main():
    """`keras-i2i-evaluate --run=DIR`, with `--images=PATTERN`, or `--run=A --run=B` to compare."""
    run_dirs = absl_flags.DEFINE_multi_string(
        "run", [], "The --run_dir of a training; several finished ones are compared on one page."
    )
    data_dir = absl_flags.DEFINE_string(
        "data_dir", "", "Folder of prepared datasets, if not where the training had it."
    )
    images = absl_flags.DEFINE_string(
        "images", "", "Classify and translate these image files instead, like 'photos/*.png'."
    )
    out = absl_flags.DEFINE_string(
        "out", "", "With --images: folder for the results. With several runs: the page."
    )
    seed = absl_flags.DEFINE_integer("seed", None, "With --images: whose model; default: first.")

    def command():
        if not run_dirs.value:
            raise InputError("--run is missing: give the --run_dir of a training.")
        runs = [RunDirectory.open(path, data_dir=data_dir.value) for path in run_dirs.value]
        # Only now, because they import TensorFlow.
        from keras_i2i import evaluation
        from keras_i2i.training.train import evaluate, load_reader

        if len(runs) > 1:
            if images.value:
                raise InputError(
                    f"--images goes with one --run. Received: {', '.join(run_dirs.value)}"
                )
            page = evaluation.write_comparison(
                [(run.path, run.results()) for run in runs], out.value or "comparison.html"
            )
            print(f"Comparison: {page}")
            return
        (run,) = runs
        if not images.value:
            with run.failed_writes_told(), run.locked():
                evaluate(run)
            return
        experiment = run.experiment
        model = load_reader(run, experiment.seeds[0] if seed.value is None else seed.value)
        written = evaluation.read_images(
            images.value,
            model,
            experiment.domain("source").class_names,
            out.value or run.path / "images",
            palette=experiment.domain("source").palette,
            geometry=experiment.geometry,
        )
        print(f"Predictions: {written}")

    run_command(command)


def run_command(command):
    """Runs a command; a user's mistake ends in its message and exit code 1, not a stack trace.

    What a scheduler need only start again, after SIGTERM, Ctrl-C or the loss of another worker,
    ends in exit code 75.
    """
    # `--help` lists the flags of the script; they are declared here, so say that they are its own.
    values = absl_flags.FLAGS
    for module in (command.__module__, flags.__name__):
        for flag in values.get_flags_for_module(module):
            values.register_key_flag_for_module(sys.argv[0], flag)

    def parse(arguments):
        try:
            arguments = configs.resolved(arguments)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        return app.parse_flags_with_usage(arguments)

    def main(arguments):
        verbosity = absl_flags.FLAGS["verbosity"]
        logs.set_up(verbosity.value if verbosity.present else None)
        try:
            if len(arguments) > 1:
                raise InputError(
                    f"Everything is given by flags. Received: {' '.join(arguments[1:])}"
                )
            with Signals().handled():
                command()
        except _told() as error:
            print(f"error: {getattr(error, 'message', None) or error}", file=sys.stderr)
            return RUN_AGAIN if isinstance(error, ConnectionError) else 1
        except KeyboardInterrupt as error:
            what = str(error) if isinstance(error, Stopped) else "Interrupted."
            print(f"\n{what} The same command goes on where it stopped.", file=sys.stderr)
            return RUN_AGAIN
        return 0

    app.run(main, flags_parser=parse)


def _told():
    """Errors whose message is all that a user needs to know."""
    errors = [InputError, TrainingDiverged, OSError]
    if "tensorflow" in sys.modules:  # Else there are none of its errors, and it need not be loaded.
        errors.append(sys.modules["tensorflow"].errors.OpError)
    return tuple(errors)
