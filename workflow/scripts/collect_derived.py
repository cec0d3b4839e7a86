r"""Collect the derived hyperparameters of every stage into the record of the study.

    python workflow/scripts/collect_derived.py --stages offline=derived/offline.json reward=derived/reward.json \
        --output derived.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import Labelled, Output, parser, run
from goodhart.errors import InputError
from goodhart.store.files import read_json, write_json
from goodhart.store.provenance import Origin


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--stages", type=Labelled, metavar="NAME=FILE", nargs="+", required=True)
    args.add_argument("--output", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    stages = {}
    for item in args.stages:
        name, separator, path = item.partition("=")
        if not separator:
            raise InputError(f"--stages {item} is not NAME=FILE.")
        stages[name] = read_json(Path(path), ["inputs", "values"])
    write_json(args.output, stages, Origin.of(args, __file__))


if __name__ == "__main__":
    run(main)
