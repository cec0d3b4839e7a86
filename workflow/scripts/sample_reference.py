r"""Sample responses of the reference policy: to the evaluation problems, as the origin of all gaps and the baseline of
win rates, and to as many online problems, to calibrate the proxy.

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
    problems: tuple[Frame, Frame] = table(PROBLEMS, "evaluation", "online")
    seed: int
    responses: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    origin = given.origin
    import pandas as pd

    from goodhart.evaluation.responses import ProblemSet, respond
    from goodhart.runtime.seeds import mix

    evaluation, online = given.problems
    others = online[~online["prompt"].isin(evaluation["prompt"])]
    others = others.sample(n=min(len(others), len(evaluation)), random_state=given.seed)
    policy, tokenizer = given.load_policy()
    rows = []
    with dump_on_nan(given.responses.with_suffix(".stopped.json"), given.seed):
        for seed, part in ((given.seed, evaluation), (mix(given.seed, 0), others)):
            if part.empty:  # every online problem is an evaluation problem too
                continue
            answers = respond(policy, tokenizer, ProblemSet.of(given, part, seed))
            rows.append(part[["problem_id", "split", "prompt"]].assign(**answers.columns()))
    write_table(given.responses, pd.concat(rows, ignore_index=True), RESPONSES, origin)


if __name__ == "__main__":
    run(main)
