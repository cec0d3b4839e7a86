"""Table 1 as text."""

import pandas as pd

from goodhart.analysis.levels import FLAGS, TABLE1
from goodhart.report.numbers import probability


def as_text(table: pd.DataFrame, found: list[dict]) -> pd.DataFrame:
    """The table as text: mean ± standard error, and after each arm and method a row of rank correlations with beta."""
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
    if pd.isna(row[column]):
        return "-"
    text = f"{row[column]:.3g}" if pd.isna(row[f"{column}_se"]) else f"{row[column]:.3g} ± {row[f'{column}_se']:.2g}"
    return text if row[f"{column}_n"] == row["n"] else f"{text} (n={row[f'{column}_n']})"


def _correlation(trend: dict) -> str:
    return "-" if trend["statistic"] is None else f"{trend['statistic']:+.2f} ({probability(trend['p_value'])})"
