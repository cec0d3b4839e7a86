"""AUGC as a power law of beta, a * beta^b + c with a, b, c >= 0, and the beta* it implies (Eq. 14-15, Appendix E).

beta* has two readings here, because the paper's Figure 5 contradicts its Eq. 15:

- `eq15` is the smallest beta where the curve exceeds 1.5 times its value at the smallest beta, in closed form. A search
  over Appendix E's grid would round it up to the next grid point (on the published points, from 1.1050 to 1.1051).
- `grid_minimum` is the first point of that grid where the curve exceeds 1.5 times its minimum over the grid. The grid
  begins at a tenth of the smallest beta. On the published points the result is 1.0814 (1.082 in the paper).

c has the units of AUGC, and b is dimensionless. A number that the data do not
determine is None with a named warning, never the value where a search stopped.
"""

from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import numpy.typing as npt

from goodhart.analysis.gap import FloatArray, paired
from goodhart.analysis.statistics import over_resamples, r_squared, resampled_interval
from goodhart.errors import InputError

Fit = dict[str, float | None]  # a, b, c and r_squared

WARNINGS = {
    "too_few_betas": "A power law needs at least three betas: there is no curve and no beta*.",
    "constant": "AUGC is the same in every run, so there is no exponent and no beta*.",
    "no_increase": "No rising curve fits better than a constant, so there is no exponent and no beta*.",
    "step": "AUGC rises only at the largest beta, so the exponent is not determined: there is no curve and no beta*.",
    "no_convergence": "The fit did not converge to finite parameters, so there is no curve and no beta*.",
    "exact_by_construction": "Three parameters are fitted to three betas, so R² is no evidence for the power law.",
    "not_monotone": "The mean AUGC falls between two adjacent betas, but the fitted curve cannot fall.",
    "zeros": "AUGC is 0 in at least one run; 1.5 times a minimum near 0 is no informative threshold.",
    "one_point_dominates": "One AUGC is over 1,000 times the next largest, so the fit depends on this run alone.",
    "zero_baseline": "undefined, because the fitted curve starts at 0 and 1.5 times 0 is no threshold.",
    "beyond_range": "undefined, because the fitted curve stays below the threshold up to twice the largest beta.",
    "extrapolated": "it lies outside the range of the betas that were run.",
    "interval_refused": "it has no interval, because it is undefined in more than 5 % of the bootstrap resamples.",
}
READINGS = {"eq15": "beta* (Eq. 15)", "grid_minimum": "beta* (grid minimum)"}
_PARAMETERS = 3
_FACTOR = 1.5
_ROUNDING = 1e-12
_NEGLIGIBLE = 1e-6  # relative to R² = 1 or the largest AUGC; smaller values are rounding and search tolerance


def fit_power_law(beta: npt.ArrayLike, augc: npt.ArrayLike, replicates: npt.ArrayLike | None = None) -> dict[str, Any]:
    """Least squares over all runs: `beta` > 0, `augc` >= 0 and, for an interval, the replicate of each run.

    Returns a JSON-ready dict: a, b, c, r_squared (over the same points), n, exact_by_construction (no more betas than
    parameters, and the curve passes through the mean at every beta), beta_star and augc_at_beta_star (each {"eq15",
    "grid_minimum"}), beta_star_interval (same keys), parameter_intervals ({"a", "b", "c"}), resamples (their number)
    and warnings [{"name", "message"}]. An interval is the 95 % [low, high] over bootstrap resamples of whole
    replicates, or None. Data without an increase give a = 0, b = None and c = the mean.

    Raises:
        InputError: no point at all, a beta that is not positive, or a negative AUGC.
    """
    x, y, labels = paired(least=1, beta=beta, augc=augc, replicates=replicates)
    if x.min() <= 0 or y.min() < 0:
        raise InputError("every beta must be positive, and no AUGC may be negative.")

    fit, refusal = _least_squares(x, y)
    betas = np.unique(x)
    means = np.array([y[x == beta].mean() for beta in betas])
    few = refusal is None and len(betas) <= _PARAMETERS
    found = {
        refusal or "": refusal is not None,
        "not_monotone": (np.diff(means) < 0).any(),
        "zeros": y.min() == 0,
        "one_point_dominates": len(y) > 1 and y.max() > 1000 * np.partition(y, -2)[-2],
        # A fit with an active bound (a or c at 0) does not pass through the means.
        "exact_by_construction": few and (np.abs(curve(fit, betas) - means) <= 1e-4 * y.max()).all(),
    }
    warnings = [{"name": name, "message": WARNINGS[name]} for name, holds in found.items() if holds]
    resampled = over_resamples(labels, lambda rows: _solved(x[rows], y[rows])) if refusal is None else []
    ends = {k: resampled_interval([f[k] for f in resampled if f and f[k] is not None]) for k in (*"abc", *READINGS)}
    solved = {k: solve(fit, x, y) if refusal is None else (None, None) for k, solve in _SOLVERS.items()}
    star = {reading: beta_star for reading, (beta_star, _) in solved.items()}
    for reading, (_, warning) in solved.items():
        refused = "interval_refused" if resampled and star[reading] and not ends[reading] else None
        remarks = [name for name in (warning, refused) if name is not None]
        warnings += [{"name": name, "message": f"{READINGS[reading]}: {WARNINGS[name]}"} for name in remarks]
    return {
        **fit,
        "n": len(x),
        "exact_by_construction": bool(found["exact_by_construction"]),
        "parameter_intervals": {k: ends[k] for k in "abc"},
        "beta_star": star,
        "beta_star_interval": {k: None if star[k] is None else ends[k] for k in READINGS},
        "augc_at_beta_star": {name: None if b is None else float(curve(fit, b)) for name, b in star.items()},
        "resamples": len(resampled),
        "warnings": warnings,
    }


def curve(fit: Fit, beta: npt.ArrayLike) -> FloatArray:
    """The fitted AUGC at beta (any shape): a * beta^b + c, or c where a is 0; InputError when there is no curve."""
    x = np.asarray(beta, dtype=np.float64)
    a, b, c = fit["a"], fit["b"], fit["c"]
    if a is None or c is None:
        raise InputError("there is no fitted curve: see the warnings of the fit.")
    with np.errstate(divide="ignore"):  # beta = 0; logarithms prevent an overflow of beta^b that a small a would offset
        return np.full_like(x, c) if b is None else np.exp(np.log(a) + b * np.log(x)) + c


@np.errstate(all="ignore")  # extreme data overflow before they are refused
def _least_squares(x: FloatArray, y: FloatArray) -> tuple[Fit, str | None]:
    """Fit a, b, c and R² from Appendix E's initial values; return a warning's name if the data determine no curve.

    The fit uses units where the largest beta and AUGC are 1, which moves no optimum and keeps beta^b finite. Where AUGC
    does not rise throughout, the appendix's start can end in a poor local minimum; a steeper start is tried as well.
    """
    none: Fit = {"a": None, "b": None, "c": None, "r_squared": None}
    flat: Fit = {"a": 0.0, "b": None, "c": float(y.mean()), "r_squared": None}
    betas, top = np.unique(x), float(y.max())
    if len(betas) < _PARAMETERS:
        return none, "too_few_betas"
    if np.ptp(y) <= _ROUNDING * top:
        return flat, "constant"
    u, v = x / betas[-1], y / top
    b0 = float(np.log(v.min()) / np.log(u.min()))  # C.2, where the largest beta and AUGC are 1
    b0 = b0 if np.isfinite(b0) else 1.0  # b0 is infinite if an AUGC is 0
    fits = [f for f in (_curve_fit(u, v, start) for start in (b0, 16 * b0)) if f is not None]
    if not fits:
        return none, "no_convergence"
    (a, b, c), explained = max(fits, key=lambda fit: fit[1])
    if explained <= _NEGLIGIBLE:
        return {**flat, "r_squared": 0.0}, "no_increase"
    lowest, second = (betas[[0, -2]] / betas[-1]) ** b
    if second - lowest <= 1e-4 * (1 - lowest):
        return none, "step"
    a = float(np.exp(np.log(a) + np.log(top) - b * np.log(betas[-1])))
    if not (0 < a < np.inf):
        return none, "no_convergence"
    c = c * top if c > _ROUNDING else 0.0  # the search stops just inside an active bound
    return {"a": a, "b": b, "c": c, "r_squared": explained}, None


def _curve_fit(u: FloatArray, v: FloatArray, b0: float) -> tuple[list[float], float] | None:
    """(a, b, c) and R² of one bounded fit to data scaled to at most 1; None when scipy fails to converge."""
    from scipy.optimize import OptimizeWarning, curve_fit

    def power(u: FloatArray, a: float, b: float, c: float) -> FloatArray:
        return a * u**b + c

    start = np.clip([np.ptp(v), b0, v.min()], 0, None)  # C.1-C.3
    try:
        with catch_warnings():
            simplefilter("ignore", OptimizeWarning)  # an exact fit has no covariance, and the covariance is not used
            found, _ = curve_fit(
                power, u, v, p0=start, bounds=(0, np.inf), maxfev=10_000, ftol=1e-12, xtol=1e-12, gtol=1e-12
            )
    except (RuntimeError, ValueError):
        return None
    return found.tolist(), r_squared(v, power(u, *found)) or 0.0


def _eq15(fit: Fit, x: FloatArray, y: FloatArray) -> tuple[float | None, str | None]:
    """Eq. 15 solved for beta: ((1.5 (c + a beta_min^b) - c) / a)^(1/b), and the name of a warning or None."""
    a, b, c = (float(fit[k] or 0) for k in "abc")
    threshold = _FACTOR * float(curve(fit, x.min()))
    with np.errstate(all="ignore"):
        beta = float(np.exp((np.log(threshold - c) - np.log(a)) / b))
    return _judged(beta, threshold, x, y)


def _grid_minimum(fit: Fit, x: FloatArray, y: FloatArray) -> tuple[float | None, str | None]:
    """The first point of Appendix E's grid over 1.5 times the minimum there, and the name of a warning or None."""
    grid = np.linspace(0.1 * x.min(), 2 * x.max(), 1000)
    fitted = curve(fit, grid)
    threshold = _FACTOR * float(fitted.min())
    over = fitted > threshold
    return _judged(float(grid[over.argmax()]) if over.any() else np.inf, threshold, x, y)


def _judged(beta: float, threshold: float, x: FloatArray, y: FloatArray) -> tuple[float | None, str | None]:
    if threshold <= _NEGLIGIBLE * y.max():
        return None, "zero_baseline"
    if beta > 2 * x.max():
        return None, "beyond_range"
    return beta, None if x.min() <= beta <= x.max() else "extrapolated"


_SOLVERS = {"eq15": _eq15, "grid_minimum": _grid_minimum}


def _solved(x: FloatArray, y: FloatArray) -> Fit | None:
    """The fit to some runs with both readings of beta*; None where the runs determine no curve."""
    fit, refusal = _least_squares(x, y)
    return None if refusal else {**fit, **{reading: solve(fit, x, y)[0] for reading, solve in _SOLVERS.items()}}
