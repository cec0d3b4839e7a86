r"""Draw the figures of a study from its tables: PDF for print, SVG for the report. The file names select the figures.

    python workflow/scripts/draw_figures.py --gaps gaps.parquet --runs runs.parquet --scales scales.json \
        --fits fit/dpo-paper.json fit/dpo-matched.json --overoptimisation overoptimisation.parquet \
        --quality quality.json --figures figures/gap_by_step.svg figures/gap_by_step.pdf
"""

from dataclasses import dataclass

from goodhart.cli import Output, flag, run
from goodhart.errors import InputError
from goodhart.report.flags import ResultFlags
from goodhart.runtime.progress import progress
from goodhart.store.files import publish


@dataclass(frozen=True, kw_only=True)
class Arguments(ResultFlags):
    figures: list[Output] = flag(help="<figure>.svg or <figure>.pdf")


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    from goodhart.report.figures import FIGURES, draw
    from goodhart.report.panels import save
    from goodhart.report.results import read_results

    results = read_results(given)
    for path in given.figures:
        if path.stem not in FIGURES or path.suffix not in (".pdf", ".svg"):
            raise InputError(f"--figures: {path.name} is not a .pdf or .svg of a figure ({', '.join(FIGURES)}).")
    for name in progress(list(dict.fromkeys(path.stem for path in given.figures)), "figures"):
        figure = draw(name, results)
        for path in (path for path in given.figures if path.stem == name):
            with publish(path) as temporary:
                save(figure, temporary, path.suffix[1:], given.origin)


if __name__ == "__main__":
    run(main)
