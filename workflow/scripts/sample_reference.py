r"""Let the reference policy answer the evaluation problems: the scale of the true reward and the baseline of win rates.

    python workflow/scripts/sample_reference.py --problems problems.parquet --policy policy --precision float32 \
        --verifier gsm8k --max-new-tokens 48 --batch-size 192 --engine auto --seed 1 --threads 1 \
        --output responses.parquet
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import PRECISIONS, Output, add_sampling, parser, run, use_threads
from goodhart.runtime.finite import dump_on_nan
from goodhart.store.files import read_table, write_table
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import PROBLEMS, RESPONSES
from goodhart.verifiers.registry import verifier


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--problems", type=Path, required=True)
    args.add_argument("--policy", type=Path, required=True)
    args.add_argument("--precision", choices=PRECISIONS, required=True)
    args.add_argument("--verifier", required=True)
    add_sampling(args)
    args.add_argument("--seed", type=int, required=True)
    args.add_argument("--threads", type=int, required=True)
    args.add_argument("--output", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    problems = read_table(args.problems, PROBLEMS, split="evaluation")
    made = Origin.of(args, __file__)
    verify = verifier(args.verifier)
    use_threads(args.threads)
    from goodhart.evaluation.responses import Examination, respond
    from goodhart.models.loading import load_policy, load_tokenizer
    from goodhart.models.manifest import check_model
    from goodhart.sampling.settings import Sampling

    check_model(args.policy)
    exam = Examination(
        problems["prompt"].tolist(),
        problems["answer"].tolist(),
        verify,
        Sampling.of(args),
        args.seed,
    )
    with dump_on_nan(args.output.with_suffix(".stopped.json"), args.seed):
        given = respond(load_policy(args.policy, args.precision), load_tokenizer(args.policy), exam)
    table = problems[["problem_id", "prompt"]].assign(
        response=given.texts,
        finished=given.rollout.finished,
        tokens=[len(tokens) for tokens in given.rollout.responses],
        correct=given.strict,
        correct_flexible=given.flexible,
    )
    write_table(args.output, table, RESPONSES, made)


if __name__ == "__main__":
    run(main)
