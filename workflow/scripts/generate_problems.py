r"""Generate the embedded task: chains of one-digit sums, split by chain, and the teacher's corpus for pretraining.

Every chain belongs to only one split, so that the pretraining corpus contains no question from the preference, online
or evaluation problems.

    python workflow/scripts/generate_problems.py --terms 3 4 --pretraining-examples 15000 --preference-problems 4000 \
        --online-problems 1000 --evaluation-problems 192 --seed 0 --problems problems.parquet --corpus corpus.parquet
"""

from dataclasses import dataclass

from goodhart.cli import Output, flag, run
from goodhart.store.files import write_table
from goodhart.store.flags import StepFlags
from goodhart.store.schemas.inputs import CORPUS, PROBLEMS

SHARES = {"pretraining": 0.5, "preference": 0.3, "online": 0.15, "evaluation": 0.05}


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    terms: list[int] = flag(help="numbers of terms of a chain")
    pretraining_examples: int
    preference_problems: int
    online_problems: int
    evaluation_problems: int
    seed: int
    problems: Output
    corpus: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    import numpy as np

    from goodhart.data.tasks import arithmetic

    rng = np.random.default_rng(given.seed)
    pools = arithmetic.split_chains(given.terms, SHARES, rng)
    problems = [
        {
            "problem_id": f"{split}-{number}",
            "split": split,
            "prompt": arithmetic.prompt(chain),
            "answer": str(arithmetic.working(chain)[1]),
        }
        for split in ("preference", "online", "evaluation")
        for number, chain in enumerate(arithmetic.distinct(pools[split], getattr(given, f"{split}_problems")))
    ]
    corpus = [
        {"row": row, "prompt": arithmetic.prompt(chain), "response": arithmetic.teach(chain, rng)}
        for row, chain in enumerate(arithmetic.draw(pools["pretraining"], given.pretraining_examples, rng))
    ]
    write_table(given.problems, problems, PROBLEMS, given.origin)
    write_table(given.corpus, corpus, CORPUS, given.origin)


if __name__ == "__main__":
    run(main)
