r"""Load preference pairs from a local file or a hub dataset, split 80/10/10 by prompt (section 4.1).

    python workflow/scripts/load_preferences.py --source ultrafeedback/train.jsonl --prompt-column prompt \
        --chosen-column chosen --rejected-column rejected --pairs 32 --seed 0 --policy policy \
        --output preferences.parquet --coverage coverage.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.artifacts import write_json, write_table
from goodhart.commandline import parser, run
from goodhart.tables import PREFERENCES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--source", required=True, help="file or dataset[:split]")
    args.add_argument("--name", help="configuration of a hub dataset")
    args.add_argument("--revision", help="branch, tag or commit of a hub dataset; default: main")
    args.add_argument("--prompt-column", help="default: what chosen and rejected share is the prompt")
    args.add_argument("--chosen-column", required=True)
    args.add_argument("--rejected-column", required=True)
    args.add_argument("--chosen-score-column", help="a dot reaches into a nested column: metadata.score_chosen")
    args.add_argument("--rejected-score-column")
    args.add_argument("--chosen-source-column", help="the model that wrote the response")
    args.add_argument("--rejected-source-column")
    args.add_argument("--pairs", type=int, help="at most so many, drawn by the seed; default: all")
    args.add_argument("--seed", type=int, required=True)
    args.add_argument("--policy", type=Path, required=True, help="model folder whose tokeniser counts tokens")
    args.add_argument("--output", type=Path, required=True)
    args.add_argument("--coverage", type=Path, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from goodhart.data import coverage, finish_preferences, pair_texts, pick_columns, read_source

    names = ["prompt", "chosen", "rejected", "chosen_score", "rejected_score", "chosen_source", "rejected_source"]
    columns = {name: value for name in names if (value := getattr(args, f"{name}_column")) is not None}
    rows, record = read_source(args.source, args.name, args.revision)
    pairs = pair_texts(pick_columns(rows, columns, args.source), args.source)
    preferences, counts = finish_preferences(pairs, args.seed, args.pairs)

    from goodhart.models import check_model, load_tokenizer

    check_model(args.policy)
    covered = coverage(preferences, load_tokenizer(args.policy))
    write_table(args.output, preferences, PREFERENCES)
    write_json(args.coverage, {"data": record, **counts, **covered})


if __name__ == "__main__":
    run(main)
