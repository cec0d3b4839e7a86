"""The one exception a user is meant to read."""


class InputError(ValueError):
    """Bad input, said in one sentence: what is wrong, where, and what to do.

    Scripts print the sentence and exit with 1 (`goodhart.commandline.run`); every other exception is a bug and keeps
    its traceback.
    """
