"""Several devices, and several workers, train as one device does."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.errors import InputError, WorkerLost
from keras_i2i.training import strategy as strategy_module
from keras_i2i.training import train as train_module
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.strategy import Replicas, make_replicas
from keras_i2i.training.train import train

from .conftest import small_data, tiny
from .runs import history_of, nothing_drawn, same_weights, weights_of

WORKER = pathlib.Path(__file__).with_name("worker.py")

# What would differ between one device and several is in here: batch norm, penalties at random
# points, terms that look at a whole batch, augmentation.
COMMON = {"sync_batch_norm": True, "ceiling": False, "rotation": 20.0, "levels": 0.5}
CLASSIFIER = {**COMMON, "only": ["source_only"], "classifier_steps": 6}
METHODS = {
    # With little to trace: a penalty on features, information, and a decoder.
    "light": {
        "loss_weights": {"translation": 0, "cycle": 0, "information": 0.1},
        "feature_objective": "wasserstein",
        "only": ["adapted"],
    },
    "i2i_adapt": {"loss_weights": {"information": 0.1, "translated_task": 0.1}},
    "few labels": {"target_labels_per_class": 1, "only": ["source_only", "adapted"]},
    "cyclegan": {"generator_stages": 2},
    "dtn": {},
    "lstnet": {},
    "adda": {"preset": "adda"},
}
SLOW = [name for name in METHODS if name != "light"]


def fields_of(name):
    """The experiment of a method, without the folder."""
    method = {} if name in ("light", "few labels", "adda") else {"method": name}
    return {**COMMON, **method, **METHODS[name]}


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def start_workers(*tasks):
    """Starts a worker for each list of experiments; returns exit codes and what they said."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(tasks))]
    processes = []
    for index, experiments in enumerate(tasks):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, WORKER, json.dumps(experiments)],
                env={**os.environ, "TF_CONFIG": json.dumps(config)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    said = [process.communicate(timeout=600)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def train_here(fields, strategy="one"):
    """The same in this process, on one device unless a strategy is given."""
    fields = tiny(**fields, strategy="one")
    only = fields.pop("only", ())
    experiment = Experiment(**fields)
    with small_data(), nothing_drawn(), pytest.MonkeyPatch.context() as patch:
        if strategy != "one":
            patch.setattr(train_module, "make_replicas", lambda *names: Replicas(strategy))
        train(experiment, lambda line: None, only=only)
    return RunDirectory(experiment.run_dir, experiment)


def assert_same_training(run, other):
    """Two runs went the same way, but for the order in which numbers are added up."""
    histories = sorted(path.name for path in (run.path / "history").iterdir())
    assert histories == sorted(path.name for path in (other.path / "history").iterdir())
    for step in (name.removeprefix("seed_0_").removesuffix(".json") for name in histories):
        for entry, expected in zip(history_of(run, step), history_of(other, step), strict=True):
            assert entry.pop("warnings", []) == expected.pop("warnings", []), step
            assert entry == pytest.approx(expected, rel=1e-4, abs=1e-5), step
        weights, expected = weights_of(run.model(step, 0)), weights_of(other.model(step, 0))
        # Not the optimizers' moments, which sum gradients: where rounding turns the sign of one
        # pixel's error, L1 has another gradient.
        for name in (name for name in expected if "optimizer" not in name):
            np.testing.assert_allclose(
                weights[name], expected[name], rtol=1e-3, atol=1e-4, err_msg=f"{step} {name}"
            )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers on this machine train undisturbed: (their folder, their codes and words)."""
    folder = tmp_path_factory.mktemp("cluster") / "whole"
    task = [{**CLASSIFIER, "run_dir": str(folder)}]
    return folder, start_workers(task, task)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    """Name of a method → its run on one device."""
    runs = {}

    def run(name):
        if name not in runs:
            folder = tmp_path_factory.mktemp("one") / name
            runs[name] = train_here({**fields_of(name), "run_dir": str(folder)})
        return runs[name]

    return run


@pytest.mark.parametrize(
    ("said", "told"),
    [("Collective ops is aborted by: Connection reset by peer", "Connection reset by peer"),
     ("Something else", "nothing more.")],
)  # fmt: skip
def test_who_is_left_alone_is_told_why(said, told):
    replicas = Replicas(tf.distribute.get_strategy())
    replicas.many_workers = True
    with (
        pytest.raises(WorkerLost, match=f"Another worker is gone.*TensorFlow says: {told}$"),
        replicas.together(),
    ):
        raise tf.errors.UnavailableError(None, None, said)


class TestTwoWorkers:
    def test_they_end_well(self, cluster):
        _, ends = cluster
        assert [code for code, _ in ends] == [0, 0], ends
        assert all("replicas 2" in said for _, said in ends)

    def test_only_the_chief_speaks_and_writes(self, cluster):
        folder, ((_, chief), (_, other)) = cluster
        assert "On 2 devices, 2 images each." in chief
        assert "seed 0" not in other
        assert len(list((folder / "tensorboard").rglob("events.out*"))) == 1


@pytest.mark.slow
def test_a_worker_is_killed_and_all_are_started_again(cluster, tmp_path):
    """They end as if none had been killed."""
    task = {**CLASSIFIER, "run_dir": str(tmp_path / "killed")}
    (code, said), (killed, _) = start_workers([task], [{**task, "kill": [1, 0]}])
    assert killed == -signal.SIGKILL
    assert code == 1
    assert "error: Another worker is gone" in said
    assert "Start all workers again with the same command" in said
    left = (tmp_path / "killed" / "checkpoints").rglob("*.npz")
    assert [path.name for path in left] == ["step_0000002.npz"]

    ends = start_workers([task], [task])
    assert [code for code, _ in ends] == [0, 0], ends
    assert "source_only, seed 0: continuing from step 2." in ends[0][1]
    killed, whole = (RunDirectory.open(folder) for folder in (tmp_path / "killed", cluster[0]))
    assert same_weights(killed.model("source_only", 0), whole.model("source_only", 0))
    assert history_of(killed, "source_only") == history_of(whole, "source_only")


@pytest.mark.slow
def test_a_keras_that_averages_scalars_is_left_to_do_it(tmp_path):
    """As stock Keras does not: where the first fails, `models/many_workers.py` can go."""
    folders = tmp_path / "stock", tmp_path / "mended"
    stock, mended = ({**CLASSIFIER, "run_dir": str(folder)} for folder in folders)
    ends = start_workers(*[[stock, {**mended, "mended_keras": True}]] * 2)
    for code, said in ends:
        assert code == 0, said
        answers = [line for line in said.splitlines() if "averages scalars" in line]
        assert set(answers[:-1]) == {"Keras averages scalars: False"}
        assert answers[-1] == "Keras averages scalars: True"
    stock, mended = (RunDirectory.open(folder) for folder in folders)
    assert same_weights(stock.model("source_only", 0), mended.model("source_only", 0))
    assert history_of(stock, "source_only") == history_of(mended, "source_only")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_two_workers_train_every_method_as_one_device(name, one_device, tmp_path):
    fields = {**fields_of(name), "run_dir": str(tmp_path / "two")}
    ends = start_workers([fields], [fields])
    assert [code for code, said in ends] == [0, 0], ends
    assert_same_training(RunDirectory.open(tmp_path / "two"), one_device(name))


@pytest.mark.parametrize(
    "name", ["light", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_two_devices_of_a_machine_train_as_one(name, one_device, two_replicas, tmp_path):
    run = train_here({**fields_of(name), "run_dir": str(tmp_path / "two")}, two_replicas)
    assert_same_training(run, one_device(name))


class TestSlurm:
    def environment(self, monkeypatch, **others):
        values = {
            "SLURM_JOB_ID": "40007",
            "SLURM_PROCID": "3",
            "SLURM_STEP_NUM_TASKS": "4",
            "SLURM_STEP_NODELIST": "gpu[08-09]",
            "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
            **others,
        }
        monkeypatch.delenv("TF_CONFIG", raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    def test_says_who_the_workers_are(self, monkeypatch):
        self.environment(monkeypatch, SLURMD_NODENAME="gpu09")
        resolver = strategy_module._resolver()
        assert resolver.cluster_spec().as_dict() == {
            "worker": ["gpu08:12007", "gpu08:12008", "gpu09:12007", "gpu09:12008"]
        }
        assert (resolver.task_type, resolver.task_id) == ("worker", 3)
        assert strategy_module._has_workers()

    def test_one_task_is_no_cluster(self, monkeypatch):
        self.environment(monkeypatch, SLURM_STEP_NUM_TASKS="1")
        assert not strategy_module._has_workers()

    def test_nodes_in_another_order_than_tensorflows_are_refused(self, monkeypatch):
        self.environment(monkeypatch, SLURM_STEP_NODELIST="gpu[9-10]", SLURMD_NODENAME="gpu10")
        with pytest.raises(InputError, match="For task 3 that is gpu9 and gpu10"):
            strategy_module._resolver()


def test_the_guides_pods_know_who_they_are(monkeypatch):
    """docs/scaling.md, the example for Kubernetes."""
    guide = (pathlib.Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"- \|\n(.+?) +exec keras-i2i-train", guide, re.DOTALL)
    said = subprocess.run(
        ["bash", "-ec", script + "printenv TF_CONFIG"],
        env={**os.environ, "JOB_COMPLETION_INDEX": "2"},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    monkeypatch.setenv("TF_CONFIG", said)
    resolver = strategy_module._resolver()
    assert resolver.cluster_spec().as_dict() == {
        "worker": [f"streets-{pod}.streets:12345" for pod in range(4)]
    }
    assert (resolver.task_type, resolver.task_id) == ("worker", 2)


class TestMistakes:
    @pytest.mark.parametrize(
        ("environment", "arguments", "message"),
        [
            ({}, {"strategy": "all"}, "strategy must be one of auto, one, mirrored, multiworker"),
            ({}, {"communication": "mpi"}, "communication must be one of auto, nccl, ring"),
            ({}, {"communication": "ring"}, "--communication=ring is between workers"),
            ({}, {"strategy": "multiworker"}, "set TF_CONFIG on each, or .* with srun"),
            ({"TF_CONFIG": "{"}, {}, "TF_CONFIG must be like"),
            (
                {"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}}'},
                {},
                "TF_CONFIG must say which chief or worker of its cluster this is",
            ),
        ],
    )
    def test_are_named(self, environment, arguments, message, monkeypatch):
        for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InputError, match=message):
            make_replicas(**arguments)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"batch_size": 3}, "--batch_size must leave each of 2 devices as many images"),
            (
                {"target_labels_per_class": 1, "batch_size": 40, "few": 5},
                "--target_labels_per_class must leave .* Received: 5 images in all",
            ),
        ],
    )
    def test_a_batch_must_be_shared_evenly(self, fields, message, two_replicas, tmp_path):
        fields = tiny(**fields, run_dir=str(tmp_path / "run"))
        few = fields.pop("few", None)
        experiment = Experiment(**fields)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match=message):
            patch.setattr(train_module, "make_replicas", lambda *names: Replicas(two_replicas))
            if few:
                patch.setattr(Experiment, "num_classes", few)
            train(experiment)
        assert not (tmp_path / "run").exists()
