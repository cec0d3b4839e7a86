"""Reward against distance, as Gao et al. (2022) fit it for RL: R(d) = d (alpha - beta log d), d = sqrt(KL).

KL is that of the policy from where the online stage began, in nats a response; R is measured from its value there, so
that R(0) = 0. Beta > 0 bends the curve down: it peaks at d = exp(alpha / beta - 1) and is back at 0 at exp(alpha /
beta). Their alpha and beta are columns `alpha` and `bend` here, as beta is DPO's already.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from goodhart.errors import InputError
from goodhart.gap import FloatArray, finite_series
from goodhart.measurement import RUN, by_level
from goodhart.trend import seed_resamples

_RESAMPLES = 1_000


def reward_at(distance: npt.ArrayLike, alpha: float, bend: float) -> FloatArray:
    """R(d) = d (alpha - bend log d) for distances >= 0 (any shape), in the units of the reward that was fitted."""
    d = np.asarray(distance, dtype=np.float64)
    return d * (alpha - bend * np.log(np.where(d > 0, d, 1.0)))


def fit_distance(kl: npt.ArrayLike, reward: npt.ArrayLike, seeds: npt.ArrayLike | None = None) -> dict[str, Any]:
    """Least squares over all evaluations of some runs: `kl` in nats, `reward` since the start of its run.

    Estimates of a KL below 0 count as 0 and say nothing, as R(0) = 0 is given. Returns alpha, bend, r_squared (against
    the mean reward), n (evaluations with a distance), seeds, the intervals alpha_low ... bend_high (whole seeds
    resampled; None below two seeds), and peak_kl, where R is largest: None if the curve does not bend down, or if it
    peaks outside the distances that were seen. All None where the distances do not determine the two parameters.
    """
    k, r = finite_series("kl", kl), finite_series("reward", reward)
    labels = np.zeros(len(k)) if seeds is None else np.asarray(seeds)
    if not len(k) == len(r) == len(labels):
        raise InputError(f"kl, reward and seeds differ in length: {len(k)}, {len(r)} and {len(labels)}.")
    d = np.sqrt(np.clip(k, 0, None))
    moved = d > 0
    d, r, labels = d[moved], r[moved], labels[moved]
    found: dict[str, Any] = dict.fromkeys(
        ("alpha", "alpha_low", "alpha_high", "bend", "bend_low", "bend_high", "r_squared", "peak_kl")
    )
    found |= {"n": len(d), "seeds": len(np.unique(labels))}
    best = _least_squares(d, r)
    if best is None:
        return found
    alpha, bend = best
    total = float(np.sum((r - r.mean()) ** 2))
    if total > 0:
        found["r_squared"] = 1 - float(np.sum((r - reward_at(d, alpha, bend)) ** 2)) / total
    if bend > 0 and np.log(d.min()) <= alpha / bend - 1 <= np.log(d.max()):
        found["peak_kl"] = float(np.exp(2 * (alpha / bend - 1)))
    for name, value, ends in zip(("alpha", "bend"), best, _intervals(d, r, labels), strict=True):
        found |= {name: float(value), f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return found


def overoptimisation_rows(
    gaps: pd.DataFrame, runs: pd.DataFrame, proxy_scale: float, true_scale: float
) -> pd.DataFrame:
    """One row an arm, method, level and reward (proxy or true, each in its scale, as in the gap): `fit_distance`."""
    rows = []
    for arm, method, level, beta, cells in by_level(runs):
        part = cells[RUN].merge(gaps, on=RUN).sort_values([*RUN, "step"])
        for reward, unit in (("proxy", proxy_scale), ("true", true_scale)):
            since = (part[reward] - part.groupby(RUN)[reward].transform("first")) / unit
            fit = fit_distance(part["kl"], since, part["seed"])
            rows.append({"arm": arm, "method": method, "level": level, "beta": beta, "reward": reward, **fit})
    return pd.DataFrame(rows)


def _least_squares(d: FloatArray, r: FloatArray) -> FloatArray | None:
    """(alpha, beta), or None where the distances are too few or too alike to tell one from the other."""
    features = np.column_stack([d, -d * np.log(np.where(d > 0, d, 1.0))])
    size = np.linalg.norm(features, axis=0)
    if len(np.unique(d)) < 2 or not size.all():
        return None
    solution, _, rank, _ = np.linalg.lstsq(features / size, r, rcond=1e-6)
    return solution / size if rank == 2 else None


def _intervals(d: FloatArray, r: FloatArray, labels: npt.NDArray[Any]) -> list[tuple[float | None, float | None]]:
    """95 % percentile bootstrap intervals of alpha and beta over whole seeds; Nones where there are none."""
    fits: list[FloatArray] = []
    for rows, copies in seed_resamples(labels, _RESAMPLES):
        fit = _least_squares(d[rows], r[rows])
        fits += [] if fit is None else [fit] * copies
    if len(np.unique(labels)) < 2 or len(fits) < _RESAMPLES:
        return [(None, None), (None, None)]
    low, high = np.percentile(fits, [2.5, 97.5], axis=0)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
