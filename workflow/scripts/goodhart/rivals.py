"""Curves that might describe AUGC as well as the power law does, compared by the corrected Akaike criterion (AICc).

With K parameters, the variance among them, and n runs: AICc = n log(RSS / n) + 2 K + 2 K (K + 1) / (n - K - 1),
which exists for n > K + 1 (Hurvich and Tsai 1989). Only differences mean anything: exp(-delta / 2), normalised, is the
weight of a curve among those compared. Runs count as independent, as least squares has it; those of one seed are not
quite. The line and the exponential may fall; Eq. 14 with the bounds of Appendix E may not.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from goodhart.gap import FloatArray, finite_series
from goodhart.powerlaw import curve, fit_power_law

FORMULAS = {
    "power law": "a beta^b + c, a, b, c >= 0 (Eq. 14)",
    "linear": "a beta + c",
    "exponential": "a exp(b beta) + c",
    "constant": "c",
}
WARNINGS = {
    "too_few_runs": "With so few runs AICc does not exist for every curve: those without one are not compared.",
    "saturated": "With three betas, any curve of three parameters can meet every mean: the data cannot tell the power"
    " law from the exponential, whatever their AICc.",
    "too_few_betas": "Below three betas only the line and the constant are curves at all.",
}
_STEEPEST = 30.0  # |b| times the range of beta: beyond it an exponential is a step
_ROUNDING = 1e-9  # residuals under this part of the largest AUGC are rounding


def compare(beta: npt.ArrayLike, augc: npt.ArrayLike, power: dict[str, Any] | None = None) -> dict[str, Any]:
    """The curves of `FORMULAS` fitted to all runs by least squares, the best AICc first.

    `beta` > 0 and `augc`, one value a run; `power` is their `fit_power_law`, if it is at hand. Returns {"n", "betas",
    "curves": [{"name", "formula", "parameters", "k", "rss", "r_squared", "aicc", "delta", "weight"}], "warnings"}; the
    last three are None where AICc does not exist. A curve that the data do not determine is left out.
    """
    x, y = finite_series("beta", beta), finite_series("augc", augc)
    betas, n = len(np.unique(x)), len(x)
    fits: dict[str, dict[str, float]] = {"constant": {"c": float(y.mean())}}
    if betas > 1:
        fits["linear"] = dict(zip("ac", map(float, np.polyfit(x, y, 1)), strict=True))
    if betas > 2:
        fits["exponential"] = _exponential(x, y)
        law = power or fit_power_law(x, y)
        if law["a"]:
            fits["power law"] = {k: law[k] for k in "abc"}
    total = float(np.sum((y - y.mean()) ** 2))
    floor = n * (_ROUNDING * max(float(np.abs(y).max()), np.finfo(float).tiny)) ** 2
    rows = []
    for name, parameters in fits.items():
        rss, k = float(np.sum((y - rival_at(name, parameters, x)) ** 2)), len(parameters) + 1
        aicc = n * np.log(max(rss, floor) / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else None
        rows.append(
            {
                "name": name,
                "formula": FORMULAS[name],
                "parameters": parameters,
                "k": k,
                "rss": rss,
                "r_squared": 1 - rss / total if total > floor else None,
                "aicc": None if aicc is None else float(aicc),
            }
        )
    warnings = ["too_few_betas"] * (betas < 3) + ["saturated"] * (betas == 3)
    warnings += ["too_few_runs"] * any(row["aicc"] is None for row in rows)
    return {
        "n": n,
        "betas": betas,
        "curves": _weighed(rows),
        "warnings": [{"name": name, "message": WARNINGS[name]} for name in warnings],
    }


def rival_at(name: str, parameters: Mapping[str, float], beta: npt.ArrayLike) -> FloatArray:
    """The curve of that name in `FORMULAS` at beta (any shape)."""
    x = np.asarray(beta, dtype=np.float64)
    if name == "power law":
        return curve({"a": None, "b": None, "c": None, **parameters}, x)
    a, b, c = (parameters.get(k, 0.0) for k in "abc")
    return a * (np.exp(b * x) if name == "exponential" else x) + c


def _weighed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the distance of each AICc from the best one and its weight, the best first."""
    known = [row["aicc"] for row in rows if row["aicc"] is not None]
    total = sum(np.exp(-(a - min(known)) / 2) for a in known)
    for row in rows:
        delta = None if row["aicc"] is None else row["aicc"] - min(known)
        row |= {"delta": delta, "weight": None if delta is None else float(np.exp(-delta / 2) / total)}
    return sorted(rows, key=lambda row: (row["delta"] is None, row["delta"] or 0, row["k"]))


def _exponential(x: FloatArray, y: FloatArray) -> dict[str, float]:
    """Least squares of a exp(b x) + c: given b the rest is a line, so only b is searched, on a grid, then finely."""
    from scipy.optimize import minimize_scalar

    centre, span = float(x.mean()), float(np.ptp(x))

    def at(b: float) -> tuple[float, float, float]:
        u = (
            np.expm1(b * (x - centre)) / b
        )  # tends to x - centre as b goes to 0, so that the line is a limit, not a pole
        slope, offset = np.polyfit(u, y, 1)
        return float(np.sum((y - slope * u - offset) ** 2)), float(slope), float(offset)

    steep = np.geomspace(0.01, _STEEPEST, 60) / span
    candidates = np.concatenate([-steep[::-1], steep])
    best = int(np.argmin([at(b)[0] for b in candidates]))
    low, high = candidates[max(best - 1, 0)], candidates[min(best + 1, len(candidates) - 1)]
    low, high = (max(low, steep[0]), high) if candidates[best] > 0 else (low, min(high, -steep[0]))
    found = minimize_scalar(lambda b: at(b)[0], bounds=(low, high), method="bounded", options={"xatol": 1e-10 / span})
    b = float(min(found.x, candidates[best], key=lambda b: at(b)[0]))
    _, slope, offset = at(b)
    return {"a": slope / b * float(np.exp(-b * centre)), "b": b, "c": offset - slope / b}
