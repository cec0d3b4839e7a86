"""Gates: what must hold before a study can say anything about the paper's claim.

Each gate compares one figure, the mean over all replicates, with a threshold; its 95 % t interval is shown and does not
decide. No replicate is ever dropped: a figure that is missing in one replicate has no mean, and its gate fails. The
gates read the levels of the primary contrast alone, because the verdict rests on these.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from goodhart.analysis.gap import FloatArray
from goodhart.analysis.replicates import t_interval
from goodhart.errors import InputError

# KL in nats; estimates below are raised to it. Estimates of a KL near 0 scatter around 0, where a ratio means nothing.
KL_FLOOR = 0.01
_LEVEL_COLUMNS = ("offline_kl", "true_start", "proxy_rise", "true_fall")
_ROUNDING = 1e-9  # a mean that misses its threshold by less has met it


class Gate(NamedTuple):
    """A gate: what it states, in which unit, between which thresholds the figure must lie, and what failing means."""

    statement: str
    unit: str
    failed: str
    low: float | None = None
    high: float | None = None
    below: bool = False  # the figure must lie below `high`, not at it


GATES = {
    "accuracy": Gate(
        "the reference policy pi0 solves between half and nine tenths of the problems",
        "accuracy",
        "Accuracy has too little room to fall or to rise: how much of it is lost cannot be compared between levels.",
        low=0.5,
        high=0.9,
    ),
    "auroc": Gate(
        "within a style of response, the proxy reward ranks pi0's correct responses above its incorrect ones",
        "AUROC",
        "The reward models see style and not correctness: a gap then shows a blind reward, not an over-optimised one.",
        low=0.65,
    ),
    "kl_lowest": Gate(
        "offline training at the lowest beta moves the policy at least 1 nat from pi0 (geometric mean)",
        "nats",
        "Offline training hardly moved the policy: no difference between levels can be attributed to conservatism, and "
        "the absence of one says nothing.",
        low=1.0,
    ),
    "kl_span": Gate(
        "offline KL from pi0 at the lowest beta is at least ten times that at the highest (geometric mean)",
        "ratio",
        "The levels differ too little in conservatism: the absence of a trend with beta says nothing.",
        low=10.0,
    ),
    "start": Gate(
        "at every level of the primary contrast the offline checkpoint keeps half of pi0's accuracy",
        "share of pi0's accuracy",
        "A checkpoint is already over-optimised before online training: what it loses online cannot be compared with "
        "other levels.",
        low=0.5,
    ),
    "proxy_rise": Gate(
        "online, the proxy reward rises by at least 1 SD at some level",
        "SD",
        "Online training hardly optimised the proxy: nothing can be said about over-optimisation.",
        low=1.0,
    ),
    "true_fall": Gate(
        "online, accuracy falls by at least 5 points at that level",
        "accuracy",
        "Accuracy did not fall at any level at which the proxy rose: there was no reward hacking to compare.",
        low=0.05,
    ),
    "debris": Gate(
        "fewer than 5 % of an arm's evaluations lie beyond 1 nat of KL per token",
        "share of evaluations",
        "Too many evaluated policies have collapsed: gaps of this arm describe debris and not reward hacking.",
        high=0.05,
        below=True,
    ),
}


def check(
    policies: pd.DataFrame, styles: pd.DataFrame, levels: pd.DataFrame, arms: pd.DataFrame
) -> list[dict[str, Any]]:
    """One row per gate, and per style or arm where a gate has several, in the order of `GATES`.

    Args:
        policies: replicate, accuracy (of pi0 on the evaluation problems). It defines the replicates of the study.
        styles: replicate, style, auroc (of the proxy for correctness among pi0's responses of this style).
        levels: replicate, level, beta, offline_kl (nats per response, from pi0), true_start (accuracy of the offline
            checkpoint), proxy_rise (SD) and true_fall (accuracy), both of the online run, from its first evaluation to
            its last. Levels of the primary contrast in the primary arm alone, the same in every replicate.
        arms: replicate, arm, debris (share of the arm's evaluations for which `estimands.debris` holds).

    Returns:
        gate, where (style, level or arm; None for the study), statement, unit, value (mean over replicates, geometric
        for KL; None if unknown), interval, n (replicates with a value), low, high, passed, and consequence (None if
        passed). One row each, for their worst and best level, have `start`, and `proxy_rise` with `true_fall`.
    """
    replicates = sorted(policies["replicate"].unique())
    accuracy = _wide(policies.assign(study=""), "study", "accuracy", replicates)[""]
    order = levels.groupby("level")["beta"].mean().sort_values().index.tolist()
    wide = {name: _wide(levels, "level", name, replicates) for name in _LEVEL_COLUMNS}
    missing = np.full(len(replicates), np.nan)
    lowest, highest = (order[0], order[-1]) if order else (None, None)
    kl = {level: np.log(np.maximum(values, KL_FLOOR)) for level, values in wide["offline_kl"].items()}
    first, last = kl.get(lowest, missing), kl.get(highest, missing)
    kept = {level: _share(values, accuracy) for level, values in wide["true_start"].items()}
    worst = min(order, key=lambda level: np.nan_to_num(kept[level].mean(), nan=-np.inf), default=None)
    best = max(order, key=lambda level: _closest(wide["proxy_rise"][level], wide["true_fall"][level]), default=None)
    return [
        _row("accuracy", None, accuracy),
        *_each("auroc", styles, "style", "auroc", replicates),
        _row("kl_lowest", lowest, first, geometric=True),
        _row("kl_span", None, first - last, geometric=True),
        _row("start", worst, kept.get(worst, missing)),
        _row("proxy_rise", best, wide["proxy_rise"].get(best, missing)),
        _row("true_fall", best, wide["true_fall"].get(best, missing)),
        *_each("debris", arms, "arm", "debris", replicates),
    ]


def passed(rows: Sequence[Mapping[str, Any]], arm: str) -> bool:
    """Whether every gate of the study and the debris gate of this arm passed."""
    return all(row["passed"] for row in deciding(rows, arm))


def deciding(rows: Sequence[Mapping[str, Any]], arm: str) -> list[Mapping[str, Any]]:
    """The gates on which a verdict on this arm rests: all but the debris gates of other arms."""
    if not any(row["gate"] == "debris" and row["where"] == arm for row in rows):
        raise InputError(f"no gate was checked for arm {arm!r}.")
    return [row for row in rows if row["gate"] != "debris" or row["where"] == arm]


def _share(start: FloatArray, accuracy: FloatArray) -> FloatArray:
    """start / accuracy, (replicates,); 0 where pi0 solves nothing, of which nothing can be kept."""
    return np.divide(start, accuracy, out=np.where(np.isnan(start), start, 0.0), where=accuracy != 0)


def _wide(table: pd.DataFrame, by: str, column: str, replicates: list[Any]) -> dict[Any, FloatArray]:
    """The column as one array over all replicates per value of `by`; NaN where a replicate lacks it."""
    if table.duplicated(["replicate", by]).any():
        raise InputError(f"a replicate has two rows for one {by} in the table of {column}.")
    if strange := set(table["replicate"]) - set(replicates):
        raise InputError(f"replicate {min(strange)} has a value of {column}, but no accuracy of its pi0.")
    return {
        key: part.set_index("replicate")[column].reindex(replicates).to_numpy(dtype=np.float64)
        for key, part in table.groupby(by, sort=False)
    }


def _each(gate: str, table: pd.DataFrame, by: str, column: str, replicates: list[Any]) -> list[dict[str, Any]]:
    """One row per value of `by`; where there is none, one row that fails."""
    found = _wide(table, by, column, replicates)
    return [_row(gate, key, values) for key, values in found.items()] or [_row(gate, None, np.empty(0))]


def _row(gate: str, where: Any, values: FloatArray, geometric: bool = False) -> dict[str, Any]:
    """The row of one gate; `geometric` takes values as logarithms and shows what they are logarithms of."""
    rule, known = GATES[gate], values[np.isfinite(values)]
    complete = 0 < len(known) == len(values)
    found = t_interval(known if complete else known[:0])
    show = np.exp if geometric else float
    value = float(show(found["mean"])) if complete else None
    ok = value is not None and _within(value, rule)
    unknown = f"Not measured in every replicate ({len(known)} of {len(values)})."
    return {
        "gate": gate,
        "where": where,
        "statement": rule.statement,
        "unit": rule.unit,
        "value": value,
        "interval": [float(show(end)) for end in found["interval"]] if found["interval"] else None,
        "n": len(known),
        "low": rule.low,
        "high": rule.high,
        "passed": ok,
        "consequence": None if ok else rule.failed if complete else f"{unknown} {rule.failed}",
    }


def _within(value: float, rule: Gate) -> bool:
    if rule.low is not None and value < rule.low - _ROUNDING:
        return False
    slack = -_ROUNDING if rule.below else _ROUNDING
    return rule.high is None or value <= rule.high + slack


def _closest(rise: FloatArray, fall: FloatArray) -> float:
    """How near a level comes to both thresholds of online training: the smaller ratio of mean to threshold."""
    ratios = (rise.mean() / (GATES["proxy_rise"].low or 1), fall.mean() / (GATES["true_fall"].low or 1))
    return float(min(ratios)) if np.isfinite(ratios).all() else -np.inf
