"""Verdicts on trends with beta, as clauses that pages and tables share.

A verdict is based on the permutation test within replicates.
"""
# ruff: noqa: RUF001 - reports contain Greek letters

from goodhart.report.numbers import correlation, measured, plural
from goodhart.report.results import Record

SIGNIFICANCE = 0.05
_UNITS = {
    "augc": "SD × updates",
    "augc_paper": "updates",
    "entropy_prompt_offline": "nats per token",
    "entropy_response_offline": "nats per token",
}


def decided(test: Record) -> bool:
    """Whether a test of a trend is significant."""
    return test["p_value"] is not None and test["p_value"] < SIGNIFICANCE


def direction(trend: Record) -> str:
    """What a quantity does as beta grows, as the predicate of a sentence."""
    found, levels = trend["within_replicates"], trend["level_means"]["n"]
    if levels == 0:
        return "has no value in any run"
    if levels == 1:
        return "has values at only one beta"
    if found["n"] == 0:
        return "has values at no more than one beta in each replicate"
    if found["p_value"] is None:
        return "is the same at every beta in each replicate"
    if decided(found):
        return "rises with beta" if found["statistic"] > 0 else "falls with beta"
    if found["smallest_p"] >= SIGNIFICANCE:
        smallest = f"p cannot be smaller than {found['smallest_p']:.3f} with {plural(found['n'], 'replicate')}"
        return f"has an inconclusive trend, because {smallest}"
    return f"shows no significant trend with beta across {plural(found['n'], 'replicate')}"


def evidence(trend: Record) -> str:
    """The tests and the size of a trend, as a clause."""
    within, means = trend["within_replicates"], trend["level_means"]
    if within["p_value"] is None:
        return plural(within["n"], "replicate")
    return (
        f"Spearman within replicates {correlation(within)}, {plural(within['n'], 'replicate')}; of the {means['n']} "
        f"level means {correlation(means)}; {slope(trend['slope'], trend['column'])}"
    )


def slope(found: Record | None, column: str) -> str:
    """'slope ... per unit of ln β (n = 3)', or the reason why there is no slope."""
    if found is None:
        return "no slope, because some runs have no onset"
    unit = f" {_UNITS[column]}" if column in _UNITS else ""
    return f"slope {estimate(found)}{unit} per unit of ln β (n = {found['n']})"


def required(gate: Record) -> str:
    """The threshold of a gate: 'at least 0.65', '0.5 to 0.9' or 'below 0.05'."""
    low, high = gate["low"], gate["high"]
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"below {high:g}"


def estimate(found: Record) -> str:
    """'mean ± standard error [interval]' of a record with the keys mean, se and interval."""
    return measured(found["mean"], found["se"], found["interval"])
