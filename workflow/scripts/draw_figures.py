r"""Draw the figures of a study from its tables: PDF for print, SVG for the report; a file's name says which figure.

    python workflow/scripts/draw_figures.py --gaps gaps.parquet --runs runs.parquet --scales scales.json \
        --fits fit/dpo-paper.json fit/dpo-matched.json --overoptimisation overoptimisation.parquet \
        --quality quality.json --output figures/gap_by_step.svg figures/gap_by_step.pdf
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import Output, parser, run
from goodhart.errors import InputError
from goodhart.report.results import read_fits
from goodhart.runtime.progress import progress
from goodhart.store.files import publish, read_json, read_table
from goodhart.store.provenance import Origin
from goodhart.store.schemas.summaries import GAPS, OVEROPTIMISATION, RUNS

QUALITY = ["pairs", "member_accuracy", "ensemble_accuracy", "calibration", "proxy_mean"]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--gaps", type=Path, required=True)
    args.add_argument("--runs", type=Path, required=True)
    args.add_argument("--scales", type=Path, required=True)
    args.add_argument("--fits", type=Path, nargs="+", required=True, help="<method>-<arm>.json")
    args.add_argument("--overoptimisation", type=Path, required=True)
    args.add_argument("--quality", type=Path, required=True)
    args.add_argument("--output", type=Output, nargs="+", required=True, help="<figure>.svg or <figure>.pdf")
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    gaps, runs = read_table(args.gaps, GAPS), read_table(args.runs, RUNS)
    fits = read_fits(args.fits, runs)
    made = Origin.of(args, __file__)
    from goodhart.report.figures import FIGURES, draw
    from goodhart.report.panels import Tables, save

    for path in args.output:
        if path.stem not in FIGURES or path.suffix not in (".pdf", ".svg"):
            raise InputError(f"--output: {path.name} is not .pdf or .svg of {', '.join(FIGURES)}.")
    scales = read_json(args.scales, ["proxy", "true", "threshold", "threshold_paper"])
    distances = read_table(args.overoptimisation, OVEROPTIMISATION)
    tables = Tables(gaps, runs, scales, fits, distances, read_json(args.quality, QUALITY))
    for name in progress(list(dict.fromkeys(path.stem for path in args.output)), "figures"):
        figure = draw(name, tables)
        for path in args.output:
            if path.stem == name:
                with publish(path) as temporary:
                    save(figure, temporary, path.suffix[1:], made)


if __name__ == "__main__":
    run(main)
