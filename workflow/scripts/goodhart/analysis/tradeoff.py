"""Definition 6.1: beta* = argmin AUGC(beta) - lambda A(beta), with A the measured win rate, as a function of lambda.

lambda is the worth of a win rate of 1 in units of AUGC. The paper gives lambda no value, so beta* is reported for all
values. The minimum is taken over the betas that were run, because nothing is measured between them.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from goodhart.analysis.gap import FloatArray, paired
from goodhart.analysis.statistics import IntArray, over_resamples

Path = list[tuple[int, float]]  # steps over lambda: index of a beta, smallest lambda where it is best

_POINTS = 81
_EQUAL = 1e-12  # win rates and, relatively, lambdas closer than this differ by rounding


def optimal_conservatism(
    beta: npt.ArrayLike,
    augc: npt.ArrayLike,
    win_rate: npt.ArrayLike,
    replicates: npt.ArrayLike | None = None,
) -> dict[str, Any]:
    """beta* over lambda >= 0 from the level means, with its uncertainty from resampled replicates.

    The arguments have one value per run. Returns {"levels": [{"beta", "augc", "win_rate", "n"}], "path", "support"}.

    `path` is the exact step function [{"beta", "lambda_from", "lambda_to", "lambda_to_interval"}]; the last step has no
    end (None). The 95 % interval covers the lambda at which resampled replicates first choose a beta that is not among
    the steps so far; it is None where 2.5 % or more of the resamples never do. `support` is {"lambda": (81,), "betas":
    (B,), "share": (81, B), "resamples", "replicates"}, with the share of resamples that choose each beta at each
    lambda. Resamples in which a beta has no run do not count. The intervals and `support` are None below eight
    replicates.
    """
    x, u, a, labels = paired(least=1, beta=beta, augc=augc, win_rate=win_rate, replicates=replicates)
    betas = np.unique(x)
    damage, quality = _means(x, u, a, betas)
    path = lower_envelope(damage, quality)

    def resample(rows: IntArray) -> Path | None:  # None where a beta has no run
        whole = len(np.unique(x[rows])) == len(betas)
        return lower_envelope(*_means(x[rows], u[rows], a[rows], betas)) if whole else None

    resampled = [found for found in over_resamples(labels, resample) if found]
    ends = [path[k + 1][1] if k + 1 < len(path) else None for k in range(len(path))]
    return {
        "levels": [
            {"beta": float(b), "augc": float(d), "win_rate": float(q), "n": int((x == b).sum())}
            for b, d, q in zip(betas, damage, quality, strict=True)
        ],
        "path": [
            {
                "beta": float(betas[i]),
                "lambda_from": since,
                "lambda_to": end,
                "lambda_to_interval": _turning(path[: k + 1], resampled) if end and resampled else None,
            }
            for k, ((i, since), end) in enumerate(zip(path, ends, strict=True))
        ],
        "support": _support(betas, damage, quality, ends, resampled, labels) if resampled else None,
    }


def lower_envelope(damage: FloatArray, quality: FloatArray) -> Path:
    """The lower envelope of the lines damage - lambda quality, lambda >= 0: (index, smallest lambda where lowest).

    Among equal lines the first one in the arrays is chosen, which has the smaller beta.
    """
    now = int(np.lexsort((np.arange(len(damage)), -quality, damage))[0])
    path = [(now, 0.0)]
    while True:
        better = np.flatnonzero(quality > quality[now] + _EQUAL)
        if not len(better):
            return path
        crossings = (damage[better] - damage[now]) / (quality[better] - quality[now])
        meeting = better[crossings <= crossings.min() * (1 + _EQUAL)]
        now = int(meeting[np.argmax(quality[meeting])])
        path.append((now, float(crossings.min())))


def _means(x: FloatArray, u: FloatArray, a: FloatArray, betas: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean AUGC and mean win rate at every beta, (B,) each."""
    return np.array([u[x == b].mean() for b in betas]), np.array([a[x == b].mean() for b in betas])


def _turning(steps: Path, resampled: list[Path]) -> list[float] | None:
    """95 % interval of the lambda at which a resample first chooses a beta that is not among these steps."""
    early = {index for index, _ in steps}
    turns = [min((since for index, since in path if index not in early), default=np.inf) for path in resampled]
    low, high = np.quantile(turns, [0.025, 0.975], method="inverted_cdf")
    return [float(low), float(high)] if np.isfinite(high) else None


def _support(
    betas: FloatArray,
    damage: FloatArray,
    quality: FloatArray,
    ends: list[float | None],
    resampled: list[Path],
    labels: npt.NDArray[Any],
) -> dict[str, Any]:
    turns = [end for end in ends if end]
    spread = float(np.ptp(quality))
    scale = (float(np.ptp(damage)) or abs(float(damage[0])) or 1.0) / (spread if spread > _EQUAL else 1.0)
    low, high = min([scale / 100, *(t / 3 for t in turns)]), max([scale * 100, *(3 * t for t in turns)])
    grid = np.geomspace(low, high, _POINTS)
    share, total = np.zeros((_POINTS, len(betas))), len(resampled)
    for path in resampled:
        index, since = map(np.array, zip(*path, strict=True))
        share[np.arange(_POINTS), index[np.searchsorted(since, grid, side="right") - 1]] += 1 / total
    return {
        "lambda": grid.tolist(),
        "betas": betas.tolist(),
        "share": share.round(6).tolist(),
        "resamples": total,
        "replicates": len(np.unique(labels)),
    }
