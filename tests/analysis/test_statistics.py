"""Coefficients against scipy, p-values against counting by hand."""

import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from goodhart.analysis import statistics
from goodhart.errors import InputError

NOTHING = {"statistic": None, "p_value": None, "smallest_p": None, "method": "undefined"}
SMALL = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=5).map(np.array)


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
def test_three_betas_in_perfect_order_are_no_evidence(kind: str) -> None:
    """The paper's AUGC: rho = 1, and p is 2 of 6, not the 0.0000 of its Figure 6."""
    found = statistics.rank_correlation([0.310, 1.0, 2.379], [31.1, 43.0, 145.8], kind)
    assert found == {
        "statistic": pytest.approx(1),
        "p_value": pytest.approx(1 / 3),
        "smallest_p": pytest.approx(1 / 3),
        "n": 3,
        "method": "exact permutation test, 6 arrangements",
    }
    assert statistics.rank_correlation([1, 2, 3], [9, 5, 1], kind)["statistic"] == pytest.approx(-1)


@settings(max_examples=50, deadline=None)
@given(SMALL, st.sampled_from(["spearman", "kendall"]))
def test_against_scipy_and_enumeration(pairs: np.ndarray, kind: str) -> None:
    x, y = pairs.T
    found = statistics.rank_correlation(x, y, kind)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found == {**NOTHING, "n": len(x)}
        return
    reference: Any = stats.spearmanr if kind == "spearman" else stats.kendalltau
    assert found["statistic"] == pytest.approx(reference(x, y).statistic)
    null = np.array([reference(x, order).statistic for order in permutations(y)])
    assert found["p_value"] == pytest.approx(np.mean(np.abs(null) >= abs(found["statistic"]) - 1e-9))
    assert found["smallest_p"] == pytest.approx(np.mean(np.abs(null) >= np.abs(null).max() - 1e-9))


@pytest.mark.parametrize(("kind", "reference"), [("spearman", stats.spearmanr), ("kendall", stats.kendalltau)])
def test_monte_carlo_agrees_with_theory(kind: str, reference: Any) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=30)
    y = 0.4 * x + rng.normal(size=30)
    found = statistics.rank_correlation(x, y, kind)
    assert found == statistics.rank_correlation(x, y, kind)  # the draws are seeded
    assert found["method"] == "Monte-Carlo permutation test, 10000 arrangements"
    assert found["statistic"] == pytest.approx(reference(x, y).statistic)
    assert found["p_value"] == pytest.approx(reference(x, y).pvalue, abs=0.02)
    assert statistics.rank_correlation(np.arange(30), np.arange(30), kind)["p_value"] == 1 / 10_001  # never 0


def test_the_largest_enumeration() -> None:
    assert statistics.rank_correlation(range(8), range(8))["p_value"] == pytest.approx(2 / math.factorial(8))
    assert statistics.rank_correlation(range(9), range(9))["method"].startswith("Monte-Carlo")


def test_replicates_add_evidence() -> None:
    """Perfect order in each of k replicates of three levels: 2 of 6^k arrangements."""
    for k in range(1, 7):
        levels, replicates = np.tile([1, 2, 3], k), np.repeat(np.arange(k), 3)
        found = statistics.stratified_trend(levels, levels + 10 * replicates, replicates)
        assert found["statistic"] == pytest.approx(1)
        assert found["p_value"] == found["smallest_p"] == pytest.approx(2 / 6**k)
        assert (found["n"], found["method"]) == (k, f"exact permutation test, {6**k} arrangements")
    k = 8
    levels, replicates = np.tile([1, 2, 3], k), np.repeat(np.arange(k), 3)
    found = statistics.stratified_trend(levels, levels, replicates)
    assert found["p_value"] == found["smallest_p"] == 1 / 10_001
    assert found["method"].startswith("Monte-Carlo")


def test_stratified_p_by_hand() -> None:
    """Two levels, two replicates, opposite orders: mean rho 0, and all 4 arrangements are as extreme; at best it is 2."""
    found = statistics.stratified_trend([1, 2, 1, 2], [0, 1, 1, 0], ["a", "a", "b", "b"])
    assert (found["statistic"], found["p_value"], found["smallest_p"], found["n"]) == (0, 1, 0.5, 2)
    # One replicate is rank correlation.
    one = statistics.stratified_trend([1, 2, 3, 4], [1, 3, 2, 4], [0] * 4)
    two = statistics.rank_correlation([1, 2, 3, 4], [1, 3, 2, 4])
    assert (one["statistic"], one["p_value"]) == (two["statistic"], two["p_value"])


def test_replicates_without_order() -> None:
    # Seed 1 has equal values, so it shows no trend and halves the mean; replicate 2 has one level and says nothing.
    found = statistics.stratified_trend([1, 2, 3, 1, 2, 3, 1], [1, 2, 3, 5, 5, 5, 9], [0, 0, 0, 1, 1, 1, 2])
    assert (found["statistic"], found["n"]) == (pytest.approx(0.5), 2)
    assert found["p_value"] == pytest.approx(1 / 3)
    assert statistics.stratified_trend([1, 2], [5, 5], [0, 0]) == {**NOTHING, "n": 1}
    assert statistics.stratified_trend([], [], []) == {**NOTHING, "n": 0}


def test_slopes_of_replicates_by_hand() -> None:
    """Seed 0 rises by 2 a level, replicate 1 goes 1, 3, 2 (slope 1 / 2), replicate 2 has one level twice and says nothing."""
    found = statistics.replicate_slopes([1, 2, 3, 1, 2, 3, 2, 2], [1, 3, 5, 1, 3, 2, 0, 9], [0, 0, 0, 1, 1, 1, 2, 2])
    assert found["slopes"] == pytest.approx([2, 0.5])
    assert (found["mean"], found["se"], found["n"]) == (pytest.approx(1.25), pytest.approx(0.75), 2)
    assert found["interval"] == pytest.approx([0.5, 2])
    one = statistics.replicate_slopes([1, 2], [5, 1], ["a", "a"])
    assert one == {"slopes": [pytest.approx(-4)], "mean": pytest.approx(-4), "se": None, "n": 1, "interval": None}
    nothing = {"slopes": [], "mean": None, "se": None, "n": 0, "interval": None}
    assert (
        statistics.replicate_slopes([], [], [])
        == statistics.replicate_slopes([1, 1, 2], [1, 2, 3], [0, 0, 1])
        == nothing
    )


@settings(max_examples=50, deadline=None)
@given(SMALL, st.floats(-3, 3), st.floats(-100, 100))
def test_a_slope_is_that_of_a_line_and_knows_no_origin(pairs: np.ndarray, slope: float, origin: float) -> None:
    levels, replicates = pairs.T.astype(float)
    found = statistics.replicate_slopes(levels + origin, slope * levels + 10 * replicates, replicates)
    assert found["slopes"] == pytest.approx([slope] * found["n"], abs=1e-6)
    assert found["n"] == sum(len(set(levels[replicates == s])) > 1 for s in set(replicates))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9), st.integers(1, 200))
def test_resamples_are_of_whole_replicates(replicates: list[str], resamples: int) -> None:
    labels = np.array(replicates)
    k = len(set(replicates))
    drawn = list(statistics.replicate_resamples(labels, resamples))
    assert sum(copies for _, copies in drawn) == resamples
    for rows, _ in drawn:
        times = np.bincount(rows, minlength=len(labels))
        of_replicate = [set(times[labels == s]) for s in set(replicates)]
        assert {len(t) for t in of_replicate} == {1}  # all rows of a replicate as often
        assert sum(t.pop() for t in of_replicate) == k
    assert len({tuple(np.sort(rows)) for rows, _ in drawn}) == len(drawn)  # each is computed once


def test_resamples_are_the_same_stream_each_time() -> None:
    """Two replicates: half of the resamples hold both, a quarter one of them twice; names do not matter."""
    drawn = [(rows.tolist(), copies) for rows, copies in statistics.replicate_resamples([7, 7, 3], 10_000)]
    assert drawn == [(r.tolist(), c) for r, c in statistics.replicate_resamples(["y", "y", "x"], 10_000)]
    assert [rows for rows, _ in drawn] == [[0, 1, 0, 1], [2, 0, 1], [2, 2]]
    assert [copies / 10_000 for _, copies in drawn] == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


def test_a_statistic_of_every_resample_and_its_interval() -> None:
    """Three replicates: 10 distinct resamples, each computed once and repeated as often as it was drawn."""
    seen: list[int] = []

    def total(rows: Any) -> float | None:
        seen.append(1)
        return float(rows.sum())

    values = statistics.over_resamples([0, 1, 2], total)
    assert (len(values), len(seen)) == (statistics.RESAMPLES, 10)
    assert statistics.resampled_interval(values) == [0, 6]
    assert statistics.resampled_interval(values[:950]) is not None
    assert statistics.resampled_interval(values[:949]) is None  # more than 5 % have none
    assert statistics.over_resamples([1, 1], total) == []


def test_estimates_have_an_interval_from_two_values_on() -> None:
    assert statistics.estimate([1, 2, 3]) == {**statistics.mean_and_se([1, 2, 3]), "interval": [1, 3]}
    assert statistics.estimate([1])["interval"] is None


def test_a_level_of_one_run_beside_levels_of_several_permutes_pairs() -> None:
    """All 7! orders; the p is that of the 140 distinct ones."""
    found = statistics.rank_correlation([1, 2, 2, 2, 3, 3, 3], range(7))
    assert found["method"] == "exact permutation test, 5040 arrangements"
    assert found["p_value"] == pytest.approx(2 / 140)


def test_mean_and_se() -> None:
    assert statistics.mean_and_se([1, 2, 3, 6]) == {"mean": 3, "se": pytest.approx(math.sqrt(14 / 3 / 4)), "n": 4}
    assert statistics.mean_and_se([5]) == {"mean": 5, "se": None, "n": 1}
    assert statistics.mean_and_se([]) == {"mean": None, "se": None, "n": 0}


def test_the_interval_of_an_estimate() -> None:
    assert statistics.estimate([])["interval"] is None
    assert statistics.estimate([3, 3, 3])["interval"] == [3, 3]
    assert statistics.estimate([0, 1])["interval"] == [0, 1]  # both ends have probability 1/4
    values = np.random.default_rng(0).normal(size=200)
    low, high = statistics.estimate(values)["interval"]
    half = 1.96 * values.std() / math.sqrt(200)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: statistics.rank_correlation([1, 2], [1]), "differ in length"),
        (lambda: statistics.rank_correlation([1, np.nan], [1, 2]), "x .* not finite"),
        (lambda: statistics.stratified_trend([1, 2], [1, 2], [0]), "differ in length"),
        (lambda: statistics.replicate_slopes([1, 2], [1, 2, 3], [0, 0]), "2, 3, 2"),
        (lambda: statistics.replicate_slopes([1, np.nan], [1, 2], [0, 0]), "levels .* not finite"),
        (lambda: statistics.mean_and_se([np.inf]), "not finite"),
    ],
)
def test_bad_input_is_one_sentence(call: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        call()
