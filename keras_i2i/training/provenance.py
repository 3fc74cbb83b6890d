"""What a run was made of, in `RUN/provenance.json`: enough to do it again, or to know why not.

    {"seeds": [0], "flags": {...},
     "data": {"source": {"train": {"images": 50000, "sha256": ..., "of": ...}, ...}, "target": ...},
     "starts": [{"date": ..., "continues": false, "command": ..., "versions": {...},
                 "git": {"revision": ..., "dirty": false} or null, "hardware": {...}}, ...]}

`starts` has an entry for each time the run was begun or continued. No name of a machine or of a
user is written down.
"""

import dataclasses
import datetime
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
from importlib import metadata

import keras
import tensorflow as tf

from keras_i2i._version import __version__
from keras_i2i.errors import InputError
from keras_i2i.files import write_json

# What numbers depend on, beside TensorFlow and Keras themselves.
_LIBRARIES = ("numpy", "keras-cv", "tensorflow-datasets", "scikit-learn", "matplotlib", "pillow")
_GIT_SECONDS = 1.0


def record(run, fingerprints, devices, log):
    """Writes down a start of a run.

    Args:
        run: its `RunDirectory`.
        fingerprints: of its data, as `RunData.fingerprints` gives them.
        devices: on how many it trains, over all workers.
        log: where to say that it goes on with other libraries.

    Raises:
        InputError: the run was begun with other data, or the file is damaged.
    """
    start = {
        "date": _now(),
        "continues": any((run.path / name).exists() for name in ("history", "checkpoints")),
        "command": _command(),
        "versions": versions(),
        "git": revision(pathlib.Path(__file__).parents[2]),
        "hardware": hardware(devices),
    }
    found = read(run)
    if found is None:
        experiment = run.experiment
        flags = dataclasses.asdict(experiment)
        found = {"seeds": experiment.seeds, "flags": flags, "data": fingerprints, "starts": []}
    else:
        _check_data(run, found, fingerprints)
        difference = list(_difference(found["starts"][-1], start))
        if difference:
            log(
                f"warning: the run goes on with another {', another '.join(difference)}. The rest "
                "may differ from what one that was not interrupted gives."
            )
    write_json(run.provenance, {**found, "starts": [*found["starts"], start]})


def read(run):
    """The content of a run's provenance.json; None if it has none, as from an earlier version.

    Raises:
        InputError: the file is damaged.
    """
    try:
        found = json.loads(run.provenance.read_text(encoding="utf-8"))
        if not found["starts"][-1]["versions"] or not found["data"]:
            raise ValueError("parts are missing")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"{run.provenance} is damaged ({error}). Delete it; the next start writes it anew."
        ) from error
    return found


def changed_data(found, fingerprints):
    """Which splits are not as a run was begun with: like "source train"; none if all are.

    Args:
        found: what `read` gives.
        fingerprints: of the data as they are now.
    """
    before = found["data"]
    return [
        f"{domain} {split}"
        for domain in before
        for split in before[domain]
        if fingerprints.get(domain, {}).get(split) != before[domain][split]
    ]


def _check_data(run, found, fingerprints):
    changed = changed_data(found, fingerprints)
    if changed:
        experiment = run.experiment
        names = [f"--{domain}={getattr(experiment, domain)}" for domain in ("source", "target")]
        raise InputError(
            f"{run.path} was begun on {found['starts'][0]['date']} with other data: not the same "
            f"are the images or labels of {', '.join(changed)} of {' and '.join(names)}. Put back "
            "what was there, or give another --run_dir to begin anew."
        )


def _difference(before, now):
    """What a start has that the one before had not, in words."""
    old, new = ({**start["versions"], "git revision": start["git"]} for start in (before, now))
    for name in new:
        if old.get(name) != new[name]:
            if name == "git revision":
                yield f"git revision (before: {_named(old[name])}, now: {_named(new[name])})"
            else:
                yield f"{name} (before: {old.get(name)}, now: {new[name]})"


def _named(git):
    return "none" if git is None else git["revision"][:12] + ", changed" * git["dirty"]


def _now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _command():
    """The command line; None where another program trains, whose is none of our business."""
    if "keras_i2i_commands" not in sys.modules:
        return None
    return shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])


def versions():
    """Of Python and the libraries that a result depends on: name → text, or None if unknown."""
    found = {
        "python": platform.python_version(),
        "keras_i2i": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    build = tf.sysconfig.get_build_info()
    if build.get("is_cuda_build"):
        found |= {name: build.get(f"{name}_version") for name in ("cuda", "cudnn")}
    return found


def revision(folder):
    """The git revision of a clone.

    Args:
        folder: its top.

    Returns:
        `revision`, in hexadecimal digits, and `dirty`, whether a file that git knows has changed;
        None if it is no clone, or git cannot tell.
    """
    if not (folder / ".git").exists():  # A folder above may be another project's.
        return None
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        lines = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # We only look.
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    revisions = [line.split()[-1] for line in lines if line.startswith("# branch.oid ")]
    if not revisions or not revisions[0].isalnum():  # Before the first commit: "(initial)".
        return None
    return {"revision": revisions[0], "dirty": any(not line.startswith("#") for line in lines)}


def hardware(devices=1):
    """Of this machine, as far as it tells: None where it does not.

    Args:
        devices: on how many the run trains.

    Returns:
        `system`; `processor`, its model; `cores`, those that this process may use; `memory_gib`;
        `gpus`, a list of models; `devices`.
    """
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": _cores(),
        "memory_gib": _memory(),
        "gpus": gpus,
        "devices": devices,
    }


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:  # Not Linux.
        pass
    return platform.processor() or platform.machine() or None


def _cores():
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count()


def _memory():
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def has_idle_gpu():
    """Whether there is an NVIDIA GPU that TensorFlow does not see, though nobody has hidden it."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = os.path.exists("/dev/nvidia0")
    return there and hidden is None and not tf.config.list_physical_devices("GPU")
