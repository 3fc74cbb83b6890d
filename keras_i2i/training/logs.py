"""What the commands let others say: by default nothing, more by `--verbosity`.

Our own lines are printed; this is about TensorFlow's, absl's and Python's warnings. Whoever imports
`keras_i2i` keeps what they have set: the commands alone call `set_up`, before TensorFlow is there.
"""

import contextlib
import importlib.util
import logging
import os
import re
import sys
import tempfile
import warnings

from absl import logging as absl_logging

# TensorFlow's C++ has four levels: from this one on it speaks.
_ALL, _WARNINGS, _ERRORS, _FATAL = range(4)
_SEVERITIES = "IWEF"

# `I0000 00:00:17...` is absl's form; `2026-11-28 10:00:00.1: I tensorflow/...` TensorFlow's older.
_LINE = re.compile(r"(?:\d{4}-\d\d-\d\d [\d:.]+: )?([IWEF])(?:\d{4})? ")
_PREAMBLE = "WARNING: All log messages before absl::InitializeLog()"


def set_up(verbosity=None):
    """Sets what is said from now on; call it before TensorFlow is imported.

    What the environment says of TensorFlow's and gRPC's messages stays.

    Args:
        verbosity: absl's, -3 (fatal) to 1 (debug). None: our lines alone, and the warnings of
            Python libraries that are no news of their next release. An error that ends a command
            is an exception, so it is told in any case.
    """
    level = _FATAL if verbosity is None else min(max(-verbosity, _ALL), _FATAL)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", str(level))
    if level > _ALL:
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR" if level < _FATAL else "NONE")
    if verbosity is None:
        absl_logging.set_verbosity(absl_logging.WARNING)
        if not sys.warnoptions:  # else the user has said it: `python -W ...`
            for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", category)
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _Importing(_level_of_environment(), verbosity is None))


def _level_of_environment():
    try:
        return min(max(int(os.environ["TF_CPP_MIN_LOG_LEVEL"]), _ALL), _FATAL)
    except ValueError:
        return _ALL


class _Importing:
    """Finds TensorFlow, once, and has it imported in silence.

    Its libraries say hello while they are loaded, before they look at TF_CPP_MIN_LOG_LEVEL.
    """

    def __init__(self, level, quiet):
        self.level, self.quiet = level, quiet

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            with _native_errors_filtered(self.level):
                execute(module)
            if self.quiet:
                logging.getLogger("tensorflow").setLevel(logging.ERROR)

        spec.loader.exec_module = exec_module
        return spec


@contextlib.contextmanager
def _native_errors_filtered(level):
    """What C++ writes to standard error in this block is kept back until its end, then sifted."""
    if level == _ALL:
        yield
        return
    sys.stderr.flush()
    try:
        before = os.dup(2)
    except OSError:  # There is none.
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            held.seek(0)
            text = sifted(held.read().decode(errors="replace"), level)
            if text:
                os.write(2, text.encode())


def sifted(text, level):
    """Of what TensorFlow's C++ has logged, what is at least of this level.

    Args:
        text: lines; one that does not say its level goes with the line before it.
        level: 0 for all, 1 from warnings on, 2 from errors on, 3 for what is fatal.
    """
    kept, keeping = [], True
    for line in text.splitlines(keepends=True):
        if line.startswith(_PREAMBLE):
            continue
        if found := _LINE.match(line):
            keeping = _SEVERITIES.index(found[1]) >= level
        if keeping:
            kept.append(line)
    return "".join(kept)
