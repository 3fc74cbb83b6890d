"""The commands `keras-i2i-train` and `keras-i2i-evaluate`; a clone's scripts are the same."""

import difflib
import inspect
import os
import pathlib
import sys

from absl import app
from absl import flags as absl_flags

from keras_i2i.errors import InputError, TrainingDiverged, WorkerLost, refuse
from keras_i2i.training import configs, flags, logs
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.stopping import RUN_AGAIN, Signals, Stopped

_SHOWN = 200


def train_main():
    """`keras-i2i-train --flagfile=quickstart.cfg`."""
    read_experiment = flags.define_experiment_flags()
    only = absl_flags.DEFINE_list(
        "only", [], "Run these steps of the run and nothing else; see keras_i2i.training.train."
    )
    list_configs = absl_flags.DEFINE_bool(
        "list_configs", False, "Print which configs --flagfile knows by name, and do nothing else."
    )

    def command(problems):
        """Trains a model, measures it and writes a report: `keras-i2i-train --flagfile=FILE`.

        --list_configs lists files that come with the program. A flag given beside a file wins over
        it. The same command again goes on where it was interrupted. --verbosity=0 shows what
        TensorFlow has to say.
        """
        if list_configs.value:
            refuse(problems.values())
            print(configs.listing())
        else:
            experiment = read_experiment(problems, files=True)
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
        "out",
        "",
        "With --images: folder for the results; empty: RUN/images. With several runs: the page; "
        "empty: comparison.html.",
    )
    seed = absl_flags.DEFINE_integer(
        "seed", None, "With --images: the model of this seed; default: the run's first."
    )

    def command(problems):
        """Measures a run anew: `keras-i2i-evaluate --run=DIR`.

        With --images=PATTERN its model reads and translates images of yours instead; with several
        --run finished runs are compared on one page.
        """
        refuse([*problems.values(), *_evaluation_problems(run_dirs, images, out, seed)])
        runs = [RunDirectory.open(path, data_dir=data_dir.value) for path in run_dirs.value]
        place = os.path.expanduser(out.value)
        # Only now, because they import TensorFlow.
        from keras_i2i import evaluation
        from keras_i2i.evaluation.user_images import find_images
        from keras_i2i.training.train import evaluate, load_reader

        if len(runs) > 1:
            page = evaluation.write_comparison(
                [(run.path, run.results()) for run in runs], place or "comparison.html"
            )
            print(f"Comparison: {page}")
            return
        (run,) = runs
        if not images.value:
            with run.failed_writes_told(), run.locked():
                evaluate(run)
            return
        find_images(images.value)  # before a model has to be waited for
        experiment = run.experiment
        model = load_reader(run, experiment.seeds[0] if seed.value is None else seed.value)
        written = evaluation.read_images(
            images.value,
            model,
            experiment.domain("source").class_names,
            place or run.path / "images",
            palette=experiment.domain("source").palette,
            geometry=experiment.geometry,
        )
        print(f"Predictions: {written}")

    run_command(command)


def _evaluation_problems(run_dirs, images, out, seed):
    """What is wrong with the flags of an evaluation, a line for each mistake."""
    given = run_dirs.value
    if not given:
        yield "--run is missing: give the --run_dir of a training."
    if len(set(given)) < len(given):
        yield f"--run must name each run once. Received: {', '.join(given)}"
    if len(given) > 1 and images.value:
        yield f"--images goes with one --run. Received: {', '.join(given)}"
    if seed.value is not None and not images.value:
        yield f"--seed goes with --images. Received: --seed={seed.value} alone"
    if out.value and len(given) < 2 and not images.value:
        yield f"--out goes with --images, or with several runs. Received: --out={out.value} alone"
    place = pathlib.Path(os.path.expanduser(out.value))
    if str(place).startswith("~"):
        yield f"--out begins with the home folder of nobody. Received: {out.value!r}"
    if images.value and place.is_file():
        yield f"--out must be a folder, with --images. Received: {out.value}, a file"
    if out.value and len(given) > 1 and place.is_dir():
        yield f"--out must be a file, like comparison.html. Received: {out.value}, a folder"


def run_command(command):
    """Runs a command; a user's mistake ends in its message and exit code 1, not a stack trace.

    What a scheduler need only start again, after SIGTERM, Ctrl-C or the loss of another worker,
    ends in exit code 75.

    Args:
        command: takes what is wrong with the command line, flag → line. It is to look for more, and
            to raise an `InputError` that lists all. `--help` begins with its docstring.
    """
    sys.modules["__main__"].__doc__ = inspect.getdoc(command)
    # `--help` lists the flags of the script; they are declared here, so say that they are its own.
    values, problems = absl_flags.FLAGS, {}
    for module in (command.__module__, flags.__name__):
        for flag in values.get_flags_for_module(module):
            values.register_key_flag_for_module(sys.argv[0], flag)
            flag.parser = _Lenient(flag, problems)

    def parse(arguments):
        try:
            problems.update(_given_twice(arguments[1:]))
            # What is no flag is left to `main`.
            return values(configs.resolved(arguments), known_only=True)
        except SystemExit:  # absl's, with exit code 1, once it has shown its help
            sys.exit(0)
        # ValueError: what absl makes of --noNAME=VALUE.
        except (InputError, absl_flags.Error, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    def main(arguments):
        logs.set_up(values["verbosity"].value if values["verbosity"].present else None)
        try:
            problems.update(_strangers(arguments[1:]))
            with Signals().handled():
                command(problems)
        except _told() as error:
            print(f"error: {getattr(error, 'message', None) or error}", file=sys.stderr)
            return RUN_AGAIN if isinstance(error, WorkerLost) else 1
        except KeyboardInterrupt as error:
            what = str(error) if isinstance(error, Stopped) else "Interrupted."
            print(f"\n{what} The same command goes on where it stopped.", file=sys.stderr)
            return RUN_AGAIN
        return 0

    app.run(main, flags_parser=parse)


class _Lenient(absl_flags.ArgumentParser):
    """A flag's parser that notes what it cannot read, so that all mistakes are told at once.

    Args:
        flag: whose default stands for such a value.
        problems: flag → line, where it is noted.
    """

    def __init__(self, flag, problems):
        self.flag, self.default, self.strict = flag, flag.default, flag.parser
        self.problems = problems
        self.syntactic_help = self.strict.syntactic_help

    def parse(self, argument):
        """What the flag's own parser makes of it, or the flag's default."""
        try:
            return self.strict.parse(argument)
        except (TypeError, ValueError, OverflowError):
            expected = self.syntactic_help or "true or false"
            if isinstance(self.strict, absl_flags.EnumParser):
                expected = f"one of {', '.join(self.strict.enum_values)}"
            self.problems[self.flag.name] = (
                f"--{self.flag.name} must be {expected}. Received: {argument!r}"
            )
            return self.default

    def flag_type(self):
        """As the flag's own parser says."""
        return self.strict.flag_type()


def _given_twice(arguments):
    """Flags that have two values on the command line itself, flag → what is wrong."""
    values, problems = {}, {}
    for name, value, _ in configs.flags_in(arguments):
        if name in (None, "flagfile") or isinstance(absl_flags.FLAGS[name], absl_flags.MultiFlag):
            continue
        if values.setdefault(name, value) != value:
            problems[name] = f"--{name} is given twice: {values[name]!r} and {value!r}"
    return problems


def _strangers(arguments):
    """What is left of a command line that no flag took, as text → what is wrong."""
    problems, words = {}, []
    for argument in arguments:
        if not argument.startswith("-"):
            words.append(argument if argument.isprintable() else repr(argument))
            continue
        name = argument.lstrip("-").partition("=")[0]
        similar = difflib.get_close_matches(name, list(absl_flags.FLAGS), n=1)
        hint = f" Did you mean --{similar[0]}?" if similar else " --help lists all."
        problems[argument] = f"This command has no flag --{name}.{hint}"
    if words:
        listed = " ".join(words)
        listed = listed if len(listed) < _SHOWN else f"{listed[:_SHOWN]}..."
        problems["words"] = f"Everything is given by flags. Received: {listed}"
    return problems


def _told():
    """Errors whose message is all that a user needs to know."""
    errors = [InputError, TrainingDiverged, OSError]
    if "tensorflow" in sys.modules:  # Else there are none of its errors, and it need not be loaded.
        errors.append(sys.modules["tensorflow"].errors.OpError)
    return tuple(errors)
