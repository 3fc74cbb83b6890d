"""The run directory: whose it is, and files that are never half written."""

import errno
import os
import pathlib
import socket
import subprocess
import sys

import pytest
import tensorflow as tf

from keras_i2i.errors import InputError
from keras_i2i.files import replacing
from keras_i2i.training import run_directory
from keras_i2i.training.run_directory import RunDirectory


@pytest.fixture
def run_dir(tmp_path):
    return str(tmp_path / "runs" / "one")


def contents(folder):
    return {path: path.read_bytes() for path in pathlib.Path(folder).rglob("*") if path.is_file()}


def test_a_new_folder_holds_the_flags(run_dir, make_experiment):
    experiment = make_experiment(run_dir=run_dir, seeds=[2, 3])
    run = RunDirectory.create(experiment)
    assert list(contents(run_dir)) == [run.flagfile]
    assert RunDirectory.open(run_dir).experiment == experiment


def test_the_same_flags_are_accepted_again(run_dir, make_experiment):
    RunDirectory.create(make_experiment(run_dir=run_dir))
    before = contents(run_dir)
    RunDirectory.create(make_experiment(run_dir=run_dir))
    assert contents(run_dir) == before


def test_a_run_of_a_version_that_lacked_a_flag_is_continued_with_its_default(
    run_dir, make_experiment
):
    flagfile = RunDirectory.create(make_experiment(run_dir=run_dir)).flagfile
    whole = flagfile.read_text()
    flagfile.write_text(whole.replace("--levels=0.0\n", ""))
    with pytest.raises(InputError, match=r"--levels=0\.0 there, 0\.5 given"):
        RunDirectory.create(make_experiment(run_dir=run_dir, levels=0.5))
    RunDirectory.create(make_experiment(run_dir=run_dir))
    assert flagfile.read_text() == whole != whole.replace("--levels=0.0\n", "")


def test_other_flags_are_refused_with_the_difference(run_dir, make_experiment):
    fields = {"run_dir": run_dir, "seeds": [0, 1]}
    RunDirectory.create(make_experiment(**fields, learning_rate=0.1, ceiling=True))
    before = contents(run_dir)
    with pytest.raises(InputError) as error:
        RunDirectory.create(make_experiment(**fields, learning_rate=0.2, ceiling=False))
    assert str(error.value) == (
        f"{run_dir} holds a run with other flags:\n"
        "  --ceiling=true there, false given\n"
        "  --learning_rate=0.1 there, 0.2 given\n"
        "Give another --run_dir, or the same flags to continue it."
    )
    assert contents(run_dir) == before


def test_data_may_move(run_dir, make_experiment):
    RunDirectory.create(make_experiment(run_dir=run_dir, data_dir="/here"))
    RunDirectory.create(make_experiment(run_dir=run_dir, data_dir="/there"))
    assert RunDirectory.open(run_dir).experiment.data_dir == "/there"
    assert RunDirectory.open(run_dir, data_dir="/elsewhere").experiment.data_dir == "/elsewhere"


def test_a_run_may_move(run_dir, tmp_path, make_experiment):
    RunDirectory.create(make_experiment(run_dir=run_dir))
    moved = pathlib.Path(run_dir).rename(tmp_path / "moved")
    run = RunDirectory.open(moved)
    assert run.path == moved
    assert run.flagfile.parent == moved
    RunDirectory.create(make_experiment(run_dir=str(moved)))


def test_an_empty_folder_is_taken(tmp_path, make_experiment):
    RunDirectory.create(make_experiment(run_dir=str(tmp_path)))
    assert (tmp_path / "flags.cfg").exists()


def test_a_folder_with_foreign_content_is_refused_and_left_alone(tmp_path, make_experiment):
    (tmp_path / "holiday.txt").write_text("photos")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"is no run of this program. Give another --run_dir\."):
        RunDirectory.create(make_experiment(run_dir=str(tmp_path)))
    assert contents(tmp_path) == before


def test_a_file_in_the_folders_place_is_refused(tmp_path, make_experiment):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(InputError, match="is no run of this program"):
        RunDirectory.create(make_experiment(run_dir=str(path)))
    assert path.read_text() == "mine"


def test_a_folder_without_a_run_cannot_be_opened(tmp_path):
    with pytest.raises(InputError, match=r"holds no run: .*flags.cfg is missing\. Give"):
        RunDirectory.open(tmp_path)


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch, make_experiment):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    RunDirectory.create(make_experiment(run_dir="~/runs/one"))
    assert (tmp_path / "runs" / "one" / "flags.cfg").exists()
    assert not (tmp_path / "~").exists()


def test_models_carry_the_seed_where_there_are_several(make_experiment):
    one = RunDirectory("r", make_experiment(seeds=[4]))
    two = RunDirectory("r", make_experiment(seeds=[4, 5]))
    assert one.model("adapted", 4).name == "model.keras"
    assert one.model("source_only", 4).name == "source_only.keras"
    assert two.model("adapted", 5).name == "model_seed_5.keras"
    assert two.model("target_only", 4).name == "target_only_seed_4.keras"
    assert [run.model("translator", 4).name for run in (one, two)] == [
        "model.keras", "model_seed_4.keras",
    ]  # fmt: skip
    assert [run.sum_weight(4).name for run in (one, two)] == ["sum.json", "sum_seed_4.json"]
    assert [run.translated_copy(4).name for run in (one, two)] == [
        "translated",
        "translated_seed_4",
    ]


def test_steps_and_seeds_share_no_file(make_experiment):
    run = RunDirectory("r", make_experiment(seeds=[4, 5]))
    for place in (run.model, run.history, run.checkpoints, run.tensorboard):
        steps = ("source_only", "target_only", "translator", "on_translated_source")
        paths = {place(step, seed) for step in steps for seed in (4, 5)}
        assert len(paths) == 8


def test_results_are_those_of_the_file(run_dir, make_experiment):
    run = RunDirectory.create(make_experiment(run_dir=run_dir))
    with pytest.raises(InputError) as error:
        run.results()
    assert str(error.value) == (
        f"{run.metrics} is missing: the run is not finished. Continue it with "
        f"`keras-i2i-train --flagfile={run.flagfile}`."
    )
    whole = '{"seeds": [0], "per_seed": []}'
    for damaged in (whole[:20], "[]", whole.replace("[]", "3"), "[" * 10**5):
        run.metrics.write_text(damaged)
        with pytest.raises(
            InputError, match=r"metrics\.json is damaged .*keras-i2i-evaluate --run"
        ):
            run.results()
    run.metrics.write_text(whole)
    assert run.results() == {"seeds": [0], "per_seed": []}


def test_replacing_puts_the_new_file_in_place_and_makes_its_folder(tmp_path):
    path = tmp_path / "deep" / "model.keras"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == path.suffix
        temporary.write_text("new")
        assert not path.exists()
    assert list(path.parent.iterdir()) == [path]
    assert path.read_text() == "new"


@pytest.mark.parametrize("exception", [RuntimeError, KeyboardInterrupt])
def test_replacing_leaves_the_old_file_and_nothing_else_if_it_fails(tmp_path, exception):
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with pytest.raises(exception), replacing(path) as temporary:
        temporary.write_text("half")
        raise exception
    assert contents(tmp_path) == {path: b"old"}


def test_a_failure_before_anything_is_written_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), replacing(tmp_path / "metrics.json"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


HOLD = """
import sys
import keras_i2i_commands  # before the package, which otherwise imports TensorFlow
from keras_i2i.training.run_directory import RunDirectory

with RunDirectory.open(sys.argv[1]).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


class TestTheLock:
    def test_a_second_process_is_refused_until_the_first_is_killed(self, run_dir, make_experiment):
        run = RunDirectory.create(make_experiment(run_dir=run_dir))
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, run_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(InputError) as error, run.locked():
                pytest.fail("not refused")
            assert str(error.value) == (
                f"{run_dir} is in use by process {other.pid} on {socket.gethostname()}. Wait until "
                "that has ended, or give another --run_dir."
            )
            other.kill()
        with run.locked():
            assert (run.path / ".lock").read_text().startswith(f"process {os.getpid()} on ")

    def test_so_is_a_second_training_in_the_same_process(self, run_dir, make_experiment):
        run = RunDirectory(run_dir, make_experiment(run_dir=run_dir))
        other = RunDirectory(run_dir, run.experiment)
        for _ in range(2):
            in_use = pytest.raises(InputError, match=f"in use by process {os.getpid()} on")
            with run.locked(), in_use, other.locked():
                pytest.fail("not refused")

    def test_a_run_killed_before_it_wrote_its_flags_is_taken(self, run_dir, make_experiment):
        run = RunDirectory(run_dir, make_experiment(run_dir=run_dir))
        with run.locked():
            (run.path / ".flags.4711.cfg").write_text("--met")
        with run.locked():
            assert sorted(path.name for path in run.path.iterdir()) == [".lock"]
            RunDirectory.create(run.experiment)

    def test_a_foreign_folder_gets_no_lock(self, tmp_path, make_experiment):
        (tmp_path / "holiday.txt").write_text("photos")
        run = RunDirectory(tmp_path, make_experiment(run_dir=str(tmp_path)))
        with pytest.raises(InputError, match="is no run of this program"), run.locked():
            pytest.fail("not refused")
        assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"]

    def test_what_killed_processes_left_is_removed_and_nothing_else(self, run_dir, make_experiment):
        run = RunDirectory.create(make_experiment(run_dir=run_dir))
        for name in (".model.12.keras", ".metrics.7.json", "history/.seed_0_adapted.9.json"):
            (run.path / name).parent.mkdir(exist_ok=True)
            (run.path / name).write_text("half")
        for name in ("model.keras", ".notes.txt", "history/seed_0_adapted.json"):
            (run.path / name).write_text("whole")
        with run.locked():
            pass
        assert {path.name for path in contents(run_dir)} == {
            ".lock", "flags.cfg", "model.keras", ".notes.txt", "seed_0_adapted.json",
        }  # fmt: skip

    def test_a_file_system_without_locks_brings_a_warning(
        self, run_dir, make_experiment, monkeypatch
    ):
        def unknown(file, operation):
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(run_directory.fcntl, "flock", unknown)
        said = []
        with RunDirectory(run_dir, make_experiment(run_dir=run_dir)).locked(said.append):
            pass
        assert len(said) == 1
        assert "knows no locks (Operation not supported)" in said[0]


FULL = OSError(errno.ENOSPC, "No space left on device")
NAMED = OSError(errno.ENOSPC, "No space left on device", "/runs/one/model.keras")


class TestAFullDisk:
    @pytest.mark.parametrize(
        ("error", "beginning"),
        [
            (NAMED, "Cannot write /runs/one/model.keras: No space left on device. "),
            (FULL, "Cannot write in {run}: No space left on device. "),
            (
                tf.errors.ResourceExhaustedError(None, None, "x/events; No space left on device"),
                "Cannot write in {run}: x/events; No space left on device. ",
            ),
            (
                RuntimeError("Unable to flush (errno = 28, 'No space left on device')\nmore"),
                "Cannot write in {run}: Unable to flush (errno = 28, 'No space left on device'). ",
            ),
        ],
    )
    def test_is_named_with_what_is_intact(self, error, beginning, run_dir, make_experiment):
        run = RunDirectory(run_dir, make_experiment(run_dir=run_dir))
        beginning = beginning.format(run=run_dir)
        with pytest.raises(OSError) as told, run.failed_writes_told():
            raise error
        assert str(told.value) == beginning + (
            "What was finished before is intact: make room, and the same command goes on from "
            "there."
        )
        for number, step in enumerate((6, 4)):  # which was written last counts
            file = run.checkpoints("adapted", number) / f"step_{step:07d}.npz"
            file.parent.mkdir(parents=True)
            file.touch()
            os.utime(file, (number, number))
        with pytest.raises(OSError) as told, run.failed_writes_told():
            raise error
        assert str(told.value) == beginning + (
            "The last checkpoint, checkpoints/seed_1_adapted/step_0000004.npz, is intact: make "
            "room, and the same command goes on from there."
        )

    @pytest.mark.parametrize(
        "error",
        [
            FileNotFoundError(errno.ENOENT, "No such file or directory", "images/1.png"),
            tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
            InputError("Got that; expected this."),
            TypeError("a bug"),
        ],
    )
    def test_is_not_blamed_for_anything_else(self, error, run_dir, make_experiment):
        run = RunDirectory(run_dir, make_experiment(run_dir=run_dir))
        with pytest.raises(type(error)) as raised, run.failed_writes_told():
            raise error
        assert raised.value is error
