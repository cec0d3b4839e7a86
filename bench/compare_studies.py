r"""Compare two finished studies value by value: Parquet, CSV and safetensors files, and the numbers of JSON files.

Origins, seals and hashes may differ. A renamed label is named as OLD=NEW; nothing else is forgiven. Exits with 1 where
anything differs.

    python bench/compare_studies.py --before ../before/results/pocket --after results/pocket --renamed "Old=New"
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from safetensors.numpy import load_file

import alternating  # noqa: F401  (where the workflow's scripts are)
from goodhart.cli import parser

IGNORED = {"origin", "seal", "sha256", "files", "tokenizer", "template", "code", "place"}  # keys of JSON files


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--before", type=Path, required=True)
    args.add_argument("--after", type=Path, required=True)
    args.add_argument("--renamed", nargs="*", default=[], metavar="OLD=NEW")
    return args.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    renamed = dict(pair.split("=", 1) for pair in args.renamed)
    kinds = (".parquet", ".csv", ".safetensors", ".json")
    names = {p.relative_to(root) for root in (args.before, args.after) for p in root.rglob("*") if p.suffix in kinds}
    same = different = 0
    for name in sorted(names):
        before, after = args.before / name, args.after / name
        missing = [str(path) for path in (before, after) if not path.is_file()]
        what = f"{missing[0]} is missing" if missing else difference(before, after, renamed)
        different += what is not None
        same += what is None
        if what is not None:
            print(f"{name}: {what}")
    print(f"{same} files are the same, {different} differ")
    sys.exit(int(different > 0))


def difference(before: Path, after: Path, renamed: Mapping[str, str]) -> str | None:
    """What differs between two files of one kind, or None."""
    if before.suffix == ".parquet":
        one, other = (pq.read_table(path).replace_schema_metadata() for path in (before, after))
        return None if one.equals(other) else "values or columns differ"
    if before.suffix == ".safetensors":
        tensors, others = load_file(before), load_file(after)
        same = tensors.keys() == others.keys() and all(tensors[k].tobytes() == others[k].tobytes() for k in tensors)
        return None if same else "tensors differ"
    if before.suffix == ".csv":
        one, other = (pd.read_csv(path, dtype=str, keep_default_na=False) for path in (before, after))
        return None if one.rename(columns=renamed).replace(renamed).equals(other) else "cells or columns differ"
    return _apart(json.loads(before.read_text()), json.loads(after.read_text()), renamed, "")


def _apart(one: Any, other: Any, renamed: Mapping[str, str], where: str) -> str | None:
    """The first place at which two JSON values differ in a number, or in what they hold."""
    if isinstance(one, dict) and isinstance(other, dict):
        one = {renamed.get(key, key): value for key, value in one.items() if key not in IGNORED}
        other = {key: value for key, value in other.items() if key not in IGNORED}
        if one.keys() != other.keys():
            return f"{where or 'top'}: keys {sorted(one.keys() ^ other.keys())} are in one only"
        return next((found for key in one if (found := _apart(one[key], other[key], renamed, f"{where}.{key}"))), None)
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return f"{where}: {len(one)} and {len(other)} entries"
        parts = enumerate(zip(one, other, strict=True))
        return next((found for i, (a, b) in parts if (found := _apart(a, b, renamed, f"{where}[{i}]"))), None)
    if isinstance(one, str) and isinstance(other, str):
        return None  # sentences may be reworded; numbers, keys and their order may not
    return None if one == other else f"{where}: {one!r} and {other!r}"


if __name__ == "__main__":
    main()
