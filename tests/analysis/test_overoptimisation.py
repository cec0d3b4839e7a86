"""Gao et al.'s R(d) = d (alpha - bend log d): known curves recovered, peaks against a grid, rows by hand."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from goodhart.analysis.overoptimisation import fit_distance, overoptimisation_rows, reward_at
from goodhart.errors import InputError
from goodhart.store.schemas.summaries import OVEROPTIMISATION

KL = np.array([0.0, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0])
FITTED = ("alpha", "bend", "r_squared", "peak_kl")
ENDS = tuple(f"{name}_{end}" for name in ("alpha", "bend", "peak_kl") for end in ("low", "high"))


def test_the_curve_at_distances_done_on_paper() -> None:
    """At 0 it is 0, at 1 alpha, at e it is e (alpha - bend), and it is back at 0 at exp(alpha / bend)."""
    found = reward_at([0, 1, np.e, np.exp(1.5)], 3, 2)
    assert found == pytest.approx([0, 3, np.e, 0])
    assert reward_at(np.zeros((2, 3)), 3, 2).shape == (2, 3)


@settings(max_examples=60, deadline=None)
@given(st.floats(-5, 5), st.floats(-5, 5))
def test_a_curve_is_recovered_exactly(alpha: float, bend: float) -> None:
    fit = fit_distance(KL, reward_at(np.sqrt(KL), alpha, bend))
    assert (fit["alpha"], fit["bend"]) == pytest.approx((alpha, bend), abs=1e-9)
    assert (fit["n"], fit["replicates"]) == (6, 1)  # the start says nothing
    assert fit["r_squared"] is None or fit["r_squared"] == pytest.approx(1)
    assert all(fit[end] is None for end in ENDS)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.2, 5), st.floats(0.33, 2.82))
def test_the_peak_is_where_the_curve_is_largest(bend: float, peak: float) -> None:
    """Peaks at distances between those of the first and the last evaluation that moved."""
    alpha = bend * (1 + np.log(peak))
    fit = fit_distance(KL, reward_at(np.sqrt(KL), alpha, bend))
    grid = np.linspace(0, 10, 200_001)
    heights = reward_at(np.sqrt(grid), alpha, bend)
    assert fit["peak_kl"] == pytest.approx(grid[heights.argmax()], abs=1e-4)
    assert fit["peak_kl"] == pytest.approx(np.exp(2 * (alpha / bend - 1)))


@pytest.mark.parametrize(
    ("alpha", "bend", "there"),
    [
        (1.0, 0.0, False),  # straight
        (1.0, -0.5, False),  # bends up
        (1.0, 0.45, False),  # exp(2 (1 / 0.45 - 1)) = 11.5, farther than 8
        (1.0, 0.55, True),  # 5.1, between the last two
        (-0.2, 0.4, False),  # exp(-3) = 0.05, nearer than 0.1
        (-0.05, 0.4, True),  # 0.105
    ],
)
def test_a_peak_that_nobody_saw_is_none(alpha: float, bend: float, there: bool) -> None:
    assert (fit_distance(KL, reward_at(np.sqrt(KL), alpha, bend))["peak_kl"] is not None) == there


def test_least_squares_on_paper() -> None:
    """At d = 1 the features are (1, 0), at d = e they are (e, -e): four points, two at each."""
    fit = fit_distance([1, 1, np.e**2, np.e**2], [1, 3, 0, 2 * np.e])
    assert (fit["alpha"], fit["bend"]) == pytest.approx((2, 1))
    reward = np.array([1, 3, 0, 2 * np.e])
    left = 1 + 1 + 2 * np.e**2  # squares of 1, -1, e and -e
    assert fit["r_squared"] == pytest.approx(1 - left / np.sum((reward - reward.mean()) ** 2))


def test_estimates_of_kl_below_0_say_nothing() -> None:
    kl, reward = np.append(KL, [-0.5, -1e-9, 0]), np.append(reward_at(np.sqrt(KL), 2, 0.7), [99, -99, 5])
    replicates = np.append(np.repeat([0, 1], [4, 3]), [2, 2, 2])  # all of replicate 2 is below 0
    assert fit_distance(kl, reward, replicates) == fit_distance(KL, reward_at(np.sqrt(KL), 2, 0.7), replicates[:7])


def test_a_peak_needs_a_tenth_of_the_evaluations_on_either_side() -> None:
    """Of 20 distances up to 2 the peak at 1.85 has two beyond it, that at 1.95 only one."""
    kl = np.linspace(0.1, 2, 20) ** 2
    for at, there in ((1.85, True), (1.95, False), (0.25, True), (0.15, False)):
        fit = fit_distance(kl, reward_at(np.sqrt(kl), 1 + np.log(at), 1))
        assert (fit["peak_kl"] is not None) == there


@pytest.mark.parametrize("kl", [[], [0.0], [-1.0, 0.0], [2.0], [2.0, 2.0, 2.0], [1.0, 1.0, 0.0], [2.0, 2.0 + 1e-12]])
def test_distances_that_determine_nothing_give_none(kl: list[float]) -> None:
    fit = fit_distance(kl, np.arange(len(kl), dtype=float))
    assert all(fit[name] is None for name in (*FITTED, *ENDS))
    assert fit["n"] == sum(k > 0 for k in kl)


def test_a_reward_that_does_not_move_is_a_line_at_0() -> None:
    fit = fit_distance(KL, np.zeros(7))
    assert (fit["alpha"], fit["bend"], fit["r_squared"], fit["peak_kl"]) == (0, 0, None, None)


def noisy(replicates: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """KL, reward and replicate of runs around the curve 2, 0.7."""
    kl = np.tile(KL, replicates)
    reward = reward_at(np.sqrt(kl), 2, 0.7) + noise * np.random.default_rng(0).normal(size=len(kl))
    return kl, reward, np.repeat(np.arange(replicates), len(KL))


def test_intervals_cover_the_estimate_from_eight_replicates_on() -> None:
    for replicates in (1, 2, 7):
        assert all(fit_distance(*noisy(replicates))[end] is None for end in ENDS)
    for replicates in (8, 12):
        fit = fit_distance(*noisy(replicates))
        assert fit["alpha_low"] < fit["alpha"] < fit["alpha_high"]
        assert fit["bend_low"] < fit["bend"] < fit["bend_high"]
        assert fit["replicates"] == replicates
        json.dumps(fit, allow_nan=False)
    assert fit["alpha_low"] < 2 < fit["alpha_high"]
    assert fit["bend_low"] < 0.7 < fit["bend_high"]


def test_a_peak_has_an_interval_or_is_none() -> None:
    """Replicates that peak at 2.7 within noise; and ones of which half bend up, as do the resamples with most of these.

    The bend of a resample with k of eight that bend up is (2.5 (8 - k) - 0.5 k) / 8; at k = 6, in 14 % of them or more,
    it is 1 / 4, whose peak exp(2 (1.5 / 0.25 - 1)) nobody saw. The bend's interval covers 1, but the peak has none.
    """
    kl, _, replicates = noisy(8)
    reward = reward_at(np.sqrt(kl), 1.5, 1) + 0.05 * np.random.default_rng(0).normal(size=len(kl))
    fit = fit_distance(kl, reward, replicates)
    assert fit["peak_kl_low"] < np.e < fit["peak_kl_high"]
    assert fit["peak_kl_low"] < fit["peak_kl"] < fit["peak_kl_high"]
    bends = np.where(replicates < 4, 2.5, -0.5)
    fit = fit_distance(
        kl, reward_at(np.sqrt(kl), 1.5, 0) - bends * np.sqrt(kl) * np.log(np.sqrt(kl) + (kl == 0)), replicates
    )
    assert fit["bend"] == pytest.approx(1)
    assert fit["bend_low"] < 0.5
    assert fit["peak_kl"] is fit["peak_kl_low"] is fit["peak_kl_high"] is None
    for few in (1, 2, 7):
        alone = fit_distance(kl[: 7 * few], reward_at(np.sqrt(kl[: 7 * few]), 1.5, 1), replicates[: 7 * few])
        assert (alone["peak_kl"], alone["peak_kl_low"]) == (pytest.approx(np.e), None)


def test_replicates_that_agree_have_intervals_without_width() -> None:
    fit = fit_distance(*noisy(8, noise=0))
    assert [fit[end] for end in ENDS[:4]] == pytest.approx([2, 2, 0.7, 0.7])


def test_no_interval_where_a_resample_determines_nothing() -> None:
    """Only replicate 0 has several distances, so that the resamples without it, (7 / 8)^8 of them, have no curve."""
    fit = fit_distance([1, 4, 9] + [1] * 7, [1, 2, 2] + [1.5] * 7, [0, 0, 0, *range(1, 8)])
    assert fit["alpha"] is not None
    assert all(fit[end] is None for end in ENDS)


MOVED = st.lists(st.tuples(st.integers(1, 80), st.integers(-9, 9)), min_size=3, max_size=9)


@settings(max_examples=60, deadline=None)
@given(MOVED, st.floats(1e-3, 1e3), st.floats(0.1, 10))
def test_units_of_reward_and_distance(points: list[tuple[int, int]], unit: float, stretch: float) -> None:
    """A reward in other units scales both; d in other units k turns alpha into (alpha - bend log k) / k."""
    kl, reward = np.array(points, dtype=float).T / 10
    assume(np.ptp(kl) > 0.5)
    fit, scaled = fit_distance(kl, reward), fit_distance(kl, unit * reward)
    assert [scaled["alpha"], scaled["bend"]] == pytest.approx([unit * fit["alpha"], unit * fit["bend"]], abs=1e-6)
    assert scaled["peak_kl"] == pytest.approx(fit["peak_kl"]) or abs(fit["bend"]) < 1e-6
    stretched = fit_distance(stretch**2 * kl, reward)
    alpha = (fit["alpha"] + fit["bend"] * np.log(stretch)) / stretch
    assert [stretched["alpha"], stretched["bend"]] == pytest.approx([alpha, fit["bend"] / stretch], abs=1e-6)


def made(arm: str, level: str, replicate: int, alpha: float, bend: float, kl: list[float]) -> tuple[dict, pd.DataFrame]:
    """A run and its evaluations in SD since pi0: the proxy starts at 3.5 and follows the curve, the truth falls."""
    cell = {"method": "dpo", "level": level, "kl_level": level, "replicate": replicate}
    d = np.sqrt(kl)
    curves = {"step": np.arange(len(d)), "kl": kl}
    curves |= {"proxy_rise": 3.5 + reward_at(d, alpha, bend), "true_rise": 1 - 0.2 * d}
    cell["beta"] = {"p20": 0.4, "p80": 2.5}[level]
    return {"arm": arm, **cell}, pd.DataFrame({**cell, **curves})


def test_rows_of_hand_made_runs() -> None:
    cells = [("p20", 0, 3.0, 1.0), ("p20", 1, 3.0, 1.0), ("p80", 0, 1.0, 0.5), ("p80", 1, 1.0, 0.5)]
    runs, curves = zip(*(made("paper", *cell, [0.0, 1, 2, 4 + cell[1]]) for cell in cells), strict=True)
    shared = [{**row, "arm": "matched"} for row in runs[:2]]  # a run in two arms is fitted in both
    gaps = pd.concat(curves).sample(frac=1, random_state=0)  # in any order
    rows = overoptimisation_rows(gaps, pd.DataFrame([*runs, *shared]))
    key = rows[["arm", "method", "level", "reward"]].to_numpy().tolist()
    assert key == [
        [arm, "dpo", level, reward]
        for arm, level in (("paper", "p20"), ("paper", "p80"), ("matched", "p20"))
        for reward in ("proxy", "true")
    ]
    assert rows["beta"].tolist() == [0.4, 0.4, 2.5, 2.5, 0.4, 0.4]
    assert rows["alpha"].tolist() == pytest.approx([3, -0.2, 1, -0.2, 3, -0.2])
    assert rows["bend"].tolist() == pytest.approx([1, 0, 0.5, 0, 1, 0], abs=1e-12)
    assert rows["n"].tolist() == [6] * 6
    assert rows["replicates"].tolist() == [2] * 6
    assert set(rows.columns) == set(OVEROPTIMISATION.schema.names)
    assert rows["r_squared"].tolist() == pytest.approx([1] * 6)


def test_rewards_count_from_the_start_of_their_own_run() -> None:
    """Two replicates that start 100 apart have the same rise."""
    runs, curves = zip(*(made("paper", "p20", s, 3.0, 1.0, [0.0, 1, 2, 4]) for s in (0, 1)), strict=True)
    apart = pd.concat([curves[0], curves[1].assign(proxy_rise=curves[1]["proxy_rise"] + 100)])
    pd.testing.assert_frame_equal(
        overoptimisation_rows(apart, pd.DataFrame(runs)), overoptimisation_rows(pd.concat(curves), pd.DataFrame(runs))
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (([1, 2], [1]), "2, 1, 2"),
        (([1, 2], [1, 2], [0]), "2, 2, 1"),
        (([1, np.nan], [1, 2]), "kl .* not finite"),
        (([1, 2], [1, np.inf]), "reward .* not finite"),
    ],
)
def test_bad_input_is_one_sentence(arguments: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        fit_distance(*arguments)
