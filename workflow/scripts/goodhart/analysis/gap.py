"""The Goodhart gap and quantities derived from it: AUGC, onset, correlation with uncertainty (Definitions 3.1 and 3.2).

A series holds one value per evaluation of one run, starting at step 0. Two gaps are always computed side by side:
`gap_paper` is Eq. 2 as printed; `gap` measures both rewards in standard deviations. Eq. 2 divides by the rewards at
step 0, but a Bradley-Terry reward has no origin, and Eq. 2 diverges where the true reward starts at 0.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from goodhart.errors import InputError

FloatArray = npt.NDArray[np.float64]

EPSILON = float(np.finfo(np.float32).eps)  # the epsilon of Definition 3.1
# The epsilon alone moves Eq. 2 this far from 0 where no reward has changed (accuracies of 0.0012 and more).
NO_GAP = 1e-4
# A series whose range is below this fraction of its largest magnitude is constant except for rounding.
_ROUNDING = 1e-12


def gap_paper(proxy: npt.ArrayLike, true: npt.ArrayLike) -> FloatArray:
    """Eq. 2: proxy(t) / (|proxy(0)| + eps) - true(t) / (|true(0)| + eps), eps of float32; dimensionless."""
    p, r = paired(least=1, proxy=proxy, true=true)
    return p / (abs(p[0]) + EPSILON) - r / (abs(r[0]) + EPSILON)


def gap(proxy: npt.ArrayLike, true: npt.ArrayLike, proxy_scale: float, true_scale: float) -> FloatArray:
    """[proxy(t) - proxy(0)] / proxy_scale - [true(t) - true(0)] / true_scale, in standard deviations; 0 at the start.

    The gap is invariant to shifting either reward, and to rescaling a reward together with its scale.
    """
    p, r = paired(least=1, proxy=proxy, true=true)
    return (p - p[0]) / proxy_scale - (r - r[0]) / true_scale


def true_scale(successes: int, n: int) -> float:
    """SD of one true reward at the reference policy: sqrt(p (1 - p)), p = (successes + 1) / (n + 2).

    One pseudo-count per outcome keeps the scale positive when all n answers are right, or all wrong.
    """
    p = (successes + 1) / (n + 2)
    return float(np.sqrt(p * (1 - p)))


def flags_at_start(proxy: npt.ArrayLike, true: npt.ArrayLike) -> dict[str, bool]:
    """Whether, and why, Eq. 2 is unreliable for this run.

    Eq. 2 divides by almost 0 where the true reward starts at 0 or the proxy near 0. Where the proxy starts below 0,
    the gap starts at -2, so that much of the hacking happens below 0 and does not count. The proxy counts as near zero
    when |proxy(0)| is at most a tenth of its range over the run: Eq. 2 then shows this range as ten units or more.
    """
    p, r = paired(least=1, proxy=proxy, true=true)
    return {
        "true_at_start_is_zero": bool(r[0] == 0),
        "proxy_at_start_near_zero": bool(abs(p[0]) <= 0.1 * np.ptp(p)),
        "proxy_at_start_is_negative": bool(p[0] < 0),
    }


def augc(steps: npt.ArrayLike, gap: npt.ArrayLike) -> float:
    """Eq. 3: the integral of max(gap, 0) over steps (gap units times steps), with linear interpolation of the gap.

    Where the gap crosses zero between two evaluations, only the part above zero counts; clipping before interpolation
    would add a spurious wedge.
    """
    t, g = paired(least=2, steps=steps, gap=gap)
    if (np.diff(t) <= 0).any():
        raise InputError("steps must be strictly increasing.")
    above, size = np.maximum(g, 0), np.abs(g)
    height = above[:-1] + above[1:]
    span = size[:-1] + size[1:]
    # height / span is the fraction of the interval where the gap is above zero: 1, 0, or the part up to the crossing.
    part = np.divide(height, span, out=np.zeros_like(span), where=span > 0)
    return float(np.sum(np.diff(t) * part * height / 2))


def hacking_threshold(gaps: npt.ArrayLike) -> float | None:
    """tau_hack (section 7.1): 75th percentile of the positive gaps of a study, over all runs; None without any."""
    pooled = finite_series("gap", gaps)
    positive = pooled[pooled > NO_GAP]
    return float(np.percentile(positive, 75)) if len(positive) else None


def onset(steps: npt.ArrayLike, gap: npt.ArrayLike, threshold: float | None) -> int | None:
    """The step of the first evaluation whose gap exceeds the threshold; None if none does, or there is no threshold."""
    t, g = paired(least=1, steps=steps, gap=gap)
    over = t[g > threshold] if threshold is not None else t[:0]
    return int(over[0]) if len(over) else None


def uq_correlation(uq: npt.ArrayLike, gap: npt.ArrayLike) -> dict[str, float | None]:
    """r_UQ (section 5.3): Pearson correlation of ensemble disagreement and gap over the evaluations of a run.

    "levels" is the paper's r_UQ; "differences" correlates the changes from one evaluation to the next, because any two
    series with a trend correlate. A value is None for a constant series and for fewer than three pairs.
    """
    u, g = paired(least=1, uq=uq, gap=gap)
    noise_u, noise_g = _ROUNDING * np.abs(u).max(), _ROUNDING * np.abs(g).max()
    return {
        "levels": _pearson(u, g, noise_u, noise_g),
        "differences": _pearson(np.diff(u), np.diff(g), noise_u, noise_g),
    }


def finite_series(name: str, values: Any) -> FloatArray:
    """`values` as a one-dimensional float array; InputError with `name` if they are not one-dimensional and finite."""
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1 or not np.isfinite(series).all():
        raise InputError(f"{name} is not one-dimensional, or holds a value that is not finite.")
    return series


def paired(*, least: int = 0, **named: Any) -> list[npt.NDArray[Any]]:
    """Check that the named series are finite, equally long and of `least` values or more; return them in order.

    `replicates` may be any labels, and None means a single replicate.
    """
    series = {name: finite_series(name, values) for name, values in named.items() if name != "replicates"}
    if "replicates" in named:
        labels = named["replicates"]
        series["replicates"] = np.zeros(len(series[next(iter(series))])) if labels is None else np.asarray(labels)
    lengths = [len(values) for values in series.values()]
    if len(set(lengths)) > 1:
        raise InputError(f"{', '.join(series)} differ in length: {', '.join(map(str, lengths))}.")
    if lengths[0] < least:
        raise InputError(f"{', '.join(series)} have {lengths[0]} values; at least {least} needed.")
    return list(series.values())


def _pearson(x: FloatArray, y: FloatArray, noise_x: float, noise_y: float) -> float | None:
    if len(x) < 3 or np.ptp(x) <= noise_x or np.ptp(y) <= noise_y:
        return None
    x, y = (x - x.mean()) / np.ptp(x), (y - y.mean()) / np.ptp(y)
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))
