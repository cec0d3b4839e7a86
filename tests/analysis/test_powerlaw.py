"""The published fit, degenerate data by name, and the promise that nothing crashes or is made up."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodhart.analysis.powerlaw import WARNINGS, curve, fit_power_law
from goodhart.errors import InputError

BETAS = [0.310, 1.000, 2.379]
PUBLISHED = [31.1, 43.0, 145.8]


def names(fit: dict) -> set[str]:
    return {warning["name"] for warning in fit["warnings"]}


def test_the_published_points() -> None:
    """Table 1 refitted; 1.0814 is the paper's beta* of 1.082 within the rounding of its data."""
    fit = fit_power_law(BETAS, PUBLISHED)
    assert [fit["a"], fit["b"], fit["c"]] == pytest.approx([12.523, 2.562, 30.477], abs=5e-4)
    assert fit["r_squared"] == pytest.approx(1)
    assert fit["beta_star"] == pytest.approx({"eq15": 1.1050, "grid_minimum": 1.0814}, abs=5e-5)
    assert fit["augc_at_beta_star"]["eq15"] == pytest.approx(1.5 * 31.1)
    assert (fit["n"], fit["exact_by_construction"], fit["resamples"]) == (3, True, 0)
    assert names(fit) == {"exact_by_construction"}


def test_closed_form_is_within_one_spacing_of_the_appendix_grid() -> None:
    fit = fit_power_law(BETAS, PUBLISHED)
    grid = np.linspace(0.1 * BETAS[0], 2 * BETAS[-1], 1000)
    first = grid[curve(fit, grid) > 1.5 * curve(fit, BETAS[0])][0]
    assert first == pytest.approx(1.1051, abs=5e-5)
    assert 0 < first - fit["beta_star"]["eq15"] <= grid[1] - grid[0]


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 100), st.floats(0.3, 5), st.floats(0, 10))
def test_a_power_law_is_recovered(a: float, b: float, c: float) -> None:
    beta = np.array([0.2, 0.5, 1.0, 1.7, 2.5])
    fit = fit_power_law(beta, a * beta**b + c)
    assert [fit["a"], fit["b"], fit["c"]] == pytest.approx([a, b, c], rel=1e-3, abs=1e-3 * (a + c))
    assert curve(fit, beta) == pytest.approx(a * beta**b + c, rel=1e-4, abs=1e-4 * (a + c))
    assert not fit["exact_by_construction"]


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_units_of_augc_and_beta_do_not_matter(unit: float) -> None:
    fit, scaled = fit_power_law(BETAS, PUBLISHED), fit_power_law(BETAS, unit * np.array(PUBLISHED))
    assert scaled["beta_star"]["eq15"] == pytest.approx(fit["beta_star"]["eq15"])
    assert scaled["a"] == pytest.approx(unit * fit["a"])
    stretched = fit_power_law(unit * np.array(BETAS), PUBLISHED)
    assert stretched["beta_star"]["eq15"] == pytest.approx(unit * fit["beta_star"]["eq15"])


def test_a_worse_local_minimum_is_left() -> None:
    """From Appendix E's start alone the search ends at the constant, R² = 0, on this U-shaped series."""
    beta = np.array([0.5, 1.0, 2.0, 3.0, 4.0])
    augc = np.array([11.0, 9.0, 5.0, 9.0, 11.0])
    fit = fit_power_law(beta, augc)
    best = 0.0  # over a grid of exponents, each with its own linear least squares
    for b in np.linspace(1, 40, 400):
        design = np.stack([(beta / 4) ** b, np.ones(5)], axis=1)
        residuals = augc - design @ np.linalg.lstsq(design, augc, rcond=None)[0]
        best = max(best, 1 - residuals @ residuals / np.sum((augc - augc.mean()) ** 2))
    assert fit["r_squared"] == pytest.approx(best, abs=1e-3)
    assert "not_monotone" in names(fit)


NO_STAR = {"eq15": None, "grid_minimum": None}


@pytest.mark.parametrize(
    ("beta", "augc", "warning"),
    [
        (BETAS, [3, 2, 1], "no_increase"),
        (BETAS, [1, 9, 1], "not_monotone"),
        (BETAS, [2, 2, 2], "constant"),
        (BETAS, [0, 0, 0], "constant"),
        (BETAS, [0.1 + 0.2, 0.3, 0.3], "constant"),
        (BETAS, [0, 0, 5], "step"),
        (BETAS, [2, 2, 5], "step"),
        (BETAS, [5, 1, 9], "step"),
        ([*BETAS, 3], [1, 1, 1, 1e9], "one_point_dominates"),
        ([*BETAS, 3], [1, 1e9, 1, 1], "one_point_dominates"),
        ([1, 2], [1, 2], "too_few_betas"),
        ([1], [1], "too_few_betas"),
        ([1, 1, 1], [1, 2, 3], "too_few_betas"),
        (BETAS, [100, 101, 102], "beyond_range"),
        ([0.001, 1, 2], [0, 1, 1024], "zero_baseline"),
        ([10, 10.01, 10.02], [1, 30, 100], "no_convergence"),
    ],
)
def test_degenerate_data_give_a_named_warning_and_no_beta_star(
    beta: list[float], augc: list[float], warning: str
) -> None:
    fit = fit_power_law(beta, augc)
    assert warning in names(fit)
    if warning != "not_monotone":
        assert fit["beta_star"] == fit["augc_at_beta_star"] == NO_STAR
    json.dumps(fit, allow_nan=False)


def test_data_without_an_increase_are_a_constant() -> None:
    fit = fit_power_law(BETAS, [3, 2, 1])
    assert (fit["a"], fit["b"], fit["c"], fit["r_squared"]) == (0, None, 2, 0)
    assert curve(fit, [1, 5]).tolist() == [2, 2]
    assert fit_power_law(BETAS, [2, 2, 2])["r_squared"] is None
    with pytest.raises(InputError, match="no fitted curve"):
        curve(fit_power_law([1, 2], [1, 2]), 1.0)


def test_zeros_and_extrapolation_are_said() -> None:
    fit = fit_power_law(BETAS, [0, 3, 5])
    assert {"zeros", "extrapolated"} <= names(fit)
    assert (fit["beta_star"]["grid_minimum"] or 1) < BETAS[0]


def test_bootstrap_over_replicates() -> None:
    rng = np.random.default_rng(0)
    replicates = np.repeat(np.arange(8), 3)
    beta, augc = np.tile(BETAS, 8), np.tile(PUBLISHED, 8) * rng.gamma(50, 1 / 50, 24)
    fit = fit_power_law(beta, augc, replicates)
    interval = fit["beta_star_interval"]
    for estimates, ends in ((fit["beta_star"], interval), (fit, fit["parameter_intervals"])):
        for name, (low, high) in ends.items():
            assert low < estimates[name] < high
    assert (interval.keys(), fit["parameter_intervals"].keys()) == (NO_STAR.keys(), set("abc"))
    assert fit["resamples"] == 1000
    assert "interval_refused" not in names(fit)
    assert fit["r_squared"] < 1  # over the runs, not their means
    assert fit == fit_power_law(beta, augc, [f"replicate {s}" for s in replicates])
    few = fit_power_law(beta[:21], augc[:21], replicates[:21])  # seven replicates
    for alone in (fit_power_law(beta, augc), few):
        assert None not in alone["beta_star"].values()
        assert alone["beta_star_interval"] == NO_STAR
        assert (alone["parameter_intervals"], alone["resamples"]) == (dict.fromkeys("abc"), 0)


def test_an_interval_is_refused_when_many_resamples_have_no_beta_star() -> None:
    """Four of eight replicates rise and four fall."""
    fit = fit_power_law(BETAS * 8, [10, 30, 90] * 4 + [30, 20, 20] * 4, np.repeat(np.arange(8), 3))
    assert (fit["beta_star_interval"], fit["parameter_intervals"]) == (NO_STAR, dict.fromkeys("abc"))
    assert None not in fit["beta_star"].values()
    refusals = [warning["message"] for warning in fit["warnings"] if warning["name"] == "interval_refused"]
    assert len(refusals) == len(set(refusals)) == 2  # each names its reading
    assert "interval_refused" not in names(fit_power_law(BETAS * 2, [10, 30, 90, 30, 20, 20], [0] * 3 + [1] * 3))


def test_a_baseline_on_its_bound_is_0() -> None:
    """c cannot be negative; the search stops just inside of that."""
    fit = fit_power_law([1.0, 2.0, 3.0, 4.0], [0.1, 3.0, 9.0, 19.0])
    assert (fit["c"], fit["exact_by_construction"]) == (0, False)


@pytest.mark.parametrize(
    ("beta", "augc", "replicates", "named"),
    [
        ([], [], None, "0 values; at least 1"),
        ([1, 2], [1], None, "differ in length"),
        ([1, 2], [1, 2], [0], "differ in length"),
        ([1, math.nan], [1, 2], None, "beta .* not finite"),
        ([1, 2], [1, math.inf], None, "augc .* not finite"),
        ([-1, 2], [1, 2], None, "positive"),
        ([0, 2], [1, 2], None, "positive"),
        ([1, 2], [1, -2], None, "negative"),
    ],
)
def test_bad_input_is_one_sentence(beta: list, augc: list, replicates: list | None, named: str) -> None:
    with pytest.raises(InputError, match=named):
        fit_power_law(beta, augc, replicates)


POSITIVE = st.floats(1e-12, 1e12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(POSITIVE, st.just(0.0) | POSITIVE), min_size=1, max_size=7))
def test_nothing_crashes_or_is_made_up(points: list[tuple[float, float]]) -> None:
    beta, augc = np.array(points).T
    fit = fit_power_law(beta, augc)
    json.dumps(fit, allow_nan=False)
    assert names(fit) <= WARNINGS.keys()
    for star in fit["beta_star"].values():
        assert star is None or 0.09 * beta.min() <= star <= 2.01 * beta.max()
    if None in fit["beta_star"].values():
        assert names(fit) - {"exact_by_construction", "zeros", "extrapolated", "not_monotone", "one_point_dominates"}
