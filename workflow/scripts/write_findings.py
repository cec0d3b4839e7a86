r"""Write the findings of a study as sentences and tables, and Appendix F as a checklist.

    python workflow/scripts/write_findings.py --runs runs.parquet --gaps gaps.parquet \
        --trends trends.json --fits fit/dpo-paper.json --overoptimisation overoptimisation.parquet \
        --scales scales.json --quality quality.json --beta-grid beta_grid.json --derived derived.json \
        --gates gates.json --decision decision.json --pressure pressure.parquet \
        --coverage coverage.json --problems problems.parquet --evaluation-seed 1 --findings findings.html \
        --checklist checklist.html --checklist-json checklist.json
"""

from dataclasses import asdict, dataclass

from goodhart.cli import Output, flag, run
from goodhart.report.flags import FindingsFlags
from goodhart.store.files import write_json, write_text


@dataclass(frozen=True, kw_only=True)
class Arguments(FindingsFlags):
    findings: Output = flag(help="findings page to write")
    checklist: Output = flag(help="checklist page to write")
    checklist_json: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    from goodhart.report.checklist import checklist, checklist_page
    from goodhart.report.findings import findings_page
    from goodhart.report.html import stamped
    from goodhart.report.results import read_results

    results = read_results(given)
    items = checklist(results)
    pages = {given.findings: findings_page(results), given.checklist: checklist_page(items, given.redraw)}
    for path, page in pages.items():
        write_text(path, stamped(page, given.origin))
    write_json(given.checklist_json, {"items": [asdict(item) for item in items]}, given.origin)


if __name__ == "__main__":
    run(main)
