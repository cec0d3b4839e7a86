"""Trends over a few replicates: rank correlations with permutation p-values, slopes, and the bootstrap of fits.

With three betas a perfect order has a two-sided p of 1/3, because two of the six orders are perfect. The asymptotic p
is 0.0 there, so every p here comes from a permutation test: exact where the arrangements are few, otherwise
Monte-Carlo with 10,000 arrangements and a fixed seed.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, reduce
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from goodhart.analysis.gap import FloatArray, paired
from goodhart.analysis.replicates import t_interval

IntArray = npt.NDArray[np.intp]
T = TypeVar("T")

RESAMPLES = 1_000  # of whole replicates
FEWEST = 8  # replicates of a percentile bootstrap; with three it covers 75 % where it says 95 %
_LEVEL = 0.95  # of intervals
_MOST_ARRANGEMENTS = 50_000  # 8 values without ties have 40,320
_DRAWS = 10_000
_NOTHING = {"statistic": None, "p_value": None, "smallest_p": None, "method": "undefined"}


def rank_correlation(x: npt.ArrayLike, y: npt.ArrayLike, kind: str = "spearman") -> dict[str, Any]:
    """Spearman's rho or Kendall's tau-b ("kendall") of two series, with its two-sided permutation p.

    Returns {"statistic", "p_value", "smallest_p", "n", "method"}; `smallest_p` is the p-value of the most extreme order
    of these values. All values except n and method are None below two points or for constant input.
    """
    x, y = paired(x=x, y=y)
    if min(len(np.unique(x)), len(np.unique(y))) < 2:
        return {**_NOTHING, "n": len(x)}
    return {**_test(*_permuted(x, y, kind)), "n": len(x)}


def stratified_trend(
    levels: npt.ArrayLike, values: npt.ArrayLike, replicates: Sequence[Any] | npt.NDArray[Any]
) -> dict[str, Any]:
    """The trend of values with level: the mean over replicates of Spearman's rho within a replicate.

    The arguments have one entry per (level, replicate). The permutation test rearranges values within each replicate,
    so that differences between replicates cancel and every replicate adds evidence: 3 levels reach p = 1/3 with one
    replicate and 1/18 with two. A replicate whose values are all equal counts as rho = 0; a replicate with a single
    level is left out. "n" is the number of replicates that count.
    """
    groups = _by_replicate(levels, values, replicates)
    if all(len(np.unique(b)) < 2 for _, b in groups):
        return {**_NOTHING, "n": len(groups)}
    observed, nulls, exact = zip(*(_permuted(a, b) for a, b in groups), strict=True)
    if whole := all(exact) and math.prod(map(len, nulls)) <= _MOST_ARRANGEMENTS:
        null = reduce(np.add.outer, nulls).ravel()
    else:
        rng = np.random.default_rng(0)
        null = np.sum([rng.choice(of_replicate, _DRAWS) for of_replicate in nulls], axis=0)
    k = len(groups)
    return {**_test(sum(observed) / k, null / k, whole), "n": k}


def replicate_slopes(
    levels: npt.ArrayLike, values: npt.ArrayLike, replicates: Sequence[Any] | npt.NDArray[Any]
) -> dict[str, Any]:
    """The change of values per unit of level: the least-squares slope of each replicate, and the mean over replicates.

    Returns {"slopes", "mean", "se", "n", "interval"}, from `t_interval`. With logarithms of
    the levels, a slope is the change per factor e. A replicate with a single level has no slope and is left out.
    """
    slopes = [float(np.polyfit(a - a.mean(), b, 1)[0]) for a, b in _by_replicate(levels, values, replicates)]
    return {"slopes": slopes, **t_interval(slopes)}


def replicate_resamples(replicates: npt.ArrayLike, resamples: int = RESAMPLES) -> Iterator[tuple[IntArray, int]]:
    """Bootstrap resamples of whole replicates (fixed random stream): rows and count of each distinct resample.

    A few replicates have few distinct resamples, so slow statistics are computed once per distinct resample.
    """
    labels = np.asarray(replicates)
    members = [np.flatnonzero(labels == s) for s in np.unique(labels)]
    k = len(members)
    drawn = np.random.default_rng(0).multinomial(k, np.full(k, 1 / k), size=resamples)
    for times, copies in zip(*np.unique(drawn, axis=0, return_counts=True), strict=True):
        yield np.concatenate([np.tile(m, t) for m, t in zip(members, times, strict=True)]), int(copies)


def over_resamples(replicates: npt.ArrayLike, statistic: Callable[[IntArray], T]) -> list[T]:
    """A statistic of the rows of every resample of `replicate_resamples`; empty below `FEWEST` replicates."""
    if len(np.unique(np.asarray(replicates))) < FEWEST:
        return []
    found = [(statistic(rows), copies) for rows, copies in replicate_resamples(replicates)]
    return [value for value, copies in found for _ in range(copies)]


def resampled_interval(values: Sequence[Any] | FloatArray) -> list[float] | None:
    """95 % percentile interval of the resampled values; None if more than 5 % of `RESAMPLES` have no value."""
    if len(values) < _LEVEL * RESAMPLES:
        return None
    return np.percentile(values, [50 * (1 - _LEVEL), 50 * (1 + _LEVEL)]).tolist()


def r_squared(values: FloatArray, fitted: FloatArray) -> float | None:
    """The share of the variance of `values` around their mean that a fit explains; None if all values are equal."""
    total = float(np.sum((values - values.mean()) ** 2))
    return 1 - float(np.sum((values - fitted) ** 2)) / total if total > 0 else None


def _by_replicate(levels: npt.ArrayLike, values: npt.ArrayLike, replicates: Any) -> list[tuple[FloatArray, FloatArray]]:
    """The (levels, values) of every replicate with at least two different levels."""
    x, y, labels = paired(levels=levels, values=values, replicates=replicates)
    groups = [(x[labels == s], y[labels == s]) for s in np.unique(labels)]
    return [(a, b) for a, b in groups if len(np.unique(a)) > 1]


def _permuted(x: FloatArray, y: FloatArray, kind: str = "spearman") -> tuple[float, FloatArray, bool]:
    """The coefficient of x and y, its permutation distribution, and whether the distribution is exact."""
    from scipy.stats import rankdata

    u, v = rankdata(x), rankdata(y)
    return (float(_coefficients(u, v, kind)), *_null(tuple(np.sort(u)), tuple(np.sort(v)), kind))


@lru_cache(maxsize=64)
def _null(x: tuple[float, ...], y: tuple[float, ...], kind: str) -> tuple[FloatArray, bool]:
    """The coefficient of sorted ranks x with permutations of the ranks y: all permutations if few, else `_DRAWS`.

    Where every x occurs at least twice, permutations that only swap values at the same x count as one arrangement.
    Quantities of a study mostly differ in order and not in ties; they then share this cached distribution.
    """
    from scipy.stats import permutation_test

    n, counts = len(x), np.unique(x, return_counts=True)[1]
    grouped = bool(counts.min() > 1)
    ways = math.factorial(n) // (math.prod(math.factorial(int(c)) for c in counts) if grouped else 1)
    found = permutation_test(
        np.split(np.array(y), np.cumsum(counts)[:-1]) if grouped else [np.array(y)],
        lambda *parts, axis: _coefficients(np.array(x), np.concatenate(parts, axis=axis), kind),
        permutation_type="independent" if grouped else "pairings",
        vectorized=True,
        n_resamples=ways if ways <= _MOST_ARRANGEMENTS else _DRAWS,
        batch=max(1, 10**6 // n**2),  # bounds the memory of tau-b's pairs
        rng=np.random.default_rng(0),
    )
    return found.null_distribution, ways <= _MOST_ARRANGEMENTS


def _coefficients(x: FloatArray, y: FloatArray, kind: str) -> FloatArray:
    """The coefficient of the ranks x, (n,), with each row of the ranks y, (..., n); 0 for constant y.

    Both coefficients are correlations of features of the ranks: the centred ranks for rho, and the signs of all
    pairwise differences for tau-b (Daniels 1944).
    """

    def features(ranks: FloatArray) -> FloatArray:
        if kind == "spearman":
            return ranks - ranks.mean(axis=-1, keepdims=True)
        i, j = np.triu_indices(ranks.shape[-1], k=1)
        return np.sign(ranks[..., i] - ranks[..., j])

    u, v = features(x), features(y)
    norm = np.sqrt((u @ u) * np.sum(v * v, axis=-1))
    return np.clip((v @ u) / np.where(norm > 0, norm, 1), -1, 1)


def _test(observed: float, null: FloatArray, exact: bool) -> dict[str, Any]:
    """Two-sided p: the share of arrangements at least as extreme as the observed one; Monte-Carlo includes this one."""
    extreme = int(np.sum(np.abs(null) >= abs(observed) - 1e-9))  # equal statistics can differ by rounding
    p = extreme / len(null) if exact else (extreme + 1) / (len(null) + 1)
    method = f"{'exact' if exact else 'Monte-Carlo'} permutation test, {len(null)} arrangements"
    most = int(np.sum(np.abs(null) >= np.abs(null).max() - 1e-9))
    smallest = most / len(null) if exact else 1 / (len(null) + 1)
    return {"statistic": observed, "p_value": p, "smallest_p": min(smallest, p), "method": method}
