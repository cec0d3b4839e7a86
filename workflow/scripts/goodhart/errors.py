"""The exception for bad input, written for the user."""


class InputError(ValueError):
    """Bad input, described in one sentence: what is wrong, where, and what to do.

    Scripts print the sentence and exit with 1 (`goodhart.cli.run`); every other exception is a bug and keeps its
    traceback.
    """
