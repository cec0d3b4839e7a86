"""From a study's table of AUGC and losses to its verdict: the contrasts, their intervals, and the rule of `rule.py`."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from goodhart.analysis.contrasts import CONTRASTS, contrasts
from goodhart.analysis.gap import FloatArray
from goodhart.analysis.replicates import LEVEL, replicates_needed, sign_flip, t_interval, t_limits
from goodhart.analysis.rule import RULE, SENTENCES, TOTAL, TOTAL_SENTENCES, Condition, Limits, Rule, first_match, met
from goodhart.errors import InputError

CELLS = ("augc", "augc_paper", "online_loss", "true_start", "total_loss")
POWER = 0.8


def decide(table: pd.DataFrame, gates_passed: bool) -> dict[str, Any]:
    """The verdict of one study, and everything that it rests on.

    Args:
        table: one row per (replicate, beta) of the primary contrast: replicate, beta (the offline beta; replicates may
            have different betas, and level k is the k-th smallest of each), augc (SD times updates), augc_paper (Eq. 2
            times updates), online_loss and total_loss (accuracy; 0.01 is one point) and true_start (accuracy of the
            offline checkpoint). A missing or flagged number is NaN. No replicate is dropped for it: its contrast has no
            interval then, and meets no condition.
            Where Eq. 2 is missing in some run, the rule is applied to the gap in SD alone.
        gates_passed: whether the gates of the study passed (`gates.passed`).

    Returns:
        verdict (a key of `rule.SENTENCES`) and sentence; needed, the verdict that the fewest replicates would reach and
        their number (of an undecided study, see `_needed`); total, the same three for the total loss; eq2_reliable,
        whether Eq. 2 counts; replicates and levels, their numbers; conditions, those of every verdict and whether they
        are met; contrasts, for each of `contrasts.CONTRASTS` its title, unit, level, `t_interval` and `sign_flip` (None
        if a replicate has no value).
    """
    ln_beta, cells = cells_of(table)
    found, levels = contrasts(ln_beta, cells), levels_of(ln_beta.shape[-1])
    summary = {name: _summary(name, values, levels[name]) for name, values in found.items()}
    limits = limits_of(ln_beta, cells)
    said = {name: _said(row) for name, row in summary.items()}

    reliable = bool(np.isfinite(found["augc_paper"]).all())

    def judged(rule: Rule, sentences: Mapping[str, str]) -> dict[str, Any]:
        if not reliable:  # no verdict rests on a flagged number
            rule = {name: tuple(c for c in of if c.contrast != "augc_paper") for name, of in rule.items()}
        verdict = str(first_match(limits, rule)) if gates_passed else "no verdict"
        needed = _needed(summary, limits, rule) if verdict == "undecided" else None
        return {"verdict": verdict, "sentence": sentences[verdict].format(**said), "needed": needed}

    return {
        **judged(RULE, SENTENCES),
        "total": judged(TOTAL, TOTAL_SENTENCES),
        "eq2_reliable": reliable,
        "replicates": ln_beta.shape[0],
        "levels": ln_beta.shape[1],
        "conditions": {
            verdict: [{**condition._asdict(), "met": bool(met(condition, limits))} for condition in conditions]
            for verdict, conditions in {**RULE, **TOTAL}.items()
        },
        "contrasts": summary,
    }


def limits_of(ln_beta: FloatArray, cells: Mapping[str, FloatArray]) -> Limits:
    """The interval of every contrast over replicates, for one study or many; arguments as in `contrasts.contrasts`."""
    levels = levels_of(ln_beta.shape[-1])
    return {name: t_limits(values, levels[name]) for name, values in contrasts(ln_beta, cells).items()}


def levels_of(betas: int) -> dict[str, float]:
    """The level of each contrast's interval: 0.95, but Bonferroni's for the choice among several interior levels."""
    chosen = 1 - (1 - LEVEL) / max(1, betas - 2)
    return {name: chosen if name in ("descent", "ascent") else LEVEL for name in CONTRASTS}


def cells_of(table: pd.DataFrame) -> tuple[FloatArray, dict[str, FloatArray]]:
    """ln beta and every column of `CELLS` as (replicates, levels), the smallest beta of each replicate first."""
    if absent := [name for name in ("replicate", "beta", *CELLS) if name not in table]:
        raise InputError(f"the table of the decision lacks column {absent[0]!r}.")
    ordered = table.sort_values(["replicate", "beta"])
    sizes = ordered.groupby("replicate").size().to_numpy()
    if not len(sizes) or sizes.min() < 2 or sizes.max() > sizes.min():
        raise InputError("every replicate needs the same number of betas, at least two.")
    values = {name: ordered[name].to_numpy(dtype=np.float64).reshape(len(sizes), -1) for name in ("beta", *CELLS)}
    beta = values.pop("beta")
    if not (np.isfinite(beta).all() and (beta > 0).all() and (np.diff(beta) > 0).all()):
        raise InputError("betas must be positive, finite and different within a replicate.")
    if any(np.isinf(v).any() for v in values.values()):
        raise InputError("the table of the decision holds an infinite value.")
    return np.log(beta), values


def _summary(name: str, values: FloatArray, level: float) -> dict[str, Any]:
    known: FloatArray = values if np.isfinite(values).all() else values[:0]
    return {**CONTRASTS[name]._asdict(), "level": level, **sign_flip(known), **t_interval(known, level)}


def _said(row: Mapping[str, Any]) -> str:
    if row["interval"] is None:
        return f"{row['title']}: no interval"
    low, high = row["interval"]
    return f"{row['title']}: {row['mean']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _needed(summary: Mapping[str, Any], limits: Limits, rule: Rule) -> dict[str, Any] | None:
    """The verdict that the fewest replicates would reach, with their number, if the observed means and SDs were true.

    Each condition that is not met yet then has a power of 80 %, by the t test of the distance from mean to bound. None
    where every verdict has a condition whose mean lies on the wrong side of its bound.
    """
    routes: list[tuple[float, str]] = []
    for verdict, conditions in rule.items():
        open_ = [condition for condition in conditions if not met(condition, limits)]
        routes.append((max(_for_condition(condition, summary[condition.contrast]) for condition in open_), verdict))
    number, verdict = min(routes, key=lambda route: route[0])
    return {"verdict": verdict, "replicates": int(number), "power": POWER} if math.isfinite(number) else None


def _for_condition(condition: Condition, row: Mapping[str, Any]) -> float:
    if row["sd"] is None:
        return math.inf
    distance = (row["mean"] - condition.bound) * (1 if condition.side == "above" else -1)
    found = replicates_needed(distance, row["sd"], POWER, alpha=1 - row["level"]) if distance > 0 else None
    return math.inf if found is None else found
