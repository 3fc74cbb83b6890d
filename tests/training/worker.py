"""One of several workers, in a process of its own: trains tiny experiments, one after the other.

    python worker.py '[{"run_dir": ..., "kill": [epoch, batch], "only": [step]}, ...]'

TF_CONFIG says which worker it is. `kill`: the worker ends there as if the machine had.
`mended_keras`: from there on, Keras averages over replicas alone, as some release may.
"""

import json
import os
import signal
import sys

import keras
import tensorflow as tf
from conftest import small_data, tiny
from keras.src.backend.tensorflow import trainer
from runs import nothing_drawn

from keras_i2i.models import AdversarialModel, many_workers
from keras_i2i.training import strategy
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.train import train


class Killed(keras.callbacks.Callback):
    def __init__(self, epoch, batch):
        super().__init__()
        self.epoch, self.batch = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, self.batch):
            os.kill(os.getpid(), signal.SIGKILL)


def die_at(epoch, batch):
    fit = AdversarialModel.fit

    def killed(model, batches, callbacks, **kwargs):
        return fit(model, batches, callbacks=[*callbacks, Killed(epoch, batch)], **kwargs)

    AdversarialModel.fit = killed


def mend_keras():
    def averaged(values, strategy, reduction):
        return keras.tree.map_structure(lambda v: strategy.reduce("MEAN", v, axis=None), values)

    trainer.reduce_per_replica = averaged


def say_whether_keras_is_mended():
    asked = many_workers.averages_scalars

    def answered(strategy):
        answer = asked(strategy)
        print("Keras averages scalars:", answer)
        return answer

    many_workers.averages_scalars = answered


def main():
    say_whether_keras_is_mended()
    # As in tests/conftest.py: graphs that run for a step or two.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    for fields in json.loads(sys.argv[1]):
        if fields.pop("mended_keras", False):
            mend_keras()
        kill, only = fields.pop("kill", None), fields.pop("only", ())
        if kill:
            die_at(*kill)
        experiment = Experiment(**tiny(**fields))
        with small_data(), nothing_drawn():
            train(experiment, only=only)
        print("replicas", strategy.make_replicas(experiment.strategy).count)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, ConnectionError) as error:
        sys.exit(f"error: {error}")
