"""What others may say while a command runs. `tests/test_scripts.py` looks at whole commands."""

import os
import sys
import warnings

import pytest
from absl import logging

from keras_i2i.training import logs

STARTING = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795862990.653500    4937 port.cc:153] oneDNN custom operations are on.
I0000 00:00:1795862990.734402    4937 cpu_feature_guard.cc:227] This TensorFlow binary is optimized.
To enable the following instructions: AVX2, rebuild TensorFlow with the appropriate flags.
2026-11-28 14:44:05.157831: W external/local_xla/xla/gpu_device.cc:32] Cannot dlopen some libraries.
E0000 00:00:1795862992.847085    4937 cuda_platform.cc:52] failed call to cuInit
F0000 00:00:1795862992.847085    4937 cpu_feature_guard.cc:99] This was compiled for AVX2.
"""


@pytest.mark.parametrize(("level", "first"), [(1, 4), (2, 5), (3, 6)])
def test_messages_below_a_level_are_left_out_with_what_belongs_to_them(level, first):
    assert logs.sifted(STARTING, level) == "".join(STARTING.splitlines(keepends=True)[first:])


def test_what_is_no_message_of_tensorflows_is_left_alone():
    said = "ld.so: libcudart.so.13: cannot open shared object file\nIt 0000 is no level.\n"
    assert logs.sifted(said, 3) == said


def test_what_is_written_below_python_is_sifted_once_the_block_has_ended(capfd):
    with logs._native_errors_filtered(3):
        os.write(2, STARTING.encode())
        os.write(2, b"not UTF-8: \xff\n")
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == STARTING.splitlines(keepends=True)[-1] + "not UTF-8: �\n"
    os.write(2, b"and then as ever\n")
    assert capfd.readouterr().err == "and then as ever\n"


def test_an_import_that_fails_is_told(capfd):
    with pytest.raises(ImportError), logs._native_errors_filtered(3):
        os.write(2, b"undefined symbol: cuInit\n")
        raise ImportError
    assert capfd.readouterr().err == "undefined symbol: cuInit\n"


@pytest.fixture
def environment(monkeypatch):
    """The environment without levels; what a test sets of them, and of absl's, is undone."""
    for name in ("TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY"):
        monkeypatch.setenv(name, "")  # else what a test sets would not be undone
        monkeypatch.delenv(name)
    verbosity = logging.get_verbosity()
    yield monkeypatch
    logging.set_verbosity(verbosity)


@pytest.mark.parametrize(
    ("verbosity", "level"),
    [(None, "3"), (-3, "3"), (-2, "2"), (-1, "1"), (0, "0"), (1, "0"), (3, "0")],
)
def test_verbosity_is_tensorflows_too(verbosity, level, environment):
    logs.set_up(verbosity)
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == level
    assert ("GRPC_VERBOSITY" in os.environ) == (level != "0")


def test_what_the_environment_says_stays(environment):
    environment.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    environment.setenv("GRPC_VERBOSITY", "INFO")
    logs.set_up()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "1"
    assert os.environ["GRPC_VERBOSITY"] == "INFO"


def test_news_of_the_next_release_wait_until_they_are_asked_for(environment):
    environment.setattr(sys, "warnoptions", [])
    for verbosity, told in ((None, 0), (-1, 2)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            logs.set_up(verbosity)
            for category in (DeprecationWarning, FutureWarning):
                warnings.warn("np.bool is deprecated", category, stacklevel=1)
            warnings.warn("this is for you", UserWarning, stacklevel=1)
        assert len(caught) == told + 1


def test_python_is_told_what_to_say_of_warnings_by_its_own_option(environment):
    environment.setattr(sys, "warnoptions", ["default"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logs.set_up()
        warnings.warn("np.bool is deprecated", DeprecationWarning, stacklevel=1)
    assert len(caught) == 1
