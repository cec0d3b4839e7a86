r"""Derive the hyperparameters of one stage from architecture, hardware and data (Appendix C), overrides beside them.

    python workflow/scripts/derive_hyperparameters.py --model policy --preferences preferences.parquet \
        --memory-gb 80 --epochs 1 --seed 0 --override learning_rate=5e-3 --output derived/offline.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import Output, parser, run
from goodhart.errors import InputError
from goodhart.store.files import read_json, read_table, write_json
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import PREFERENCES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--model", type=Path, required=True, help="model folder of the stage: policy or reward backbone")
    args.add_argument("--preferences", type=Path, required=True)
    args.add_argument("--memory-gb", type=float, required=True, help="V_GB of Eq. B.3")
    length = args.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=int, help="passes over the training pairs, of which the warm-up is a part")
    length.add_argument("--steps", type=int, help="updates, where the stage does not go by epochs")
    args.add_argument("--seed", type=int, required=True, help="draws the sample whose token counts set the length")
    args.add_argument("--override", metavar="NAME=VALUE", action="append", default=[], help="use VALUE, keep both")
    args.add_argument("--output", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    manifest = read_json(args.model / "manifest.json", ["hidden_size", "parameters", "projections"])
    preferences = read_table(args.preferences, PREFERENCES, split="train")
    made = Origin.of(args, __file__)
    overrides = dict(_override(item) for item in args.override)

    from goodhart.hyperparameters import appendix_c
    from goodhart.models.loading import load_tokenizer
    from goodhart.models.manifest import check_model
    from goodhart.models.tokens import encode_pairs

    check_model(args.model)
    tokenizer = load_tokenizer(args.model)
    sample = preferences.sample(n=appendix_c.length_sample_size(len(preferences)), random_state=args.seed)
    counts = [
        len(pair.prompt) + max(len(pair.chosen), len(pair.rejected))
        for pair in encode_pairs(tokenizer, sample, max_length=sys.maxsize)
        if pair
    ]
    derived = appendix_c.derive(
        hidden_size=manifest["hidden_size"],
        parameters=manifest["parameters"],
        projections=[(rows, columns) for rows, columns in manifest["projections"]],
        n=len(preferences),
        memory_gb=args.memory_gb,
        token_counts=counts,
        steps=args.steps,
        epochs=args.epochs or 1,
        overrides=overrides,
    )
    write_json(args.output, derived, made)


def _override(item: str) -> tuple[str, float]:
    name, _, value = item.partition("=")
    try:
        number = float(value)
    except ValueError as error:
        raise InputError(f"--override {item} is not NAME=NUMBER.") from error
    return name, int(number) if number.is_integer() and "." not in value and "e" not in value.lower() else number


if __name__ == "__main__":
    run(main)
