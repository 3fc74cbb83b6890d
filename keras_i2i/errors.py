"""The one exception that stands for a user's mistake."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was given, what was expected and what to do. The command line prints
    it as one line and exits with a non-zero code; in a notebook it is an ordinary `ValueError`.
    """
