"""The true reward at equal pressure: by hand, where levels do not get there, and against no cross-fitting."""

from typing import Any

import numpy as np
import pytest

from goodhart.analysis.pressure import Reading, first_reached, true_at_pressure
from goodhart.errors import InputError


def rows(*curve: float, problems: int = 4) -> np.ndarray:
    """A curve over evaluations that all problems share: (evaluations, problems)."""
    return np.tile(np.array(curve)[:, None], problems)


PRESSURE = {"low": rows(0, 1, 2), "high": rows(0, 4)}
TRUE = {"low": rows(0.8, 0.6, 0.4), "high": rows(0.9, 0.1)}


def test_the_largest_pressure_that_all_reach_by_hand() -> None:
    """It is 2, the end of `low`. `high` passes it halfway, where its truth is 0.5."""
    found = true_at_pressure(PRESSURE, TRUE)
    assert found.target == 2
    assert found.readings == {"low": pytest.approx((0.4, 2, 2)), "high": pytest.approx((0.5, 2, 0.5))}
    assert (found.missing, found.beyond, found.short) == (0, (), ())


def test_a_given_pressure_by_hand() -> None:
    found = true_at_pressure(PRESSURE, TRUE, 1)
    assert found.readings == {"low": pytest.approx((0.6, 1, 1)), "high": pytest.approx((0.7, 1, 0.25))}


def test_levels_that_do_not_get_there_are_counted() -> None:
    pressure, true = PRESSURE | {"bold": rows(2.5, 3)}, TRUE | {"bold": rows(0.3, 0.2)}
    found = true_at_pressure(pressure, true, 2.25)
    assert found.readings["low"] is found.readings["bold"] is None
    assert found.readings["high"] is not None
    assert (found.missing, found.beyond, found.short) == (2, ("bold",), ("low",))
    assert true_at_pressure(pressure, true).beyond == ("bold",)  # all reach 2, where bold has never been


def test_each_half_of_the_problems_chooses_for_the_other_by_hand() -> None:
    """Problem 0 is at 2 at evaluation 1, where problem 1 has truth 0.5 and pressure 1.

    Problem 1 is at 2 halfway between evaluations 1 and 2, where problem 0 has truth (0.7 + 0.4) / 2 and pressure 3.
    """
    pressure, true = np.array([[0, 0], [2, 1], [4, 3]]), np.array([[0.9, 0.8], [0.7, 0.5], [0.4, 0.1]])
    found = true_at_pressure({"p50": pressure}, {"p50": true}, 2)
    assert found.readings["p50"] == pytest.approx(Reading(true=0.525, pressure=2, evaluation=1.25))
    # 3.5 is reached on problem 0 alone.
    assert true_at_pressure({"p50": pressure}, {"p50": true}, 3.5).short == ("p50",)
    # The common pressure is 4 on problem 0 and 3 on problem 1; both choose the last evaluation.
    last = true_at_pressure({"p50": pressure}, {"p50": true})
    assert last.target == 3.5
    assert last.readings["p50"] == pytest.approx((0.25, 3.5, 2))


@pytest.mark.parametrize(
    ("curve", "target", "index"),
    [
        ([0, 2, 4], 3, 1.5),
        ([0, 2, 1, 4], 1.5, 0.75),  # the first time counts
        ([1, 0, 2], 1, 0),
        ([1, 0, 2], 0.5, None),  # starts above it
        ([0, 1], 1.5, None),
        ([0, 0, 1], 0.5, 1.5),
        ([-1, -0.5], -0.75, 0.5),
    ],
)
def test_first_reached(curve: list[float], target: float, index: float | None) -> None:
    assert first_reached(curve, target) == index


def test_the_unit_and_the_origin_of_the_pressure_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    pressure = {level: np.cumsum(rng.random((6, 20)), axis=0) for level in "ab"}
    true = {level: rng.random((6, 20)) for level in "ab"}
    found = true_at_pressure(pressure, true)
    other = true_at_pressure({level: 3 * x - 5 for level, x in pressure.items()}, true)
    for level in "ab":
        one, two = found.readings[level], other.readings[level]
        assert one is not None
        assert two is not None
        assert (two.true, two.pressure, two.evaluation) == pytest.approx(
            (one.true, 3 * one.pressure - 5, one.evaluation)
        )


def test_reading_where_one_chooses_is_biased_and_cross_fitting_is_not() -> None:
    """The truth is 0.5 throughout; the proxy adds a slow rise, and first reaches 0.6 where the truth reads high."""
    rng = np.random.default_rng(1)
    added = np.append(-1, np.linspace(0, 0.2, 39))[:, None]  # every run starts below the target
    naive, crossed = [], []
    for _ in range(300):
        true = (rng.random((40, 100)) < 0.5).astype(float)
        index = first_reached((true + added).mean(axis=1), 0.6)
        found = true_at_pressure({"p50": true + added}, {"p50": true}, 0.6).readings["p50"]
        assert index is not None
        assert found is not None
        naive.append(np.interp(index, np.arange(40), true.mean(axis=1)))
        crossed.append(found.true)
    error = np.std(crossed) / np.sqrt(len(crossed))
    assert np.mean(naive) - 0.5 > 8 * error
    assert abs(np.mean(crossed) - 0.5) < 3 * error


@pytest.mark.parametrize(
    ("pressure", "true", "target", "named"),
    [
        ({}, {}, None, "levels none"),
        (PRESSURE, {"low": TRUE["low"]}, None, "levels low, high, the true reward has low"),
        ({"low": rows(0, 1)}, {"low": rows(0, 1, 2)}, None, "pressure, true differ in shape"),
        ({"low": [0, 1]}, {"low": [0, 1]}, None, "evaluations, problems"),
        ({"low": [[0, np.nan]]}, {"low": [[0, 1]]}, None, "pressure .* not finite"),
        ({"low": rows(0, 1, problems=1)}, {"low": rows(0, 1, problems=1)}, None, "at least two problems, not 1"),
        (PRESSURE | {"low": rows(0, problems=3)}, TRUE | {"low": rows(0, problems=3)}, None, "not 3, 4"),
        (PRESSURE, TRUE, np.inf, "common pressure must be finite"),
    ],
)
def test_bad_input_is_one_sentence(pressure: Any, true: Any, target: float | None, named: str) -> None:
    with pytest.raises(InputError, match=named):
        true_at_pressure(pressure, true, target)
