r"""Table 1: mean, standard error and n over replicates by level and arm, and the trend of each quantity with beta.

    python workflow/scripts/tabulate_levels.py --runs runs.parquet --csv table1.csv --markdown table1.md \
        --latex table1.tex --trends trends.json
"""

from dataclasses import dataclass

from goodhart.cli import Output, run
from goodhart.runtime.types import Frame
from goodhart.store.files import write_json, write_text
from goodhart.store.flags import StepFlags, table
from goodhart.store.schemas.summaries import RUNS


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    runs: Frame = table(RUNS)
    csv: Output
    markdown: Output
    latex: Output
    trends: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    from goodhart.analysis.levels import arm_differences, table1, trends
    from goodhart.report.tables import as_text

    levels, found = table1(given.runs), trends(given.runs)
    shown = as_text(levels, found)
    write_text(given.csv, levels.to_csv(index=False))
    write_text(given.markdown, shown.to_markdown(index=False) + "\n")
    write_text(given.latex, shown.to_latex(index=False, escape=True).replace("±", r"$\pm$"))
    write_json(given.trends, {"trends": found, "arm_differences": arm_differences(given.runs)}, given.origin)


if __name__ == "__main__":
    run(main)
