"""The folder of a run: where each thing lies, and whether it is this run's."""

import dataclasses
import json
import pathlib

from keras_i2i.errors import InputError
from keras_i2i.files import write_text
from keras_i2i.training import flags

# These do not change what a run computes: where it lies, on which devices, what is watched of it.
_WITHOUT_EFFECT = ("run_dir", "data_dir", "strategy", "communication", "profile", "transductive")

# A run may go on with another value of these. They say what becomes of its steps from there on, and
# the history says since when.
_MAY_CHANGE = ("learning_rate_factor",)

# The step that trains the method's own model; which of the two depends on whether it is the reader.
MAIN_STEPS = ("adapted", "translator")


class RunDirectory:
    """A run's folder.

        flags.cfg        the resolved flags: reproduces the run
        provenance.json  what it was made of: data, versions, hardware, each time it was started
        metrics.json     the results, for programs
        report.html      the results, for people, with figures/
        model.keras      the method's model; model_seed_N.keras where there are several seeds;
                         beside it one file for each classifier that is trained:
                         source_only.keras, target_only.keras, on_translated_source.keras
        sum.json         the weight of two classifiers that are summed
        translated/      the translated copy of the source's training images
        history/         what was logged at each epoch, one JSON file for each seed and step
        tensorboard/     scalars and image grids
        checkpoints/     to continue from

    Args:
        path: the folder.
        experiment: the `Experiment` that runs in it.
    """

    def __init__(self, path, experiment):
        self.path = pathlib.Path(path).expanduser()
        self.experiment = experiment
        self.changes = []

    @classmethod
    def create(cls, experiment):
        """The experiment's folder, new or with the same experiment in it.

        What a run may go on with that it did not begin with, `changes` of the result has in words.

        Raises:
            InputError: the folder holds a run with other flags, or something else, or its flags
                cannot be read.
        """
        run = cls(experiment.run_dir, experiment)
        text = flags.to_flagfile(experiment)
        if run.flagfile.exists():
            # By way of the experiment: flags that the file's version did not have are as they were.
            there = flags.to_flagfile(flags.from_flagfile(run.flagfile))
            run.changes = [
                f"--{name}={value} from here on, {before} until now."
                for name, before, value in _differences(there, text)
                if name in _MAY_CHANGE
            ]
            difference = "\n".join(
                f"  --{name}={before} there, {value} given"
                for name, before, value in _differences(there, text)
                if name not in _MAY_CHANGE
            )
            if difference:
                raise InputError(
                    f"{run.path} holds a run with other flags:\n{difference}\n"
                    "Give another --run_dir, or the same flags to continue it."
                )
        elif run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
            raise InputError(
                f"{run.path} exists and is no run of this program. Give another --run_dir."
            )
        run.path.mkdir(parents=True, exist_ok=True)
        write_text(run.flagfile, text)
        return run

    @classmethod
    def open(cls, path, data_dir=""):
        """An existing run; `data_dir` replaces where its datasets were.

        Raises:
            InputError: there is none.
        """
        flagfile = pathlib.Path(path).expanduser() / "flags.cfg"
        if not flagfile.is_file():
            raise InputError(
                f"{path} holds no run: {flagfile} is missing. Give the --run_dir of a training."
            )
        experiment = flags.from_flagfile(flagfile)
        if data_dir:
            experiment = dataclasses.replace(experiment, data_dir=data_dir)
        return cls(path, experiment)

    @property
    def flagfile(self):
        """The resolved flags."""
        return self.path / "flags.cfg"

    @property
    def metrics(self):
        """The results; they exist once the run is finished."""
        return self.path / "metrics.json"

    @property
    def provenance(self):
        """What the run was made of; see `training.provenance`."""
        return self.path / "provenance.json"

    @property
    def report(self):
        """The report."""
        return self.path / "report.html"

    def results(self):
        """The content of metrics.json.

        Raises:
            InputError: the run is not finished, or the file is damaged.
        """
        try:
            return json.loads(self.metrics.read_text())
        except FileNotFoundError:
            raise InputError(
                f"{self.metrics} is missing: the run is not finished. Continue it with "
                f"`keras-i2i-train --flagfile={self.flagfile}`."
            ) from None
        except ValueError as error:
            raise InputError(
                f"{self.metrics} is damaged ({error}). Delete it and write it anew with "
                f"`keras-i2i-evaluate --run={self.path}`."
            ) from error

    def model(self, step, seed):
        """The model that a step leaves."""
        stem = "model" if step in MAIN_STEPS else step
        return self._of_seed(stem, seed, ".keras")

    def sum_weight(self, seed):
        """The weight that step "sum" leaves."""
        return self._of_seed("sum", seed, ".json")

    def translated_copy(self, seed):
        """Folder of the translated source images."""
        return self._of_seed("translated", seed, "")

    def _of_seed(self, stem, seed, suffix):
        several = len(self.experiment.seeds) > 1
        return self.path / (f"{stem}_seed_{seed}{suffix}" if several else f"{stem}{suffix}")

    def history(self, step, seed):
        """What a step logged at each epoch."""
        return self.path / "history" / f"seed_{seed}_{step}.json"

    def checkpoints(self, step, seed):
        """Folder of a step's checkpoints."""
        return self.path / "checkpoints" / f"seed_{seed}_{step}"

    def selectable(self, step, seed):
        """Folder of the models of a step's epochs that may be picked."""
        return self.path / "checkpoints" / f"seed_{seed}_{step}_selected"

    def tensorboard(self, step, seed):
        """Folder of a step's TensorBoard events."""
        return self.path / "tensorboard" / f"seed_{seed}" / step


def _differences(old, new):
    """Of two flagfiles' texts (name, value there, value given) where it makes a difference."""

    def read(text):
        pairs = (line[2:].partition("=") for line in text.splitlines() if line.startswith("--"))
        return {name: value for name, _, value in pairs if name not in _WITHOUT_EFFECT}

    old, new = read(old), read(new)
    return [(name, old[name], new[name]) for name in sorted(old) if old[name] != new[name]]
