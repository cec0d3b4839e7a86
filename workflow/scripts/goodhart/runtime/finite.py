"""A NaN or infinite number stops a run before it changes a weight, and its batch is written to a file."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from goodhart.errors import InputError
from goodhart.runtime.types import Tensor


class NotFinite(InputError):
    """A number is NaN or infinite; the exception holds the rows of its batch.

    Attributes:
        what: a description of the number.
        where, step: the stage and, if the stage has steps, the step.
        rows, offending: the batch, and the indices of its rows with such a number, as far as they are known.
        path: the file that `dump_on_nan` wrote.
    """

    def __init__(
        self,
        what: str,
        rows: Sequence[Mapping[str, Any]],
        offending: Sequence[int] = (),
        where: str = "",
        step: int | None = None,
    ) -> None:
        super().__init__(what)
        self.what, self.rows, self.offending = what, rows, offending
        self.where, self.step = where, step
        self.path: Path | None = None

    def __str__(self) -> str:
        place = " ".join(str(part) for part in (self.where, self.step) if part not in ("", None))
        look = f"the batch is in {self.path}: look at its rows, or train" if self.path else "train"
        return f"{place + ': ' if place else ''}{self.what}; {look} with a lower learning rate."


class Watched:
    """The rows of one batch, added column by column; a number that is not finite stops the run."""

    def __init__(self, where: str, step: int | None = None, **columns: Sequence[Any]) -> None:
        self.where, self.step, self.columns = where, step, columns

    def add(self, name: str, values: Tensor) -> Tensor:
        """Add a column, (rows,) or (rows, k), and return it; raises `NotFinite` if any row is not finite."""
        self.columns[name] = values.tolist()
        whole = values.isfinite().reshape(len(values), -1).all(dim=1).tolist()
        if not all(whole):
            offending = [row for row, finite in enumerate(whole) if not finite]
            self._stop(f"{name} is not finite in {len(offending)} of {len(values)} rows", offending)
        return values

    def check(self, name: str, value: float) -> None:
        """Raise `NotFinite` if a number of the whole batch is not finite."""
        if not math.isfinite(value):
            self._stop(f"{name} is {value}")

    def _stop(self, what: str, offending: Sequence[int] = ()) -> None:
        rows = [dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True)]
        raise NotFinite(what, rows, offending, self.where, self.step)


@contextmanager
def label_step(where: str, step: int | None = None) -> Iterator[None]:
    """Set stage and step of a `NotFinite` that is raised inside this context."""
    try:
        yield
    except NotFinite as stop:
        stop.where, stop.step = where, step
        raise


@contextmanager
def dump_on_nan(path: Path, seed: int | None = None) -> Iterator[None]:
    """Write a `NotFinite` to `path`, atomically; a run that succeeds removes the file of an earlier run.

    Since JSON has no such numbers, they become the strings "nan", "inf" and "-inf". In a job of several processes,
    the process that raised the error writes the file, and the launcher ends the others.
    """
    try:
        yield
    except NotFinite as stop:
        stop.path = path
        record = {name: getattr(stop, name) for name in ("where", "step", "what", "offending", "rows")} | {"seed": seed}
        finite = json.loads(json.dumps(record), parse_constant=lambda name: str(float(name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(finite, indent=1, allow_nan=False) + "\n")
        os.replace(temporary, path)
        raise
    path.unlink(missing_ok=True)
