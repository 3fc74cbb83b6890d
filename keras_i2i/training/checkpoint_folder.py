"""A folder of checkpoints: each a file that is whole, or is found out not to be."""

import errno
import hashlib
import pathlib

import numpy as np

from keras_i2i.errors import InputError
from keras_i2i.files import remove_leftovers, replacing

_DIGEST = hashlib.sha256().digest_size
_BLOCK = 2**20


class CheckpointFolder:
    """Arrays in files step_0001200.npz, the last few of them.

    A file is what `numpy.savez` writes, with the SHA-256 of that at its end. It is written beside
    its place, brought to the disk and put in place at once: a process that is killed, or a machine
    that loses its power, leaves the file whole or not at all. What changes in it later, down to a
    single bit, contradicts the SHA-256. Older files are removed only once the new one is in place.

    Args:
        path: the folder; made with the first file.
        keep: how many files to keep.
        log: where to say that a file is damaged.
    """

    def __init__(self, path, keep, log=print):
        self.path = pathlib.Path(path)
        self.keep = keep
        self.log = log

    def file(self, step):
        """Where the checkpoint of a step is, or would be."""
        return self.path / f"step_{step:07d}.npz"

    def steps(self):
        """The steps of all files, the oldest first, whole or not."""
        return sorted(int(path.stem.removeprefix("step_")) for path in self.path.glob("step_*.npz"))

    def write(self, step, arrays):
        """Writes arrays, a dict, as the checkpoint of a step.

        Raises:
            OSError: it cannot be written; those before it are as they were.
        """
        with replacing(self.file(step)) as temporary:
            np.savez(temporary, **arrays)
            with open(temporary, "r+b") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
                file.write(digest)
        self._make_room()

    def _make_room(self):
        for old in self.steps()[: -self.keep]:
            self.file(old).unlink(missing_ok=True)

    def newest(self):
        """The step of the newest file that is whole; 0 if there is none.

        Damaged ones are named in the log and laid aside, as step_0001200.npz.damaged. So are the
        halves that killed processes left: only whoever writes here may ask.
        """
        remove_leftovers(self.path)
        damaged = []
        found = 0
        for step in reversed(self.steps()):
            problem = _problem(self.file(step))
            if not problem:
                found = step
                break
            damaged.append((self.file(step), problem))
        onwards = f"going on from step {found} instead" if found else "beginning anew"
        for file, problem in damaged:
            file.replace(f"{file}.damaged")
            self.log(f"warning: the checkpoint {file} is damaged ({problem}); {onwards}.")
        self._make_room()  # whoever wrote the last may have been killed before
        return found

    def read(self, step):
        """The arrays of a checkpoint, name → array.

        Raises:
            InputError: it is not there, or not whole.
        """
        file = self.file(step)
        problem = _problem(file) if file.exists() else "it is not there"
        if problem:
            raise InputError(f"The checkpoint {file} cannot be read: {problem}.")
        with np.load(file, allow_pickle=False) as content:
            return dict(content)


def _problem(path):
    """In words, what is wrong with a file; None if nothing is."""
    digest, left = hashlib.sha256(), path.stat().st_size - _DIGEST
    try:
        with open(path, "rb") as file:
            while left > 0 and (block := file.read(min(left, _BLOCK))):
                digest.update(block)
                left -= len(block)
            if left < 0 or file.read() != digest.digest():
                return "its content is not what was written"
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return f"the disk cannot read it: {error.strerror}"
    return None
