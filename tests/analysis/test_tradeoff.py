"""Definition 6.1 on paper and against every lambda; resamples of replicates that agree, differ, or miss a beta."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodhart.analysis.tradeoff import optimal_conservatism
from goodhart.errors import InputError

# AUGC 1, 2, 5 and win rates 0.5, 0.75, 1: the lines 1 - lambda / 2, 2 - 3 lambda / 4 and 5 - lambda meet at 4 and 12.
BETAS, AUGC, WIN_RATE = [0.4, 1.0, 2.5], [1.0, 2.0, 5.0], [0.5, 0.75, 1.0]
# Eighths: the arithmetic of the crossings is then exact.
EIGHTHS = st.integers(0, 40).map(lambda k: k / 8)
RUNS = st.lists(st.tuples(st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]), EIGHTHS, EIGHTHS), min_size=1, max_size=8)


def steps(found: dict[str, Any]) -> list[tuple[float, float | None, float]]:
    return [(step["lambda_from"], step["lambda_to"], step["beta"]) for step in found["path"]]


def best_at(found: dict[str, Any], at: float) -> float:
    return next(beta for since, until, beta in steps(found) if since <= at and (until is None or at < until))


def test_three_levels_on_paper() -> None:
    found = optimal_conservatism(BETAS, AUGC, WIN_RATE)
    assert steps(found) == [(0, 4, 0.4), (4, 12, 1.0), (12, None, 2.5)]
    assert found["levels"][1] == {"beta": 1.0, "augc": 2.0, "win_rate": 0.75, "n": 1}
    assert found["support"] is None


def test_levels_are_means_over_their_runs() -> None:
    found = optimal_conservatism([2.5, 0.4, 2.5, 1.0], [4.0, 1.0, 6.0, 2.0], [1.0, 0.5, 1.0, 0.75])
    assert steps(found) == steps(optimal_conservatism(BETAS, AUGC, WIN_RATE))
    assert [level["n"] for level in found["levels"]] == [1, 1, 2]


@pytest.mark.parametrize(
    ("augc", "win_rate", "expected"),
    [
        ([1, 5, 2], [0.5, 0.75, 1.0], [(0, 2, 0.4), (2, None, 2.5)]),  # the one in the middle is never best
        ([3, 2, 1], [0.5, 0.5, 0.5], [(0, None, 2.5)]),
        ([1, 1, 1], [0.5, 0.5, 0.5], [(0, None, 0.4)]),  # a tie goes to the smaller beta
        ([1, 1, 2], [0.5, 0.75, 0.75], [(0, None, 1.0)]),
        ([1, 2, 2], [0.5, 0.75, 0.75], [(0, 4, 0.4), (4, None, 1.0)]),
        ([1, 2, 3], [0.5, 0.75, 1.0], [(0, 4, 0.4), (4, None, 2.5)]),  # all three lines meet at 4
        ([0, 0, 0], [0.0, 0.0, 0.0], [(0, None, 0.4)]),
    ],
)
def test_ties_and_levels_that_are_never_best(augc: list, win_rate: list, expected: list) -> None:
    assert steps(optimal_conservatism(BETAS, augc, win_rate)) == expected


@settings(max_examples=100, deadline=None)
@given(RUNS)
def test_the_path_against_every_lambda(runs: list[tuple[float, float, float]]) -> None:
    beta, augc, win_rate = np.array(runs).T
    found = optimal_conservatism(beta, augc, win_rate)
    path = steps(found)
    assert path[0][0] == 0
    assert path[-1][1] is None
    assert [until for _, until, _ in path[:-1]] == [since for since, _, _ in path[1:]]
    assert all(since < until for since, until, _ in path[:-1])
    quality = {level["beta"]: level["win_rate"] for level in found["levels"]}
    along = [quality[beta] for _, _, beta in path]
    assert all(now < then for now, then in pairwise(along))
    lambdas = np.geomspace(1e-3, 1e4, 400) * 0.998  # rarely where two lines meet
    lines = {level["beta"]: level["augc"] - lambdas * level["win_rate"] for level in found["levels"]}
    chosen = [lines[best_at(found, at)][i] for i, at in enumerate(lambdas)]
    assert chosen == pytest.approx(np.min(list(lines.values()), axis=0), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(RUNS, st.sampled_from([1, 3, 7, 8, 9]))
def test_shares_are_shares(runs: list[tuple[float, float, float]], replicates: int) -> None:
    """The same runs in every replicate, with their AUGC passed round; below eight replicates there are no resamples."""
    beta, augc, win_rate = np.array(runs).T
    labels = np.repeat(np.arange(replicates), len(runs))
    passed_round = np.concatenate([np.roll(augc, s) for s in range(replicates)])
    found = optimal_conservatism(np.tile(beta, replicates), passed_round, np.tile(win_rate, replicates), labels)
    json.dumps(found, allow_nan=False)
    support = found["support"]
    assert (support is None) == (replicates < 8)
    if support:
        share = np.array(support["share"])
        assert share.shape == (len(support["lambda"]), len(np.unique(beta)))
        assert share.min() >= 0
        assert share.sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert (support["replicates"], support["betas"]) == (replicates, sorted(set(beta)))
        assert min(support["lambda"]) > 0
        turns = [until for _, until, _ in steps(found) if until]
        assert all(support["lambda"][0] < turn < support["lambda"][-1] for turn in turns)


def test_replicates_that_agree_leave_no_doubt() -> None:
    """Each replicate shows the numbers on paper, so every resample has the same path."""
    found = optimal_conservatism(BETAS * 8, AUGC * 8, WIN_RATE * 8, np.repeat(np.arange(5, 13), 3))
    support = found["support"]
    for at, share in zip(support["lambda"], support["share"], strict=True):
        assert share == [float(beta == best_at(found, at)) for beta in BETAS]
    assert found == optimal_conservatism(BETAS * 8, AUGC * 8, WIN_RATE * 8, np.repeat(list("abcdefgh"), 3))


def test_replicates_that_differ_share_the_resamples() -> None:
    """Four replicates of each order: the majority of a resample decides, and a tie goes to the smaller beta.

    Of the 256 orders of draws, 163 have at least four of eight from the replicates that prefer it.
    """
    augc = [0.0, 8.0] * 4 + [8.0, 0.0] * 4
    found = optimal_conservatism([1.0, 2.0] * 8, augc, [0.5] * 16, np.repeat(np.arange(8), 2))
    share = np.array(found["support"]["share"])
    assert share[:, 0] == pytest.approx(np.full(len(share), 163 / 256), abs=0.05)
    assert (share == share[0]).all()  # equal win rates: lambda says nothing


def test_resamples_that_miss_a_beta_do_not_count() -> None:
    """Only replicate 7 ran beta 2, so that the resamples without it, (7 / 8)^8 of them, say nothing."""
    found = optimal_conservatism([1.0] * 8 + [2.0], [5.0] * 8 + [1.0], [0.5] * 9, [*range(8), 7])
    assert found["support"]["resamples"] == pytest.approx(1000 * (1 - (7 / 8) ** 8), abs=45)
    assert {tuple(share) for share in found["support"]["share"]} == {(0, 1)}
    apart = optimal_conservatism([1.0, 2.0] + [3.0] * 6, [5.0, 1.0] + [3.0] * 6, [0.5, 0.6] + [0.7] * 6, range(8))
    both = (
        1 - 2 * (7 / 8) ** 8 + (6 / 8) ** 8
    )  # replicates 0 and 1 have to be drawn; one of the others nearly always is
    assert apart["support"]["resamples"] == pytest.approx(1000 * both, abs=45)
    assert apart["path"][0]["lambda_to_interval"] == pytest.approx([20, 20])


def test_intervals_of_the_turning_lambdas() -> None:
    """Seven replicates turn at lambda 4 and one at 12, so that a resample with the latter j times turns at 4 + j.

    j is binomial: it is 0 in 34 % of the resamples, at most 2 in 93 % and at most 3 in 99 %.
    """
    augc = [0.0, 1.0] * 7 + [0.0, 3.0]
    found = optimal_conservatism([1.0, 2.0] * 8, augc, [0.5, 0.75] * 8, np.repeat(np.arange(8), 2))
    assert steps(found) == [(0, 5, 1), (5, None, 2)]
    assert found["path"][0]["lambda_to_interval"] == [4, 7]
    assert found["path"][1]["lambda_to_interval"] is None
    few = optimal_conservatism([1.0, 2.0] * 7, augc[2:], [0.5, 0.75] * 7, np.repeat(np.arange(7), 2))
    assert few["path"][0]["lambda_to_interval"] is None


def test_no_interval_where_resamples_never_turn() -> None:
    """In four of eight replicates the larger beta wins less often, and it is never worth its AUGC where six are drawn.

    37 of 256 resamples have at most two of the others.
    """
    win_rate = [0.5, 1.0] * 4 + [0.5, 0.25] * 4
    found = optimal_conservatism([1.0, 2.0] * 8, [0.0, 1.0] * 8, win_rate, np.repeat(np.arange(8), 2))
    assert steps(found) == [(0, 8, 1), (8, None, 2)]
    assert found["path"][0]["lambda_to_interval"] is None
    assert found["support"]["resamples"] == 1000


@settings(max_examples=30, deadline=None)
@given(RUNS, st.sampled_from([0.25, 2.0, 1024.0]))
def test_lambda_carries_the_unit_of_augc(runs: list[tuple[float, float, float]], unit: float) -> None:
    beta, augc, win_rate = np.array(runs).T
    plain, scaled = optimal_conservatism(beta, augc, win_rate), optimal_conservatism(beta, unit * augc, win_rate)
    expected = [(unit * since, None if until is None else unit * until, b) for since, until, b in steps(plain)]
    assert steps(scaled) == expected


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (([], [], []), "0 values; at least 1"),
        (([1, 2], [1], [1, 2]), "differ in length"),
        (([1, 2], [1, 2], [1]), "differ in length"),
        (([1, 2], [1, 2], [1, 2], [0]), "differ in length"),
        (([1, np.nan], [1, 2], [1, 2]), "beta .* not finite"),
        (([1, 2], [1, np.inf], [1, 2]), "augc .* not finite"),
        (([1, 2], [1, 2], [np.nan, 2]), "win_rate .* not finite"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple, named: str) -> None:
    with pytest.raises(InputError, match=named):
        optimal_conservatism(*arguments)
