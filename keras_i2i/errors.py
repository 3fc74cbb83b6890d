"""The exceptions whose message is all that a user needs to know."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was given, what was expected and what to do. The command line prints
    it as one line and exits with a non-zero code; in a notebook it is an ordinary `ValueError`.
    """


class TrainingDiverged(ArithmeticError):
    """A loss or a weight is no longer a finite number, and training has stopped.

    The message names the loss or weight, the step, what is left to go on from, and what to try. The
    command line prints it and exits with a non-zero code.
    """


class WorkerLost(ConnectionError):
    """Another of a training's workers is gone, and it cannot go on without.

    Started again, all of them go on from the last checkpoint: the command line exits with the code
    that asks for it.
    """


def refuse(problems):
    """Raises an `InputError` with these on a line each; does nothing if there are none."""
    problems = list(problems)
    if problems:
        raise InputError("\n".join(problems))
