"""Files at the edges of a step: published whole or not at all, checked before they are used."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodhart import processes
from goodhart.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write a file or folder to; rename it to `path` on success only.

    A reader therefore never sees half an output, and a failed step leaves none: the temporary is removed. In a job of
    several processes, all of which write the same, the first one's is kept.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if processes.rank():
            return
        if temporary.is_file():
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
        elif path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Publish `content` as indented JSON; NaN and infinity are refused, as JSON has neither."""
    with publish(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, required: Sequence[str] = ()) -> dict[str, Any]:
    """Read a JSON object that has the `required` keys, or raise `InputError` with what is wrong and where."""
    try:
        content = json.loads(_existing(path).read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); delete it and rerun the step that makes it.") from error
    missing = [key for key in required if not isinstance(content, dict) or key not in content]
    if missing or not isinstance(content, dict):
        raise InputError(f"{path} lacks the keys {missing}; delete it and rerun the step that makes it.")
    return content


@dataclass(frozen=True)
class Table:
    """The contract of a Parquet table: column types (a field that is not nullable must be filled) and a unique key."""

    name: str
    schema: pa.Schema
    key: tuple[str, ...]


def write_table(path: Path, rows: pd.DataFrame | Sequence[Mapping[str, Any]], table: Table) -> None:
    """Publish `rows` as Parquet under the contract of `table`; a violation is a bug and raises as it is."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows), columns=table.schema.names)
    content = pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False)
    _check(content, table, str(path))
    with publish(path) as temporary:
        pq.write_table(content, temporary)


def read_table(path: Path, table: Table, split: str | None = None) -> pd.DataFrame:
    """Read a Parquet table, or its rows of one split, and check it against its contract, or raise `InputError`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = pq.ParquetFile(_existing(path)).read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{path} is not a readable Parquet file ({reason}); rerun the step that makes it.") from error
    missing = [name for name in table.schema.names if name not in content.column_names]
    if missing:
        raise InputError(f"{path} is not a {table.name} table: it lacks the columns {missing}.")
    try:
        content = content.select(table.schema.names).cast(table.schema)
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{path} is not a {table.name} table: {str(error).splitlines()[0]}.") from error
    _check(content, table, str(path))
    frame = content.to_pandas()
    if split is None:
        return frame
    rows = frame[frame["split"] == split]
    if rows.empty:
        raise InputError(f"{path} has no rows of split '{split}'; use more data.")
    return rows


def _check(content: pa.Table, table: Table, where: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if content.num_rows == 0:
        raise InputError(f"{where}: the {table.name} table is empty.")
    for field in table.schema:
        if not field.nullable and content.column(field.name).null_count:
            raise InputError(f"{where}: column {field.name} of the {table.name} table has empty cells.")
        finite = pc.is_finite(content.column(field.name)) if pa.types.is_floating(field.type) else None
        if finite is not None and not pc.all(finite, min_count=0).as_py():
            raise InputError(f"{where}: column {field.name} of the {table.name} table holds NaN or infinity.")
    if content.select(list(table.key)).group_by(list(table.key)).aggregate([]).num_rows != content.num_rows:
        raise InputError(f"{where}: the {table.name} table has several rows for one {', '.join(table.key)}.")


def check_safetensors(path: Path) -> None:
    """Raise `InputError` unless the size of a safetensors file is what its header announces."""
    size = _existing(path).stat().st_size
    with path.open("rb") as handle:
        try:
            (length,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(length)) if length < size else {}
            end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
        except (struct.error, ValueError, AttributeError, TypeError, KeyError) as error:
            raise InputError(f"{path} is not a safetensors file; rerun the step that makes it.") from error
    if 8 + length + end != size:
        raise InputError(f"{path} is truncated ({size} of {8 + length + end} bytes); rerun the step that makes it.")


def _existing(path: Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; run the step that makes it, or correct the path.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; delete it and rerun the step that makes it.")
    return path
