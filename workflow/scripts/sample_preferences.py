r"""Sample two responses to each problem from the embedded policy, and let a flawed judge choose between them.

The judge's score of a response is `correct_weight` if the answer is right, plus `filler_weight` per filler
sentence. The judge chooses between the two responses by the Bradley-Terry model (Eq. 5).

    python workflow/scripts/sample_preferences.py --problems problems.parquet --policy policy --precision float32 \
        --verifier gsm8k --correct-weight 4 --filler-weight 1.6 --max-new-tokens 48 --batch-size 1000 --engine auto \
        --seed 0 --threads 1 --preferences preferences.parquet --coverage coverage.json
"""

from dataclasses import dataclass

from goodhart.cli import Output, flag, run
from goodhart.evaluation.flags import ResponseFlags
from goodhart.runtime.finite import dump_on_nan
from goodhart.runtime.types import Frame
from goodhart.store.files import write_json, write_table
from goodhart.store.flags import table
from goodhart.store.schemas.inputs import PREFERENCES, PROBLEMS


@dataclass(frozen=True, kw_only=True)
class Arguments(ResponseFlags):
    problems: Frame = table(PROBLEMS, "preference")
    correct_weight: float
    filler_weight: float
    held_out_share: float = flag(default=0.0, help="share of the prompts for held-out reward models")
    seed: int
    preferences: Output
    coverage: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    origin = given.origin
    from goodhart.data import judge
    from goodhart.data.preferences import coverage, finish_preferences
    from goodhart.evaluation.responses import ProblemSet, respond

    problems = [ProblemSet.of(given, given.problems, 2 * given.seed + i) for i in range(2)]
    policy, tokenizer = given.load_policy()
    with dump_on_nan(given.preferences.with_suffix(".stopped.json"), given.seed):
        first, second = (respond(policy, tokenizer, problem_set) for problem_set in problems)
    weights = given.correct_weight, given.filler_weight
    scores = judge.scores(first.texts, first.strict, *weights), judge.scores(second.texts, second.strict, *weights)
    pairs, against = judge.choose(given.problems["prompt"].tolist(), (first.texts, second.texts), scores, given.seed)
    preferences, counts = finish_preferences(pairs, given.seed, None, given.held_out_share)
    counts["responses_cut_at_the_token_limit"] = (first.rollout.finished + second.rollout.finished).count(False)
    counts["choices_against_the_score"] = against
    write_table(given.preferences, preferences, PREFERENCES, origin)
    write_json(given.coverage, {**counts, **coverage(preferences, tokenizer)}, origin)


if __name__ == "__main__":
    run(main)
