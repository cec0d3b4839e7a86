r"""Show responses before and after online adaptation, side by side, on one self-contained HTML page.

For each run, the page shows totals over all problems, then two kinds of examples and how they were chosen: problems
whose answer changed from correct to wrong and whose proxy rose most, and problems drawn at random from all others.

    python workflow/scripts/show_samples.py --samples online/dpo/p20/kl-p20/seed-0/samples.parquet --examples 6 \
        --seed 0 --page samples.html
"""

from dataclasses import dataclass

from goodhart.cli import Output, flag, run
from goodhart.errors import InputError
from goodhart.runtime.types import Frame
from goodhart.store.files import write_text
from goodhart.store.flags import StepFlags, table
from goodhart.store.schemas.measurements import SAMPLES


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    samples: list[Frame] = table(SAMPLES, help="samples of one or more runs")
    examples: int = flag(help="maximum number of examples of each kind per run")
    seed: int = flag(help="seed for drawing the random examples")
    page: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    if given.examples < 1:
        raise InputError(f"--examples must be at least 1, not {given.examples}.")
    runs = zip(given.raw.samples, given.samples, strict=True)
    if single := [path for path, samples in runs if samples["step"].nunique() < 2]:
        raise InputError(f"{single[0]} has responses of a single step; there is nothing to compare.")
    from goodhart.report.html import stamped
    from goodhart.report.samples import samples_page

    page = samples_page(given.samples, given.examples, given.seed)
    write_text(given.page, stamped(page, given.origin))


if __name__ == "__main__":
    run(main)
