"""The one exception that stands for a user's mistake."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was given, what was expected and what to do. The command line prints
    it as one line and exits with a non-zero code; in a notebook it is an ordinary `ValueError`.
    """


def refuse(problems):
    """Raises an `InputError` with these on a line each; does nothing if there are none."""
    problems = list(problems)
    if problems:
        raise InputError("\n".join(problems))
