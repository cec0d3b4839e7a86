r"""Write what a study found: a page of sentences and tables, and Appendix F as a checklist, all from its results.

    python workflow/scripts/write_findings.py --runs runs.parquet --gaps gaps.parquet \
        --trends trends.json --fits fit/dpo-paper.json --overoptimisation overoptimisation.parquet \
        --scales scales.json --quality quality.json --beta-grid beta_grid.json --derived derived.json \
        --coverage coverage.json --problems problems.parquet --evaluation-seed 1 --findings findings.html \
        --checklist checklist.html --checklist-json checklist.json
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from goodhart.cli import Output, flag, run
from goodhart.report.results import read_fits
from goodhart.store.files import write_json, write_text
from goodhart.store.flags import Frame, Record, StepFlags, record, table
from goodhart.store.schemas.inputs import PROBLEMS
from goodhart.store.schemas.summaries import GAPS, OVEROPTIMISATION, RUNS

COVERAGE = (
    *("rows_in_source", "pairs", "prompts", "tokens", "responses_by_source_model"),
    *("identical_pairs_dropped", "pairs_with_tied_scores"),
)


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    runs: Frame = table(RUNS)
    gaps: Frame = table(GAPS)
    trends: Record = record("trends", "arm_differences")
    fits: list[Path] = flag(help="<method>-<arm>.json")
    overoptimisation: Frame = table(OVEROPTIMISATION)
    scales: Record = record("proxy", "true", "successes", "problems", "threshold", "threshold_paper")
    quality: Record = record("pairs", "member_accuracy", "ensemble_accuracy")
    beta_grid: Record = record("levels")
    derived: Record = record("offline", "reward", "online")
    coverage: Record = record(*COVERAGE)
    problems: tuple[Frame, Frame] = table(PROBLEMS, "online", "evaluation")
    evaluation_seed: int = flag(help="of the evaluation responses, to be stated")
    findings: Output = flag(help="page to write")
    checklist: Output = flag(help="page to write")
    checklist_json: Output = flag(help="the checklist as JSON")


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    fits = read_fits(given.fits, given.runs)
    made = given.origin
    from goodhart.analysis.runs import table1
    from goodhart.report.checklist import checklist
    from goodhart.report.html import stamped
    from goodhart.report.pages import checklist_page, findings_page
    from goodhart.report.results import Results

    online, evaluation = (part["prompt"] for part in given.problems)
    results = Results(
        runs=given.runs,
        gaps=given.gaps,
        table1=table1(given.runs),
        trends=given.trends["trends"],
        differences=given.trends["arm_differences"],
        fits=fits,
        overoptimisation=given.overoptimisation,
        scales=given.scales,
        quality=given.quality,
        betas=given.beta_grid["levels"],
        derived=given.derived,
        coverage=given.coverage,
        online_problems=len(online),
        shared_problems=int(online.isin(evaluation).sum()),
        evaluation_seed=given.evaluation_seed,
    )
    items = checklist(results)
    for path, page in ((given.findings, findings_page(results)), (given.checklist, checklist_page(items))):
        write_text(path, stamped(page, made))
    write_json(given.checklist_json, {"items": [asdict(item) for item in items]}, made)


if __name__ == "__main__":
    run(main)
