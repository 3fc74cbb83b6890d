"""Writes a checkpoint in process after process, each killed at a later line of the program.

    python dying.py FOLDER COPIES

FOLDER's copies, as the killed processes left them, are COPIES/0, COPIES/1, ...; their number is
printed. Lines are those of this package, and a few of NumPy's and of the standard library.
"""

import os
import pathlib
import shutil
import sys

import numpy as np

# Before the package, which otherwise imports TensorFlow: processes that use it must not fork.
import keras_i2i_commands  # noqa: F401
from keras_i2i.training.checkpoint_folder import CheckpointFolder

EACH = 300  # of the lines of others


def write(folder):
    rng = np.random.default_rng(10)
    arrays = {
        "step": np.asarray(10),
        "weight": rng.normal(size=(3, 2)).astype("float32"),
        "state": rng.integers(0, 2**32, 2, "uint32"),
        "empty": np.zeros((0, 4), "float32"),
    }
    CheckpointFolder(folder, keep=2).write(10, arrays)


def killed_at(number):
    """A trace function that kills the process at that line, as SIGKILL would: nothing is flushed.

    A line of others counts as a fraction of one.
    """
    ours = others = 0

    def trace(frame, event, argument):
        nonlocal ours, others
        if event == "line":
            if "keras_i2i" in frame.f_code.co_filename:
                ours += 1
            else:
                others += 1
            if ours + others // EACH > number:
                os._exit(9)
        return trace

    return trace


def main(folder, copies):
    os.fsync = lambda descriptor: None  # the power stays on, and a busy disk takes its time
    number = 0
    while True:
        copy = copies / str(number)
        shutil.copytree(folder, copy)
        child = os.fork()
        if not child:
            sys.settrace(killed_at(number))
            write(copy)
            sys.settrace(None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            print(number)
            return
        number += 1


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
