"""Numbers that are NaN or infinite stop a run before they do harm, and the batch they are in is kept to be read."""

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
    """A number that is NaN or infinite, with the rows of the batch it is in.

    Attributes:
        what: what is not finite; where, step: in which stage and, where it has steps, in which of them.
        rows, offending: the batch, and the numbers of the rows in it that have such a number, as far as known.
        path: the file that holds all of this (`dump_on_nan`).
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
    """The rows of one batch, column by column as they come to be known; a number that is not finite stops the run."""

    def __init__(self, where: str, step: int | None = None, **columns: Sequence[Any]) -> None:
        self.where, self.step, self.columns = where, step, columns

    def add(self, name: str, values: Tensor) -> Tensor:
        """One more column, (rows,) or (rows, k), which comes back; `NotFinite` names how many of its rows are not."""
        self.columns[name] = values.tolist()
        whole = values.isfinite().reshape(len(values), -1).all(dim=1).tolist()
        if not all(whole):
            offending = [row for row, finite in enumerate(whole) if not finite]
            self._stop(f"{name} is not finite in {len(offending)} of {len(values)} rows", offending)
        return values

    def check(self, name: str, value: float) -> None:
        """One number of the batch as a whole."""
        if not math.isfinite(value):
            self._stop(f"{name} is {value}")

    def _stop(self, what: str, offending: Sequence[int] = ()) -> None:
        rows = [dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True)]
        raise NotFinite(what, rows, offending, self.where, self.step)


@contextmanager
def label_step(where: str, step: int | None = None) -> Iterator[None]:
    """Tell a `NotFinite` that comes from deeper down in which stage, and in which step of it, that was."""
    try:
        yield
    except NotFinite as stop:
        stop.where, stop.step = where, step
        raise


@contextmanager
def dump_on_nan(path: Path, seed: int | None = None) -> Iterator[None]:
    """Write what a `NotFinite` says to `path`, whole or not at all; a run that ends well removes what an earlier left.

    JSON has no such numbers: they are the texts "nan", "inf" and "-inf". In a job of several processes the one that met
    the number writes it, and its launcher ends the others.
    """
    try:
        yield
    except NotFinite as stop:
        stop.path = path
        record: dict[str, Any] = {"where": stop.where, "step": stop.step, "what": stop.what, "seed": seed}
        record |= {"offending": list(stop.offending), "rows": list(stop.rows)}
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(_as_json(record), indent=1, allow_nan=False) + "\n")
        os.replace(temporary, path)
        raise
    path.unlink(missing_ok=True)


def _as_json(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _as_json(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_as_json(value) for value in content]
    return str(content) if isinstance(content, float) and not math.isfinite(content) else content
