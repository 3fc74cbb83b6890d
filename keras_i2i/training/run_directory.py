"""The folder of a run: where each thing lies, and whether it is this run's."""

import dataclasses
import pathlib

from keras_i2i.errors import InputError
from keras_i2i.files import write_text
from keras_i2i.training import flags

# Where these point does not change what a run computes.
_PLACES = ("run_dir", "data_dir")


class RunDirectory:
    """A run's folder.

        flags.cfg        the resolved flags: reproduces the run
        metrics.json     the results, for programs
        report.html      the results, for people, with figures/
        model.keras      the trained model; model_seed_N.keras where there are several seeds;
                         source_only.keras and target_only.keras beside it
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

    @classmethod
    def create(cls, experiment):
        """The experiment's folder, new or with the same experiment in it.

        Raises:
            InputError: the folder holds a run with other flags, or something else.
        """
        run = cls(experiment.run_dir, experiment)
        text = flags.to_flagfile(experiment)
        if run.flagfile.exists():
            difference = _difference(run.flagfile.read_text(), text)
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
    def report(self):
        """The report."""
        return self.path / "report.html"

    def model(self, step, seed):
        """The model that a step ("source_only", "target_only" or "adapted") leaves."""
        stem = "model" if step == "adapted" else step
        several = len(self.experiment.seeds) > 1
        return self.path / (f"{stem}_seed_{seed}.keras" if several else f"{stem}.keras")

    def history(self, step, seed):
        """What a step logged at each epoch."""
        return self.path / "history" / f"seed_{seed}_{step}.json"

    def checkpoints(self, step, seed):
        """Folder of a step's checkpoints."""
        return self.path / "checkpoints" / f"seed_{seed}_{step}"

    def tensorboard(self, step, seed):
        """Folder of a step's TensorBoard events."""
        return self.path / "tensorboard" / f"seed_{seed}" / step


def _difference(old, new):
    def read(text):
        pairs = (line[2:].partition("=") for line in text.splitlines() if line.startswith("--"))
        return {name: value for name, _, value in pairs if name not in _PLACES}

    old, new = read(old), read(new)
    lines = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            lines.append(f"  --{name}={old.get(name, '')} there, {new.get(name, '')} given")
    return "\n".join(lines)
