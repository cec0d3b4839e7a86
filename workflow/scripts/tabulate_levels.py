r"""Table 1: mean, standard error and n over seeds by level and arm, and how each quantity trends with beta.

    python workflow/scripts/tabulate_levels.py --runs runs.parquet --csv table1.csv --markdown table1.md \
        --latex table1.tex --trends trends.json
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from goodhart.cli import Output, run
from goodhart.store.files import publish, write_json, write_text
from goodhart.store.flags import Frame, StepFlags, table
from goodhart.store.schemas.summaries import RUNS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    runs: Frame = table(RUNS)
    csv: Output
    markdown: Output
    latex: Output
    trends: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    runs, made = given.runs, given.origin
    from goodhart.analysis.runs import arm_differences, table1, trends

    levels, found = table1(runs), trends(runs)
    shown = _for_reading(levels, found)
    with publish(given.csv) as temporary:
        levels.to_csv(temporary, index=False)
    write_text(given.markdown, shown.to_markdown(index=False) + "\n")
    write_text(given.latex, shown.to_latex(index=False, escape=True).replace("±", r"$\pm$"))
    write_json(given.trends, {"trends": found, "arm_differences": arm_differences(runs)}, made)


def _for_reading(table: pd.DataFrame, found: list[dict]) -> pd.DataFrame:
    """The table as text: mean ± standard error, and a last row an arm with the rank correlation with beta."""
    import pandas as pd

    from goodhart.analysis.runs import FLAGS, TABLE1

    rows = []
    for (arm, method), part in table.groupby(["arm", "method"], sort=False):
        for _, row in part.iterrows():
            cells = {title: _mean_and_error(row, column) for title, column in TABLE1.items()}
            rows.append(
                {"Arm": arm, "Method": method, "Level": row["level"], "beta": f"{row['beta']:.3f}", "n": row["n"]}
                | cells
                | {title: f"{row[flag]} of {row['n']}" for flag, title in FLAGS.items()}
            )
        mine = {t["quantity"]: t["level_means"] for t in found if (t["arm"], t["method"]) == (arm, method)}
        rows.append(
            {"Arm": arm, "Method": method, "Level": "Spearman with beta (exact p)", "beta": "", "n": len(part)}
            | {title: _correlation(trend) for title, trend in mine.items()}
            | dict.fromkeys(FLAGS.values(), "")
        )
    return pd.DataFrame(rows)


def _mean_and_error(row: pd.Series, column: str) -> str:
    import pandas as pd

    if pd.isna(row[column]):
        return "-"
    text = f"{row[column]:.3g}" if pd.isna(row[f"{column}_se"]) else f"{row[column]:.3g} ± {row[f'{column}_se']:.2g}"
    return text if row[f"{column}_n"] == row["n"] else f"{text} (n={row[f'{column}_n']})"


def _correlation(trend: dict) -> str:
    return "-" if trend["statistic"] is None else f"{trend['statistic']:+.2f} (p {_p(trend['p_value'])})"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.0005 else f"= {value:.3f}"


if __name__ == "__main__":
    run(main)
