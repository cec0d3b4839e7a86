"""Rows of a local file or a hub dataset, with a record of the source version."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import pandas as pd

from goodhart.errors import InputError
from goodhart.store.checksums import sha256
from goodhart.store.hub import snapshot

DATA_FILES = ("README.md", "*.parquet", "*.json", "*.jsonl", "*.csv", "*.arrow", "*.gz", "*.zst")  # of a hub dataset
Rows = tuple[pd.DataFrame, dict[str, Any]]  # rows, and the record of the source version


def read_source(source: str, name: str | None = None, revision: str | None = None) -> Rows:
    """Rows of a local file with a suffix of READERS, or of a hub dataset.

    Args:
        source: a file, or `dataset` or `dataset:split` of the hub.
        name: configuration of a hub dataset.
        revision: branch, tag or commit of a hub dataset; None: main.

    Returns:
        the rows, and a record of the source version: a file and its sha256, or a dataset and its commit.
    """
    path = Path(source)
    if path.is_dir():
        raise InputError(f"data source {source} is a folder; name a file in it.")
    if path.suffix in READERS:
        frame, record = _read_local(path)
    else:
        frame, record = _read_hub(*source.partition(":")[::2], name, revision)
    if frame.empty:
        raise InputError(f"data source {source} has no rows.")
    return frame, record


def _read_local(path: Path) -> Rows:
    if not path.is_file():
        raise InputError(f"data file {path} does not exist; correct the path in the config.")
    try:
        frame = READERS[path.suffix](path)
    except (ValueError, OSError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise InputError(f"data file {path} cannot be read: {str(error).splitlines()[0]}") from error
    return frame, {"source": path.name, "sha256": sha256(path)}


def _read_hub(dataset: str, split: str, name: str | None, revision: str | None) -> Rows:
    """Rows of a split, loaded from the folder of the commit.

    If given the name on the hub, `datasets` would, without network, load another revision from its cache.
    """
    folder = snapshot(dataset, revision, "dataset", DATA_FILES)
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(str(folder), name, split=split or None)
    except Exception as error:  # an unknown configuration or split, no data, data in another format
        reason = " ".join(str(error).split()).replace(str(folder), dataset)
        raise InputError(
            f"dataset {dataset} cannot be read ({reason:.300}); correct its split or configuration."
        ) from error
    if isinstance(loaded, dict):
        raise InputError(
            f"dataset {dataset} has the splits {', '.join(loaded)}; name one as {dataset}:{next(iter(loaded))}."
        )
    return loaded.to_pandas(), {"source": dataset, "configuration": name, "split": split, "revision": folder.name}


def _read_csv(path: Path) -> pd.DataFrame:
    with catch_warnings():
        simplefilter("error", pd.errors.ParserWarning)  # otherwise, pandas drops the extra cells of long rows
        frame = pd.read_csv(path, keep_default_na=False, index_col=False)  # a response may be "None", or empty
    return frame.map(lambda cell: _messages(cell) if isinstance(cell, str) else cell)


def _messages(cell: str) -> Any:
    """The list of chat messages if a CSV cell is such a list in JSON, else the cell itself."""
    if cell.startswith(("[{'role'", "[{'content'")):
        raise ValueError("its chat messages are Python literals and not JSON; save them as JSON lines or Parquet")
    if not cell.startswith('[{"'):
        return cell
    try:
        turns = json.loads(cell)
    except json.JSONDecodeError:
        return cell
    return turns if all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in turns) else cell


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": pd.read_parquet,
    ".csv": _read_csv,
    ".json": lambda path: pd.read_json(path, dtype=False),
    ".jsonl": lambda path: pd.read_json(path, dtype=False, lines=True),
}


def pick_columns(frame: pd.DataFrame, columns: Mapping[str, str], source: str) -> pd.DataFrame:
    """Select and rename columns, {our name: the source's name}; a dot in a name selects a nested column."""
    picked = {}
    for ours, theirs in columns.items():
        name, *inner = theirs.split(".")  # such as metadata.score
        if name not in frame.columns:
            raise InputError(f"{source} has no column {name!r}; its columns are {', '.join(map(str, frame.columns))}.")
        column = frame[name]
        for key in inner:
            if not all(isinstance(cell, dict) and key in cell for cell in column):
                raise InputError(f"{source} has no {key!r} in some rows of column {name!r}; choose another column.")
            column = column.map(lambda cell, key=key: cell[key])
        picked[ours] = column
    return pd.DataFrame(picked)
