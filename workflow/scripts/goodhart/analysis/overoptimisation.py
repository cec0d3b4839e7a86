"""Reward as a function of distance, after Gao et al. (2022): R(d) = d (alpha - beta log d), d = sqrt(KL).

KL is measured from the policy at the start of the online stage, in nats per response; R is the change of the reward
since that start, so that R(0) = 0. Beta > 0 bends the curve down: R peaks at d = exp(alpha / beta - 1) and returns to
0 at d = exp(alpha / beta). The columns of alpha and beta are `alpha` and `bend`, because beta already denotes DPO's.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from goodhart.analysis.gap import FloatArray, paired
from goodhart.analysis.levels import by_level
from goodhart.analysis.runs import RUN
from goodhart.analysis.statistics import over_resamples, r_squared, resampled_interval

_ESTIMATES = ("alpha", "bend", "peak_kl")


def reward_at(distance: npt.ArrayLike, alpha: float, bend: float) -> FloatArray:
    """R(d) = d (alpha - bend log d) for distances >= 0 (any shape), in the units of the fitted reward."""
    d = np.asarray(distance, dtype=np.float64)
    return d * (alpha - bend * np.log(np.where(d > 0, d, 1.0)))


def fit_distance(kl: npt.ArrayLike, reward: npt.ArrayLike, replicates: npt.ArrayLike | None = None) -> dict[str, Any]:
    """Least squares over all evaluations of some runs: `kl` in nats, `reward` as the change since the start of the run.

    KL estimates below 0 count as 0; evaluations at 0 are left out, because R(0) = 0 by definition. Returns alpha, bend,
    r_squared (against the mean reward), n (evaluations with d > 0), replicates, and peak_kl, the KL where R is largest,
    which is None unless the curve bends down with a tenth of the evaluations on either side of the peak. alpha_low ...
    peak_kl_high are 95 % intervals from resampling whole replicates; they are None below eight replicates and where
    more than 5 % of the resamples have no value. From eight replicates on, peak_kl is None too where its interval is.
    All estimates are None where the distances do not determine both parameters.
    """
    k, r, labels = paired(kl=kl, reward=reward, replicates=replicates)
    d = np.sqrt(np.clip(k, 0, None))
    moved = d > 0
    d, r, labels = d[moved], r[moved], labels[moved]
    found: dict[str, Any] = {f"{name}{end}": None for name in _ESTIMATES for end in ("", "_low", "_high")}
    found |= {"r_squared": None, "n": len(d), "replicates": len(np.unique(labels))}
    estimates = _estimates(d, r)
    if estimates is None:
        return found
    found["r_squared"] = r_squared(r, reward_at(d, estimates["alpha"], estimates["bend"]))
    resampled = over_resamples(labels, lambda rows: _estimates(d[rows], r[rows]))
    for name, value in estimates.items():
        ends = resampled_interval([v for fit in resampled if fit and (v := fit[name]) is not None])
        if name != "peak_kl" or not resampled or ends is not None:
            found[name] = value
        if value is not None and ends is not None:
            found[f"{name}_low"], found[f"{name}_high"] = ends
    return found


def overoptimisation_rows(gaps: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """`fit_distance` per arm, method, level and reward (proxy or true, each in SD, as in the gap)."""
    rows = []
    for arm, method, level, beta, cells in by_level(runs):
        part = cells[RUN].merge(gaps, on=RUN).sort_values([*RUN, "step"])
        for reward in ("proxy", "true"):
            rise = f"{reward}_rise"
            since = part[rise] - part.groupby(RUN)[rise].transform("first")
            fit = fit_distance(part["kl"], since, part["replicate"])
            rows.append({"arm": arm, "method": method, "level": level, "beta": beta, "reward": reward, **fit})
    return pd.DataFrame(rows)


def _estimates(d: FloatArray, r: FloatArray) -> dict[str, Any] | None:
    """alpha, bend and peak_kl, or None where the distances are too few or too alike to determine both parameters."""
    features = np.column_stack([d, -d * np.log(np.where(d > 0, d, 1.0))])
    size = np.linalg.norm(features, axis=0)
    if len(np.unique(d)) < 2 or not size.all():
        return None
    solution, _, rank, _ = np.linalg.lstsq(features / size, r, rcond=1e-6)
    alpha, bend = solution / size
    return {"alpha": float(alpha), "bend": float(bend), "peak_kl": _peak(alpha, bend, d)} if rank == 2 else None


def _peak(alpha: float, bend: float, d: FloatArray) -> float | None:
    """The KL at which R is largest; None unless a tenth of the distances lies on either side of it."""
    if not bend > 0:
        return None
    at = float(np.exp(np.clip(alpha / bend - 1, -300, 300)))
    return at**2 if 0.1 <= float(np.mean(d < at)) <= 0.9 else None
