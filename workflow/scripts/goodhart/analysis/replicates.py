"""Uncertainty over replicates: t intervals, sign-flip tests, Holm's correction, and how many replicates it takes.

A replicate (chain) is one whole redrawn pipeline, and replicates are the only unit of replication. Every series here
holds one number per replicate. There is no bootstrap: a percentile interval of three values covers about 75 % where it
says 95 %.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import nctdtr, stdtrit

from goodhart.analysis.gap import FloatArray, finite_series
from goodhart.errors import InputError

LEVEL = 0.95  # of every interval
_EXACT = 16  # replicates whose sign flips are enumerated: 65,536
_DRAWS = 10_000  # of sign flips beyond that
_MOST = 1_000_000  # replicates; more are not counted


def t_interval(values: npt.ArrayLike, level: float = LEVEL) -> dict[str, Any]:
    """{"mean", "sd", "se", "n", "interval"} of one number per replicate, (n,), all in the unit of the values.

    The interval is Student's t on n - 1 degrees of freedom. SD (ddof 1), standard error and interval are None below two
    replicates, the mean below one.
    """
    v = finite_series("values", values)
    n = len(v)
    if n < 2:
        return {"mean": float(v[0]) if n else None, "sd": None, "se": None, "n": n, "interval": None}
    sd = float(v.std(ddof=1))
    interval = [float(end) for end in t_limits(v, level)]
    return {"mean": float(v.mean()), "sd": sd, "se": sd / math.sqrt(n), "n": n, "interval": interval}


def t_limits(values: FloatArray, level: float = LEVEL) -> tuple[FloatArray, FloatArray]:
    """Lower and upper end of the t interval of the mean over the last axis, of many studies: (..., n) -> (...).

    Both are NaN below two replicates, and wherever a value is NaN.
    """
    if not 0 < level < 1:
        raise InputError(f"level must lie in (0, 1), not {level!r}.")
    n = values.shape[-1]
    if n < 2:
        return np.full(values.shape[:-1], np.nan), np.full(values.shape[:-1], np.nan)
    half = stdtrit(n - 1, (1 + level) / 2) * values.std(axis=-1, ddof=1) / math.sqrt(n)
    mean = values.mean(axis=-1)
    return mean - half, mean + half


def sign_flip(values: npt.ArrayLike) -> dict[str, Any]:
    """Two-sided test that values, (n,), are symmetric about 0: the mean under all flips of their signs (Fisher 1935).

    Returns {"statistic", "p_value", "smallest_p", "n", "method"}. The statistic is the mean. `smallest_p` is the
    p-value if all values that are not 0 had one sign: three replicates have no p below 0.25. All 2^n flips are
    enumerated up to 16 replicates; beyond that, 10,000 are drawn with a fixed seed. Without values, p is None.

    `scipy.stats.permutation_test` misses ties at a mean of 0 that rounding separates, and takes seconds for n = 16.
    """
    v = finite_series("values", values)
    n = len(v)
    if not n:
        return {"statistic": None, "p_value": None, "smallest_p": None, "n": 0, "method": "undefined"}
    exact = n <= _EXACT
    if exact:
        flipped = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    else:
        flipped = np.random.default_rng(0).integers(2, size=(_DRAWS, n))
    sums = np.abs((1 - 2 * flipped) @ v)
    extreme = int(np.sum(sums >= abs(v.sum()) - 1e-9 * np.abs(v).sum()))  # equal sums can differ by rounding
    smallest = min(1.0, 2 / 2 ** int(np.count_nonzero(v)))
    return {
        "statistic": float(v.mean()),
        "p_value": extreme / len(sums) if exact else (extreme + 1) / (len(sums) + 1),
        "smallest_p": smallest if exact else max(smallest, 1 / (len(sums) + 1)),
        "n": n,
        "method": f"{'exact' if exact else 'Monte-Carlo'} sign-flip test, {len(sums)} flips",
    }


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted for their number by Holm's step-down method (1979), in the given order.

    None stays None and does not count as a test.
    """
    known = [(p, place) for place, p in enumerate(p_values) if p is not None]
    if any(not 0 <= p <= 1 for p, _ in known):
        raise InputError("a p-value must lie between 0 and 1.")
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(sorted(known)):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted


def slope(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Least-squares slope of one replicate: the change of y, (levels,), per unit of x, (levels,), here ln beta."""
    return float(slopes(finite_series("x", x), finite_series("y", y)))


def slopes(x: FloatArray, y: FloatArray) -> FloatArray:
    """`slope` along the last axis of many replicates: x and y are (..., levels), and NaN in y gives NaN."""
    if x.shape[-1] != y.shape[-1]:
        raise InputError(f"x and y differ in their number of levels: {x.shape[-1]} and {y.shape[-1]}.")
    if x.shape[-1] < 2 or (np.ptp(x, axis=-1) == 0).any():
        raise InputError("a slope needs at least two different levels.")
    centred = x - x.mean(axis=-1, keepdims=True)
    found: FloatArray = np.sum(centred * y, axis=-1) / np.sum(centred**2, axis=-1)
    return found


def power(effect: float, sd: float, n: int, alpha: float = 0.05) -> float:
    """Probability that the two-sided one-sample t test of n replicates rejects 0 when their mean is `effect`.

    `effect` and `sd` (over replicates) have one unit. t follows a noncentral t distribution with n - 1 degrees of
    freedom and noncentrality effect sqrt(n) / sd. Below two replicates there is no test, and the power is 0.
    """
    if not (math.isfinite(effect) and math.isfinite(sd) and sd >= 0 and 0 < alpha < 1):
        raise InputError(
            f"power needs a finite effect, an SD of at least 0 and alpha in (0, 1), not {effect, sd, alpha}."
        )
    return _power(abs(effect), sd, n, alpha)


def replicates_needed(effect: float, sd: float, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """The smallest number of replicates with this power to detect `effect`; None for no effect or above a million."""
    if not 0 < power < 1:
        raise InputError(f"power must lie in (0, 1), not {power!r}.")
    if not (math.isfinite(effect) and math.isfinite(sd) and sd >= 0 and 0 < alpha < 1):
        raise InputError(f"an effect and an SD must be finite, the SD at least 0, not {effect!r} and {sd!r}.")
    size = abs(effect)
    if size == 0 or _power(size, sd, _MOST, alpha) < power:
        return None
    too_few, enough = 1, 2
    while _power(size, sd, enough, alpha) < power:
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if _power(size, sd, middle, alpha) >= power else (middle, enough)
    return enough


def _power(effect: float, sd: float, n: int, alpha: float) -> float:
    if n < 2:
        return 0.0
    if sd == 0:
        return 1.0 if effect else alpha
    critical, shift = float(stdtrit(n - 1, 1 - alpha / 2)), effect * math.sqrt(n) / sd
    if shift > 30 and shift > 3 * critical:  # scipy's distribution function is not made for this
        return 1.0
    wrong_sign = 0.0 if shift > 5 else float(nctdtr(n - 1, shift, -critical))  # below 3e-7 there, and NaN in scipy
    return 1 - float(nctdtr(n - 1, shift, critical)) + wrong_sign
