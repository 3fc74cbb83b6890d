"""On which devices a training runs: one, all of this machine, or those of many machines."""

import contextlib
import functools
import json
import os
import re

import tensorflow as tf

from keras_i2i import data
from keras_i2i.errors import InputError, WorkerLost
from keras_i2i.models.many_workers import is_spread

STRATEGIES = ("auto", "one", "mirrored", "multiworker")
COMMUNICATIONS = ("auto", "nccl", "ring")

# Slurm hands out nodes, not ports: each job takes some of its own, below those that systems give
# to outgoing connections.
_FIRST_PORT, _PORTS = 12000, 20000

# What TensorFlow makes of a worker that is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)


class Replicas:
    """All that train one model together, as this process, a worker, sees them.

    A step computes the same however many there are: each replica takes its part of the global
    batch, losses are divided by the global batch, and gradients are summed.

    Args:
        strategy: of `tf.distribute`.
    """

    def __init__(self, strategy):
        self.strategy = strategy
        self.count = strategy.num_replicas_in_sync
        self.many_workers = is_spread(strategy)

    @property
    def is_chief(self):
        """Whether this worker writes the run's files, and says what happens."""
        return not self.many_workers or self.strategy.extended.should_checkpoint

    def batches(self, make):
        """Batches for `fit`, of which this worker reads its own images only.

        Args:
            make: function from a `data.Share`, or None for all, to a dataset.
        """
        if self.count == 1:
            return make(None)

        def shared(context):
            here = self.count // context.num_input_pipelines
            return make(data.Share(context.input_pipeline_id * here, here, self.count))

        return self.strategy.distribute_datasets_from_function(shared)

    def from_chief(self, function):
        """Runs a function on the chief alone, for which the other workers wait.

        So all take the same way, whatever a shared file system shows each of them at the time.

        Args:
            function: without arguments; it may return a number, below 2^24.

        Returns:
            That number, on all workers; 0 for None.
        """
        if not self.many_workers:
            return function() or 0
        number = function() if self.is_chief else None
        return int(self._sum(tf.constant(float(number or 0))))

    def wait(self):
        """Returns when all workers are here."""
        self.from_chief(lambda: None)

    @functools.cached_property
    def _sum(self):
        def of_first(number):
            first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
            return number if first else tf.zeros_like(number)

        @tf.function
        def total(number):
            return self.strategy.reduce("SUM", self.strategy.run(of_first, (number,)), axis=None)

        return total

    @contextlib.contextmanager
    def together(self):
        """In this block, a worker that is gone is a `WorkerLost` that says what to do.

        Raises:
            WorkerLost: in place of the `tf.errors.OpError` that it became.
        """
        try:
            yield
        except _LOST as error:
            if not self.many_workers:
                raise
            reason = re.search(r"aborted by: (.+)|\Z", error.message)[1] or "nothing more."
            raise WorkerLost(
                "Another worker is gone, and the training cannot go on without it. Start all "
                "workers again with the same command: it goes on from the last checkpoint. "
                f"TensorFlow says: {reason}"
            ) from error


def make_replicas(strategy="auto", communication="auto"):
    """Finds the devices to train on. Many workers meet here: each waits for the others.

    Args:
        strategy: "one" device; "mirrored": all GPUs of the machine; "multiworker": those of all
            machines that the environment variable TF_CONFIG names, or of all tasks of a Slurm job
            step; "auto": what there is of these, the last first.
        communication: how workers exchange gradients, "nccl" or "ring"; "auto" leaves it to
            TensorFlow.

    Returns:
        `Replicas`.

    Raises:
        InputError: an unknown name; the environment names no workers, or not as TensorFlow or Slurm
            would; TensorFlow has started before.
    """
    for name, value, known in (
        ("strategy", strategy, STRATEGIES),
        ("communication", communication, COMMUNICATIONS),
    ):
        if value not in known:
            raise InputError(f"{name} must be one of {', '.join(known)}. Received: {value!r}")
    if strategy == "auto":
        strategy = "multiworker" if _has_workers() else "mirrored"
        if strategy == "mirrored" and len(tf.config.list_physical_devices("GPU")) < 2:
            strategy = "one"
    if communication != "auto" and strategy != "multiworker":
        raise InputError(
            f"--communication={communication} is between workers, --strategy=multiworker. "
            f"Received: --strategy={strategy}"
        )
    if strategy == "one":
        return Replicas(tf.distribute.get_strategy())
    return Replicas(_mirrored() if strategy == "mirrored" else _multi_worker(communication))


# TensorFlow numbers a strategy's reductions from the same start, and remembers their shapes for as
# long as the process lives: a second strategy would meet the first one's.


@functools.cache
def _mirrored():
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


@functools.cache
def _multi_worker(communication):
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation[communication.upper()]
    )
    resolver = _resolver()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise InputError(
            "Many workers must meet before TensorFlow computes anything, and it has already. Train "
            "with the command keras-i2i-train, or first of all in a process of its own."
        ) from error


def _has_workers():
    """Whether the environment names other workers."""
    cluster = _tf_config().get("cluster", {})
    named = sum(len(cluster.get(job, ())) for job in ("chief", "worker"))
    return named > 1 or int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def _tf_config():
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        config = json.loads(text)
        return {"cluster": dict(config.get("cluster", {})), "task": dict(config.get("task", {}))}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            'TF_CONFIG must be like {"cluster": {"worker": ["host1:12345", "host2:12345"]}, '
            f'"task": {{"type": "worker", "index": 0}}}}. Received: {text}'
        ) from error


def _resolver():
    """Who the workers are, and which of them this is: TF_CONFIG says it, or else Slurm."""
    config = _tf_config()
    if not config["cluster"]:
        return _slurm_resolver()
    job, index = config["task"].get("type"), config["task"].get("index")
    workers = config["cluster"].get(job, ())
    if job not in ("chief", "worker") or str(index) not in map(str, range(len(workers))):
        raise InputError(
            "TF_CONFIG must say which chief or worker of its cluster this is, like "
            '{"type": "worker", "index": 0}. '
            f"Received: {json.dumps(config['task'])} and {json.dumps(config['cluster'])}"
        )
    return tf.distribute.cluster_resolver.TFConfigClusterResolver()


def _slurm_resolver():
    ports = _FIRST_PORT + int(os.environ.get("SLURM_JOB_ID", "0")) % _PORTS
    try:
        # Slurm itself shows each task its GPUs. The resolver would share them out once more; it is
        # told of one for each task, which has no effect but that it does not ask for them.
        tasks = int(os.environ["SLURM_STEP_NUM_TASKS"])
        slurm = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=ports, gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
        )
        cluster = slurm.cluster_spec()
    except (KeyError, RuntimeError) as error:
        raise InputError(
            "--strategy=multiworker needs to know the workers: set TF_CONFIG on each, or start "
            f"them as the tasks of a Slurm job step, with srun. Missing: {error}"
        ) from error
    job, index = slurm.get_task_info()
    host = cluster.task_address(job, index).rpartition(":")[0]
    here = os.environ.get("SLURMD_NODENAME", host)
    if host != here:
        raise InputError(
            "TensorFlow takes a Slurm job's nodes in the order of the alphabet, Slurm in its own. "
            f"For task {index} that is {host} and {here}. Ask for nodes whose order is the same, "
            "or set TF_CONFIG."
        )
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        cluster,
        task_type=job,
        task_id=index,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )
