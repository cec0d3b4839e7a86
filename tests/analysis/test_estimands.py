"""Estimands from pi0 on three trajectories worked out by hand, their identities, and their invariances."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodhart.analysis import estimands as e
from goodhart.analysis.gap import augc, gap
from goodhart.errors import InputError

# pi0 has an accuracy of 0.8, whose SD is sqrt(0.8 * 0.2) = 0.4.
TRUE, PROXY = e.Origin(0.8, 0.4), e.Origin(1.0, 0.5)
JUDGE, HELD_OUT = e.Origin(2.0, 0.8), e.Origin(-1.0, 2.0)
STEPS = [0, 10, 20]


class Run(NamedTuple):
    """Rewards of a trajectory, and what follows from them on paper."""

    proxy: list[float]
    judge: list[float]
    held_out: list[float]
    true: list[float]
    from_reference: list[float]
    reward: list[float]
    specification: list[float]
    held_out_gap: list[float]
    areas: tuple[float, float]  # from pi0, from the own start
    losses: tuple[float, float, float, float]


RUNS = {
    # z: proxy 2.4 3.2 3.2, judge 1 1.5 0.5, held-out 2 2 1.5, true -1.5 -1.75 -1.75.
    # From pi0: 10 (3.9 + 4.95) / 2 + 10 * 4.95 = 93.75. Own start: 0 1.05 1.05, area 5.25 + 10.5.
    # The mean accuracy over the run is (10 * 0.15 + 10 * 0.1) / 20 = 0.125.
    "low beta": Run(
        proxy=[2.2, 2.6, 2.6],
        judge=[2.8, 3.2, 2.4],
        held_out=[3.0, 3.0, 2.0],
        true=[0.2, 0.1, 0.1],
        from_reference=[3.9, 4.95, 4.95],
        reward=[1.4, 1.7, 2.7],
        specification=[2.5, 3.25, 2.25],
        held_out_gap=[0.4, 1.2, 1.7],
        areas=(93.75, 15.75),
        losses=(0.6, 0.075, 0.375, 0.675),
    ),
    # z: proxy 1.6 3.2 3.2, judge 0.5 throughout, held-out 1.6 throughout, true -0.75 -1.75 -1.75.
    # From pi0: 10 (2.35 + 4.95) / 2 + 49.5 = 86. Own start: 0 2.6 2.6, area 13 + 26.
    # The mean accuracy is (10 * 0.3 + 10 * 0.1) / 20 = 0.2.
    "middle": Run(
        proxy=[1.8, 2.6, 2.6],
        judge=[2.4, 2.4, 2.4],
        held_out=[2.2, 2.2, 2.2],
        true=[0.5, 0.1, 0.1],
        from_reference=[2.35, 4.95, 4.95],
        reward=[1.1, 2.7, 2.7],
        specification=[1.25, 2.25, 2.25],
        held_out_gap=[0, 1.6, 1.6],
        areas=(86, 39),
        losses=(0.3, 0.3, 0.6, 0.6),
    ),
    # z: proxy 0.2 2.8 3.2, judge 0 1 0.25, held-out 0.2 1.8 2.2, true 0 -1.25 -1.75.
    # From pi0: 10 (0.2 + 4.05) / 2 + 10 (4.05 + 4.95) / 2 = 66.25. Own start: 0 3.85 4.75, area 19.25 + 43.
    # The mean accuracy is (10 * 0.55 + 10 * 0.2) / 20 = 0.375.
    "high beta": Run(
        proxy=[1.1, 2.4, 2.6],
        judge=[2.0, 2.8, 2.2],
        held_out=[-0.6, 2.6, 3.4],
        true=[0.8, 0.3, 0.1],
        from_reference=[0.2, 4.05, 4.95],
        reward=[0.2, 1.8, 2.95],
        specification=[0, 2.25, 2.0],
        held_out_gap=[0, 1, 1],
        areas=(66.25, 62.25),
        losses=(0, 0.425, 0.53125, 0.425),
    ),
}

VALUES = st.floats(-100, 100).map(lambda v: round(v, 6))
PAIRS = st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=12).map(np.array)
SCALES = st.floats(0.01, 100)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_gaps_by_hand(run: Run) -> None:
    from_reference = e.gap_from_reference(run.proxy, run.true, PROXY, TRUE)
    assert from_reference == pytest.approx(run.from_reference)
    assert e.reward_error(run.proxy, run.judge, PROXY, JUDGE) == pytest.approx(run.reward)
    assert e.specification_error(run.judge, run.true, JUDGE, TRUE) == pytest.approx(run.specification)
    assert e.held_out_gap(run.proxy, run.held_out, PROXY, HELD_OUT) == pytest.approx(run.held_out_gap)
    own = gap(run.proxy, run.true, PROXY.scale, TRUE.scale)
    assert (augc(STEPS, from_reference), augc(STEPS, own)) == pytest.approx(run.areas)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_losses_by_hand(run: Run) -> None:
    found = e.losses(STEPS, run.true, TRUE.mean)
    assert found == pytest.approx(run.losses)
    assert e.offline_loss(TRUE.mean, run.true[0]) == found.offline
    assert e.online_loss(STEPS, run.true) == found.online
    assert e.total_loss(STEPS, run.true, TRUE.mean) == found.total


def test_area_from_the_own_start_and_total_loss_have_opposite_orders() -> None:
    own = [run.areas[1] for run in RUNS.values()]
    total = [run.losses[3] for run in RUNS.values()]
    assert own == sorted(own)
    assert total == sorted(total, reverse=True)


def test_the_online_loss_is_an_average_over_steps_and_signed() -> None:
    # 0.5 at step 0, 0.3 at 10, 0.3 at 40: falls of 0.1 on average over 10 steps and of 0.2 over 30: 7 / 40.
    assert e.online_loss([0, 10, 40], [0.5, 0.3, 0.3]) == pytest.approx(0.175)
    assert e.online_loss([0, 10, 40], [0.5, 0.7, 0.7]) == pytest.approx(-0.175)
    assert e.online_loss([0, 10, 20], [0.5, 0.3, 0.9]) == pytest.approx(0)  # (1 + 1 - 4 + 2) / 20: nothing is clipped


def test_a_start_at_0_has_no_share() -> None:
    found = e.losses([0, 10], [0.0, 0.2], 0.7)
    assert found == (pytest.approx(0.7), pytest.approx(-0.1), None, pytest.approx(0.6))


def test_a_judge_that_is_the_proxy_leaves_no_reward_error() -> None:
    run = RUNS["low beta"]
    copy = 3 * np.array(run.proxy) - 7  # the proxy in other units
    assert e.reward_error(run.proxy, copy, PROXY, e.Origin(3 * 1.0 - 7, 3 * 0.5)) == pytest.approx([0, 0, 0])


def test_a_judge_that_is_the_truth_leaves_no_specification_error() -> None:
    run = RUNS["low beta"]
    assert e.specification_error(run.true, run.true, TRUE, TRUE).tolist() == [0, 0, 0]


def test_a_policy_that_is_pi0_has_no_gap() -> None:
    assert e.gap_from_reference([1.0, 1.0], [0.8, 0.8], PROXY, TRUE).tolist() == [0, 0]


@settings(deadline=None)
@given(PAIRS, VALUES, VALUES, SCALES, SCALES, SCALES, SCALES)
def test_a_gap_has_no_origin_and_no_unit(
    pairs: np.ndarray, shift: float, lift: float, s: float, u: float, k: float, m: float
) -> None:
    """Shifting or rescaling a reward together with its origin changes nothing, and the gap is a share plus `gap`."""
    proxy, true = pairs.T
    p, r = e.Origin(1.5, s), e.Origin(-0.5, u)
    expected = e.gap_from_reference(proxy, true, p, r)
    moved = e.gap_from_reference(
        k * proxy + shift, m * true + lift, e.Origin(k * 1.5 + shift, k * s), e.Origin(m * -0.5 + lift, m * u)
    )
    assert moved == pytest.approx(expected, rel=1e-7, abs=1e-5)
    assert expected == pytest.approx(expected[0] + gap(proxy, true, s, u), rel=1e-9, abs=1e-7)


@settings(deadline=None)
@given(PAIRS, VALUES)
def test_the_two_errors_add_up_to_the_gap(pairs: np.ndarray, center: float) -> None:
    proxy, true = pairs.T
    judge, origin = proxy * true / 100, e.Origin(center, 2.0)
    parts = e.reward_error(proxy, judge, PROXY, origin) + e.specification_error(judge, true, origin, TRUE)
    assert parts == pytest.approx(e.gap_from_reference(proxy, true, PROXY, TRUE), abs=1e-9)


@settings(deadline=None)
@given(st.lists(VALUES, min_size=2, max_size=9), VALUES, VALUES, SCALES)
def test_losses_do_not_depend_on_the_origin_or_the_unit_of_time(
    true: list[float], reference: float, shift: float, pace: float
) -> None:
    steps = np.arange(len(true))
    found = e.losses(steps, true, reference)
    assert found.total == pytest.approx(reference - np.trapezoid(true, steps) / steps[-1], abs=1e-9)
    moved = e.losses(pace * steps, np.array(true) + shift, reference + shift)
    assert moved[:2] == pytest.approx(found[:2], abs=1e-9)


def test_debris() -> None:
    assert e.debris([0.0, 12.0, 12.1, -1.0], [12, 12, 12, 12]).tolist() == [False, False, True, False]
    assert e.debris([0.0, 0.1], [0, 0]).tolist() == [False, True]
    assert e.debris([7.0], [12], limit=0.5).tolist() == [True]


def test_centred_uncertainty_ignores_the_offsets_of_members() -> None:
    pair = np.array([[1.0, 1.2, 0.8], [0.2, 0.1, 0.3]])  # SDs 0.2 and 0.1, as in section 11 of docs/science.md
    assert e.centred_uncertainty(pair, [0, 0, 0]) == pytest.approx([0.2, 0.1])
    assert e.centred_uncertainty(pair + np.array([0, 3, -3]), [0, 3, -3]) == pytest.approx([0.2, 0.1])
    # Held-out means 0, 0.2, -0.2 explain the whole spread of the first response.
    assert e.centred_uncertainty(pair, [0, 0.2, -0.2]) == pytest.approx([0, 0.3])
    assert e.centred_uncertainty(pair[:, :1], [5.0]).tolist() == [0, 0]
    assert e.centred_uncertainty(np.zeros((4, 5, 3)), np.zeros(3)).shape == (4, 5)


@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (e.rise, ([1.0], e.Origin(0.0, 0.0)), "scale .* positive"),
        (e.rise, ([1.0], e.Origin(0.0, np.inf)), "scale .* positive"),
        (e.rise, ([1.0], e.Origin(np.nan, 1.0)), "mean reward .* finite"),
        (e.rise, ([np.nan], TRUE), "reward .* not finite"),
        (e.rise, (["a"], TRUE), "reward must be an array of numbers"),
        (e.gap_from_reference, ([1, 2], [1], PROXY, TRUE), "proxy, true differ in length"),
        (e.reward_error, ([1], [1, 2], PROXY, JUDGE), "proxy, judge differ"),
        (e.specification_error, ([1], [np.inf], JUDGE, TRUE), "true .* not finite"),
        (e.held_out_gap, ([[1]], [[1]], PROXY, HELD_OUT), "one-dimensional"),
        (e.offline_loss, (np.nan, 0.5), "reference and start"),
        (e.online_loss, ([0], [1]), "at least two"),
        (e.online_loss, ([0, 0], [1, 2]), "strictly increasing"),
        (e.losses, ([0, 1], [1, 2], np.nan), "reference"),
        (e.debris, ([1], [-1]), "response_tokens"),
        (e.centred_uncertainty, (np.zeros((2, 3)), [0, 0]), r"\(2, 3\) .* 2 members"),
        (e.centred_uncertainty, (np.zeros((2, 0)), []), "0 members"),
        (e.centred_uncertainty, ([[1, np.nan]], [0, 0]), "rewards .* not finite"),
    ],
)
def test_bad_input_is_one_sentence(function: Any, arguments: tuple, named: str) -> None:
    with pytest.raises(InputError, match=named):
        function(*arguments)
