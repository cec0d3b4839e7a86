r"""Show what online adaptation did to single responses: one HTML page, complete in itself, first and last side by side.

For each run the page gives the totals over all problems, then two kinds of examples and how they were chosen: where
the answer went from right to wrong and the proxy rose most, and problems drawn at random from all others.

    python workflow/scripts/show_samples.py --samples online/dpo/p20/kl-p20/seed-0/samples.parquet --examples 6 \
        --seed 0 --output samples.html
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import Output, parser, run
from goodhart.errors import InputError
from goodhart.store.files import read_table, write_text
from goodhart.store.provenance import origin
from goodhart.store.schemas.measurements import SAMPLES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--samples", type=Path, nargs="+", required=True, help="samples.parquet of one or more runs")
    args.add_argument("--examples", type=int, required=True, help="at most so many of each kind and run")
    args.add_argument("--seed", type=int, required=True, help="of the random examples")
    args.add_argument("--output", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    if args.examples < 1:
        raise InputError(f"--examples must be at least 1, not {args.examples}.")
    from goodhart.report.html import stamped
    from goodhart.report.samples import samples_page

    runs = {path: read_table(path, SAMPLES) for path in args.samples}
    for path, samples in runs.items():
        if samples["step"].nunique() < 2:
            raise InputError(f"{path} has responses of a single step; there is nothing to compare.")
    page = samples_page(list(runs.values()), args.examples, args.seed)
    write_text(args.output, stamped(page, origin(args, __file__)))


if __name__ == "__main__":
    run(main)
