"""SIGTERM and SIGINT, handled where a training loop can be interrupted.

A scheduler sends SIGTERM before it kills a job (time limit, preemption, cancellation); Ctrl-C is SIGINT. Within
`stoppable`, either signal raises `Stopped` at once, even in the middle of a forward pass, so that the loop can save the
state after the last whole step. Within `defer_signals`, where weights, optimizer and records change together, the
signal is handled at the end.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, SimpleNamespace

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """A signal ended the run; not an `Exception`, so that no handler of failures catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


# The nesting depth of `defer_signals` sections, and the signal to handle at the end of the outermost section.
_state = SimpleNamespace(depth=0, waiting=None)


@contextmanager
def stoppable() -> Iterator[None]:
    """The first SIGTERM or SIGINT raises `Stopped`; later signals are ignored, so that the state can be saved."""
    before = {number: signal.signal(number, _arrive) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _state.depth, _state.waiting = 0, None


@contextmanager
def defer_signals() -> Iterator[None]:
    """A section that no signal interrupts: a signal that arrives inside is handled at its end."""
    defer()
    try:
        yield
    finally:
        deliver()


def defer() -> None:
    """Begin a `defer_signals` section; `deliver` ends it."""
    _state.depth += 1


def deliver() -> None:
    """End a `defer_signals` section; raises `Stopped` if a signal is waiting and no other section is open."""
    _state.depth -= 1
    if _state.depth == 0 and _state.waiting is not None:
        number, _state.waiting = _state.waiting, None
        _stop(number)


def _arrive(number: int, _frame: FrameType | None) -> None:
    if _state.depth:
        _state.waiting = number
    else:
        _stop(number)


def _stop(number: int) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(number)
