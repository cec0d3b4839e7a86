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
from goodhart.report.results import read_fits
from goodhart.store.files import read_json, read_table, write_json, write_text
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import PROBLEMS
from goodhart.store.schemas.summaries import GAPS, OVEROPTIMISATION, RUNS

COVERAGE = ["rows_in_source", "pairs", "prompts", "tokens", "responses_by_source_model"]
COVERAGE += ["identical_pairs_dropped", "pairs_with_tied_scores"]


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
    runs = read_table(args.runs, RUNS)
    fits = read_fits(args.fits, runs)
    made = Origin.of(args, __file__)
    from goodhart.analysis.runs import table1
    from goodhart.report.checklist import checklist
    from goodhart.report.html import stamped
    from goodhart.report.pages import checklist_page, findings_page
    from goodhart.report.results import Results

    problems = read_table(args.problems, PROBLEMS)
    online, evaluation = (problems["prompt"][problems["split"] == split] for split in ("online", "evaluation"))
    trends = read_json(args.trends, ["trends", "arm_differences"])
    results = Results(
        runs=runs,
        gaps=read_table(args.gaps, GAPS),
        table1=table1(runs),
        trends=trends["trends"],
        differences=trends["arm_differences"],
        fits=fits,
        overoptimisation=read_table(args.overoptimisation, OVEROPTIMISATION),
        scales=read_json(args.scales, ["proxy", "true", "successes", "problems", "threshold", "threshold_paper"]),
        quality=read_json(args.quality, ["pairs", "member_accuracy", "ensemble_accuracy"]),
        betas=read_json(args.beta_grid, ["levels"])["levels"],
        derived=read_json(args.derived, ["offline", "reward", "online"]),
        coverage=read_json(args.coverage, COVERAGE),
        online_problems=len(online),
        shared_problems=int(online.isin(evaluation).sum()),
        evaluation_seed=args.evaluation_seed,
    )
    items = checklist(results)
    for path, page in ((args.findings, findings_page(results)), (args.checklist, checklist_page(items))):
        write_text(path, stamped(page, made))
    write_json(args.items, {"items": [asdict(item) for item in items]}, made)


if __name__ == "__main__":
    run(main)
