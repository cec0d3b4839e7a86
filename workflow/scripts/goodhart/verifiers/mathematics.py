r"""Is a mathematical answer right? The library math-verify (extra `math`) compares expressions: 1/2 is 0.5.

Two ways of finding the answer. `strict`, the usual rule of MATH: what the last `\boxed{...}` after any `</think>`
holds. `flexible`: what math-verify itself finds, the last LaTeX or plain expression, boxes and "the answer is" first.
What it calls equal is its own matter; tests/verifiers/test_mathematics.py has a table of where that surprises.

The policy under training may write anything, so reading is bounded. Texts over LONGEST are refused or cut, the same on
every machine, and what takes over SECONDS of processor time is wrong. That limit is a signal, Python's only way out of
a long power or pattern; signals reach the main thread alone, so in any other one it is a ValueError.
"""

import logging
import re
import signal
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from goodhart.errors import InputError

T = TypeVar("T")
LONGEST = {"strict": 1_000, "flexible": 10_000}  # characters: of an answer; of the end of the text that is searched
SECONDS = 3.0  # an answer takes 0.01 to 0.3, a tower of powers for ever
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is none


def boxed_answer(text: str) -> str | None:
    r"""What the last `\boxed{...}`, or `\boxed 5` up to the next `$`, after any `</think>` holds; None without one."""
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
    r"""Whether the answer in `text` equals the gold one: a bare answer, or a solution that holds it in `\boxed{}`.

    A gold answer that cannot be read is an InputError: it would mark every response wrong in silence.
    """
    target = _read_gold(gold)
    if style == "strict":
        answer = boxed_answer(text)
        if answer is None or len(answer) > LONGEST[style]:
            return False
        return _limited(lambda: _equal(target, _parse_answer(answer)), otherwise=False)
    if style == "flexible":
        return _limited(lambda: _equal(target, _parse_text(text[-LONGEST[style] :])), otherwise=False)
    raise InputError(f"unknown answer style {style!r}: choose strict or flexible.")


@lru_cache(maxsize=100_000)
def _read_gold(gold: str) -> list[Any]:
    """The gold answer as math-verify reads it: an expression, its text, or both."""
    boxed = _BOX.search(gold) is not None
    answer = boxed_answer(gold) if boxed else gold.strip()
    found: list[Any] = []
    if answer and len(answer) <= LONGEST["strict"] and (boxed or "\n" not in answer):  # many lines are no bare answer
        found = _limited(lambda: _parse_answer(answer), otherwise=[])
    if not found:
        raise InputError(
            rf"the gold answer {gold[-60:]!r} is neither a mathematical answer nor holds one in \boxed{{}}."
        )
    return found


def _parse_answer(answer: str) -> list[Any]:
    """The whole answer; one that is not understood stays a text, lest some number inside it pass for it."""
    from math_verify import LatexExtractionConfig, parse

    box = [LatexExtractionConfig(boxed_match_priority=0)]
    return parse(rf"\boxed{{{answer}}}", box, extraction_mode="first_match", parsing_timeout=None)


def _parse_text(text: str) -> list[Any]:
    from math_verify import parse

    return parse(text, parsing_timeout=None)


def _equal(gold: list[Any], answer: list[Any]) -> bool:
    from math_verify import verify
    from sympy.core.random import seed

    seed(0)  # sympy tries random points: the same ones each time
    return bool(verify(gold, answer, timeout_seconds=None))


class _TooLong(BaseException):
    """Not an Exception, so that the library, which catches those, lets it pass."""


def _limited(work: Callable[[], T], otherwise: T) -> T:
    """What `work` returns within SECONDS of processor time, which unlike the clock does not depend on the load."""

    def stop(*_: object) -> None:
        raise _TooLong

    import math_verify  # here, so that its import does not count

    logging.getLogger(math_verify.__name__).setLevel(logging.ERROR)  # it warns that its own limits are off
    previous = signal.signal(signal.SIGPROF, stop)
    try:
        try:
            signal.setitimer(signal.ITIMER_PROF, SECONDS, 1.0)  # again each second, lest one be lost in a callback
            return work()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except _TooLong:
        return otherwise
    finally:  # also where the signal came between the end of the work and the end of the timer
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
