"""Contrasts of one replicate: the paper's own points, scipy's fits, and what has no value."""

import numpy as np
import pytest
from scipy.interpolate import KroghInterpolator

from goodhart.analysis.contrasts import CONTRASTS, around_minimum, contrasts, difference, end_slopes, relative
from goodhart.analysis.replicates import slope
from goodhart.errors import InputError

PAPER_BETA, PAPER_AUGC = np.log([0.310, 1.0, 2.379]), np.array([31.1, 43.0, 145.8])
X = np.log([[0.3, 1, 3]])


def cells(**changed: object) -> dict[str, np.ndarray]:
    """Two replicates at three levels."""
    table = {
        "augc": [[80, 100, 120], [40, 50, 60]],
        "augc_paper": [[60, 100, 140], [40, 50, 60]],
        "online_loss": [[0.05, 0.1, 0.15], [0.1, 0.1, 0.1]],
        "true_start": [[0.5, 0.5, 0.5], [0.4, 0.5, 0.8]],
        "total_loss": [[0.3, 0.2, 0.1], [0.3, 0.2, 0.1]],
    } | changed
    return {name: np.array(values, dtype=float) for name, values in table.items()}


def test_the_papers_own_points_have_a_relative_slope_of_073() -> None:
    assert slope(PAPER_BETA, relative(PAPER_AUGC)) == pytest.approx(0.73, abs=0.005)


def test_a_quadratic_calls_the_papers_own_points_a_valley() -> None:
    """They rise throughout, and yet the parabola through them falls at its lowest beta: why `descent` is needed."""
    low, high = end_slopes(PAPER_BETA, PAPER_AUGC)
    assert low < -40
    assert high > 100
    descent, ascent = around_minimum(PAPER_AUGC[None])
    assert (descent, ascent) == (pytest.approx([11.9 / 37.05]), pytest.approx([102.8 / 94.4]))


def test_slopes_on_paper() -> None:
    """Per factor e, with nearly equal steps of 1.2 and 1.1 in ln beta: over ln 10, up to the unequal steps."""
    found = contrasts(X, cells())
    assert set(found) == set(CONTRASTS)
    assert found["augc"] == pytest.approx(np.array([0.4, 0.4]) / np.log(10), rel=0.01)
    assert found["augc_paper"] == pytest.approx(np.array([0.8, 0.4]) / np.log(10), rel=0.01)
    assert found["online_loss"] == pytest.approx(np.array([0.1, 0]) / np.log(10), rel=0.01, abs=1e-12)
    share = slope(X[0], [0.25, 0.2, 0.125])
    assert found["online_share"] == pytest.approx([slope(X[0], [0.1, 0.2, 0.3]), share])
    assert found["total_loss"] == pytest.approx(np.array([-0.2, -0.2]) / np.log(10), rel=0.01)


def test_many_studies_at_once_are_each_study() -> None:
    rng = np.random.default_rng(0)
    many = {name: rng.uniform(0.1, 1, size=(7, 4, 5)) for name in cells()}
    x = np.sort(rng.normal(size=(4, 5)))
    found = contrasts(x, many)
    for study in range(7):
        alone = contrasts(x, {name: values[study] for name, values in many.items()})
        for name, values in alone.items():
            assert found[name].shape == (7, 4)
            assert found[name][study] == pytest.approx(values)


def test_derivatives_against_scipy() -> None:
    rng = np.random.default_rng(1)
    x, y = np.sort(rng.normal(size=(6, 3))), rng.normal(size=(6, 3))
    exact = [KroghInterpolator(a, b) for a, b in zip(x, y, strict=True)]
    low, high = end_slopes(x, y)
    assert low == pytest.approx([float(f.derivative(a[0])) for f, a in zip(exact, x, strict=True)])
    assert high == pytest.approx([float(f.derivative(a[-1])) for f, a in zip(exact, x, strict=True)])
    x, y = np.sort(rng.normal(size=5)), rng.normal(size=5)
    derivative = np.polynomial.Polynomial.fit(x, y, 2).deriv()
    assert end_slopes(x, y) == (pytest.approx(derivative(x[0])), pytest.approx(derivative(x[-1])))


def test_the_minimum_is_one_level_for_all_replicates() -> None:
    """The second interior level is lower on average (3 against 4), though not in the first replicate."""
    y = np.array([[9.0, 3, 5, 8], [7, 5, 1, 6]])
    descent, ascent = around_minimum(y)
    assert descent == pytest.approx([-4 / 7, -6 / 4])
    assert ascent == pytest.approx([3 / 6.5, 5 / 3.5])


def test_opposite_trends_are_no_valley() -> None:
    """AUGC doubles from level to level in one replicate and halves in the other: the mean, 2.5 2 2.5, has a valley."""
    y = np.array([[1.0, 2, 4], [4, 2, 1]])
    descent, ascent = around_minimum(y)
    assert descent.mean() == pytest.approx(0)
    assert ascent.mean() == pytest.approx(0)
    low, high = end_slopes(np.array([0.0, 1, 2]), y)
    assert (low.mean(), high.mean()) == (pytest.approx(-1), pytest.approx(1))
    assert difference(np.zeros(2), np.array([0.0, 1])).tolist() == [0, 2]


def test_what_has_no_value() -> None:
    """No slope of a share of nothing, no valley of two levels; a replicate without any gap has no slope to show."""
    found = contrasts(X, cells(true_start=[[0.5, 0, 0.5], [0.5] * 3]))
    assert np.isnan(found["online_share"]).tolist() == [True, False]
    two = contrasts(X[:, :2], {name: values[:, :2] for name, values in cells().items()})
    assert all(np.isnan(two[name]).all() for name in ("low_end", "high_end", "descent", "ascent"))
    assert np.isfinite(two["augc"]).all()
    assert contrasts(X, cells(augc=[[0, 0, 0], [1, 2, 3]]))["augc"][0] == 0
    unknown = contrasts(X, cells(augc_paper=[[1, np.nan, 1], [1, 2, 3]]))
    assert np.isnan(unknown["augc_paper"]).tolist() == [True, False]
    with pytest.raises(InputError, match="below 0"):
        contrasts(X, cells(augc=[[-1, 0, 0], [1, 2, 3]]))
