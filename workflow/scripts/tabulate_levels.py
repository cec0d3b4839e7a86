r"""Table 1: mean, standard error and n over seeds by level and arm, and how each quantity trends with beta.

    python workflow/scripts/tabulate_levels.py --runs runs.parquet --csv table1.csv --markdown table1.md \
        --latex table1.tex --trends trends.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from goodhart.cli import Output, parser, run
from goodhart.store.files import read_table, write_json, write_text
from goodhart.store.provenance import origin
from goodhart.store.schemas.summaries import RUNS

if TYPE_CHECKING:
    import pandas as pd


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--runs", type=Path, required=True)
    args.add_argument("--csv", type=Output, required=True)
    args.add_argument("--markdown", type=Output, required=True)
    args.add_argument("--latex", type=Output, required=True)
    args.add_argument("--trends", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    runs = read_table(args.runs, RUNS)
    made = origin(args, __file__)
    from goodhart.analysis.levels import arm_differences, table1, trends

    table, found = table1(runs), trends(runs)
    shown = _for_reading(table, found)
    write_text(args.csv, table.to_csv(index=False))
    write_text(args.markdown, shown.to_markdown(index=False) + "\n")
    write_text(args.latex, shown.to_latex(index=False, escape=True).replace("±", r"$\pm$"))
    write_json(args.trends, {"trends": found, "arm_differences": arm_differences(runs)}, made)


def _for_reading(table: pd.DataFrame, found: list[dict]) -> pd.DataFrame:
    """The table as text: mean ± standard error, and a last row an arm with the rank correlation with beta."""
    import pandas as pd

    from goodhart.analysis.levels import FLAGS, TABLE1

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
    from goodhart.report.numbers import probability

    return "-" if trend["statistic"] is None else f"{trend['statistic']:+.2f} ({probability(trend['p_value'])})"


if __name__ == "__main__":
    run(main)
