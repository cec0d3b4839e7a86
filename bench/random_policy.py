r"""Write a policy of a given architecture with random weights, as a study's model folder.

python bench/random_policy.py --architecture bench/smollm2-135m.json --output results/bench-135m
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import alternating  # noqa: F401  (where the workflow's scripts are)
from goodhart.cli import parser, run
from random_study import write_model
from resolve_model import main as resolve_model


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--architecture", type=Path, required=True, help="a config.json")
    args.add_argument("--output", type=Path, required=True, help="folder; `weights` and `policy` are made in it")
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    weights = args.output / "weights"
    write_model(args.architecture, weights)
    named = ["--model", str(weights), "--role", "policy", "--prompts", "plain"]
    resolve_model([*named, "--output", str(args.output / "policy")])


if __name__ == "__main__":
    run(main)
