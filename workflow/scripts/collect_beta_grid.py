"""Collect the betas of all levels into the grid of the study, in ascending order.

python workflow/scripts/collect_beta_grid.py --betas beta/p20.json beta/p50.json --output beta_grid.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import Output, parser, run
from goodhart.store.files import read_json, write_json
from goodhart.store.provenance import Origin


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--betas", type=Path, nargs="+", required=True)
    args.add_argument("--output", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    made = Origin.of(args, __file__)
    levels = [read_json(path, ["level", "beta", "rule"]) for path in args.betas]
    write_json(args.output, {"levels": sorted(levels, key=lambda level: level["beta"])}, made)


if __name__ == "__main__":
    run(main)
