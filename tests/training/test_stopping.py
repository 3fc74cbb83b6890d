"""SIGTERM and Ctrl-C: at once, or when whoever asked for it has saved."""

import os
import signal
import threading

import pytest

from keras_i2i.training.stopping import Signals, Stopped

BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)


def receive(number):
    os.kill(os.getpid(), number)


@BOTH
def test_one_stops_at_once_unless_it_is_to_wait(number):
    with Signals().handled(), pytest.raises(KeyboardInterrupt) as stopped:
        receive(number)
        pytest.fail("too late")
    assert type(stopped.value) is Stopped
    assert str(stopped.value) == f"{number.name} received: stopped."


@BOTH
def test_one_that_waits_stops_when_it_is_heeded(number):
    signals, done = Signals(), []
    with signals.handled():
        signals.wait()
        signals.heed("nothing is lost")  # none has been received
        signals.wait()
        receive(number)
        done.append("the step")
        assert signals.received == number
        with pytest.raises(Stopped, match=f"^{number.name} received: nothing is lost\\.$"):
            signals.heed("nothing is lost")
    assert done == ["the step"]


def test_a_second_one_does_not_wait():
    signals = Signals()
    with signals.handled():
        signals.wait()
        receive(signal.SIGTERM)
        with pytest.raises(Stopped, match="SIGINT received: stopped"):
            receive(signal.SIGINT)


def test_heeded_they_stop_at_once_again():
    signals = Signals()
    with signals.handled():
        signals.wait()
        signals.heed()
        with pytest.raises(Stopped):
            receive(signal.SIGTERM)


def test_afterwards_they_do_what_they_did_before():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Stopped), Signals().handled():
        with Signals().handled():
            assert signal.getsignal(signal.SIGTERM) != before[0]
        receive(signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_in_another_thread_they_are_left_alone():
    seen = []

    def work():
        with Signals().handled():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
