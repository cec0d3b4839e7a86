"""The beta grid (section 4.2)."""

import re
from typing import Any

import numpy as np

from goodhart.errors import InputError

EPSILON = float(np.finfo(np.float32).eps)


def log_ratio_magnitudes(chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """Eq. 6: delta_i = |log pi0(chosen|x) - log pi0(rejected|x)|, sequence sums in nats; all shapes (pairs,)."""
    return np.abs(chosen - rejected)


def beta_at(deltas: np.ndarray, percentile: float) -> float:
    """Eq. 7: beta_p = pct_p(delta) / (median(delta) + eps), eps the float32 machine epsilon."""
    beta = float(np.percentile(deltas, percentile) / (np.median(deltas) + EPSILON))
    if not beta > 0:
        raise InputError(
            f"the {percentile:g}th percentile of the log-ratios gives beta = {beta:g}, but DPO needs a positive beta; "
            "use a higher percentile or an explicit beta such as b0.10."
        )
    return beta


def parse_level(level: str) -> tuple[str, float]:
    """Parse a level: "p20" gives ('percentile', 20.0), "b0.10" gives ('beta', 0.1), "none" gives ('beta', 0.0).

    "none" is a level of the online penalty alone.
    """
    if level == "none":
        return "beta", 0.0
    match = re.fullmatch(r"([pb])(\d+(?:\.\d+)?)", level)
    if match and 0 < (number := float(match[2])) < {"p": 100, "b": np.inf}[match[1]]:
        return {"p": "percentile", "b": "beta"}[match[1]], number
    raise InputError(f"level {level!r} is neither a percentile such as p20 nor a positive beta such as b0.10.")


def derive_beta(level: str, chosen: np.ndarray, rejected: np.ndarray) -> dict[str, Any]:
    """The record of a level's beta; `chosen` and `rejected` are reference log-probs of the training pairs, in nats."""
    kind, number = parse_level(level)
    deltas = log_ratio_magnitudes(chosen, rejected)
    percentile = kind == "percentile"
    return {
        "level": level,
        "beta": beta_at(deltas, number) if percentile else number,
        "rule": f"pct_{number:g}(delta) / (median(delta) + eps), Eq. 7"
        if percentile
        else "given"
        if number
        else "no penalty",
        "one_by_construction": percentile and number == 50,
        "median_delta": float(np.median(deltas)),
        "n": len(deltas),
    }
