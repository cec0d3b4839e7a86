"""Input and output files of a step: outputs are published atomically with origin and seal, inputs are checked."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from goodhart.errors import InputError
from goodhart.runtime.types import Frame, Tensor
from goodhart.store.checksums import BLANK, MARK, check_seal, existing, sealed
from goodhart.store.publishing import publish


def write_json(path: Path, content: Mapping[str, Any], origin: Mapping[str, Any] | None = None) -> None:
    """Publish `content` as indented JSON with its origin and a seal; NaN and infinity raise `ValueError`."""
    whole = {**content, **({"origin": origin} if origin else {}), "seal": BLANK}
    text = json.dumps(whole, indent=2, allow_nan=False) + "\n"
    _publish(path, sealed(text.encode()))


def read_json(path: Path, required: Sequence[str] = ()) -> dict[str, Any]:
    """Read a JSON object that has the `required` keys, or raise `InputError` with what is wrong and where.

    A sealed object must be unchanged, and is returned without origin and seal; an object without a seal is external.
    """
    data = _existing(path).read_bytes()
    try:
        content = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); delete it and rerun the step that makes it.") from error
    if check_seal(data, path):
        content = {name: value for name, value in content.items() if name not in ("origin", "seal")}
    missing = [key for key in required if not isinstance(content, dict) or key not in content]
    if missing or not isinstance(content, dict):
        raise InputError(f"{path} lacks the keys {missing}; delete it and rerun the step that makes it.")
    return content


def write_text(path: Path, text: str) -> None:
    """Publish a text as UTF-8."""
    _publish(path, text.encode())


def _publish(path: Path, content: bytes) -> None:
    with publish(path) as temporary:
        temporary.write_bytes(content)


@dataclass(frozen=True)
class Table:
    """The contract of a Parquet table: column types (a field that is not nullable must be filled) and a unique key."""

    name: str
    schema: pa.Schema
    key: tuple[str, ...]


def write_table(
    path: Path, rows: Frame | Sequence[Mapping[str, Any]], table: Table, origin: Mapping[str, Any] | None = None
) -> None:
    """Publish `rows` as Parquet under the contract of `table`; a violation is a bug in the calling step.

    Origin and seal are stored in the file's metadata.
    """
    import pandas as pd

    frame = pd.DataFrame(rows if isinstance(rows, pd.DataFrame) else list(rows), columns=table.schema.names)
    content = pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False)
    content = content.replace_schema_metadata()
    _check(content, table, path)
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, content.schema, compression="zstd") as writer:
        writer.write_table(content)
        writer.add_key_value_metadata({**({"origin": json.dumps(origin)} if origin else {}), "seal": BLANK})
    _publish(path, sealed(buffer.getvalue()))


def read_table(path: Path, table: Table, split: str | None = None) -> Frame:
    """Read a Parquet table, or its rows of one split, and check it against its contract, or raise `InputError`.

    A sealed table must be unchanged. An external table may have columns beyond those of the contract, and other types
    that convert without changing a value, such as numbers of another width or long strings.
    """
    data = _existing(path).read_bytes()
    try:
        if not data.startswith(b"PAR1") or not data.endswith(b"PAR1"):
            raise pa.ArrowInvalid("its first and last bytes are not PAR1")
        check_seal(data, path)
        content = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{path} is not a readable Parquet file ({reason}); rerun the step that makes it.") from error
    missing = [name for name in table.schema.names if name not in content.column_names]
    if missing:
        raise InputError(f"{path} is not a {table.name} table: it lacks the columns {missing}.")
    content = content.select(table.schema.names)
    for field in content.schema:
        if _kind(field.type) not in (_kind(wanted := table.schema.field(field.name).type), "nothing"):
            raise InputError(
                f"{path} is not a {table.name} table: column {field.name} has type {field.type} and not {wanted}."
            )
    try:
        content = content.cast(table.schema)
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{path} is not a {table.name} table: {str(error).splitlines()[0]}.") from error
    _check(content, table, path)
    rows = content.to_pandas()
    if split is not None:
        rows = rows[rows["split"] == split]
    if rows.empty:
        raise InputError(f"{path} has no rows of split '{split}'; use more data.")
    return rows


def _kind(kind: pa.DataType) -> str:
    """The class of a type; a cast within a class keeps every value or fails."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    return "nothing" if pa.types.is_null(kind) else str(kind)


def _check(content: pa.Table, table: Table, where: Path) -> None:
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


def check_safetensors(path: Path) -> dict[str, Any]:
    """The metadata of a safetensors file, and the shapes of its tensors; `InputError` if it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(_existing(path), "numpy") as file:
            shapes = {name: {"shape": file.get_slice(name).get_shape()} for name in file.keys()}  # noqa: SIM118
            header = {**shapes, "__metadata__": file.metadata() or {}}
    except SafetensorError as error:
        raise InputError(f"{path} is not a safetensors file ({error}); rerun the step that makes it.") from error
    if MARK in str(header):
        check_seal(path.read_bytes(), path)
    return header


def write_tensors(path: Path, tensors: dict[str, Tensor], origin: Mapping[str, Any] | None = None) -> None:
    """Publish tensors as safetensors, with their origin and a seal in the header."""
    from safetensors.torch import save

    # A single metadata entry, because safetensors writes several entries in an order that differs between calls.
    content = save(tensors, {"goodhart": json.dumps({"origin": origin, "seal": BLANK})})
    with publish(path) as temporary:
        temporary.write_bytes(sealed(content))


def _existing(path: Path) -> Path:
    if existing(path).stat().st_size == 0:
        raise InputError(f"{path} is empty; delete it and rerun the step that makes it.")
    return path
