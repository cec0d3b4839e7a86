"""SIGTERM and SIGINT, taken where a training loop can stand them.

A scheduler sends SIGTERM before it kills a job (time limit, preemption, cancellation); Ctrl-C is SIGINT. Within
`stoppable` either raises `Stopped` at once, in the middle of a forward pass if need be, so that the loop can save what
the last whole step left. Within `defer_signals`, where weights, optimiser and records change together, it waits.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """A signal ended the run; not an `Exception`, so that nothing on the way takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


_depth = 0  # of `defer_signals` sections; a signal that arrives in one waits for its end
_waiting: int | None = None


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and SIGINT raise `Stopped` in here; the first one only, for what follows it is the saving."""
    global _depth, _waiting
    before = {number: signal.signal(number, _arrive) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _depth, _waiting = 0, None


@contextmanager
def defer_signals() -> Iterator[None]:
    """A section that is done whole or not at all: a signal is taken at its end."""
    defer()
    try:
        yield
    finally:
        deliver()


def defer() -> None:
    """Begin a `defer_signals` section that another function ends."""
    global _depth
    _depth += 1


def deliver() -> None:
    """End a `defer_signals` section; raises `Stopped` if a signal has been waiting and no other section is open."""
    global _depth, _waiting
    _depth -= 1
    if _depth == 0 and _waiting is not None:
        number, _waiting = _waiting, None
        _stop(number)


def _arrive(number: int, _frame: FrameType | None) -> None:
    global _waiting
    if _depth:
        _waiting = number
    else:
        _stop(number)


def _stop(number: int) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(number)
