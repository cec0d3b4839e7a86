"""Trends and uncertainty for a handful of seeds: rank correlations with permutation p-values, SEs, bootstrap.

With three betas a perfect order has a two-sided p of 1/3: two of the six orders are perfect. Asymptotic p-values
print 0.0 there, so every p here counts arrangements: all of them when few, else 10,000 drawn with a fixed seed.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, reduce
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from goodhart.analysis.gap import FloatArray, finite_series
from goodhart.errors import InputError

IntArray = npt.NDArray[np.intp]

_MOST_ARRANGEMENTS = 50_000  # 8 values without ties have 40,320
_DRAWS = 10_000
_NOTHING = {"statistic": None, "p_value": None, "smallest_p": None, "method": "undefined"}


def rank_correlation(x: npt.ArrayLike, y: npt.ArrayLike, kind: str = "spearman") -> dict[str, Any]:
    """Spearman's rho or Kendall's tau-b ("kendall") of two series, with its two-sided permutation p.

    Returns {"statistic", "p_value", "smallest_p", "n", "method"}: `smallest_p` is the p that the most extreme order of
    these values would have. All but n and method are None below two points or for constant input.
    """
    x, y = finite_series("x", x), finite_series("y", y)
    if len(x) != len(y):
        raise InputError(f"x and y differ in length: {len(x)} and {len(y)}.")
    if kind not in ("spearman", "kendall"):
        raise InputError(f"unknown rank correlation {kind!r}: choose spearman or kendall.")
    n = len(x)
    if _constant(x) or _constant(y):
        return {**_NOTHING, "n": n}
    x, y = _by_level(x, y)
    exact = _arrangements(x) <= _MOST_ARRANGEMENTS
    orders = _all_orders(_runs(x)) if exact else _random_orders(n, np.random.default_rng(0))
    observed = float(_coefficients(x, y, np.arange(n)[None], kind)[0])
    return {**_test(observed, _coefficients(x, y, orders, kind), exact), "n": n}


def seed_stratified_trend(
    levels: npt.ArrayLike, values: npt.ArrayLike, seeds: Sequence[Any] | npt.NDArray[Any]
) -> dict[str, Any]:
    """Do values rise with level? The mean over seeds of each seed's Spearman's rho, one row a (level, seed).

    The permutation p rearranges values within each seed, so differences between seeds cancel and every seed adds
    evidence: 3 levels reach p = 1/3 with one seed, 1/18 with two. A seed whose values are all equal counts as rho = 0;
    one with a single level says nothing and is left out. "n" is the number of seeds that count.
    """
    x, y, labels = finite_series("levels", levels), finite_series("values", values), np.asarray(seeds)
    if not len(x) == len(y) == len(labels):
        raise InputError(f"levels, values and seeds differ in length: {len(x)}, {len(y)} and {len(labels)}.")
    groups = [(x[labels == s], y[labels == s]) for s in np.unique(labels)]
    groups = [_by_level(a, b) for a, b in groups if not _constant(a)]
    if all(_constant(b) for _, b in groups):
        return {**_NOTHING, "n": len(groups)}
    observed = sum(float(_coefficients(a, b, np.arange(len(a))[None])[0]) for a, b in groups)
    exact = math.prod(_arrangements(a) for a, _ in groups) <= _MOST_ARRANGEMENTS
    if exact:
        null = reduce(np.add.outer, [_coefficients(a, b, _all_orders(_runs(a))) for a, b in groups]).ravel()
    else:
        rng = np.random.default_rng(0)
        null = np.sum([_coefficients(a, b, _random_orders(len(a), rng)) for a, b in groups], axis=0)
    return {**_test(observed / len(groups), null / len(groups), exact), "n": len(groups)}


def seed_slopes(
    levels: npt.ArrayLike, values: npt.ArrayLike, seeds: Sequence[Any] | npt.NDArray[Any]
) -> dict[str, Any]:
    """How much values rise a unit of level: the least-squares slope of each seed, and their mean over seeds.

    Returns {"slopes", "mean", "se", "n", "interval"}, the interval that of `bootstrap_interval`. Take logarithms of
    the levels to have the rise a factor of e. A seed with a single level has no slope and is left out.
    """
    x, y, labels = finite_series("levels", levels), finite_series("values", values), np.asarray(seeds)
    if not len(x) == len(y) == len(labels):
        raise InputError(f"levels, values and seeds differ in length: {len(x)}, {len(y)} and {len(labels)}.")
    groups = [(x[labels == s], y[labels == s]) for s in np.unique(labels)]
    slopes = [float(np.polyfit(a - a.mean(), b, 1)[0]) for a, b in groups if not _constant(a)]
    interval = bootstrap_interval(slopes)
    return {"slopes": slopes, **mean_and_se(slopes), "interval": None if interval is None else list(interval)}


def mean_and_se(values: npt.ArrayLike) -> dict[str, Any]:
    """{"mean", "se", "n"} over seeds; the standard error (ddof = 1) is None below two values, the mean below one."""
    v = finite_series("values", values)
    n = len(v)
    return {
        "mean": float(v.mean()) if n else None,
        "se": float(v.std(ddof=1) / math.sqrt(n)) if n > 1 else None,
        "n": n,
    }


def bootstrap_interval(
    values: npt.ArrayLike,
    statistic: Callable[..., Any] = np.mean,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of a statistic over seeds; None below two values.

    `statistic` takes an array of shape (resamples, n) and `axis`, as `np.mean` and `np.median` do.
    """
    v = finite_series("values", values)
    if not 0 < level < 1 or resamples < 1:
        raise InputError(f"level must lie in (0, 1) and resamples be positive, not {level!r} and {resamples!r}.")
    if len(v) < 2:
        return None
    drawn = v[np.random.default_rng(seed).integers(len(v), size=(resamples, len(v)))]
    low, high = np.percentile(statistic(drawn, axis=1), [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def seed_resamples(seeds: npt.ArrayLike, resamples: int = 1_000) -> Iterator[tuple[IntArray, int]]:
    """Bootstrap resamples of whole seeds: the rows of each distinct one, and how often it was drawn (a fixed stream).

    A few seeds have few distinct resamples, so what is slow to compute is computed once for each.
    """
    labels = np.asarray(seeds)
    members = [np.flatnonzero(labels == s) for s in np.unique(labels)]
    k = len(members)
    drawn = np.random.default_rng(0).multinomial(k, np.full(k, 1 / k), size=resamples)
    for times, copies in zip(*np.unique(drawn, axis=0, return_counts=True), strict=True):
        yield np.concatenate([np.tile(m, t) for m, t in zip(members, times, strict=True)]), int(copies)


def _constant(x: FloatArray) -> bool:
    return len(x) < 2 or bool((x == x[0]).all())


def _by_level(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both series in the order of x."""
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


def _runs(x: FloatArray) -> tuple[int, ...]:
    """How often each value occurs in a sorted series."""
    return tuple(map(int, np.unique(x, return_counts=True)[1]))


def _arrangements(x: FloatArray) -> int:
    """In how many ways values can be dealt to the levels x; values that swap places at one level are one way."""
    return math.factorial(len(x)) // math.prod(map(math.factorial, _runs(x)))


@lru_cache(maxsize=16)
def _all_orders(runs: tuple[int, ...]) -> IntArray:
    """Every way to deal n things to levels that take so many each, (ways, n), the things of the first level first."""

    def deal(things: tuple[int, ...], takes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if not takes:
            yield ()
            return
        for hand in combinations(things, takes[0]):
            rest = tuple(t for t in things if t not in hand)
            yield from (hand + others for others in deal(rest, takes[1:]))

    return np.array(list(deal(tuple(range(sum(runs))), runs)), dtype=np.intp)


def _random_orders(n: int, rng: np.random.Generator) -> IntArray:
    """Random orders of n things, (draws, n)."""
    return rng.permuted(np.tile(np.arange(n), (_DRAWS, 1)), axis=1)


def _ranks(x: FloatArray) -> FloatArray:
    """Ranks from 1, ties sharing their average."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _coefficients(x: FloatArray, y: FloatArray, orders: IntArray, kind: str = "spearman") -> FloatArray:
    """The coefficient of x with y in each of the orders, (orders,); 0 for constant y.

    Both are correlations of features of the ranks: the centred ranks themselves for rho, the signs of all pairwise
    differences for tau-b (Daniels 1944).
    """

    def features(ranks: FloatArray) -> FloatArray:
        if kind == "spearman":
            return ranks - ranks.mean(axis=-1, keepdims=True)
        i, j = np.triu_indices(ranks.shape[-1], k=1)
        return np.sign(ranks[..., i] - ranks[..., j])

    ranks = _ranks(y)
    u, v = features(_ranks(x)), features(ranks)
    norm = math.sqrt(float((u @ u) * (v @ v)))
    blocks = np.array_split(orders, math.ceil(len(orders) * len(u) / 10**6))  # bounds the memory of tau-b's pairs
    products = np.concatenate([features(ranks[block]) @ u for block in blocks])
    return np.clip(products / norm, -1, 1) if norm else products


def _test(observed: float, null: FloatArray, exact: bool) -> dict[str, Any]:
    """Two-sided p: the share of arrangements at least as extreme; the observed one counts among drawn ones too."""
    extreme = int(np.sum(np.abs(null) >= abs(observed) - 1e-9))  # ties of the statistic differ by rounding
    p = extreme / len(null) if exact else (extreme + 1) / (len(null) + 1)
    method = f"{'exact' if exact else 'Monte-Carlo'} permutation test, {len(null)} arrangements"
    most = int(np.sum(np.abs(null) >= np.abs(null).max() - 1e-9))
    smallest = most / len(null) if exact else 1 / (len(null) + 1)
    return {"statistic": observed, "p_value": p, "smallest_p": min(smallest, p), "method": method}
