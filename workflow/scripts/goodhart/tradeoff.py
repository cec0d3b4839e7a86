"""Definition 6.1: beta* = argmin AUGC(beta) - lambda A(beta), with A the measured win rate, as a curve over lambda.

lambda is what one whole unit of win rate is worth, in units of AUGC; the paper gives it no value, so beta* is a
function of it. The minimum is taken over the betas that were run: between them nothing is measured.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from goodhart.errors import InputError
from goodhart.gap import FloatArray, finite_series
from goodhart.trend import seed_resamples

_RESAMPLES = 1_000
_POINTS = 81


def optimal_conservatism(
    beta: npt.ArrayLike, augc: npt.ArrayLike, win_rate: npt.ArrayLike, seeds: npt.ArrayLike | None = None
) -> dict[str, Any]:
    """beta* over lambda >= 0 from the level means, and how often resampled seeds choose each beta.

    One value a run each. Returns {"levels": [{"beta", "augc", "win_rate", "n"}], "path", "support"}. `path` is the
    exact step function: [{"lambda_from", "lambda_to", "beta"}], the last without end (None). `support` is {"lambda":
    (81,), "betas": (B,), "share": (81, B), "resamples", "seeds"}, the share of bootstrap resamples of whole seeds
    that choose a beta at a lambda; None below two seeds.
    """
    x, u, a = finite_series("beta", beta), finite_series("augc", augc), finite_series("win_rate", win_rate)
    labels = np.zeros(len(x)) if seeds is None else np.asarray(seeds)
    if not len(x) == len(u) == len(a) == len(labels):
        raise InputError("beta, augc, win_rate and seeds differ in length.")
    if not len(x):
        raise InputError("there is no run to choose a beta from.")
    betas = np.unique(x)
    damage, quality = _means(x, u, a, betas)
    path = _lower_envelope(betas, damage, quality)
    return {
        "levels": [
            {"beta": float(b), "augc": float(d), "win_rate": float(q), "n": int((x == b).sum())}
            for b, d, q in zip(betas, damage, quality, strict=True)
        ],
        "path": path,
        "support": _support(x, u, a, labels, path) if len(np.unique(labels)) > 1 else None,
    }


def _means(x: FloatArray, u: FloatArray, a: FloatArray, betas: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean AUGC and win rate of every beta, (B,) each."""
    return np.array([u[x == b].mean() for b in betas]), np.array([a[x == b].mean() for b in betas])


def _lower_envelope(betas: FloatArray, damage: FloatArray, quality: FloatArray) -> list[dict[str, Any]]:
    """The lines damage - lambda quality from below, lambda from 0 on; of equal lines the smaller beta."""
    now = int(np.lexsort((betas, -quality, damage))[0])
    path, since = [], 0.0
    while True:
        better = np.flatnonzero(quality > quality[now])
        crossings = (damage[better] - damage[now]) / (quality[better] - quality[now])
        until = float(crossings.min()) if len(better) else None
        path.append({"lambda_from": since, "lambda_to": until, "beta": float(betas[now])})
        if until is None:
            return path
        meeting = better[crossings == until]
        since, now = until, int(meeting[np.lexsort((betas[meeting], -quality[meeting]))[0]])


def _support(
    x: FloatArray, u: FloatArray, a: FloatArray, labels: npt.NDArray[Any], path: list[dict[str, Any]]
) -> dict[str, Any]:
    """Whole seeds resampled; a beta that a resample happens to leave out cannot be chosen by it."""
    betas = np.unique(x)
    damage, quality = _means(x, u, a, betas)
    turns = [step["lambda_to"] for step in path if step["lambda_to"]]
    scale = (np.ptp(damage) or abs(damage[0]) or 1.0) / (np.ptp(quality) or 1.0)
    grid = np.geomspace(
        min([scale / 100, *(t / 3 for t in turns)]), max([scale * 100, *(3 * t for t in turns)]), _POINTS
    )
    share = np.zeros((_POINTS, len(betas)))
    for rows, copies in seed_resamples(labels, _RESAMPLES):
        present = np.flatnonzero(np.isin(betas, x[rows]))
        harm, good = _means(x[rows], u[rows], a[rows], betas[present])
        choice = present[np.argmin(harm - grid[:, None] * good, axis=1)]
        share[np.arange(_POINTS), choice] += copies / _RESAMPLES
    return {
        "lambda": grid.tolist(),
        "betas": betas.tolist(),
        "share": share.round(6).tolist(),
        "resamples": _RESAMPLES,
        "seeds": len(np.unique(labels)),
    }
