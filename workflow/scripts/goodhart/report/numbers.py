"""Numbers, estimates and tests as text."""

# ruff: noqa: RUF001 - reports contain Greek letters

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd


def number(value: float | None, digits: int = 3) -> str:
    """A number with `digits` significant digits, a true minus sign and no exponent from 1 to 1e6; '-' if missing."""
    if value is None or pd.isna(value):
        return "-"
    text = f"{value + 0.0:.{digits}g}"  # + 0.0 turns -0.0 into 0.0
    if "e" in text and 1 <= abs(value) < 1e6:
        text = f"{value:.0f}"
    return text.replace("-", "−")


def measured(mean: float | None, se: float | None, interval: Sequence[float | None] | None = None) -> str:
    """'mean ± standard error [interval]' without the parts that are None; the error sets the decimals of the mean."""
    text = number(mean)
    if pd.notna(mean) and pd.notna(se):
        error = 0.0 if se <= 1e-12 * abs(mean) else se
        decimals = max(1 - math.floor(math.log10(error)), 0) if error else 7
        if decimals <= 6:
            text = f"{round(mean, decimals) + 0.0:.{decimals}f} ± {error:.{decimals}f}".replace("-", "−")
        else:
            text += f" ± {number(error, 2)}"
    if interval is not None and all(map(pd.notna, interval)):
        text += f" [{number(interval[0])}, {number(interval[1])}]"
    return text


def probability(p: float | None) -> str:
    """'p = 0.333', 'p < 0.001', or 'no p' where nothing varies."""
    return "no p" if p is None else "p < 0.001" if p < 0.0005 else f"p = {p:.3f}"


def coefficient(value: float | None) -> str:
    """A correlation with its sign."""
    return "-" if value is None else f"{value:+.2f}".replace("-", "−")


def correlation(found: Mapping[str, Any]) -> str:
    """A rank correlation and its p: '+1.00, p = 0.333'; '-' where nothing varies."""
    if found["statistic"] is None:
        return "-"
    return f"{coefficient(found['statistic'])}, {probability(found['p_value'])}"


def plural(count: int, noun: str) -> str:
    """'1 replicate', '3 replicates'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def cell(row: Mapping[Any, Any] | pd.Series, column: str) -> str:
    """One quantity of a row of Table 1: mean ± standard error [interval] (n)."""
    text = measured(row[column], row[f"{column}_se"], (row[f"{column}_low"], row[f"{column}_high"]))
    return f"{text} (n = {row[f'{column}_n']})"
