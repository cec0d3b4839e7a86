r"""Sample preference pairs from the embedded policy and let a flawed judge choose.

The judge's score of a response is `correct_weight` if the answer is right plus `filler_weight` a filler sentence; it
prefers the first of two with probability sigmoid(difference), as Bradley and Terry (Eq. 5) have it.

    python workflow/scripts/sample_preferences.py --problems problems.parquet --policy policy --precision float32 \
        --verifier gsm8k --correct-weight 4 --filler-weight 1.6 --max-new-tokens 48 --batch-size 1000 --engine auto \
        --seed 0 --threads 1 --preferences preferences.parquet --coverage coverage.json
"""

from dataclasses import dataclass

from goodhart.cli import Output, group, run
from goodhart.models.flags import PolicyFlags
from goodhart.runtime.finite import dump_on_nan
from goodhart.runtime.threads import use_threads
from goodhart.runtime.types import Frame
from goodhart.sampling.settings import Sampling
from goodhart.store.files import write_json, write_table
from goodhart.store.flags import table
from goodhart.store.schemas.inputs import PREFERENCES, PROBLEMS
from goodhart.verifiers.registry import verifier


@dataclass(frozen=True, kw_only=True)
class Arguments(PolicyFlags):
    problems: Frame = table(PROBLEMS, "preference")
    verifier: str
    correct_weight: float
    filler_weight: float
    sampling: Sampling = group(Sampling)
    seed: int
    preferences: Output
    coverage: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    made = given.origin
    verifier(given.verifier)
    use_threads(given.threads)
    import numpy as np
    import pandas as pd

    from goodhart.data.preferences import coverage, finish_preferences
    from goodhart.data.tasks.arithmetic import count_fillers
    from goodhart.evaluation.responses import ProblemSet, respond
    from goodhart.models.loading import load_policy, load_tokenizer
    from goodhart.models.manifest import check_model

    check_model(given.policy)
    tokenizer, policy = load_tokenizer(given.policy), load_policy(given.policy, given.precision)
    sampled = []
    unfinished = 0
    for draw in range(2):
        problems = ProblemSet.of(given.problems, given.verifier, given.sampling, seed=2 * given.seed + draw)
        with dump_on_nan(given.preferences.with_suffix(".stopped.json"), given.seed):
            found = respond(policy, tokenizer, problems)
        fillers = np.array([count_fillers(text) for text in found.texts])
        score = given.correct_weight * np.array(found.strict) + given.filler_weight * fillers
        sampled.append((np.array(found.texts, dtype=object), score))
        unfinished += found.rollout.finished.count(False)
    (first, first_score), (second, second_score) = sampled
    rng = np.random.default_rng(given.seed)
    wins = rng.random(len(given.problems)) < 1 / (1 + np.exp(second_score - first_score))
    pairs = pd.DataFrame(
        {
            "prompt": given.problems["prompt"].tolist(),
            "chosen": np.where(wins, first, second),
            "rejected": np.where(wins, second, first),
            "chosen_source": "policy",
            "rejected_source": "policy",
        }
    )
    preferences, counts = finish_preferences(pairs, given.seed, None)
    counts["responses_cut_at_the_token_limit"] = unfinished
    counts["choices_against_the_score"] = int((np.where(wins, 1, -1) * (first_score - second_score) < 0).sum())
    write_table(given.preferences, preferences, PREFERENCES, made)
    write_json(given.coverage, {**counts, **coverage(preferences, tokenizer)}, made)


if __name__ == "__main__":
    run(main)
