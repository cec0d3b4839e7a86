"""All fits to points (beta, AUGC): the power law, the alternative curves and the trade-off with win rates."""

from typing import Any

import pandas as pd

from goodhart.analysis.curves import compare
from goodhart.analysis.powerlaw import fit_power_law
from goodhart.analysis.tradeoff import optimal_conservatism


def fit_points(points: pd.DataFrame) -> dict[str, Any]:
    """All fits to `points`, one row per run, with columns beta and augc, and seed and win_rate where they are known.

    Returns the keys of `fit_power_law`, "rivals" with the result of `compare`, and "tradeoff" with the result of
    `optimal_conservatism`, which is None without win rates.
    """
    beta, augc, seeds, win_rate = points["beta"], points["augc"], points.get("seed"), points.get("win_rate")
    fit = fit_power_law(beta, augc, seeds)
    tradeoff = None if win_rate is None else optimal_conservatism(beta, augc, win_rate, seeds)
    return {**fit, "rivals": compare(beta, augc, fit), "tradeoff": tradeoff}
