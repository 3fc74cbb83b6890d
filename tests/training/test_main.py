"""The two commands in this process: a user's mistakes end in a message, not in a stack trace."""

import errno
import os
import shutil
import signal
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from PIL import Image

from keras_i2i import evaluation
from keras_i2i.errors import InputError, TrainingDiverged, WorkerLost
from keras_i2i.training import configs, main, train
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.stopping import Stopped

from .conftest import TINY


@pytest.fixture
def run_command(fresh_flags, monkeypatch, capsys):
    """`run_command(command, *arguments)`: exit code, output and errors."""
    verbosity = logging.get_verbosity()
    before = set(fresh_flags)

    def app_run(function, flags_parser):
        sys.exit(function(flags_parser(sys.argv)))

    monkeypatch.setattr(main.app, "run", app_run)

    def run_command(command, *arguments):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            command()
        # A process runs one command; here the next declares the same flags.
        for name in set(fresh_flags) - before:
            delattr(fresh_flags, name)
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    yield run_command
    logging.set_verbosity(verbosity)


@pytest.fixture
def saved_run(make_experiment, tmp_path):
    """`saved_run(**fields)`: a run with untrained models in their places."""

    def saved_run(**fields):
        experiment = make_experiment(run_dir=str(tmp_path / "run"), **fields)
        run = RunDirectory.create(experiment)
        for seed in experiment.seeds:
            keras.utils.set_random_seed(seed)
            experiment.build_model(seed).save(run.model("adapted", seed))
            experiment.build_classifier("source").save(run.model("source_only", seed))
            experiment.build_classifier("target").save(run.model("target_only", seed))
        return run

    return saved_run


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(np.arange(32 * 32, dtype="uint8").reshape(32, 32)).save(path)
    return path


@pytest.fixture
def tiny_arguments(tmp_path):
    return [f"--{name}={value}" for name, value in (TINY | {"run_dir": tmp_path / "run"}).items()]


def test_training_gets_the_experiment_of_the_flags(run_command, tiny_arguments, monkeypatch):
    trained = []
    monkeypatch.setattr(train, "train", lambda *args, **kwargs: trained.append((args, kwargs)))
    code, _, err = run_command(main.train_main, *tiny_arguments, "--seeds=3,4")
    assert (code, err) == (0, "")
    (((experiment,), options),) = trained
    assert experiment.seeds == [3, 4]
    assert experiment.encoder_width == TINY["encoder_width"]
    assert options == {"only": []}


def test_training_may_be_told_to_do_some_steps_only(run_command, tiny_arguments, monkeypatch):
    only = []
    monkeypatch.setattr(train, "train", lambda experiment, **options: only.append(options["only"]))
    code, _, _ = run_command(main.train_main, *tiny_arguments, "--only=source_only,adapted")
    assert code == 0
    assert only == [["source_only", "adapted"]]


def test_a_config_is_trained_by_its_name(run_command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    trained = []
    monkeypatch.setattr(train, "train", lambda experiment, only: trained.append(experiment))
    arguments = ("--flagfile=lstnet_mnist_usps.cfg", "--encoder_width=0.1")
    code, _, err = run_command(main.train_main, *arguments)
    assert (code, err) == (0, "")
    assert (trained[0].method, trained[0].encoder_width) == ("lstnet", 0.1)


def test_the_command_line_wins_over_flagfiles_wherever_it_stands(
    run_command, tiny_arguments, monkeypatch, tmp_path
):
    trained = []
    monkeypatch.setattr(train, "train", lambda experiment, only: trained.append(experiment))
    flagfile = tmp_path / "flags.cfg"
    lines = [*tiny_arguments, "--learning_rate_factor=1.0", "--ceiling=true", "--seeds=0"]
    flagfile.write_text("\n".join(lines) + "\n")
    ours = ("--learning_rate_factor=0.3", "--noceiling", "--seeds", "7,8")
    for arguments in (
        [*ours, f"--flagfile={flagfile}"],
        [f"--flagfile={flagfile}", *ours],
        [*ours[:2], "--flagfile", flagfile, *ours[2:]],
    ):
        code, _, err = run_command(main.train_main, *arguments)
        assert (code, err) == (0, "")
    for experiment in trained:
        assert (experiment.learning_rate_factor, experiment.ceiling) == (0.3, False)
        assert (experiment.seeds, experiment.encoder_width) == ([7, 8], TINY["encoder_width"])
    assert len(trained) == 3


@pytest.mark.parametrize("again", [["--steps", "4"], ["--warm_start", "--warm_start=true"]])
def test_the_same_value_twice_is_no_mistake(again, run_command, tiny_arguments, monkeypatch):
    monkeypatch.setattr(train, "train", lambda experiment, only: None)
    code, _, err = run_command(main.train_main, *tiny_arguments, *again)
    assert (code, err) == (0, "")


def test_configs_are_listed(run_command):
    code, out, err = run_command(main.train_main, "--list_configs")
    assert (code, err) == (0, "")
    assert out == configs.listing() + "\n"


@pytest.mark.parametrize(
    ("exception", "message"),
    [
        (InputError("Got that; expected this."), "error: Got that; expected this.\n"),
        (TrainingDiverged("task is not finite."), "error: task is not finite.\n"),
        (PermissionError(13, "Permission denied", "/root/run"), "Permission denied: '/root/run'"),
        (tf.errors.ResourceExhaustedError(None, None, "out of memory"), "error: out of memory\n"),
    ],
)
def test_a_mistake_ends_in_its_message(
    exception, message, run_command, tiny_arguments, monkeypatch
):
    def fail(experiment, only):
        raise exception

    monkeypatch.setattr(train, "train", fail)
    code, out, err = run_command(main.train_main, *tiny_arguments)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert message in err


def test_a_bug_keeps_its_stack_trace(run_command, tiny_arguments, monkeypatch):
    def fail(experiment, only):
        raise TypeError("a bug")

    monkeypatch.setattr(train, "train", fail)
    with pytest.raises(TypeError, match="a bug"):
        run_command(main.train_main, *tiny_arguments)


def interrupted():
    raise KeyboardInterrupt


def terminated():
    os.kill(os.getpid(), signal.SIGTERM)


def terminated_while_it_trained():
    raise Stopped("SIGTERM received: step 7 is saved.")


def left_alone():
    raise WorkerLost("Another worker is gone.")


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (interrupted, "\nInterrupted. The same command goes on where it stopped.\n"),
        (terminated, "\nSIGTERM received: stopped. The same command goes on where it stopped.\n"),
        (
            terminated_while_it_trained,
            "\nSIGTERM received: step 7 is saved. The same command goes on where it stopped.\n",
        ),
        (left_alone, "error: Another worker is gone.\n"),
    ],
)
def test_what_need_only_be_started_again_has_a_code_of_its_own(
    end, message, run_command, tiny_arguments, monkeypatch
):
    monkeypatch.setattr(train, "train", lambda experiment, only: end())
    code, _, err = run_command(main.train_main, *tiny_arguments)
    assert code == 75
    assert err == message


def test_other_connections_that_break_have_not(run_command, tiny_arguments, monkeypatch):
    def refused(experiment, only):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    monkeypatch.setattr(train, "train", refused)
    code, _, err = run_command(main.train_main, *tiny_arguments)
    assert code == 1
    assert "Connection refused" in err


def test_evaluation_may_be_told_where_the_data_are(run_command, saved_run, monkeypatch):
    evaluated = []
    monkeypatch.setattr(train, "evaluate", evaluated.append)
    run = saved_run()
    code, _, _ = run_command(main.evaluate_main, f"--run={run.path}", "--data_dir=/elsewhere")
    assert code == 0
    assert evaluated[0].experiment.data_dir == "/elsewhere"
    assert evaluated[0].path == run.path


def test_images_are_read_with_the_first_seeds_model_unless_told(
    run_command, saved_run, picture, tmp_path
):
    run = saved_run(preset="fcns_in_the_wild", seeds=[5, 3])
    read = {}
    for name, arguments in {"default": [], "5": ["--seed=5"], "3": ["--seed=3"]}.items():
        out_dir = tmp_path / name
        code, out, err = run_command(
            main.evaluate_main, f"--run={run.path}", f"--images={picture}", f"--out={out_dir}",
            *arguments,
        )  # fmt: skip
        assert (code, err) == (0, "")
        assert out == f"Predictions: {out_dir / 'predictions.csv'}\n"
        read[name] = (out_dir / "predictions.csv").read_text()
    assert read["default"] == read["5"]
    assert read["default"] != read["3"]


def test_results_may_be_put_beneath_home(run_command, saved_run, picture, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    run = saved_run(preset="fcns_in_the_wild")
    code, out, err = run_command(
        main.evaluate_main, f"--run={run.path}", f"--images={picture}", "--out=~/read"
    )
    assert (code, err) == (0, "")
    assert out == f"Predictions: {tmp_path / 'home' / 'read' / 'predictions.csv'}\n"
    pages = []
    monkeypatch.setattr(evaluation, "write_comparison", lambda runs, page: pages.append(page))
    monkeypatch.setattr(RunDirectory, "results", lambda run: {})
    shutil.copytree(run.path, tmp_path / "other")
    both = (f"--run={run.path}", f"--run={tmp_path / 'other'}")
    code, _, err = run_command(main.evaluate_main, *both, "--out=~/page.html")
    assert (code, err, pages) == (0, "", [str(tmp_path / "home" / "page.html")])


def test_cyclegan_reads_images_through_its_translations(run_command, saved_run, picture):
    run = saved_run(preset="cyclegan")
    code, _, err = run_command(main.evaluate_main, f"--run={run.path}", f"--images={picture}")
    assert (code, err) == (0, "")
    assert (run.path / "images" / "predictions.csv").exists()
