"""A process that trains one experiment and may be killed at any time.

It is forked from a server that has imported all that takes long and computed nothing, so that a
hundred of them take minutes.
"""

import multiprocessing
import os

import tensorflow as tf

from keras_i2i.training.experiment import Experiment
from keras_i2i.training.train import train

from .conftest import small_data
from .runs import learning_eagerly, nothing_drawn

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


def process(fields, folder):
    """A process that trains the experiment of these fields; what it says goes to FOLDER/said.txt"""
    return CONTEXT.Process(target=_train, args=(fields, str(folder)))


def _train(fields, folder):
    os.makedirs(folder, exist_ok=True)
    said = os.open(f"{folder}/said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    with small_data(), nothing_drawn(), learning_eagerly():
        train(Experiment(**fields), only=fields.get("only", ()))
