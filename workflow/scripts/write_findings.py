r"""Write what a study found: a page of sentences and tables, and Appendix F as a checklist, all from its results.

    python workflow/scripts/write_findings.py --runs runs.parquet --gaps gaps.parquet \
        --trends trends.json --fits fit/dpo-paper.json --overoptimisation overoptimisation.parquet \
        --scales scales.json --quality quality.json --beta-grid beta_grid.json --derived derived.json \
        --coverage coverage.json --problems problems.parquet --evaluation-seed 1 --findings findings.html \
        --checklist checklist.html --items checklist.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from goodhart.cli import Output, parser, run
from goodhart.store.files import write_json, write_text
from goodhart.store.provenance import origin


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    for name in ("runs", "gaps", "trends", "overoptimisation", "scales", "quality", "beta-grid"):
        args.add_argument(f"--{name}", type=Path, required=True)
    args.add_argument("--fits", type=Path, nargs="+", required=True, help="<method>-<arm>.json")
    args.add_argument("--derived", type=Path, required=True)
    args.add_argument("--coverage", type=Path, required=True)
    args.add_argument("--problems", type=Path, required=True)
    args.add_argument("--evaluation-seed", type=int, required=True, help="of the evaluation responses, to be stated")
    args.add_argument("--findings", type=Output, required=True, help="page to write")
    args.add_argument("--checklist", type=Output, required=True, help="page to write")
    args.add_argument("--items", type=Output, required=True, help="the checklist as JSON")
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from goodhart.report.checklist import checklist, checklist_page
    from goodhart.report.findings import findings_page
    from goodhart.report.html import stamped
    from goodhart.report.results import read_results

    results = read_results(vars(args))
    made = origin(args, __file__)
    items = checklist(results)
    for path, page in ((args.findings, findings_page(results)), (args.checklist, checklist_page(items))):
        write_text(path, stamped(page, made))
    write_json(args.items, {"items": [asdict(item) for item in items]}, made)


if __name__ == "__main__":
    run(main)
