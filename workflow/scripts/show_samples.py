r"""Show responses before and after online adaptation, side by side, on one self-contained HTML page.

For each run, the page shows totals over all problems, then two kinds of examples and how they were chosen: problems
whose answer changed from correct to wrong and whose proxy rose most, and problems drawn at random from all others.

    python workflow/scripts/show_samples.py --responses online/dpo/p20/kl-p20/responses.parquet \
        --problems problems.parquet --examples 6 --seed 0 --page samples.html
"""

from dataclasses import dataclass

from goodhart.cli import Output, flag, run
from goodhart.errors import InputError
from goodhart.runtime.types import Frame
from goodhart.store.files import write_text
from goodhart.store.flags import StepFlags, table
from goodhart.store.schemas.inputs import PROBLEMS
from goodhart.store.schemas.measurements import ONLINE_RESPONSES


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    responses: list[Frame] = table(ONLINE_RESPONSES, help="of one or more runs")
    problems: Frame = table(PROBLEMS, "evaluation")
    examples: int = flag(help="at most so many of each kind and run")
    seed: int = flag(help="of the random examples")
    page: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    if given.examples < 1:
        raise InputError(f"--examples must be at least 1, not {given.examples}.")
    for path, responses in zip(given.raw.responses, given.responses, strict=True):
        if responses["step"].nunique() < 2:
            raise InputError(f"{path} has responses of a single step; there is nothing to compare.")
    from goodhart.report.html import stamped
    from goodhart.report.samples import samples_page

    page = samples_page(given.responses, given.problems, given.examples, given.seed)
    write_text(given.page, stamped(page, given.origin))


if __name__ == "__main__":
    run(main)
