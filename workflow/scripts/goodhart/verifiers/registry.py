"""The verifiers by name: which answers are correct, the true reward of a task."""

from collections.abc import Callable
from importlib.util import find_spec

from goodhart.errors import InputError
from goodhart.verifiers import mathematics
from goodhart.verifiers.gsm8k import is_correct

# One verifier a task: (response, gold answer, style) -> correct.
VERIFIERS: dict[str, Callable[[str, str, str], bool]] = {"gsm8k": is_correct, "math": mathematics.is_correct}


NEEDS = {"math": "math_verify"}  # the package a verifier imports, which this project's extra of that name installs


def verifier(name: str) -> Callable[[str, str, str], bool]:
    """The verifier of a task; an unknown name, or one whose package is not installed, is an InputError."""
    if name not in VERIFIERS:
        raise InputError(f"unknown verifier {name!r}: choose from {', '.join(sorted(VERIFIERS))}.")
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        raise InputError(f"verifier {name!r} needs the package {NEEDS[name]}; install this project's extra {name!r}.")
    return VERIFIERS[name]
