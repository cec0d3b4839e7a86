r"""Load preference pairs from a local file or a hub dataset, split 80/10/10 by prompt (section 4.1).

The form says what a row is and which columns are named: with `pairs` two responses, the better one known; with `scored`
one response and its score, of which the best and the worst of each prompt make a pair.

    python workflow/scripts/load_preferences.py --source ultrafeedback/train.jsonl --form pairs --prompt-column prompt \
        --chosen-column chosen --rejected-column rejected --pairs 32 --seed 0 --policy policy \
        --output preferences.parquet --coverage coverage.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import Output, Source, parser, run
from goodhart.data.pairing import COLUMNS, FORMS, columns_of
from goodhart.store.files import write_json, write_table
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import PREFERENCES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--source", type=Source, required=True, help="file or dataset[:split]")
    args.add_argument("--name", help="configuration of a hub dataset")
    args.add_argument("--revision", help="branch, tag or commit of a hub dataset; default: main")
    args.add_argument("--form", choices=sorted(FORMS), required=True)
    args.add_argument("--prompt-column", help="default, of form pairs: what chosen and rejected share is the prompt")
    args.add_argument("--chosen-column", help="this and the next five: of form pairs")
    args.add_argument("--rejected-column")
    args.add_argument("--chosen-score-column", help="a dot reaches into a nested column: metadata.score_chosen")
    args.add_argument("--rejected-score-column")
    args.add_argument("--chosen-source-column", help="the model that wrote the response")
    args.add_argument("--rejected-source-column")
    args.add_argument("--response-column", help="this and the next two: of form scored")
    args.add_argument("--score-column")
    args.add_argument("--response-source-column")
    args.add_argument("--pairs", type=int, help="at most so many, drawn by the seed; default: all")
    args.add_argument("--seed", type=int, required=True)
    args.add_argument("--policy", type=Path, required=True, help="model folder whose tokeniser counts tokens")
    args.add_argument("--output", type=Output, required=True)
    args.add_argument("--coverage", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    columns = columns_of(args.form, {name: getattr(args, f"{name}_column") for name in COLUMNS})
    from goodhart.data.preferences import coverage, finish_preferences, pair_texts
    from goodhart.data.sources import pick_columns, read_source

    rows, record = read_source(args.source, args.name, args.revision)
    raw, dropped = FORMS[args.form].pair(pick_columns(rows, columns, args.source))
    pairs = pair_texts(raw, args.source)
    preferences, counts = finish_preferences(pairs, args.seed, args.pairs)

    from goodhart.models.loading import load_tokenizer
    from goodhart.models.manifest import check_model

    check_model(args.policy)
    made = Origin.of(args, __file__, data=record)
    covered = coverage(preferences, load_tokenizer(args.policy))
    write_table(args.output, preferences, PREFERENCES, made)
    write_json(args.coverage, {"data": record, **counts, **dropped, **covered}, made)


if __name__ == "__main__":
    run(main)
