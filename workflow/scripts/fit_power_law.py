"""Fit AUGC = a beta^b + c (Eq. 14, Appendix E) to any table of points and read beta* off it in both ways (Eq. 15).

    python workflow/scripts/fit_power_law.py --augc points.csv --output fit.json

`points.csv` has the columns beta, augc and, for an interval over seeds, seed; .parquet, .json and .jsonl do too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.artifacts import write_json
from goodhart.commandline import parser, run
from goodhart.errors import InputError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--augc", type=Path, required=True)
    args.add_argument("--output", type=Path, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from goodhart.data import read_source
    from goodhart.powerlaw import fit_power_law

    points = read_source(str(args.augc))
    missing = [column for column in ("beta", "augc") if column not in points]
    if missing:
        raise InputError(f"{args.augc} has no column {missing[0]!r}; it needs beta and augc, and may have seed.")
    for column in ("beta", "augc"):
        if points[column].dtype.kind not in "if":
            raise InputError(f"{args.augc}: column {column!r} is not numeric.")
    seeds = points["seed"].to_numpy() if "seed" in points else None
    write_json(args.output, fit_power_law(points["beta"].to_numpy(), points["augc"].to_numpy(), seeds))


if __name__ == "__main__":
    run(main)
