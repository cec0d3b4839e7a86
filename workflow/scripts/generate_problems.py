r"""Generate the embedded task: chains of one-digit sums, split by chain, and the teacher's corpus for pretraining.

Every chain belongs to one split only, so the policy meets no question of the preference, online or evaluation sets
before its time.

    python workflow/scripts/generate_problems.py --terms 3 4 --pretraining-examples 15000 --preference-problems 4000 \
        --online-problems 1000 --evaluation-problems 192 --seed 0 --problems problems.parquet --corpus corpus.parquet
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from goodhart.cli import Output, parser, run
from goodhart.store.files import write_table
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import CORPUS, PROBLEMS

SHARES = {"pretraining": 0.5, "preference": 0.3, "online": 0.15, "evaluation": 0.05}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--terms", type=int, nargs="+", required=True, help="numbers of terms of a chain")
    args.add_argument("--pretraining-examples", type=int, required=True)
    args.add_argument("--preference-problems", type=int, required=True)
    args.add_argument("--online-problems", type=int, required=True)
    args.add_argument("--evaluation-problems", type=int, required=True)
    args.add_argument("--seed", type=int, required=True)
    args.add_argument("--problems", type=Output, required=True, help="output table")
    args.add_argument("--corpus", type=Output, required=True, help="output table")
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    made = Origin.of(args, __file__)
    import numpy as np

    from goodhart.data.tasks import arithmetic

    rng = np.random.default_rng(args.seed)
    pools = arithmetic.split_chains(args.terms, SHARES, rng)
    problems = []
    for split in ("preference", "online", "evaluation"):
        for number, chain in enumerate(arithmetic.distinct(pools[split], getattr(args, f"{split}_problems"))):
            _, answer = arithmetic.working(chain)
            problems.append(
                {
                    "problem_id": f"{split}-{number}",
                    "split": split,
                    "prompt": arithmetic.prompt(chain),
                    "answer": str(answer),
                }
            )
    drawn = arithmetic.draw(pools["pretraining"], args.pretraining_examples, rng)
    corpus = [
        {"row": row, "prompt": arithmetic.prompt(chain), "response": arithmetic.teach(chain, rng)}
        for row, chain in enumerate(drawn)
    ]
    write_table(args.problems, problems, PROBLEMS, made)
    write_table(args.corpus, corpus, CORPUS, made)


if __name__ == "__main__":
    run(main)
