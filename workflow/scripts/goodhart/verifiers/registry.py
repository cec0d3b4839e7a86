"""The verifiers by name; a verifier decides which answers are correct, and thus defines the true reward of a task."""

from collections.abc import Callable
from importlib.util import find_spec

from goodhart.errors import InputError
from goodhart.verifiers import exact, gsm8k, mathematics

# (response, gold answer, style) -> correct
VERIFIERS: dict[str, Callable[[str, str, str], bool]] = {
    "exact": exact.is_correct,
    "gsm8k": gsm8k.is_correct,
    "math": mathematics.is_correct,
}
NEEDS = {"math": "math_verify"}  # the package that a verifier imports, installed by the extra with its name


def verifier(name: str) -> Callable[[str, str, str], bool]:
    """The verifier with this name; `InputError` if it is unknown, or if the package that it imports is missing."""
    if name not in VERIFIERS:
        raise InputError(f"unknown verifier {name!r}: choose from {', '.join(sorted(VERIFIERS))}.")
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        raise InputError(f"verifier {name!r} needs the package {NEEDS[name]}; install this project's extra {name!r}.")
    return VERIFIERS[name]
