r"""Sample responses of the reference policy to the evaluation problems, for the scale of the true reward and win rates.

    python workflow/scripts/sample_reference.py --problems problems.parquet --policy policy --precision float32 \
        --verifier gsm8k --max-new-tokens 48 --batch-size 192 --engine auto --seed 1 --threads 1 \
        --responses reference/responses.parquet
"""

from dataclasses import dataclass

from goodhart.cli import Output, run
from goodhart.evaluation.flags import ResponseFlags
from goodhart.runtime.finite import dump_on_nan
from goodhart.runtime.types import Frame
from goodhart.store.files import write_table
from goodhart.store.flags import table
from goodhart.store.schemas.inputs import PROBLEMS, RESPONSES


@dataclass(frozen=True, kw_only=True)
class Arguments(ResponseFlags):
    problems: Frame = table(PROBLEMS, "evaluation")
    seed: int
    responses: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    origin = given.origin
    from goodhart.evaluation.responses import ProblemSet, respond

    problems = ProblemSet.of(given, given.problems, given.seed)
    with dump_on_nan(given.responses.with_suffix(".stopped.json"), given.seed):
        responses = respond(*given.load_policy(), problems)
    rows = given.problems[["problem_id", "prompt"]].assign(**responses.columns())
    write_table(given.responses, rows, RESPONSES, origin)


if __name__ == "__main__":
    run(main)
