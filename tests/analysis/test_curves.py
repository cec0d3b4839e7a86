"""AICc on paper and through the likelihood; which curve wins; what units and awkward data must not change or break."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import stats

from goodhart.analysis.curves import FORMULAS, WARNINGS, compare, fit_points, rival_at
from goodhart.analysis.powerlaw import fit_power_law

PAIRED = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]  # their line is 1 + beta, one away from every point
AUGC = [1.0, 3.0, 2.0, 4.0, 3.0, 5.0]
BETAS = np.tile([0.3, 0.6, 1.0, 1.6, 2.4, 3.2], 3)  # three replicates
K = {"constant": 2, "linear": 3, "power law without c": 3, "exponential": 4, "power law": 4}  # the variance counts
NOISE = np.random.default_rng(0).normal(size=len(BETAS))


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {curve["name"]: curve for curve in found["curves"]}


def names(found: dict[str, Any]) -> list[str]:
    return [warning["name"] for warning in found["warnings"]]


def test_aicc_of_a_constant_and_a_line_on_paper() -> None:
    """RSS 10 about the mean 3 and 6 about the line, n = 6: 6 log(10 / 6) + 4 + 12 / 3, and 6 log 1 + 6 + 24 / 2.

    Only their difference means anything: the unit of AUGC shifts both.
    """
    curves = by_name(compare(PAIRED, AUGC))
    constant, line = curves["constant"], curves["linear"]
    assert (constant["k"], constant["r_squared"]) == (2, pytest.approx(0))
    assert (line["k"], line["r_squared"]) == (3, pytest.approx(0.4))
    assert constant["parameters"] == pytest.approx({"c": 3})
    assert line["parameters"] == pytest.approx({"a": 1, "c": 1})
    assert line["aicc"] - constant["aicc"] == pytest.approx(18 - (6 * np.log(5 / 3) + 8))
    assert (constant["delta"], line["delta"]) == (0, pytest.approx(10 - 6 * np.log(5 / 3)))
    assert line["weight"] / constant["weight"] == pytest.approx(np.exp(-line["delta"] / 2))


def test_aicc_through_the_likelihood() -> None:
    """-2 log L of normal residuals at their own variance plus 2 K n / (n - K - 1), but for one constant."""
    augc = np.exp(0.5 * BETAS) + 0.1 * NOISE
    n = len(augc)
    curves = compare(BETAS, augc)["curves"]
    assert {curve["name"]: curve["k"] for curve in curves} == K
    expected = []
    for curve in curves:
        residuals, k = augc - rival_at(curve["name"], curve["parameters"], BETAS), curve["k"]
        log_likelihood = stats.norm.logpdf(residuals, scale=np.sqrt(np.mean(residuals**2))).sum()
        expected.append(-2 * log_likelihood + 2 * k * n / (n - k - 1))
    assert [curve["delta"] for curve in curves] == pytest.approx(np.array(expected) - min(expected))
    aicc = np.array([curve["aicc"] for curve in curves])
    assert aicc - aicc.min() == pytest.approx(np.array(expected) - min(expected))


@pytest.mark.parametrize(
    ("name", "augc"),
    [
        ("constant", np.full(len(BETAS), 7.0)),
        ("linear", 2 + 3 * BETAS),
        ("linear", 20 - 3 * BETAS),
        ("exponential", 1 + 0.5 * np.exp(1.2 * BETAS)),
        ("exponential", 1 + 9 * np.exp(-1.5 * BETAS)),
        ("power law without c", 9 * BETAS**-1.5),
        ("power law", 2 + 0.5 * BETAS**6),
        ("power law", 2 + 9 * BETAS**0.4),
        ("power law without c", 3 * BETAS**1.7),
        ("power law without c", 4 * BETAS**-0.6),
    ],
)
def test_the_curve_that_made_the_data_wins(name: str, augc: np.ndarray) -> None:
    found = compare(BETAS, augc + 0.05 * NOISE)
    best, curves = found["curves"][0], by_name(found)
    assert (best["name"], best["delta"], best["formula"]) == (name, 0, FORMULAS[name])
    deltas = [curve["delta"] for curve in found["curves"]]
    assert deltas == sorted(deltas)
    assert sum(curve["weight"] for curve in found["curves"]) == pytest.approx(1)
    assert (found["n"], found["betas"], found["warnings"]) == (18, 6, [])
    assert curves["exponential"]["r_squared"] > curves["linear"]["r_squared"] - 1e-3  # whose limit at b = 0 is the line
    assert "power law" in curves or augc[0] >= augc[5]  # Eq. 14 may not fall


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 10), st.floats(0.2, 3) | st.floats(-3, -0.2), st.floats(-5, 5))
def test_an_exponential_is_recovered(a: float, b: float, c: float) -> None:
    x = np.array([0.2, 0.5, 1.0, 1.7, 2.5])
    found = by_name(compare(x, 20 + a * np.exp(b * x) + c))["exponential"]["parameters"]
    recovered = [found["a"] * np.exp(-b * found["m"]), found["b"], found["c"]]
    assert (found["m"], recovered) == (pytest.approx(x.mean()), pytest.approx([a, b, 20 + c], rel=1e-3, abs=1e-3))


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 100), st.floats(-4, 4))
def test_a_power_law_without_c_is_recovered_rising_and_falling(a: float, b: float) -> None:
    x = np.array([0.2, 0.5, 1.0, 1.7, 2.5])
    assume(abs(b) > 0.05)
    found = by_name(compare(x, a * x**b))["power law without c"]
    assert found["parameters"] == pytest.approx({"a": a, "b": b}, rel=1e-4)


def test_a_level_has_one_beta_in_every_fit() -> None:
    """Its mean over replicates, whose percentiles differ: 0.2 and 0.4 are fitted as 0.3."""
    points = pd.DataFrame({"level": ["p20", "p80"] * 2, "beta": [0.2, 2.0, 0.4, 3.0], "augc": [1.0, 4.0, 3.0, 8.0]})
    points = points.assign(replicate=[0, 0, 1, 1], win_rate=[0.5, 0.75] * 2)
    assert [level["beta"] for level in fit_points(points)["tradeoff"]["levels"]] == pytest.approx([0.3, 2.5])
    assert fit_points(points)["rivals"]["betas"] == 2
    assert fit_points(points.drop(columns="level"))["rivals"]["betas"] == 4


def test_the_power_law_is_the_fit_that_is_at_hand() -> None:
    law = fit_power_law(BETAS, AUGC * 3)
    curve = by_name(compare(BETAS, AUGC * 3, law))["power law"]
    assert curve["parameters"] == {name: law[name] for name in "abc"}
    assert curve["r_squared"] == pytest.approx(law["r_squared"])
    other = {"a": 1.0, "b": 1.0, "c": 0.0}
    assert by_name(compare(BETAS, AUGC * 3, other))["power law"]["parameters"] == other
    assert "power law" not in by_name(compare(BETAS, -BETAS + 9))


@pytest.mark.parametrize("n", range(1, 8))
def test_aicc_needs_more_runs_than_parameters_and_two(n: int) -> None:
    """K counts the variance, and n - K - 1 must be positive."""
    found = compare([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0][:n], [1.0, 2.0, 4.0, 5.0, 9.0, 13.0, 21.0][:n])
    for curve in found["curves"]:
        assert (curve["aicc"] is None) == (n <= curve["k"] + 1)
        assert (curve["delta"] is None) == (curve["weight"] is None) == (curve["aicc"] is None)
    assert sum(curve["weight"] or 0 for curve in found["curves"]) == pytest.approx(float(n > 3))
    assert ("too_few_runs" in names(found)) == any(curve["aicc"] is None for curve in found["curves"])
    assert ("too_few_runs" in names(found)) == (n < 6)
    unknown = [curve["aicc"] is None for curve in found["curves"]]
    assert unknown == sorted(unknown)  # what is not compared comes last


@pytest.mark.parametrize(
    ("beta", "warning", "curves"),
    [
        ([1.0] * 6, "too_few_betas", {"constant"}),
        ([1.0, 2.0] * 3, "too_few_betas", {"constant", "linear"}),
        ([1.0, 2.0, 3.0] * 2, "saturated", set(FORMULAS)),
        ([1.0, 2.0, 3.0, 4.0, 1.0, 2.0], None, set(FORMULAS)),
    ],
)
def test_few_betas_are_said(beta: list[float], warning: str | None, curves: set[str]) -> None:
    found = compare(beta, [1.0, 3.0, 8.0, 20.0, 1.5, 2.0] if len(set(beta)) == 4 else [1.0, 2.0, 8.0] * 2)
    assert names(found) == ([warning] if warning else [])
    assert set(by_name(found)) == curves


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "augc",
    [
        2 + 3 * BETAS,
        2 + BETAS**2,
        1 + np.exp(BETAS),
        np.full(len(BETAS), 0.1 + 0.2),
        np.zeros(len(BETAS)),
        np.where(BETAS > 3, 1e-300, 0),
        np.where(BETAS > 3, 1e200, 1),
    ],
    ids=["line", "power", "exponential", "constant", "zeros", "tiny", "huge"],
)
def test_exact_and_extreme_data_give_finite_json(augc: np.ndarray) -> None:
    found = compare(BETAS, augc)
    json.dumps(found, allow_nan=False)
    assert sum(curve["weight"] for curve in found["curves"]) == pytest.approx(1)


@pytest.mark.parametrize("augc", [0.0, 0.3])
def test_where_nothing_varies_the_constant_stands_alone(augc: float) -> None:
    found = compare(BETAS, np.full(len(BETAS), augc))
    assert (names(found), list(by_name(found))) == (["nothing_varies"], ["constant"])
    assert found["curves"][0]["weight"] == 1


def test_of_curves_that_fit_exactly_the_simpler_one_wins() -> None:
    assert compare(BETAS, 3 * BETAS**2)["curves"][0]["name"] == "power law without c"
    assert compare(BETAS, 2 + 3 * BETAS)["curves"][0]["name"] == "linear"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=12, max_size=12), st.floats(1e-4, 1e4), st.floats(1e-2, 1e2))
def test_units_do_not_matter(augc: list[int], unit: float, stretch: float) -> None:
    beta, y = BETAS[:12], np.array(augc, dtype=float)
    plain = by_name(compare(beta, y))
    for other in (compare(beta, unit * y), compare(stretch * beta, y)):
        scaled = by_name(other)
        assert scaled.keys() == plain.keys()
        for name, curve in plain.items():
            assert scaled[name]["delta"] == pytest.approx(curve["delta"], abs=1e-3)
            assert scaled[name]["weight"] == pytest.approx(curve["weight"], abs=1e-3)


POSITIVE = st.floats(1e-12, 1e12)


@pytest.mark.filterwarnings("error")
@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(POSITIVE, st.just(0.0) | POSITIVE), min_size=1, max_size=9))
@example([(10.0, 1.0), (10.01, 30.0), (10.02, 100.0), (10.03, 5.0)])  # exp(b beta) overflows far from beta = 0
@example([(10.0, 0.0), (10.0, 0.0), (10.0, 1.0)])
@example([(511577033931.0, 0.0), (172606479743.0, 0.0), (511577033932.0, 1.0)])  # a of a beta^b underflows
def test_nothing_crashes_or_is_made_up(points: list[tuple[float, float]]) -> None:
    beta, augc = np.array(points).T
    found = compare(beta, augc)
    json.dumps(found, allow_nan=False)
    assert set(names(found)) <= WARNINGS.keys()
    curves = by_name(found)
    assert {"constant"} <= curves.keys() <= FORMULAS.keys()
    assert ("nothing_varies" in names(found)) == (np.ptp(augc) <= 1e-12 * augc.max())
    for name, curve in curves.items():
        assert np.isfinite(rival_at(name, curve["parameters"], beta)).all()
        if name in ("linear", "exponential", "power law"):  # a constant is one of them, or their limit
            assert curve["r_squared"] > -1e-6
