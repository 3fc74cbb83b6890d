"""SIGTERM and Ctrl-C: a training stops after its step, with a checkpoint; all else at once."""

import contextlib
import signal
import threading

# Of sysexits.h, where it is a failure that goes away if the same is tried again.
RUN_AGAIN = 75


class Stopped(KeyboardInterrupt):
    """A signal has stopped a run. Nothing is lost: the same command goes on where it was."""


class Signals:
    """What SIGTERM and SIGINT do to a run.

    They raise `Stopped` in the main thread: at once, or, between `wait` and `heed`, when whoever
    asked for it calls `heed`. A second signal does not wait.
    """

    def __init__(self):
        self.received = None
        self._waiting = False

    @contextlib.contextmanager
    def handled(self):
        """In this block they do that. Outside the main thread, which alone gets signals, nothing.

        What they did before, they do after it.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                # None stands for one that Python did not set.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def wait(self):
        """From now on a signal waits for `heed`."""
        self._waiting = True

    def heed(self, saved=""):
        """From now on a signal stops the run at once; so does one that has been waiting.

        Args:
            saved: what is saved, in words.

        Raises:
            Stopped: one has.
        """
        self._waiting = False
        if self.received:
            raise Stopped(f"{self.received.name} received: {saved or 'stopped'}.")

    def _handle(self, number, frame):
        first, self.received = self.received is None, signal.Signals(number)
        if not first or not self._waiting:
            self.heed()
