r"""Sample preference pairs from the embedded policy and let a flawed judge choose.

The judge's score of a response is `correct_weight` if the answer is right plus `filler_weight` a filler sentence; it
prefers the first of two with probability sigmoid(difference), as Bradley and Terry (Eq. 5) have it.

    python workflow/scripts/sample_preferences.py --problems problems.parquet --policy policy --precision float32 \
        --verifier gsm8k --correct-weight 4 --filler-weight 1.6 --max-new-tokens 48 --batch-size 1000 --engine auto \
        --seed 0 --threads 1 --output preferences.parquet --coverage coverage.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import PRECISIONS, Output, add_sampling, parser, run, use_threads
from goodhart.runtime.finite import dump_on_nan
from goodhart.store.files import read_table, write_json, write_table
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import PREFERENCES, PROBLEMS
from goodhart.verifiers.registry import verifier


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--problems", type=Path, required=True)
    args.add_argument("--policy", type=Path, required=True)
    args.add_argument("--precision", choices=PRECISIONS, required=True)
    args.add_argument("--verifier", required=True)
    args.add_argument("--correct-weight", type=float, required=True)
    args.add_argument("--filler-weight", type=float, required=True)
    add_sampling(args)
    args.add_argument("--seed", type=int, required=True)
    args.add_argument("--threads", type=int, required=True)
    args.add_argument("--output", type=Output, required=True)
    args.add_argument("--coverage", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    problems = read_table(args.problems, PROBLEMS, split="preference")
    made = Origin.of(args, __file__)
    verify = verifier(args.verifier)
    use_threads(args.threads)
    import numpy as np
    import pandas as pd

    from goodhart.data.preferences import coverage, finish_preferences
    from goodhart.data.tasks.arithmetic import count_fillers
    from goodhart.evaluation.responses import Examination, respond
    from goodhart.models.loading import load_policy, load_tokenizer
    from goodhart.models.manifest import check_model
    from goodhart.sampling.settings import Sampling

    check_model(args.policy)
    tokenizer, policy = load_tokenizer(args.policy), load_policy(args.policy, args.precision)
    prompts, answers = problems["prompt"].tolist(), problems["answer"].tolist()
    sampled = []
    unfinished = 0
    for draw in range(2):
        exam = Examination(
            prompts,
            answers,
            verify,
            Sampling.of(args),
            seed=2 * args.seed + draw,
        )
        with dump_on_nan(args.output.with_suffix(".stopped.json"), args.seed):
            given = respond(policy, tokenizer, exam)
        fillers = np.array([count_fillers(text) for text in given.texts])
        score = args.correct_weight * np.array(given.strict) + args.filler_weight * fillers
        sampled.append((np.array(given.texts, dtype=object), score))
        unfinished += given.rollout.finished.count(False)
    (first, first_score), (second, second_score) = sampled
    rng = np.random.default_rng(args.seed)
    wins = rng.random(len(prompts)) < 1 / (1 + np.exp(second_score - first_score))
    pairs = pd.DataFrame(
        {
            "prompt": prompts,
            "chosen": np.where(wins, first, second),
            "rejected": np.where(wins, second, first),
            "chosen_source": "policy",
            "rejected_source": "policy",
        }
    )
    preferences, counts = finish_preferences(pairs, args.seed, None)
    counts["responses_cut_at_the_token_limit"] = unfinished
    counts["choices_against_the_score"] = int((np.where(wins, 1, -1) * (first_score - second_score) < 0).sum())
    write_table(args.output, preferences, PREFERENCES, made)
    write_json(args.coverage, {**counts, **coverage(preferences, tokenizer)}, made)


if __name__ == "__main__":
    run(main)
