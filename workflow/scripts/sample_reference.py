r"""Sample the reference policy's responses to the evaluation problems: the scale of the true reward, and the baseline.

    python workflow/scripts/sample_reference.py --problems problems.parquet --policy policy --precision float32 \
        --verifier gsm8k --max-new-tokens 48 --batch-size 192 --engine auto --seed 1 --threads 1 \
        --responses reference/responses.parquet
"""

from dataclasses import dataclass

from goodhart.cli import Output, group, run
from goodhart.models.flags import PolicyFlags
from goodhart.runtime.finite import dump_on_nan
from goodhart.runtime.threads import use_threads
from goodhart.runtime.types import Frame
from goodhart.sampling.settings import Sampling
from goodhart.store.files import write_table
from goodhart.store.flags import table
from goodhart.store.schemas.inputs import PROBLEMS, RESPONSES
from goodhart.verifiers.registry import verifier


@dataclass(frozen=True, kw_only=True)
class Arguments(PolicyFlags):
    problems: Frame = table(PROBLEMS, "evaluation")
    verifier: str
    sampling: Sampling = group(Sampling)
    seed: int
    responses: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    made = given.origin
    verifier(given.verifier)
    use_threads(given.threads)
    from goodhart.evaluation.responses import ProblemSet, respond
    from goodhart.models.loading import load_policy, load_tokenizer
    from goodhart.models.manifest import check_model

    check_model(given.policy)
    problems = ProblemSet.of(given.problems, given.verifier, given.sampling, given.seed)
    with dump_on_nan(given.responses.with_suffix(".stopped.json"), given.seed):
        found = respond(load_policy(given.policy, given.precision), load_tokenizer(given.policy), problems)
    responses = given.problems[["problem_id", "prompt"]].assign(
        response=found.texts,
        finished=found.rollout.finished,
        tokens=[len(tokens) for tokens in found.rollout.responses],
        correct=found.strict,
        correct_flexible=found.flexible,
    )
    write_table(given.responses, responses, RESPONSES, made)


if __name__ == "__main__":
    run(main)
