"""Intervals, tests and power over replicates against scipy, textbook tables, enumeration and simulation."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from goodhart.analysis import replicates
from goodhart.errors import InputError

NUMBERS = st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=2, max_size=9)


def test_the_interval_of_three_replicates_on_paper() -> None:
    """1, 2 and 6: mean 3, SD sqrt(7), and t is 4.303 on 2 degrees of freedom."""
    half = 4.302653 * math.sqrt(7 / 3)
    assert replicates.t_interval([1, 2, 6]) == {
        "mean": 3,
        "sd": pytest.approx(math.sqrt(7)),
        "se": pytest.approx(math.sqrt(7 / 3)),
        "n": 3,
        "interval": pytest.approx([3 - half, 3 + half]),
    }


def test_one_replicate_has_no_interval() -> None:
    nothing = {"sd": None, "se": None, "interval": None}
    assert replicates.t_interval([4]) == {"mean": 4, "n": 1, **nothing}
    assert replicates.t_interval([]) == {"mean": None, "n": 0, **nothing}
    assert np.isnan(replicates.t_limits(np.ones((5, 1)))).all()
    with pytest.raises(InputError, match="not finite"):
        replicates.t_interval([1, math.nan])


@settings(max_examples=30, deadline=None)
@given(NUMBERS, st.floats(0.5, 0.99))
def test_the_interval_is_that_of_scipy(values: list[float], level: float) -> None:
    if np.ptp(values) < 1e-3:
        return
    interval = stats.ttest_1samp(values, 0).confidence_interval(level)
    assert replicates.t_interval(values, level)["interval"] == pytest.approx([interval.low, interval.high], abs=1e-9)


def test_limits_of_many_studies_are_those_of_each() -> None:
    values = np.random.default_rng(0).normal(size=(4, 5, 6))
    low, high = replicates.t_limits(values, 0.9)
    assert low.shape == high.shape == (4, 5)
    assert [low[2, 3], high[2, 3]] == pytest.approx(replicates.t_interval(values[2, 3], 0.9)["interval"])
    values[2, 3, 0] = np.nan
    assert np.argwhere(np.isnan(replicates.t_limits(values)[0])).tolist() == [[2, 3]]


@pytest.mark.parametrize(("n", "smallest"), [(1, 1), (2, 0.5), (3, 0.25), (4, 0.125), (12, 2 / 4096), (16, 2 / 65536)])
def test_the_smallest_p_of_few_replicates(n: int, smallest: float) -> None:
    """Only all values as they are and all flipped are as extreme as values of one sign."""
    found = replicates.sign_flip(np.arange(1, n + 1) / 7)
    assert found["p_value"] == found["smallest_p"] == pytest.approx(smallest)
    assert (found["n"], found["method"]) == (n, f"exact sign-flip test, {2**n} flips")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=2, max_size=7))
def test_sign_flips_against_enumeration(values: list[int]) -> None:
    """Integers have ties and zeros, and their sums have no rounding."""
    found = replicates.sign_flip(np.array(values) / 10)
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in product([1, -1], repeat=len(values))
    ]
    assert found["p_value"] == pytest.approx(np.mean(np.array(sums) >= abs(sum(values))))
    assert found["smallest_p"] == pytest.approx(np.mean(np.array(sums) == max(sums)))
    assert found["statistic"] == pytest.approx(np.mean(values) / 10)


def test_many_replicates_are_drawn_with_a_seed() -> None:
    values = np.random.default_rng(3).normal(0.3, 1, size=40)
    found = replicates.sign_flip(values)
    assert found == replicates.sign_flip(values)
    assert found["method"] == "Monte-Carlo sign-flip test, 10000 flips"
    assert found["p_value"] == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)
    extreme = replicates.sign_flip(np.ones(20) + np.arange(20) / 100)
    assert extreme["p_value"] == extreme["smallest_p"] == pytest.approx(1 / 10_001)  # never 0


def test_sign_flips_against_scipy() -> None:
    values = np.random.default_rng(4).normal(0.4, 1, size=9)
    found = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=2**9)
    assert replicates.sign_flip(values)["p_value"] == pytest.approx(found.pvalue)


def test_sign_flips_of_nothing() -> None:
    assert replicates.sign_flip([])["p_value"] is None
    zeros = replicates.sign_flip([0.0, 0.0, 0.0])
    assert (zeros["p_value"], zeros["smallest_p"]) == (1, 1)


def test_holm_on_paper() -> None:
    """Sorted .01 .02 .03 .5: 4 * .01, 3 * .02, 2 * .03 and 1 * .5; then nothing is below its predecessor."""
    assert replicates.holm([0.03, None, 0.01, 0.5, 0.02]) == [
        pytest.approx(p) if p else None for p in (0.06, None, 0.04, 0.5, 0.06)
    ]
    assert replicates.holm([0.04, 0.045]) == [pytest.approx(0.08), pytest.approx(0.08)]
    assert replicates.holm([0.9, 0.8]) == [1, 1]
    assert replicates.holm([None]) == [None]
    assert replicates.holm([]) == []
    with pytest.raises(InputError, match="between 0 and 1"):
        replicates.holm([math.nan])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=8))
def test_holm_rejects_what_its_steps_reject(p_values: list[float]) -> None:
    """The steps as printed: the k-th smallest against alpha / (m - k + 1), and none after the first that fails."""
    alpha, going = 0.0503, True
    rejected = [False] * len(p_values)
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        going = going and p_values[place] * (len(p_values) - rank) <= alpha
        rejected[place] = going
    assert [p is not None and p <= alpha for p in replicates.holm(p_values)] == rejected


def test_slopes_against_scipy() -> None:
    rng = np.random.default_rng(0)
    x, y = np.log([0.3, 1, 3]), rng.normal(size=(4, 5, 3))
    found = replicates.slopes(x, y)
    assert found.shape == (4, 5)
    assert (
        found[2, 3] == pytest.approx(stats.linregress(x, y[2, 3]).slope) == pytest.approx(replicates.slope(x, y[2, 3]))
    )
    for bad in ([1.0], [1.0, 1.0], []):
        with pytest.raises(InputError, match="two different levels"):
            replicates.slope(bad, bad)
    with pytest.raises(InputError, match="differ"):
        replicates.slope([1, 2], [1, 2, 3])


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_replicates_needed_is_the_textbook_number(effect: float, n: int) -> None:
    """Cohen's d of 0.2, 0.5, 0.8 and 1 at a power of 80 %: the values of G*Power, and of any table of the t test."""
    assert replicates.replicates_needed(effect, 1) == n
    assert replicates.replicates_needed(-3 * effect, 3) == n
    assert replicates.power(effect, 1, n) >= 0.8 > replicates.power(effect, 1, n - 1)


def test_power_against_scipy_and_simulation() -> None:
    t = stats.t.ppf(0.975, 11)
    expected = stats.nct.sf(t, 11, 0.7 * math.sqrt(12)) + stats.nct.cdf(-t, 11, 0.7 * math.sqrt(12))
    assert replicates.power(0.7, 1, 12) == pytest.approx(expected, rel=1e-6)
    drawn = np.random.default_rng(0).normal(0.7, 1, size=(40_000, 12))
    low, high = replicates.t_limits(drawn)
    assert replicates.power(0.7, 1, 12) == pytest.approx(np.mean((low > 0) | (high < 0)), abs=0.01)
    assert replicates.power(0, 1, 12) == pytest.approx(0.05)


@pytest.mark.filterwarnings("error")
def test_power_far_from_the_table() -> None:
    """Effects of no SD, of a million SD and of a millionth, where the noncentral t is not made for its arguments."""
    assert (replicates.power(1, 0, 2), replicates.power(1, 1, 1), replicates.power(1e6, 1, 2)) == (1, 0, 1)
    assert replicates.replicates_needed(1, 0) == replicates.replicates_needed(1e6, 1) == 2
    assert replicates.replicates_needed(0, 1) is None
    assert replicates.replicates_needed(1e-6, 1) is None
    assert replicates.replicates_needed(0.01, 1) == pytest.approx(((1.959964 + 0.841621) / 0.01) ** 2, abs=4)
    for n in (2, 3, 4, 8, 100):
        powers = [replicates.power(effect, 1, n) for effect in np.geomspace(0.01, 1e4, 200)]
        assert (np.diff(powers) > -1e-6).all()
        assert powers[-1] == pytest.approx(1)
    with pytest.raises(InputError):
        replicates.replicates_needed(1, -1)
    with pytest.raises(InputError):
        replicates.replicates_needed(1, 1, power=1)
    with pytest.raises(InputError):
        replicates.power(math.nan, 1, 3)
