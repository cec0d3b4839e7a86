"""Rows of a local file or a hub dataset, with a record that pins them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import pandas as pd

from goodhart.errors import InputError
from goodhart.store.checksums import sha256
from goodhart.store.hub import snapshot

READERS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json"}


DATA_FILES = ("README.md", "*.parquet", "*.json", "*.jsonl", "*.csv", "*.arrow", "*.gz", "*.zst")  # of a hub dataset


Rows = tuple[pd.DataFrame, dict[str, Any]]  # and the record that pins them


def read_source(source: str, name: str | None = None, revision: str | None = None) -> Rows:
    """Rows of a local JSON, JSONL, CSV or Parquet file, or of a hub dataset, and what they are.

    Args:
        source: a file, or `dataset:split` of the hub.
        name: configuration of a hub dataset.
        revision: its branch, tag or commit; None: main.

    Returns:
        the rows, and a record that pins them: a file and its sha256, or a dataset and its commit.
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
        frame = _read_file(path)
    except (ValueError, OSError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise InputError(f"data file {path} cannot be read: {str(error).splitlines()[0]}") from error
    return frame, {"source": path.name, "sha256": sha256(path)}


def _read_hub(dataset: str, split: str, name: str | None, revision: str | None) -> Rows:
    """Rows of a split. The folder of the commit is loaded, not the name on the hub, for which `datasets` would take
    another revision from its cache where there is no network."""
    folder = snapshot(dataset, revision, "dataset", DATA_FILES)
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(str(folder), name, split=split or None)
    except Exception as error:  # no such configuration, no such split, no data, data of another form
        reason = " ".join(str(error).split()).replace(str(folder), dataset)
        raise InputError(
            f"dataset {dataset} cannot be read ({reason:.300}); correct its split or configuration."
        ) from error
    if isinstance(loaded, dict):
        raise InputError(
            f"dataset {dataset} has the splits {', '.join(loaded)}; name one as {dataset}:{next(iter(loaded))}."
        )
    return loaded.to_pandas(), {"source": dataset, "configuration": name, "split": split, "revision": folder.name}


def _read_file(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".csv":
        with catch_warnings():
            simplefilter("error", pd.errors.ParserWarning)  # a row longer than the header would lose cells in silence
            frame = pd.read_csv(path, keep_default_na=False, index_col=False)  # a response may be "None", or nothing
        return frame.map(lambda cell: _messages(cell) if isinstance(cell, str) else cell)
    return pd.read_json(path, lines=path.suffix == ".jsonl", dtype=False)


def _messages(cell: str) -> Any:
    """A CSV cell as it is, or as the list of chat messages that it spells in JSON."""
    if cell.startswith(("[{'role'", "[{'content'")):
        raise ValueError("its chat messages are in Python's notation; save them as JSON lines or Parquet")
    if not cell.startswith('[{"'):
        return cell
    try:
        turns = json.loads(cell)
    except json.JSONDecodeError:
        return cell
    return turns if all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in turns) else cell


def pick_columns(frame: pd.DataFrame, columns: Mapping[str, str], source: str) -> pd.DataFrame:
    """Rename the source's columns to ours; `columns` maps our name to the source's."""
    picked = {}
    for ours, theirs in columns.items():
        name, *inner = theirs.split(".")  # a dot reaches into a nested column: metadata.score
        if name not in frame.columns:
            raise InputError(f"{source} has no column {name!r}; it has {', '.join(map(str, frame.columns))}.")
        column = frame[name]
        for key in inner:
            if not all(isinstance(cell, dict) and key in cell for cell in column):
                raise InputError(f"{source} has no {key!r} in every row of column {name!r}.")
            column = column.map(lambda cell, key=key: cell[key])
        picked[ours] = column
    return pd.DataFrame(picked)
