"""From any source to the canonical tables: reading, splitting by prompt, and saying what was covered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

import numpy as np
import pandas as pd

from goodhart.conversations import SHARED, split_pair
from goodhart.errors import InputError
from goodhart.hub import snapshot
from goodhart.seals import sha256

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPLITS = (("train", 0.8), ("validation", 0.9), ("test", 1.0))  # section 4.1: 80/10/10, as cumulative shares
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


def pair_texts(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """The rows with prompt, chosen and rejected as texts; without a prompt column, chosen and rejected share it."""
    rows = []
    prompts = frame["prompt"] if "prompt" in frame else [SHARED] * len(frame)
    for row, pair in enumerate(zip(prompts, frame["chosen"], frame["rejected"], strict=True)):
        try:
            rows.append(split_pair(*pair))
        except InputError as error:
            raise InputError(f"{source}, row {row}: {error}") from error
    texts = pd.DataFrame(rows, columns=["prompt", "chosen", "rejected"], index=frame.index)
    return texts.join(frame.drop(columns=["prompt", "chosen", "rejected"], errors="ignore"))


def split_of(prompt: str, seed: int) -> str:
    """The split a prompt belongs to, by its hash: every row of one prompt falls into the same one."""
    digest = hashlib.sha256(f"{seed}:{prompt}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return next(name for name, end in SPLITS if share < end)


def finish_preferences(frame: pd.DataFrame, seed: int, limit: int | None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Drop pairs of identical responses, split, number and (with `limit`) draw a random subset.

    Pairs whose two scores tie are counted and kept: the source chose, and the paper trains on what it chose.

    Args:
        frame: prompt, chosen, rejected and, where the source has them, scores and source models.

    Returns:
        the rows of `tables.PREFERENCES`, and counts for `coverage.json`.
    """
    identical = frame["chosen"] == frame["rejected"]
    kept = frame[~identical]
    if kept.empty:
        raise InputError("no preference pair has two different responses; check the source.")
    if limit is not None and limit < len(kept):
        kept = kept.sample(n=limit, random_state=seed).sort_index()
    kept = kept.assign(split=[split_of(prompt, seed) for prompt in kept["prompt"]], pair_id=range(len(kept)))
    absent = sorted({name for name, _ in SPLITS if name != "validation"} - set(kept["split"]))
    if absent:
        raise InputError(f"the preferences have no pair in split {absent[0]} ({len(kept)} pairs in all); use more.")
    for column in ("chosen_score", "rejected_score", "chosen_source", "rejected_source"):
        if column not in kept:
            kept[column] = None
    counts = {
        "rows_in_source": len(frame),
        "identical_pairs_dropped": int(identical.sum()),
        "pairs_with_tied_scores": int((kept["chosen_score"] == kept["rejected_score"]).sum()),
        "pairs": len(kept),
        "prompts": int(kept["prompt"].nunique()),
        "pairs_by_split": {name: int((kept["split"] == name).sum()) for name, _ in SPLITS},
    }
    return kept.reset_index(drop=True), counts


def coverage(preferences: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Appendix F (d): token lengths, source models (the logging policy) and scores of the preference data."""
    from goodhart.encoding import encode_prompts, encode_responses

    sources = pd.concat([preferences["chosen_source"], preferences["rejected_source"]]).dropna()
    scores = pd.concat([preferences["chosen_score"], preferences["rejected_score"]]).dropna().astype(float)
    return {
        "tokens": {
            column: quantiles([len(ids) for ids in encode(tokenizer, preferences[column].tolist())])
            for column, encode in (
                ("prompt", encode_prompts),
                ("chosen", encode_responses),
                ("rejected", encode_responses),
            )
        },
        "responses_by_source_model": {str(k): int(v) for k, v in sources.value_counts().sort_index().items()},
        "scores": quantiles(scores.tolist()) if len(scores) else None,
    }


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Minimum, quartiles, maximum and mean."""
    levels = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    names = ("minimum", "p25", "median", "p75", "maximum")
    return {**dict(zip(names, map(float, levels), strict=True)), "mean": float(np.mean(values))}
