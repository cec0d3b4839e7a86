r"""Draw the figures of a study from its tables: PDF for print, SVG for the report; the file name selects the figure.

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
from goodhart.runtime.progress import progress
from goodhart.store.files import publish
from goodhart.store.provenance import origin


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
    from goodhart.report.figures import FIGURES, draw
    from goodhart.report.panels import save
    from goodhart.report.results import read_results

    results = read_results(vars(args))
    made = origin(args, __file__)
    for path in args.output:
        if path.stem not in FIGURES or path.suffix not in (".pdf", ".svg"):
            raise InputError(f"--output: {path.name} is not .pdf or .svg of {', '.join(FIGURES)}.")
    for name in progress(list(dict.fromkeys(path.stem for path in args.output)), "figures"):
        figure = draw(name, results)
        for path in args.output:
            if path.stem == name:
                with publish(path) as temporary:
                    save(figure, temporary, path.suffix[1:], made)


if __name__ == "__main__":
    run(main)
