"""Table 1 as text, and the two tables of the findings page whose rows the template does not build."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pandas as pd

from goodhart.analysis import gates
from goodhart.analysis.levels import FLAGS, TABLE1
from goodhart.analysis.replicates import holm
from goodhart.report.numbers import cell, plural, probability
from goodhart.report.results import Results
from goodhart.report.verdicts import SIGNIFICANCE

# Trends with beta in the paper: the column of `TABLE1`, a name, the sign, and where the paper reports it.
CLAIMS = [
    ("entropy_prompt_offline", "Entropy of the offline policy (Eq. 11)", -1, "measured, Figure 6"),
    ("entropy_response_offline", "Entropy of the responses", -1, "claimed, section 1"),
    ("diversity_offline", "Diversity of the responses", -1, "claimed, Figure 2"),
    ("ood_distance_offline", "OOD distance of the responses (Eq. 12)", -1, "measured, Figure 6"),
    ("ood_distance_offline", "OOD distance of the responses (Eq. 12)", 1, "claimed, Figure 2 and section 9"),
    ("uncertainty_mean", "Ensemble uncertainty during the run", 1, "measured, Figure 6"),
    ("r_uq_paper", "Correlation of uncertainty and gap (Eq. 2)", 1, "in words only, Table 1"),
    ("onset_paper", "Onset of hacking (Eq. 2)", -1, "in words only, Table 1"),
    ("augc_paper", "Hacking damage, AUGC (Eq. 2)", 1, "measured, Figure 6"),
    ("augc", "Hacking damage, AUGC (SD)", 1, "measured with Eq. 2"),
]


def claims(results: Results) -> Iterator[dict[str, Any]]:
    """Each trend with beta that the paper reports, and the trend found here; offline quantities once per method.

    `adjusted` is the p value corrected for the number of these claims by Holm's method; verdicts are based on it. A
    quantity of Eq. 2 has none where Eq. 2 is unreliable for some run.
    """
    found = list(_claims(results))
    judged = gates.passed(results.gates, results.decision["primary"]["arm"])
    for row, p in zip(found, holm([row["p"] for row in found]), strict=True):
        decided = p is not None and p < SIGNIFICANCE
        verdict = row["verdict"] if decided else "inconclusive"
        yield {**row, "adjusted": p, "verdict": verdict if judged else "none (a gate failed)"}


def _claims(results: Results) -> Iterator[dict[str, Any]]:
    for (method, arm), (column, name, sign, source) in product(results.panels, CLAIMS):
        offline = column.endswith("_offline")
        if offline and (method, arm) not in results.first_panels:
            continue
        trend = results.trend(method, arm, column)
        agrees = (trend["within_replicates"]["statistic"] or 0) * sign > 0
        runs = results.of(results.runs, method, arm)
        flagged = column.endswith("_paper") and runs[list(FLAGS)].any(axis=None)
        yield {
            "arm": "all" if offline else results.name(method, arm),
            "quantity": name,
            "sign": sign,
            "source": source,
            "trend": trend,
            "verdict": "agrees" if agrees else "contradicts",
            "p": None if flagged else trend["within_replicates"]["p_value"],
        }


def level_rows(results: Results) -> Iterator[dict[str, str]]:
    """Table 1 with intervals, one row per quantity and one column per level; '-' for a level that an arm lacks."""
    table = results.table1.drop_duplicates("level")
    names = {level: f"{level} (β = {beta:.3g})" for level, beta in zip(table["level"], table["beta"], strict=True)}
    for method, arm in results.panels:
        rows = {row["level"]: row for row in results.levels(method, arm)}
        cells = {title: {level: cell(row, column) for level, row in rows.items()} for title, column in TABLE1.items()}
        cells |= {
            f"{title} (Eq. 2 unreliable)": {
                level: f"{row[flag]} of {plural(row['n'], 'run')}" for level, row in rows.items()
            }
            for flag, title in FLAGS.items()
        }
        for title, known in cells.items():
            columns = {name: known.get(level, "-") for level, name in names.items()}
            yield {"arm": results.name(method, arm), "quantity": title, **columns}


def as_text(table: pd.DataFrame, found: list[dict]) -> pd.DataFrame:
    """Table 1 as text: mean ± standard error, and after each arm and method a row of rank correlations with beta."""
    rows = []
    for (arm, method), part in table.groupby(["arm", "method"], sort=False):
        for _, row in part.iterrows():
            rows.append(
                {"Arm": arm, "Method": method, "Level": row["level"], "beta": f"{row['beta']:.3f}", "n": row["n"]}
                | {title: _mean_and_error(row, column) for title, column in TABLE1.items()}
                | {title: f"{row[flag]} of {row['n']}" for flag, title in FLAGS.items()}
            )
        mine = {t["quantity"]: t["level_means"] for t in found if (t["arm"], t["method"]) == (arm, method)}
        rows.append(
            {"Arm": arm, "Method": method, "Level": "Spearman with beta (exact p)", "beta": "", "n": len(part)}
            | {
                title: "-" if t["statistic"] is None else f"{t['statistic']:+.2f} ({probability(t['p_value'])})"
                for title, t in mine.items()
            }
            | dict.fromkeys(FLAGS.values(), "")
        )
    return pd.DataFrame(rows)


def _mean_and_error(row: pd.Series, column: str) -> str:
    if pd.isna(row[column]):
        return "-"
    text = f"{row[column]:.3g}" if pd.isna(row[f"{column}_se"]) else f"{row[column]:.3g} ± {row[f'{column}_se']:.2g}"
    return text if row[f"{column}_n"] == row["n"] else f"{text} (n={row[f'{column}_n']})"
