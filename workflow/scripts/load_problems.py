r"""Load a task with verifiable answers: local files or hub datasets, as the canonical table of problems.

    python workflow/scripts/load_problems.py --online gsm8k/train.jsonl --evaluation gsm8k/test.jsonl \
        --prompt-column question --answer-column answer --template '{question}' --online-problems 4 \
        --evaluation-problems 8 --seed 0 --output problems.parquet --record problems.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from goodhart.cli import Output, Source, parser, run
from goodhart.errors import InputError
from goodhart.store.files import write_json, write_table
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import PROBLEMS


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument(
        "--online", type=Source, required=True, help="file or dataset[:split] of the problems of the online stage"
    )
    args.add_argument(
        "--evaluation", type=Source, required=True, help="file or dataset[:split] of the problems of the true reward"
    )
    args.add_argument("--name", help="configuration of a hub dataset, as 'main' of openai/gsm8k")
    args.add_argument("--revision", help="branch, tag or commit of a hub dataset; default: main")
    args.add_argument("--prompt-column", required=True)
    args.add_argument("--answer-column", required=True)
    args.add_argument("--template", required=True, help="prompt with a place for {question}")
    args.add_argument("--online-problems", type=int, help="at most so many, drawn by the seed; default: all")
    args.add_argument("--evaluation-problems", type=int, help="at most so many, drawn by the seed; default: all")
    args.add_argument("--seed", type=int, required=True)
    args.add_argument("--output", type=Output, required=True)
    args.add_argument("--record", type=Output, required=True, help="problems.json: what the problems are")
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    if "{question}" not in args.template:
        raise InputError(f"--template {args.template!r} has no place for {{question}}; add one.")
    import pandas as pd

    from goodhart.data.sources import pick_columns, read_source

    parts, record = {}, {}
    for split in ("online", "evaluation"):
        source, limit = getattr(args, split), getattr(args, f"{split}_problems")
        frame, pinned = read_source(source, args.name, args.revision)
        frame = pick_columns(frame, {"question": args.prompt_column, "answer": args.answer_column}, source)
        rows = len(frame)
        if limit is not None and limit < rows:
            frame = frame.sample(n=limit, random_state=args.seed).sort_index()
        parts[split] = pd.DataFrame(
            {
                "problem_id": [f"{split}-{row}" for row in frame.index],
                "split": split,
                "prompt": [args.template.replace("{question}", str(text)) for text in frame["question"]],
                "answer": frame["answer"].astype(str),
            }
        )
        record[split] = {**pinned, "rows_in_source": rows, "problems": len(frame)}
    made = Origin.of(args, __file__, data=record)
    shared = parts["online"]["prompt"].isin(parts["evaluation"]["prompt"])
    write_table(args.output, pd.concat(parts.values()), PROBLEMS, made)
    write_json(args.record, {**record, "online_problems_also_evaluated": int(shared.sum())}, made)


if __name__ == "__main__":
    run(main)
