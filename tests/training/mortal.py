"""A process that trains one experiment and may be killed at any time.

It is forked from a server that has imported and drawn all that takes long, and has computed nothing
with TensorFlow.
"""

import dataclasses
import multiprocessing
import os

import tensorflow as tf

from keras_i2i import data
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.train import train

from .conftest import small_data
from .runs import learning_eagerly, nothing_drawn

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, f"{__package__}.drawn"])


def process(fields, folder):
    """A process that trains the experiment of these fields; what it says goes to FOLDER/said.txt"""
    return CONTEXT.Process(target=_train, args=(fields, str(folder)))


def _train(fields, folder):
    os.makedirs(folder, exist_ok=True)
    said = os.open(f"{folder}/said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    from .drawn import EXAMPLES  # the server has

    for name, examples in EXAMPLES.items():
        domain = data.get_domain(name)
        data.DOMAINS[name] = dataclasses.replace(
            domain, read=lambda split, data_dir, examples=examples: examples[split]
        )
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    with small_data(), nothing_drawn(), learning_eagerly():
        train(Experiment(**fields), only=fields.get("only", ()))
