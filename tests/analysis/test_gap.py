"""The gap on hand-computed series, and the invariances that tell `gap` from `gap_paper`."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodhart.analysis import gap as g
from goodhart.errors import InputError

VALUES = st.floats(-100, 100).map(lambda v: round(v, 6))
SERIES = st.lists(VALUES, min_size=2, max_size=12)
PAIRS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12).map(np.array)
SCALES = st.floats(0.01, 100)


def test_gap_paper_by_hand() -> None:
    # 3/2 - 0.25/0.5 = 1 at the second evaluation; epsilon is far below the tolerance.
    assert g.gap_paper([-2, 3], [0.5, 0.25]) == pytest.approx([-2, 1], abs=1e-6)


def test_gap_paper_explodes_when_the_true_reward_starts_at_zero() -> None:
    """0.36 / eps = 3e6: the size of the paper's Figure 3."""
    assert g.gap_paper([1, 1], [0, 0.36])[1] == pytest.approx(1 - 0.36 / 2**-23)
    assert g.gap_paper([1, 1], [0, 0.36])[1] == pytest.approx(-3.02e6, rel=1e-3)


def test_gap_paper_depends_on_the_origin_of_the_reward() -> None:
    proxy, true = np.array([1.0, 2.0]), np.array([0.5, 0.5])
    assert g.gap_paper(proxy, true)[1] == pytest.approx(1)
    assert g.gap_paper(proxy + 1, true)[1] == pytest.approx(0.5)
    assert g.gap_paper(proxy - 1.5, true)[1] == pytest.approx(0)


def test_gap_by_hand() -> None:
    assert g.gap([1, 3], [0.5, 0.25], proxy_scale=2, true_scale=0.5) == pytest.approx([0, 1.5])


@settings(deadline=None)
@given(PAIRS, SCALES, SCALES, VALUES, VALUES, SCALES, SCALES)
def test_gap_has_no_origin_and_no_unit(
    pairs: np.ndarray, s: float, u: float, shift: float, lift: float, k: float, m: float
) -> None:
    proxy, true = pairs.T
    expected = g.gap(proxy, true, s, u)
    assert expected[0] == 0
    assert g.gap(proxy + shift, true + lift, s, u) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert g.gap(k * proxy, m * true, k * s, m * u) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_true_scale() -> None:
    assert g.true_scale(4, 8) == 0.5
    assert [g.true_scale(0, 8), g.true_scale(8, 8)] == pytest.approx([0.3, 0.3])  # p = 1/10, 9/10


@pytest.mark.parametrize(
    ("proxy", "true", "flags"),
    [
        ([5, 6], [0.5, 0.4], set()),
        ([-0.1, 1], [0, 0.4], {"true_at_start_is_zero", "proxy_at_start_near_zero", "proxy_at_start_is_negative"}),
        ([-5, 6], [0.5, 0.4], {"proxy_at_start_is_negative"}),
        ([0.1, 2], [0.5, 0.4], {"proxy_at_start_near_zero"}),
        ([0], [1], {"proxy_at_start_near_zero"}),
        ([0.1], [1], set()),
    ],
)
def test_flags_at_start(proxy: list[float], true: list[float], flags: set[str]) -> None:
    assert {name for name, holds in g.flags_at_start(proxy, true).items() if holds} == flags


@pytest.mark.parametrize(
    ("steps", "gaps", "area"),
    [
        ([0, 10], [0, 2], 10),
        ([0, 2, 6], [1, 3, 3], 4 + 12),
        ([0, 4], [-1, 3], 4.5),  # above zero for the last 3 of 4 steps; clipping first would give 6
        ([0, 4], [3, -1], 4.5),
        ([0, 1, 2], [1, -1, 1], 0.5),
        ([0, 1, 2], [0, 0, -5], 0),
        ([0, 1], [-1e6, 1], 0.5 / (1e6 + 1)),
    ],
)
def test_augc_by_hand(steps: list[int], gaps: list[float], area: float) -> None:
    assert g.augc(steps, gaps) == pytest.approx(area)


@settings(deadline=None)
@given(SERIES, st.data())
def test_augc_adds_up_over_intervals_and_is_never_negative(gaps: list[float], data: st.DataObject) -> None:
    n = len(gaps)
    steps = np.cumsum(data.draw(st.lists(st.integers(1, 9), min_size=n, max_size=n)))
    whole = g.augc(steps, gaps)
    assert whole >= 0
    assert g.augc(steps, [-abs(x) for x in gaps]) == 0
    for k in range(1, n - 1):
        assert g.augc(steps[: k + 1], gaps[: k + 1]) + g.augc(steps[k:], gaps[k:]) == pytest.approx(whole, abs=1e-9)


@settings(deadline=None)
@given(SERIES)
def test_augc_is_the_limit_of_a_fine_grid(gaps: list[float]) -> None:
    steps = np.arange(len(gaps))
    fine = np.linspace(0, len(gaps) - 1, 200 * (len(gaps) - 1) + 1)
    clipped = np.maximum(np.interp(fine, steps, gaps), 0)
    assert g.augc(steps, gaps) == pytest.approx(np.trapezoid(clipped, fine), abs=0.05 * len(gaps))


def test_threshold_pools_all_runs_of_a_study() -> None:
    assert g.hacking_threshold([-9, 1, 2, 3, 0, 4, 5]) == 4  # p75 of 1..5
    assert g.hacking_threshold([-1, 0, 0]) is None
    assert g.hacking_threshold([]) is None


def test_onset() -> None:
    assert g.onset([0, 5, 10], [0, 2, 3], 1.5) == 5
    assert g.onset([0, 5, 10], [0, 2, 3], 2) == 10  # over, not at
    assert g.onset([0, 5, 10], [0, 2, 3], 3) is None
    assert g.onset([0, 5, 10], [0, 2, 3], None) is None


def test_uq_correlation_by_hand() -> None:
    assert g.uq_correlation([1, 2, 3], [1, 2, 4]) == {
        "levels": pytest.approx(9 / np.sqrt(84)),
        "differences": None,  # two differences: any pair of points lies on a line
    }
    # Both rise, so the levels agree; their changes are opposite.
    opposite = g.uq_correlation([0, 3, 4, 7, 8], [0, 1, 4, 5, 8])
    assert opposite["levels"] == pytest.approx(0.9375, abs=0.01)
    assert opposite["differences"] == pytest.approx(-1)


def test_uq_correlation_is_none_where_undefined() -> None:
    assert g.uq_correlation([1, 1, 1, 1], [1, 2, 3, 5]) == {"levels": None, "differences": None}
    assert g.uq_correlation([1, 2], [1, 2]) == {"levels": None, "differences": None}
    # A straight line has constant differences, though rounding makes them differ in the last digit.
    straight = g.uq_correlation(0.1 * np.arange(9), np.arange(9.0) ** 2)
    assert straight["levels"] is not None
    assert straight["differences"] is None


@settings(deadline=None)
@given(PAIRS)
def test_correlations_stay_in_range(pairs: np.ndarray) -> None:
    for r in g.uq_correlation(*pairs.T).values():
        assert r is None or -1 <= r <= 1


@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (g.gap_paper, ([1, 2], [1]), "proxy, true differ in length"),
        (g.gap_paper, ([], []), "0 values; at least 1"),
        (g.gap_paper, ([1, np.nan], [1, 2]), "proxy .* not finite"),
        (g.gap_paper, ([1, 2], [1, None]), "true .* not finite"),
        (g.gap_paper, ([[1, 2]], [[1, 2]]), "one-dimensional"),
        (g.augc, ([0], [1]), "1 values; at least 2"),
        (g.hacking_threshold, ([1.0, np.inf],), "not finite"),
        (g.uq_correlation, ([1, 2], [1]), "uq, gap differ"),
    ],
)
def test_bad_input_is_one_sentence(function: Any, arguments: tuple, named: str) -> None:
    with pytest.raises(InputError, match=named):
        function(*arguments)
