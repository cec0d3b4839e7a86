r"""Fit reward against distance, R(d) = d (alpha - beta log d) with d = sqrt(KL) (Gao et al. 2022), by arm and level.

    python workflow/scripts/fit_overoptimisation.py --gaps gaps.parquet --runs runs.parquet --scales scales.json \
        --table overoptimisation.parquet --csv overoptimisation.csv
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import Output, parser, run
from goodhart.store.files import read_json, read_table, write_table, write_text
from goodhart.store.provenance import origin
from goodhart.store.schemas.summaries import GAPS, OVEROPTIMISATION, RUNS


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--gaps", type=Path, required=True)
    args.add_argument("--runs", type=Path, required=True)
    args.add_argument("--scales", type=Path, required=True)
    args.add_argument("--table", type=Output, required=True)
    args.add_argument("--csv", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    gaps, runs = read_table(args.gaps, GAPS), read_table(args.runs, RUNS)
    scales = read_json(args.scales, ["proxy", "true"])
    made = origin(args, __file__)
    from goodhart.analysis.overoptimisation import overoptimisation_rows

    rows = overoptimisation_rows(gaps, runs, scales["proxy"], scales["true"])
    write_table(args.table, rows, OVEROPTIMISATION, made)
    write_text(args.csv, rows[OVEROPTIMISATION.schema.names].to_csv(index=False))


if __name__ == "__main__":
    run(main)
