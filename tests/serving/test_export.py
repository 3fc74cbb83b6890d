"""Exports of a run: what a version holds, that it is whole or absent, and what goes wrong."""

import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags
from tensorflow_serving.apis import prediction_log_pb2

import keras_i2i
from keras_i2i import data
from keras_i2i.errors import InputError
from keras_i2i.models.translated import probabilities
from keras_i2i.serving import export, requests
from keras_i2i.serving.export import export_run
from keras_i2i.serving.main import export_main, label_main
from keras_i2i.training import main as training_main
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.train import load_reader

from .commands import run_in_process

TINY = {
    "source": "printed_digits",
    "target": "handwritten_digits",
    "image_size": 16,
    "encoder_width": 0.1,
    "decoder_width": 0.02,
    "discriminator_width": 0.02,
    "ceiling": False,
    "preset": "fcns_in_the_wild",  # the fewest networks
}
CLASSES = [str(digit) for digit in range(10)]
FILES = {
    "MODEL_CARD.md",
    "assets",
    "assets.extra",
    "fingerprint.pb",
    "metadata.json",
    "saved_model.pb",
    "variables",
}


def save_run(path, seeds=(0,), **fields):
    """A run with untrained models in their places, not evaluated."""
    run = RunDirectory.create(
        Experiment(run_dir=str(path), seeds=list(seeds), **{**TINY, **fields})
    )
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        run.experiment.build_model(seed).save(run.model("adapted", seed))
        run.experiment.build_classifier("source").save(run.model("source_only", seed))
    return run


def evaluation(seed, accuracy):
    score = {
        "target_test_accuracy": accuracy,
        "target_test_per_class": 10 * [accuracy],
        "target_test_confusion": np.eye(10, dtype=int).tolist(),
    }
    return {
        "seed": seed,
        "class_names": CLASSES,
        "models": {"source_only": score, "adapted": score},
        "warnings": [f"Mind seed {seed}."],
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of two seeds."""
    run = save_run(tmp_path_factory.mktemp("runs") / "run", seeds=(3, 5))
    run.metrics.write_text(json.dumps({"per_seed": [evaluation(3, 0.25), evaluation(5, 0.5)]}))
    return run


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """What the command makes of it: exit code, output, errors, the model's folder."""
    base = tmp_path_factory.mktemp("served") / "digits"
    command = subprocess.run(
        [sys.executable, "-m", "keras_i2i.serving.export", f"--run={run.path}", f"--to={base}"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "CUDA_VISIBLE_DEVICES": "-1"},
        timeout=300,
    )
    return command.returncode, command.stdout, command.stderr, base


@pytest.fixture(scope="module")
def version(exported):
    code, _, err, base = exported
    assert code == 0, err
    return base / "1"


@pytest.fixture(scope="module")
def loaded(version):
    return tf.saved_model.load(str(version))


@pytest.fixture(scope="module")
def model(run):
    return load_reader(run, 3)


@pytest.fixture
def quickly(monkeypatch, version, model):
    """Exports that copy the first one's SavedModel; `quickly.append(f)`: f(folder) comes after."""
    after = []

    def save(model, folder, class_names, geometry):
        for name in ("saved_model.pb", "variables", "assets"):
            copy = shutil.copytree if (version / name).is_dir() else shutil.copy
            copy(version / name, folder / name)
        for function in after:
            function(folder)

    monkeypatch.setattr(export, "save", save)
    monkeypatch.setattr(export, "load_reader", lambda run, seed: model)
    return after


def silent(line):
    pass


class TestTheCommand:
    def test_it_says_what_it_wrote_and_what_to_do_next(self, run, exported):
        code, out, err, base = exported
        assert code == 0, err
        assert "Traceback" not in err
        assert "Warning" not in err
        lines = out.splitlines()
        assert lines[0].startswith(f"Exported: {base / '1'} (")
        assert f" MB, saved_model; {run.path}, seed 3)" in lines[0]
        assert "  classify(images: uint8[?, ?, ?, 1]) → class_ids: int64[?], class_names: " in out
        assert lines[-2] == (
            f"  keras-i2i-label --base={base} --base_path=/models/digits --label=stable:1"
        )
        assert lines[-1] == (
            f"  SERVED={base.parent} docker compose --file=examples/serving/compose.yaml up"
        )

    def test_what_it_says_is_next_works(self, exported):
        _, out, _, base = exported
        arguments = out.splitlines()[-2].split()[1:]
        code, _, err = run_in_process(label_main, *arguments)
        assert (code, err) == (0, "")
        assert 'base_path: "/models/digits"' in (base.parent / "models.config").read_text()

    def test_help_lists_its_flags(self, monkeypatch):
        def app_run(main, flags_parser):
            listed.update(flag.name for flag in flags.get_key_flags_for_module(sys.argv[0]))
            sys.exit()

        flags, listed, before = absl_flags.FLAGS, set(), set(absl_flags.FLAGS)
        monkeypatch.setattr(training_main.app, "run", app_run)
        monkeypatch.setattr(sys, "argv", ["keras-i2i-export"])
        with pytest.raises(SystemExit):
            export_main()
        for name in set(flags) - before:
            delattr(flags, name)
        assert listed == {"run", "to", "seed", "version", "format", "data_dir"}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--to={base}"], "--run is missing: give the --run_dir of a training."),
            (["--run=none"], "--to is missing: give a folder for the model's versions."),
            (["--run=none", "--to={base}"], "none holds no run: "),
            (["--run={run}", "--to={base}", "--seed=4"], "--seed must be one of the run's: 3, 5."),
            (
                ["--run={run}", "--to={base}", "--version=0"],
                "--version must be from 1 to 9223",
            ),
            (["--run={run}", "--to=gs://bucket/digits"], "--to must be a folder of this machine"),
            (["--run={run}", "--to={run}/flags.cfg"], "--to must be a folder of this machine"),
            (["--run={run}", "--to={served}", "--version=1"], "1 exists. Give another --version"),
            (["--run={run}", "--to={served}/1"], "1 is a version itself."),
            (["--run={run}", "--to={served}", "--format=onnx"], "1 is not of --format=onnx"),
        ],
    )
    def test_a_mistake_ends_in_its_message(self, run, version, tmp_path, arguments, message):
        before = sorted(version.parent.rglob("*"))
        places = {"run": run.path, "base": tmp_path / "new" / "digits", "served": version.parent}
        code, out, err = run_in_process(export_main, *(a.format(**places) for a in arguments))
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert message in err
        assert err.count("\n") == 1
        assert list(tmp_path.iterdir()) == []
        assert sorted(version.parent.rglob("*")) == before


class TestAVersion:
    def test_it_has_all_files_and_nothing_stays_beside_it(self, version):
        assert {path.name for path in version.iterdir()} == FILES
        assert [path.name for path in version.parent.iterdir()] == ["1"]
        assert (version / "assets" / "labels.txt").read_text().split("\n") == [*CLASSES, ""]

    def test_other_users_may_read_it(self, version):
        mask = os.umask(0)
        os.umask(mask)
        for path in (version, *version.rglob("*")):
            wanted = 0o555 if path.is_dir() else 0o444
            assert path.stat().st_mode & wanted == wanted & ~mask

    def test_it_classifies_as_the_run_does(self, model, loaded):
        images = data.get_domain("handwritten_digits").load("test").images[:9]
        answer = loaded.signatures["classify"](images=tf.constant(images))
        seen = np.asarray(data.preprocess(images, (16, 16, 1)))
        expected = probabilities(model.classify(seen))
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
        names = [name.decode() for name in answer["class_names"].numpy()]
        assert names == [CLASSES[k] for k in expected.argmax(axis=-1)]

    def test_its_metadata_tell_its_signatures(self, version, loaded):
        facts = json.loads((version / "metadata.json").read_text())
        assert facts["signatures"].keys() == loaded.signatures.keys()
        for name, signature in loaded.signatures.items():
            _, inputs = signature.structured_input_signature
            tensors = {"inputs": inputs, "outputs": signature.structured_outputs}
            for side, specs in tensors.items():
                assert facts["signatures"][name][side] == {
                    key: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
                    for key, spec in specs.items()
                }

    def test_its_card_and_metadata_are_of_the_first_seed(self, version):
        facts = json.loads((version / "metadata.json").read_text())
        assert (facts["name"], facts["training"]["seed"]) == ("digits", 3)
        assert facts["measured"]["value"] == 0.25
        assert facts["training"]["keras"] == keras.__version__
        card = (version / "MODEL_CARD.md").read_text()
        assert card.startswith("# digits\n")
        assert "**25.0 %** accuracy" in card
        assert "> Mind seed 3.\n" in card

    def test_its_warm_up_requests_are_answered(self, version, loaded):
        records = tf.data.TFRecordDataset(str(version / requests.WARMUP_FILE))
        warmed = set()
        for record in records:
            request = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            request = request.predict_log.request
            assert request.model_spec.name == "digits"
            name = request.model_spec.signature_name
            inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            outputs = loaded.signatures[name](
                **{key: tf.constant(value) for key, value in inputs.items()}
            )
            (count,) = {len(value) for value in inputs.values()}
            assert {len(value) for value in outputs.values()} == {count}
            warmed.add((name, count))
        assert warmed == {(name, count) for name in loaded.signatures for count in (1, 8)}


class TestWhichVersion:
    def test_the_next_free_one_of_any_seed(self, run, quickly, tmp_path):
        base = tmp_path / "deep" / "digits"
        lines = []
        assert export_run(run.path, base, log=lines.append) == base / "1"
        assert export_run(run, base, seed=5, log=silent) == base / "2"
        assert export_run(run, base, version=40, log=silent) == base / "40"
        (base / "nothing").mkdir()
        assert keras_i2i.export_run(run, str(base), log=silent) == base / "41"
        facts = json.loads((base / "2" / "metadata.json").read_text())
        assert (facts["training"]["seed"], facts["measured"]["value"]) == (5, 0.5)
        assert "--label=stable:1" in lines[-1]

    @pytest.mark.parametrize("there", ["1", "001"])
    def test_one_that_exists_stays(self, run, quickly, tmp_path, there):
        (tmp_path / there).mkdir()
        with pytest.raises(InputError, match=rf"{there} exists\. Give another --version"):
            export_run(run, tmp_path, version=1, log=silent)
        assert [path.name for path in tmp_path.iterdir()] == [there]

    def test_who_is_slower_takes_the_next(self, run, quickly, tmp_path):
        barrier, written, threads = threading.Barrier(3), [], []
        quickly.append(lambda folder: barrier.wait(60))
        for _ in range(3):
            threads.append(
                threading.Thread(
                    target=lambda: written.append(export_run(run, tmp_path, log=silent))
                )
            )
            threads[-1].start()
        for thread in threads:
            thread.join()
        assert sorted(path.name for path in written) == ["1", "2", "3"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3"]
        assert all({path.name for path in folder.iterdir()} >= FILES - {"fingerprint.pb"}
                   for folder in written)  # fmt: skip

    def test_who_is_slower_with_a_version_of_his_fails(self, run, quickly, tmp_path):
        def other(folder):
            (tmp_path / "7").mkdir()
            (tmp_path / "7" / "theirs").touch()

        quickly.append(other)
        with pytest.raises(InputError, match=r"7 exists\. Give another --version"):
            export_run(run, tmp_path, version=7, log=silent)
        assert [path.name for path in tmp_path.rglob("*")] == ["7", "theirs"]


class TestWholeOrAbsent:
    def test_while_it_is_written_there_is_no_version(self, run, quickly, tmp_path):
        seen = []
        quickly.append(lambda folder: seen.extend(tmp_path.iterdir()))
        export_run(run, tmp_path, log=silent)
        (hidden,) = seen
        assert hidden.name.startswith(".")
        assert not hidden.exists()

    def test_all_is_on_the_disk_before_it_has_its_name(self, run, quickly, tmp_path, monkeypatch):
        synced, fsync = [], os.fsync

        def spied(descriptor):
            named = (tmp_path / "1").exists()
            synced.append((named, pathlib.Path(f"/proc/self/fd/{descriptor}").resolve()))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", spied)
        version = export_run(run, tmp_path, log=silent)
        before = {path.name for named, path in synced if not named}
        assert before >= {path.name for path in version.rglob("*")}
        assert synced[-1] == (True, tmp_path)

    @pytest.mark.parametrize(
        "error",
        [
            OSError(28, "No space left on device"),
            tf.errors.ResourceExhaustedError(None, None, "disk full"),
            InputError("cannot"),
            KeyboardInterrupt(),
        ],
    )
    def test_what_fails_leaves_nothing(self, run, quickly, tmp_path, error):
        def fail(folder):
            raise error

        quickly.append(fail)
        with pytest.raises(type(error)):
            export_run(run, tmp_path, log=silent)
        assert list(tmp_path.iterdir()) == []

    def test_a_disk_that_takes_no_more_leaves_nothing(self, run, model, tmp_path, monkeypatch):
        monkeypatch.setattr(export, "load_reader", lambda run, seed: model)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = run.model("adapted", 3).stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 10, limits[1]))
        try:
            code, out, err = run_in_process(export_main, f"--run={run.path}", f"--to={tmp_path}")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert list(tmp_path.iterdir()) == []

    def test_what_a_killed_export_left_is_removed_once_it_is_old(self, run, quickly, tmp_path):
        for name, age in {"old": 2 * 3600, "new": 60, "lively": 2 * 3600}.items():
            folder = tmp_path / f".export-{name}"
            (folder / "version").mkdir(parents=True)
            (folder / "version" / "saved_model.pb").touch()
            for path in (folder / "version" / "saved_model.pb", folder / "version", folder):
                os.utime(path, (time.time() - age,) * 2)
        # The folder is old, a file in it is not.
        (tmp_path / ".export-lively" / "version" / "saved_model.pb").touch()
        export_run(run, tmp_path, log=silent)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            ".export-lively", ".export-new", "1",
        ]  # fmt: skip


class TestARun:
    def test_that_is_not_finished_says_how_to_go_on(self, tmp_path):
        run = RunDirectory.create(Experiment(run_dir=str(tmp_path / "run"), **TINY))
        code, out, err = run_in_process(
            export_main, f"--run={run.path}", f"--to={tmp_path / 'served'}"
        )
        assert (code, out) == (1, "")
        assert "source_only.keras is missing: step source_only of the run is not finished." in err
        assert not (tmp_path / "served").exists()

    def test_that_was_not_evaluated_says_so(self, quickly, tmp_path, run):
        other = tmp_path / "run"
        shutil.copytree(run.path, other)
        (other / "metrics.json").unlink()
        version = export_run(other, tmp_path / "served", log=silent)
        assert json.loads((version / "metadata.json").read_text())["measured"] is None
        assert "Not measured: the run was not evaluated." in (version / "MODEL_CARD.md").read_text()

    def test_without_serving_messages_it_goes_without_warm_up(
        self, run, quickly, tmp_path, monkeypatch
    ):
        def missing(module):
            raise InputError("Not installed.")

        monkeypatch.setattr(requests, "_messages", missing)
        lines = []
        version = export_run(run, tmp_path, log=lines.append)
        assert lines[0] == "Without warm-up requests: Not installed."
        assert not (version / "assets.extra").exists()


class TestOtherFormats:
    @pytest.mark.parametrize("format", ["onnx", "tflite"])
    def test_they_have_labels_metadata_and_a_card(self, run, tmp_path, format):
        lines = []
        version = export_run(run, tmp_path, format=format, log=lines.append)
        assert {path.name for path in version.iterdir()} == {
            "MODEL_CARD.md", "metadata.json", "labels.txt", f"classify.{format}", f"embed.{format}",
        }  # fmt: skip
        assert (version / "labels.txt").read_text().split("\n") == [*CLASSES, ""]
        facts = json.loads((version / "metadata.json").read_text())
        assert facts["format"] == format
        assert facts["signatures"]["classify"] == {
            "inputs": {"images": {"dtype": "float32", "shape": [None, 16, 16, 1]}},
            "outputs": {"probabilities": {"dtype": "float32", "shape": [None, 10]}},
        }
        assert lines[0].startswith("Compared with Keras on test images: outputs differ by ")
        assert [path.name for path in tmp_path.iterdir()] == ["1"]

    def test_an_unknown_one_is_refused(self, run, tmp_path):
        with pytest.raises(InputError, match="--format must be one of saved_model, onnx, tflite"):
            export_run(run, tmp_path, format="h5", log=silent)

    def test_a_folder_has_versions_of_one_format(self, run, tmp_path):
        (tmp_path / "3").mkdir()
        (tmp_path / "3" / "classify.onnx").touch()
        with pytest.raises(InputError, match="3 is not of --format=saved_model"):
            export_run(run, tmp_path, log=silent)
