"""Verdicts on trends with beta, as clauses that pages and tables share.

The verdict is that of the permutation test within seeds.
"""
# ruff: noqa: RUF001 - reports speak Greek

from goodhart.report.numbers import coefficient, measured, plural, probability
from goodhart.report.results import Record

SIGNIFICANCE = 0.05
_UNITS = {
    "augc": "SD × updates",
    "augc_paper": "updates",
    "entropy_prompt_offline": "nats a token",
    "entropy_response_offline": "nats a token",
}


def decided(test: Record) -> bool:
    """Whether a test of a trend is significant."""
    return test["p_value"] is not None and test["p_value"] < SIGNIFICANCE


def direction(trend: Record) -> str:
    """What a quantity does as beta grows, as the verb of a sentence."""
    test, levels = trend["within_seeds"], trend["level_means"]["n"]
    if levels == 0:
        return "has no value in any run"
    if levels == 1:
        return "has values at one beta only"
    if test["n"] == 0:
        return "has no seed with values at two betas"
    if test["p_value"] is None:
        return "is the same at every beta within each seed"
    if decided(test):
        return "rises with beta" if test["statistic"] > 0 else "falls with beta"
    if test["smallest_p"] >= SIGNIFICANCE:
        smallest = f"the smallest possible p is {test['smallest_p']:.3f} with {plural(test['n'], 'seed')}"
        return f"has an inconclusive trend, as {smallest}"
    return f"shows no significant trend with beta across {plural(test['n'], 'seed')}"


def evidence(trend: Record) -> str:
    """The tests and the size of a trend, as a clause."""
    within, means = trend["within_seeds"], trend["level_means"]
    if within["p_value"] is None:
        return plural(within["n"], "seed")
    return (
        f"Spearman within seeds {coefficient(within['statistic'])}, {probability(within['p_value'])}, "
        f"{plural(within['n'], 'seed')}; of the {means['n']} level means {coefficient(means['statistic'])}, "
        f"{probability(means['p_value'])}; {slope(trend['slope'], trend['column'])}"
    )


def slope(found: Record | None, column: str) -> str:
    """'change per factor e in beta ... (n = 3)', or why there is none."""
    if found is None:
        return "no slope, as runs without a value are ranked after all others"
    unit = f" {_UNITS[column]}" if column in _UNITS else ""
    return f"change per factor e in beta {estimate(found)}{unit} (n = {found['n']})"


def estimate(found: Record) -> str:
    """'mean ± standard error [interval]' of a record with these keys."""
    return measured(found["mean"], found["se"], found["interval"])
