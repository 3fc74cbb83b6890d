"""Faults on purpose: runs that are killed again and again, and disks that are full."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_i2i.training import callbacks
from keras_i2i.training import train as train_module
from keras_i2i.training.checkpoint_folder import CheckpointFolder
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.train import steps_of, train

from . import mortal
from .conftest import TINY, small_data, tiny
from .runs import Trained, assert_same_run, continue_quietly, learning_eagerly, nothing_drawn

# Every method, and every kind of step there is. Each checkpoint is a step's: what a kill loses is
# less than a step.
COMMON = {
    "deterministic": True, "steps": 6, "classifier_steps": 6, "steps_per_epoch": 3,
    "checkpoint_steps": 1, "rotation": 10.0, "ema_momentum": 0.5, "schedule": "cosine",
}  # fmt: skip
RUNS = {
    "i2i_adapt": {"feature_objective": "wasserstein", "image_objective": "least_squares"},
    "i2i_adapt, sum": {"adaptation": "sum", "image_objective": "least_squares", "ceiling": False},
    "cyclegan": {
        "method": "cyclegan", "adaptation": "sum", "pool_size": 6, "dropout": 0.3,
        "generator_stages": 1,
    },
    "cyclegan, copy": {
        "method": "cyclegan", "adaptation": "sum", "translated_copy": True, "ceiling": False,
        "generator_stages": 1,
    },
    "cyclegan, random translations": {
        "method": "cyclegan", "adaptation": "on_translated_source", "dropout": 0.5,
        "dropout_at_inference": True, "ceiling": False, "generator_stages": 1,
    },
    "cyclegan, copy of random translations": {
        "method": "cyclegan", "adaptation": "on_translated_source", "translated_copy": True,
        "dropout": 0.5, "dropout_at_inference": True, "ceiling": False, "generator_stages": 1,
    },
    "dtn": {"method": "dtn", "channels": 3, "target_channels": 1, "ceiling": False},
    "lstnet": {"method": "lstnet", "ceiling": False},
}  # fmt: skip
KILLS = 15  # of each
ROOT = pathlib.Path(__file__).parents[2]


def written(run):
    """What a run has put in place so far; of many images, one in forty."""
    found = set()
    for path in run.path.rglob("[!.]*.*"):
        with contextlib.suppress(FileNotFoundError):  # a checkpoint makes room for the next
            if path.suffix == ".png":
                found.add((path.parent, int(path.stem) // 40 if path.stem.isdecimal() else 0))
            elif "tfevents" not in path.name:
                found.add((path, path.stat().st_mtime_ns))
    return found


def killed(process, run, rng):
    """Starts a process and kills it once it has written a few files, and a moment has gone by.

    Returns:
        Whether it was killed; otherwise it had come to its end.
    """
    before, files = written(run), rng.integers(0, 8)
    process.start()
    while process.is_alive() and len(written(run) - before) < files:
        time.sleep(0.01)
    process.join(rng.uniform(0, 1))
    if not process.is_alive():
        return False
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return True


def assert_same_to_the_last_bit(run, other):
    """Two finished runs are the same: models, logs, results, copies, and what could go on."""
    steps = steps_of(run.experiment)
    trained = [step for step in steps if step not in ("translated_copy", "sum")]
    assert_same_run(run, other, trained)
    for path in (run.sum_weight(0), *sorted(run.translated_copy(0).rglob("*.*"))):
        if path.is_file():
            assert path.read_bytes() == (other.path / path.relative_to(run.path)).read_bytes()
    for step in trained:
        folders = [CheckpointFolder(each.checkpoints(step, 0), 2) for each in (run, other)]
        assert folders[0].steps() == folders[1].steps()
        one, same = (folder.read(folder.newest()) for folder in folders)
        assert one.keys() == same.keys()
        for name in one.keys() - {"seconds"}:
            np.testing.assert_array_equal(one[name], same[name], err_msg=f"{step} {name}")


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_killed_again_and_again_it_ends_as_if_it_had_not_been(name, tmp_path):
    rng = np.random.default_rng(list(RUNS).index(name))

    def start(folder):
        fields = tiny(**COMMON, **RUNS[name], run_dir=str(tmp_path / folder / "run"))
        return RunDirectory(fields["run_dir"], Experiment(**fields)), mortal.process(
            fields, tmp_path / folder
        )

    whole, process = start("whole")
    process.start()
    process.join()
    assert process.exitcode == 0, (tmp_path / "whole" / "said.txt").read_text()
    kills, attempt, where = 0, 0, {}
    while kills < KILLS:
        attempt += 1
        run, process = start(f"killed {attempt}")
        while not run.metrics.exists():
            if killed(process, run, rng):
                kills += 1
                saved = [path.parent.name for path in run.path.glob("checkpoints/*/*.npz")]
                at = f"{len(set(saved))} steps begun"
                where[at] = where.get(at, 0) + 1
            else:
                assert process.exitcode == 0, (run.path.parent / "said.txt").read_text()
            _, process = start(f"killed {attempt}")
        assert_same_to_the_last_bit(run, whole)
        said = (run.path.parent / "said.txt").read_text()
        assert "damaged" not in said
        assert "Traceback" not in said
    print(f"\n{name}: {kills} kills in {attempt} runs: {where}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_command_ends_within_five_seconds_of_a_signal(number, tmp_path):
    command = [
        sys.executable, ROOT / "train.py", f"--flagfile={ROOT / 'configs' / 'quickstart.cfg'}",
        f"--run_dir={tmp_path / 'run'}", "--method=source_only", "--classifier_steps=5000",
        "--steps_per_epoch=10", "--source_size=500",
    ]  # fmt: skip
    for began_at in (0, 20):
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with process:
            for line in process.stdout:
                step = re.search(r"(\d+)/5000", line)
                if step and int(step[1]) >= began_at + 20:
                    break
            process.send_signal(number)
            began = time.monotonic()
            process.stdout.read()
            said = process.stderr.read()
            code = process.wait()
            seconds = time.monotonic() - began
        assert code == 75
        # A step takes a few hundredths of a second.
        assert seconds < 5, said
        end = re.search(rf"\n{number.name} received: (.+)\. The same command goes on", said)[1]
        # Between an epoch's last step and the next one's first, that was saved already.
        assert end == "stopped" or re.fullmatch(r"step \d+ is saved", end)
    saved = CheckpointFolder(tmp_path / "run" / "checkpoints" / "seed_0_source_only", keep=2)
    assert saved.newest() >= 40  # the second one went on


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 64 MiB, with `fill()` and `empty()`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"A file system can be mounted by root alone: {mounted.stderr.strip()}")
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


class SmallDisk:
    def __init__(self, folder):
        self.folder, self._filler = folder, folder / "filler"

    def fill(self):
        with contextlib.suppress(OSError), open(self._filler, "wb", buffering=0) as file:
            for size in (2**20, 2**12):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))
        assert os.statvfs(self.folder).f_bavail == 0

    def empty(self):
        self._filler.unlink()


# What is about to be written when the disk is full: a function of the program that writes it.
WRITERS = {
    "checkpoint": (CheckpointFolder, "write"),
    "log": (callbacks.History, "on_epoch_end"),
    "TensorBoard's events": (train_module.keras.callbacks.TensorBoard, "on_epoch_end"),
    "image grid": (callbacks.ImageGrid, "on_epoch_end"),
    "model": (train_module, "_save"),
    "report": (train_module.report, "write_report"),
    "results": (train_module, "write_json"),
}


@pytest.mark.slow
def test_a_disk_that_is_full_time_and_again_loses_nothing(small_disk, tmp_path):
    fields = {**TINY, **COMMON, "ceiling": False, "checkpoint_steps": 0}
    with small_data(), learning_eagerly():
        whole = Trained(Experiment(**{**fields, "run_dir": str(tmp_path / "whole")}))
        experiment = Experiment(**{**fields, "run_dir": str(small_disk.folder / "run")})
        run = RunDirectory(experiment.run_dir, experiment)
        for name, (owner, function) in WRITERS.items():
            write = getattr(owner, function)

            def on_a_full_disk(*args, write=write, **kwargs):
                small_disk.fill()
                return write(*args, **kwargs)

            with pytest.MonkeyPatch.context() as patch, nothing_drawn():
                patch.setattr(owner, function, on_a_full_disk)
                with pytest.raises(
                    OSError, match=r"^Cannot write .*No space left on device"
                ) as end:
                    train(experiment, lambda line: None)
            print(f"{name}: {end.value}")
            assert "is intact: make room" in str(end.value)
            assert [path for path in run.path.rglob(".*") if path.name != ".lock"] == []
            for folder in (run.path / "checkpoints").glob("*"):
                kept = CheckpointFolder(folder, 2, log=lambda line: pytest.fail(line))
                assert kept.newest() == max(kept.steps(), default=0)
            small_disk.empty()
        continue_quietly(experiment)
    assert_same_to_the_last_bit(run, whole)
