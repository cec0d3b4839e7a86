r"""The verifier `math` for mathematical answers: math-verify (extra `math`) compares expressions, so 1/2 equals 0.5.

In the style `strict`, the answer is the content of the last `\boxed{...}` after any `</think>`, the usual rule of MATH.
In the style `flexible`, it is what math-verify finds: the last LaTeX or plain expression, with preference for boxes
and "the answer is". tests/verifiers/test_mathematics.py lists surprising cases of equality.

A policy in training may write anything, so length and time are limited. Texts longer than LONGEST are rejected or cut,
and an answer that takes over SECONDS of processor time is wrong. The time limit is a signal, since nothing else
interrupts a long power or pattern in Python. Signals need the main thread; any other thread raises a ValueError.
"""

import logging
import re
import signal
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from goodhart.errors import InputError

T = TypeVar("T")
LONGEST = {"strict": 1_000, "flexible": 10_000}  # characters of an answer; of the searched end of a text
SECONDS = 3.0  # an answer usually takes 0.01 to 0.3; a tower of powers never ends
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # escaped braces do not count


def boxed_answer(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` after any `</think>`, or of `\boxed 5` up to the next `$`; else None."""
    text = text.rpartition("</think>")[2]
    ends = [box.end() for box in _BOX.finditer(text)]
    if not ends:
        return None
    if not text.startswith("{", ends[-1]):
        return re.split(r"[$\n]", text[ends[-1] :], maxsplit=1)[0].strip() or None
    depth = 0
    for brace in _BRACE.finditer(text, ends[-1]):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[ends[-1] + 1 : brace.start()].strip() or None
    return None


def is_correct(text: str, gold: str, style: str = "strict") -> bool:
    r"""Whether the answer in `text` equals the gold answer.

    `gold` is a bare answer, or a solution with the answer in `\boxed{}`. A gold answer that cannot be parsed is an
    `InputError`; otherwise every response would silently be wrong.
    """
    target = _read_gold(gold)
    if style not in LONGEST:
        raise InputError(f"unknown answer style {style!r}: choose strict or flexible.")
    answer = boxed_answer(text) if style == "strict" else text[-LONGEST[style] :]
    if answer is None or len(answer) > LONGEST[style]:
        return False
    return _limited(lambda: _equal(target, _parse(answer, whole=style == "strict")), otherwise=False)


@lru_cache(maxsize=100_000)
def _read_gold(gold: str) -> list[Any]:
    """The gold answer as math-verify parses it: an expression, its text, or both."""
    boxed = _BOX.search(gold) is not None
    answer = boxed_answer(gold) if boxed else gold.strip()
    parsed: list[Any] = []
    if answer and len(answer) <= LONGEST["strict"] and (boxed or "\n" not in answer):  # a bare answer has one line
        parsed = _limited(lambda: _parse(answer, whole=True), otherwise=[])
    if not parsed:
        raise InputError(rf"the gold answer {gold[-60:]!r} is not a mathematical answer and has none in \boxed{{}}.")
    return parsed


def _parse(answer: str, whole: bool) -> list[Any]:
    """Parse any expression in the text; if `whole`, only the entire text, as an expression or else as plain text."""
    from math_verify import LatexExtractionConfig, parse

    if not whole:
        return parse(answer, parsing_timeout=None)
    return parse(
        rf"\boxed{{{answer}}}",
        [LatexExtractionConfig(boxed_match_priority=0)],
        extraction_mode="first_match",
        parsing_timeout=None,
    )


def _equal(gold: list[Any], answer: list[Any]) -> bool:
    from math_verify import verify
    from sympy.core.random import seed

    seed(0)  # sympy compares at random points; they must be the same each time
    return bool(verify(gold, answer, timeout_seconds=None))


class _TooLong(BaseException):
    """The time limit was reached; not an Exception, since math-verify catches every Exception."""


def _limited(work: Callable[[], T], otherwise: T) -> T:
    """The result of `work`, or `otherwise` after SECONDS of processor time, which does not depend on the load."""

    def stop(*_: object) -> None:
        raise _TooLong

    import math_verify  # imported before the timer starts

    logging.getLogger(math_verify.__name__).setLevel(logging.ERROR)  # it warns that its own time limits are off
    previous = signal.signal(signal.SIGPROF, stop)
    try:
        try:
            signal.setitimer(signal.ITIMER_PROF, SECONDS, 1.0)  # repeats, in case a signal is lost in a callback
            return work()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except _TooLong:
        return otherwise
    finally:  # stop it again, in case the signal came before the timer stopped
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
