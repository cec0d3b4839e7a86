"""Alternatives to the power law: other curves fitted to AUGC, compared by the corrected Akaike criterion (AICc).

AICc = n log(RSS / n) + 2 K + 2 K (K + 1) / (n - K - 1) for n runs and K parameters, including the variance; it exists
for n > K + 1 (Hurvich and Tsai 1989). Only differences of AICc are meaningful: exp(-delta / 2), normalised, is the
weight of a curve among those compared. Least squares treats runs as independent, although runs of one replicate are
not. Eq. 14 has the bounds of Appendix E and cannot fall; the other curves can. AICc counts c as a parameter even where
the bound holds c at 0; therefore the power law without c is compared too.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from goodhart.analysis.gap import FloatArray, paired
from goodhart.analysis.powerlaw import curve, fit_power_law
from goodhart.analysis.statistics import r_squared
from goodhart.analysis.tradeoff import optimal_conservatism

FORMULAS = {
    "power law": "a beta^b + c with a, b, c >= 0 (Eq. 14)",
    "power law without c": "a beta^b",
    "linear": "a beta + c",
    "exponential": "a exp(b (beta - m)) + c, where m is the mean beta",
    "constant": "c",
}
WARNINGS = {
    "too_few_runs": "There are too few runs for the AICc of every curve. Curves without AICc are not compared.",
    "saturated": "With three betas, the exponential passes through every mean, because it has three parameters."
    " Its fit and its weight are no evidence for its form.",
    "too_few_betas": "One beta allows only a constant. Two betas allow only a constant and a line.",
    "nothing_varies": "AUGC is the same in every run, so only the constant is fitted.",
    "left_out": "At least one curve has no finite parameters for these betas and is left out.",
}
_STEEPEST = 30.0  # limit of |b| times the range of x; beyond this limit the curve is a step
_ROUNDING = 1e-6  # relative to the largest AUGC; smaller residuals come from rounding and the search tolerance


def fit_points(points: pd.DataFrame) -> dict[str, Any]:
    """All fits to `points`, one row per run: beta, augc and, where they are known, replicate, level and win_rate.

    Returns the keys of `fit_power_law`, "rivals" with the result of `compare`, and "tradeoff" with the result of
    `optimal_conservatism`, which is None without win rates.
    """
    beta, augc, replicates, win_rate = points["beta"], points["augc"], points.get("replicate"), points.get("win_rate")
    if "level" in points:  # the beta of a level is its mean over replicates
        beta = points.groupby("level")["beta"].transform("mean")
    fit = fit_power_law(beta, augc, replicates)
    tradeoff = None if win_rate is None else optimal_conservatism(beta, augc, win_rate, replicates)
    return {**fit, "rivals": compare(beta, augc, fit), "tradeoff": tradeoff}


@np.errstate(all="ignore")  # extreme betas overflow before they are left out
def compare(beta: npt.ArrayLike, augc: npt.ArrayLike, power: dict[str, Any] | None = None) -> dict[str, Any]:
    """Fit the curves of `FORMULAS` to all runs by least squares and sort them by AICc, the best first.

    `beta` > 0 and `augc` >= 0 have one value per run; `power` is the result of `fit_power_law` on them, if already
    computed. Returns {"n", "betas", "curves": [{"name", "formula", "parameters", "k", "r_squared", "aicc", "delta",
    "weight"}], "warnings"}; aicc, delta and weight are None where AICc does not exist.
    """
    x, y = paired(beta=beta, augc=augc)
    betas, n, unit = len(np.unique(x)), len(x), float(np.abs(y).max()) or 1.0
    v = y / unit
    names = ["too_few_betas"] * (betas < 3) + ["saturated"] * (betas == 3)
    fits: dict[str, dict[str, float]] = {"constant": {"c": float(v.mean())}}
    if np.ptp(v) <= 1e-12:
        names = ["nothing_varies"]
    else:
        fits |= _fits(x, v, betas)
    fits = {name: {k: p * unit if k in "ac" else p for k, p in found.items()} for name, found in fits.items()}
    law = power or fit_power_law(x, y)
    if law["b"] is not None:
        fits["power law"] = {k: law[k] for k in "abc"}
    rows = []
    for name, parameters in fits.items():
        fitted = rival_at(name, parameters, x) / unit
        vanished = name == "power law without c" and parameters["a"] == 0
        if vanished or not (np.isfinite([*parameters.values()]).all() and np.isfinite(fitted).all()):
            names.append("left_out")
            continue
        rss, k = float(np.sum((v - fitted) ** 2)), len(parameters) + 1 - ("m" in parameters)
        likelihood = n * (np.log(max(rss / n, _ROUNDING**2)) + 2 * np.log(unit))
        aicc = float(likelihood + 2 * k + 2 * k * (k + 1) / (n - k - 1)) if n > k + 1 else None
        rows.append(
            {"name": name, "formula": FORMULAS[name], "parameters": parameters, "k": k}
            | {"r_squared": r_squared(v, fitted), "aicc": aicc}
        )
    names += ["too_few_runs"] * any(row["aicc"] is None for row in rows)
    return {
        "n": n,
        "betas": betas,
        "curves": _weighed(rows),
        "warnings": [{"name": name, "message": WARNINGS[name]} for name in dict.fromkeys(names)],
    }


def rival_at(name: str, parameters: Mapping[str, float], beta: npt.ArrayLike) -> FloatArray:
    """The curve of that name in `FORMULAS` at beta > 0 (any shape)."""
    x = np.asarray(beta, dtype=np.float64)
    a, b, c, m = (parameters.get(k, 0.0) for k in "abcm")
    if name.startswith("power law"):
        return curve({"a": a, "b": b, "c": c}, x)
    if name == "exponential":
        return a * np.exp(b * (x - m)) + c
    return a * x + c


def _weighed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each row its weight and the distance of its AICc from the best; sort the rows, the best first."""
    known = [row["aicc"] for row in rows if row["aicc"] is not None]
    total = sum(np.exp(-(a - min(known)) / 2) for a in known)
    for row in rows:
        delta = None if row["aicc"] is None else row["aicc"] - min(known)
        row |= {"delta": delta, "weight": None if delta is None else float(np.exp(-delta / 2) / total)}
    return sorted(rows, key=lambda row: (row["delta"] is None, row["delta"] or 0, row["k"]))


def _fits(x: FloatArray, y: FloatArray, betas: int) -> dict[str, dict[str, float]]:
    """Fit line, exponential and power law without c; for a given b the last two are linear, so only b is searched."""
    fits: dict[str, dict[str, float]] = {}
    m, span = float(x.mean()), float(np.ptp(x))
    if betas < 2 or not (0 < span < np.inf):
        return fits
    u = (x - m) / span
    _, slope, offset = _line(u, y)
    fits["linear"] = {"a": slope / span, "c": offset - slope * m / span}
    if betas < 3:
        return fits

    def bent(b: float) -> FloatArray:
        return np.expm1(b * u) / b  # tends to u as b goes to 0: the line is the limit, without a pole

    b = _search(lambda b: _line(bent(b), y)[0])
    _, slope, offset = _line(bent(b), y)
    fits["exponential"] = {"a": slope / b, "b": b / span, "c": offset - slope / b, "m": m}

    v = np.log(x) - np.log(x).mean()
    width = float(np.ptp(v))

    def power(b: float) -> tuple[float, float]:
        w = np.exp(b / width * v)
        a = max(float(w @ y / (w @ w)), np.finfo(float).tiny)
        return float(np.sum((y - a * w) ** 2)), a

    b = _search(lambda b: power(b)[0])
    a = power(b)[1] * float(np.exp(-b / width * np.log(x).mean()))
    fits["power law without c"] = {"a": a, "b": b / width}
    return fits


def _line(x: FloatArray, y: FloatArray) -> tuple[float, float, float]:
    """The least-squares line through (x, y): sum of squared residuals, slope and value at 0."""
    slope, offset = np.polyfit(x, y, 1)
    return float(np.sum((y - slope * x - offset) ** 2)), float(slope), float(offset)


def _search(loss: Callable[[float], float]) -> float:
    """The b with the least loss: the best point of a grid with both signs, refined between its neighbours."""
    from scipy.optimize import minimize_scalar

    steep = np.geomspace(0.01, _STEEPEST, 60)
    grid = np.concatenate([-steep[::-1], steep])
    best = int(np.argmin([loss(b) for b in grid]))
    near = grid[max(best - 1, 0) : best + 2]
    near = near[np.sign(near) == np.sign(grid[best])]
    found = minimize_scalar(loss, bounds=(near.min(), near.max()), method="bounded", options={"xatol": 1e-10})
    return float(min(found.x, grid[best], key=loss))
