"""The flags of a step: input files, which are opened and checked, and the origin of the outputs."""

import sys
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from goodhart.cli import Flags, flag
from goodhart.store.files import Table, check_safetensors, read_json, read_table
from goodhart.store.provenance import Origin


@dataclass(frozen=True, kw_only=True)
class StepFlags(Flags):
    """The base of the arguments of every step of the workflow."""

    @cached_property
    def origin(self) -> Origin:
        """The provenance of the outputs of the step."""
        return Origin.of(self.raw, str(sys.modules[type(self).__module__].__file__))


def table(contract: Table, *splits: str, help: str | None = None) -> Any:
    """A flag for a Parquet table of a contract: all rows, the rows of one split, or a tuple with one part per split."""

    def read(path: Path) -> Any:
        parts = tuple(read_table(path, contract, split) for split in splits or [None])
        return parts if len(parts) > 1 else parts[0]

    return flag(read, help=help)


def record(*keys: str, help: str | None = None) -> Any:
    """A flag for a JSON object that has these keys."""
    return flag(partial(read_json, required=keys), help=help)


def tensors(help: str | None = None) -> Any:
    """A flag for the path of a complete safetensors file."""

    def check(path: Path) -> Path:
        check_safetensors(path)
        return path

    return flag(check, help=help)
