r"""Draw the figures of a study from its tables: PDF for print, SVG for the report; a file's name says which figure.

    python workflow/scripts/draw_figures.py --gaps gaps.parquet --runs runs.parquet --scales scales.json \
        --fits fit/dpo-paper.json fit/dpo-matched.json --overoptimisation overoptimisation.parquet \
        --quality quality.json --figures figures/gap_by_step.svg figures/gap_by_step.pdf
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from goodhart.cli import Output, flag, run
from goodhart.errors import InputError
from goodhart.report.results import read_fits
from goodhart.runtime.progress import progress
from goodhart.store.files import publish
from goodhart.store.flags import Frame, Record, StepFlags, record, table
from goodhart.store.schemas.summaries import GAPS, OVEROPTIMISATION, RUNS


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    gaps: Frame = table(GAPS)
    runs: Frame = table(RUNS)
    scales: Record = record("proxy", "true", "threshold", "threshold_paper")
    fits: list[Path] = flag(help="<method>-<arm>.json")
    overoptimisation: Frame = table(OVEROPTIMISATION)
    quality: Record = record("pairs", "member_accuracy", "ensemble_accuracy", "calibration", "proxy_mean")
    figures: list[Output] = flag(help="<figure>.svg or <figure>.pdf")


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    fits = read_fits(given.fits, given.runs)
    made = given.origin
    from goodhart.report.figures import FIGURES, draw
    from goodhart.report.panels import Tables, save

    for path in given.figures:
        if path.stem not in FIGURES or path.suffix not in (".pdf", ".svg"):
            raise InputError(f"--figures: {path.name} is not .pdf or .svg of {', '.join(FIGURES)}.")
    tables = Tables(given.gaps, given.runs, given.scales, fits, given.overoptimisation, given.quality)
    for name in progress(list(dict.fromkeys(path.stem for path in given.figures)), "figures"):
        figure = draw(name, tables)
        for path in given.figures:
            if path.stem == name:
                with publish(path) as temporary:
                    save(figure, temporary, path.suffix[1:], made)


if __name__ == "__main__":
    run(main)
