"""The folder of a run: where each thing lies, and whether it is this run's."""

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import socket

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from keras_i2i.errors import InputError
from keras_i2i.files import cannot_write, remove_leftovers, write_text
from keras_i2i.training import flags

# These do not change what a run computes: where it lies, on which devices, what is kept and watched
# of it.
_WITHOUT_EFFECT = (
    "run_dir", "data_dir", "strategy", "communication", "profile", "transductive",
    "checkpoint_minutes", "checkpoint_steps", "keep_checkpoints",
)  # fmt: skip

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
        .lock            names the process that is writing here, if one is

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
            InputError: as for `check`.
        """
        run = cls.check(experiment)
        run.path.mkdir(parents=True, exist_ok=True)
        write_text(run.flagfile, flags.to_flagfile(experiment))
        return run

    @classmethod
    def check(cls, experiment):
        """The experiment's folder, as `create` would make it; nothing is written.

        Raises:
            InputError: the folder holds a run with other flags, or something else, or its flags
                cannot be read.
        """
        run = cls(experiment.run_dir, experiment)
        run._check()
        return run

    def _check(self):
        """Raises an `InputError` unless the folder is this run's, or could be."""
        if self.flagfile.exists():
            # By way of the experiment: flags that the file's version did not have are as they were.
            there = flags.to_flagfile(flags.from_flagfile(self.flagfile))
            differences = list(_differences(there, flags.to_flagfile(self.experiment)))
            self.changes = [
                f"--{name}={value} from here on, {before} until now."
                for name, before, value in differences
                if name in _MAY_CHANGE
            ]
            difference = "\n".join(
                f"  --{name}={before} there, {value} given"
                for name, before, value in differences
                if name not in _MAY_CHANGE
            )
            if difference:
                raise InputError(
                    f"{self.path} holds a run with other flags:\n{difference}\n"
                    "Give another --run_dir, or the same flags to continue it."
                )
            return
        if self.path.is_dir():
            # What a run leaves that was killed before it had written its flags.
            ours = {self._lock_file, *self.path.glob(".flags.*.cfg")}
            foreign = set(self.path.iterdir()) - ours
        else:
            foreign = self.path.exists()
        if foreign:
            raise InputError(
                f"{self.path} exists and is no run of this program. Give another --run_dir."
            )

    @contextlib.contextmanager
    def locked(self, log=print):
        """In this block, no other process writes in the folder; it is made if need be.

        The lock is the process's: however that ends, its lock ends with it.

        Args:
            log: where to warn if the file system knows no locks.

        Raises:
            InputError: another process writes there, or the folder is not this run's.
        """
        self._check()
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self._lock_file, "a+", encoding="utf-8") as file:
            try:
                if fcntl:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise InputError(
                    f"{self.path} is in use by {file.read().strip() or 'another process'}. Wait "
                    "until that has ended, or give another --run_dir."
                ) from None
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                    raise
                log(
                    f"warning: the file system of {self.path} knows no locks "
                    f"({error.strerror}). See to it yourself that no other process writes there."
                )
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            for folder in (self.path, self.path / "history", self.path / "figures"):
                remove_leftovers(folder)
            yield

    @property
    def _lock_file(self):
        return self.path / ".lock"

    @contextlib.contextmanager
    def failed_writes_told(self):
        """In this block, a full disk is an `OSError` that says what is intact and what to do.

        Raises:
            OSError: in place of what NumPy, Keras or TensorFlow made of it.
        """
        try:
            yield
        except Exception as error:
            if not cannot_write(error):
                raise
            path, reason = getattr(error, "filename", None), getattr(error, "strerror", None)
            reason = reason or str(getattr(error, "message", error)).splitlines()[0]
            files = (self.path / "checkpoints").glob("*/step_*.npz")
            newest = max(files, key=lambda file: file.stat().st_mtime_ns, default=None)
            left = "What was finished before is intact"
            if newest:
                left = f"The last checkpoint, {newest.relative_to(self.path)}, is intact"
            raise OSError(
                f"Cannot write {path or f'in {self.path}'}: {reason}. {left}: make room, and the "
                "same command goes on from there."
            ) from error

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
        if not self.metrics.exists():
            raise InputError(
                f"{self.metrics} is missing: the run is not finished. Continue it with "
                f"`keras-i2i-train --flagfile={self.flagfile}`."
            )
        advice = f"Delete it and write it anew with `keras-i2i-evaluate --run={self.path}`."
        results = _read_json(self.metrics, dict, advice)
        if not isinstance(results.get("per_seed"), list):
            raise InputError(f"{self.metrics} is damaged (it has no per_seed). {advice}")
        return results

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

    def logged(self, step, seed):
        """The content of `history`, a list of at least one epoch.

        Raises:
            InputError: it is missing or damaged.
        """
        path = self.history(step, seed)
        advice = "Put it back from a copy, or train anew with another --run_dir."
        if not path.exists():
            raise InputError(f"{path} is missing. {advice}")
        entries = _read_json(path, list, advice)
        if not entries or not all(isinstance(e, dict) and "seconds" in e for e in entries):
            raise InputError(f"{path} is damaged (it has no epochs). {advice}")
        return entries

    def weight_of_sum(self, seed):
        """The weight in `sum_weight`, from 0 to 1.

        Raises:
            InputError: the file is damaged.
        """
        path = self.sum_weight(seed)
        advice = (
            "Delete it and choose the weight again with "
            f"`keras-i2i-train --flagfile={self.flagfile} --only=sum`."
        )
        weight = _read_json(path, dict, advice).get("weight")
        if not isinstance(weight, float | int) or not 0 <= weight <= 1:
            raise InputError(f"{path} is damaged (it has no weight from 0 to 1). {advice}")
        return weight

    def checkpoints(self, step, seed):
        """Folder of a step's checkpoints."""
        return self.path / "checkpoints" / f"seed_{seed}_{step}"

    def selectable(self, step, seed):
        """Folder of the models of a step's epochs that may be picked."""
        return self.path / "checkpoints" / f"seed_{seed}_{step}_selected"

    def tensorboard(self, step, seed):
        """Folder of a step's TensorBoard events."""
        return self.path / "tensorboard" / f"seed_{seed}" / step


def _read_json(path, kind, advice):
    """What a JSON file holds; raises an `InputError` if that is not of the kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not text in UTF-8, or no JSON
        raise InputError(f"{path} is damaged ({error}). {advice}") from error
    if not isinstance(content, kind):
        raise InputError(f"{path} is damaged (a {type(content).__name__} is in it). {advice}")
    return content


def _differences(old, new):
    """Of two flagfiles' texts (name, value there, value given) where it makes a difference."""

    def read(text):
        pairs = (line[2:].partition("=") for line in text.splitlines() if line.startswith("--"))
        return {name: value for name, _, value in pairs if name not in _WITHOUT_EFFECT}

    old, new = read(old), read(new)
    return [(name, old[name], new[name]) for name in sorted(old) if old[name] != new[name]]
