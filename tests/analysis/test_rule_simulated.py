"""The whole decision rule on simulated studies of 12 replicates: how often it says what, and how often it is wrong.

A simulated replicate has log-normal effects on AUGC and normal ones on the losses, in three sizes. Run this file with
-s to see how often each truth gets which verdict.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from goodhart.analysis.contrasts import contrasts
from goodhart.analysis.decision import limits_of
from goodhart.analysis.rule import RULE, TOTAL, first_match

BETAS, REPLICATES, STUDIES = (0.3, 1.0, 3.0), 12, 5_000
X = np.log(BETAS)
DECADE = np.log(10)

# Six pilot chains at offline betas 0.3 and 3, one online beta of 0.3: AUGC from the own start; accuracy of pi0, lost
# offline and lost online.
PILOT_AUGC = np.array([[31, 79], [36, 99], [53, 148], [10, 82], [89, 115], [19, 71]])
PILOT_OFFLINE = np.array([[0.28, -0.07], [0.17, -0.11], [0.26, -0.11], [-0.05, -0.10], [0.03, -0.10], [0.05, -0.12]])
PILOT_ONLINE = np.array([[0.00, 0.04], [-0.01, 0.05], [-0.15, 0.15], [-0.03, -0.02], [0.13, 0.10], [-0.01, 0.03]])
WRONG_AT_MOST = 0.06


class Truth(NamedTuple):
    """AUGC at the three betas (any unit), slope of the online loss on ln beta, and the verdicts that are not wrong."""

    augc: tuple[float, float, float]
    loss: float
    right: set[str]


class Spread(NamedTuple):
    """SDs over chains: of a chain's ln AUGC ratio of beta 3 to 0.3, of ln AUGC at one level, of the loss's slope, of
    the loss at one level, of the accuracy of an offline checkpoint; and the correlation of both forms of AUGC."""

    ratio: float
    level: float
    loss_slope: float
    loss_level: float
    start: float
    agreement: float


TRUTHS = {
    "flat": Truth((1, 1, 1), 0, {"refuted"}),
    "flat, loss rises": Truth((1, 1, 1), 0.05, {"refuted"}),
    "falls": Truth((1.4, 1, 0.7), 0, {"reversed", "refuted"}),
    "rises by less than .18": Truth((0.9, 1, 1.1), 0, {"refuted", "artefact"}),
    "rises just over .18": Truth((0.73, 1, 1.27), 0.022, {"holds"}),
    "rises": Truth((0.5, 0.85, 1.5), 0, {"artefact"}),
    "rises, loss rises": Truth((0.5, 0.85, 1.5), 0.05, {"holds"}),
    "rises, loss falls": Truth((0.5, 0.85, 1.5), -0.03, {"artefact"}),
    "the paper's shape": Truth((31.1, 43.0, 145.8), 0, {"artefact"}),
    "the paper's shape, loss rises": Truth((31.1, 43.0, 145.8), 0.05, {"holds"}),
    "flat, then rises": Truth((1, 1, 2), 0, {"artefact"}),
    "falls, then flat": Truth((2, 1, 1), 0, {"reversed", "refuted"}),
    "hill": Truth((1, 1.6, 0.98), 0, {"refuted"}),
    "valley": Truth((1.3, 0.6, 1.32), 0, {"valley", "refuted"}),
    "shallow valley": Truth((1.1, 0.9, 1.106), 0, {"valley", "refuted"}),
}
SPREADS = {
    "small": Spread(0.106, 0.014 / np.sqrt(2), 0.02, 0.01, 0.05, 0.9),
    "large": Spread(0.61, 0.2, 0.052, 0.02, 0.1, 0.9),
    "large, both forms one": Spread(0.61, 0.2, 0.052, 0.02, 0.1, 1.0),
}


def simulate(
    truth: Truth, spread: Spread, studies: int, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Studies of one truth: every cell of the decision as (studies, replicates, levels), at the betas 0.3, 1 and 3.

    pi0 has an accuracy of 0.72, and offline training takes 0.17 of it at the lowest beta and adds 0.1 at the highest.
    """
    rng = np.random.default_rng(seed)

    def normal(*levels: int) -> np.ndarray:
        return rng.normal(size=(studies, replicates, *(levels or (1,))))

    x = X - X.mean()
    own, other = normal(), normal()
    second = spread.agreement * own + np.sqrt(1 - spread.agreement**2) * other
    shape, size, noise = np.log(truth.augc), 0.35 * normal(), spread.level * normal(3)
    augc, augc_paper = (np.exp(shape + size + spread.ratio / DECADE * tilt * x + noise) for tilt in (own, second))
    start = np.clip(np.array([0.55, 0.72, 0.82]) + spread.start * normal(3) * np.array([1, 0.5, 0.3]), 0.05, 1)
    online = 0.07 + (truth.loss + spread.loss_slope * normal()) * x + 0.05 * normal() + spread.loss_level * normal(3)
    return {
        "augc": 100 * augc,
        "augc_paper": 150 * augc_paper,
        "online_loss": online,
        "true_start": start,
        "total_loss": 0.72 - start + online,
    }


def said(truth: Truth, spread: Spread, studies: int = STUDIES, replicates: int = REPLICATES) -> dict[str, float]:
    """The share of studies with each verdict, with a wrong verdict, and of those that find that conservatism pays."""
    limits = limits_of(np.tile(X, (replicates, 1)), simulate(truth, spread, studies, replicates))
    verdicts, total = first_match(limits, RULE), first_match(limits, TOTAL)
    shares = {verdict: float(np.mean(verdicts == verdict)) for verdict in (*RULE, "undecided")}
    wrong = sum(share for verdict, share in shares.items() if verdict not in truth.right | {"undecided"})
    return {
        **shares,
        "wrong": wrong,
        "pays": float(np.mean(total == "pays")),
        "costs": float(np.mean(total == "costs")),
    }


def table(spread: Spread, studies: int = STUDIES, replicates: int = REPLICATES) -> pd.DataFrame:
    """One row per truth: `said`, as percentages."""
    return (
        100 * pd.DataFrame({name: said(truth, spread, studies, replicates) for name, truth in TRUTHS.items()}).T
    ).round(1)


def test_the_large_spread_is_that_of_the_pilot() -> None:
    ratio = np.log(PILOT_AUGC[:, 1] / PILOT_AUGC[:, 0])
    large = SPREADS["large"]
    assert ratio.std(ddof=1) == pytest.approx(large.ratio, abs=0.03)
    assert (np.diff(PILOT_ONLINE)[:, 0] / DECADE).std(ddof=1) == pytest.approx(large.loss_slope, abs=0.002)
    simulated = contrasts(np.tile(X, (REPLICATES, 1)), simulate(TRUTHS["rises"], large, 2_000))
    pilot = np.diff(PILOT_AUGC / PILOT_AUGC.mean(axis=1, keepdims=True))[:, 0] / DECADE
    assert simulated["augc"].std() > pilot.std(ddof=1)
    total = np.diff(PILOT_OFFLINE + PILOT_ONLINE)[:, 0] / DECADE
    assert simulated["total_loss"].std() > total.std(ddof=1)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("name", TRUTHS)
def test_no_truth_has_a_verdict_that_it_contradicts(name: str, spread: str) -> None:
    """The population means, of 60,000 chains, fulfil the conditions of no verdict but the right ones.

    The first right one is reached, by the order of the rule.
    """
    truth = TRUTHS[name]
    cells = simulate(truth, SPREADS[spread], studies=1, replicates=60_000, seed=1)
    found = {k: v.mean(axis=-1) for k, v in contrasts(np.tile(X, (60_000, 1)), cells).items()}
    slack = 0.01  # the mean over chains of a flat truth is not exactly 0, and neither is that of 60,000 of them

    def true(verdict: str) -> bool:
        return all(
            found[c.contrast] > c.bound + slack if c.side == "above" else found[c.contrast] < c.bound - slack
            for c in RULE[verdict]
        )

    assert {verdict for verdict in RULE if true(verdict)} == truth.right


@pytest.mark.parametrize("spread", SPREADS)
def test_wrong_verdicts_are_rare(spread: str) -> None:
    found = table(SPREADS[spread])
    print(f"\n{spread}: percent of {STUDIES} studies of {REPLICATES} replicates\n{found.to_string()}")
    assert (found["wrong"] <= 100 * WRONG_AT_MOST).all()


@pytest.mark.parametrize("spread", SPREADS)
def test_power_at_twelve_replicates(spread: str) -> None:
    """What 12 replicates decide: all of it in the small spread; in the large one, not whether a loss is below 0.02."""
    found = table(SPREADS[spread])
    large = spread != "small"
    assert found.loc["falls", "reversed"] > (80 if large else 99)
    assert found.loc["valley", "valley"] > 95
    assert found.loc["flat", "refuted"] > (40 if large else 95)
    assert found.loc["the paper's shape, loss rises", "holds"] > (50 if large else 99)
    assert found.loc["rises", "artefact"] > (15 if large else 80)


@pytest.mark.parametrize("spread", SPREADS)
def test_a_quadratic_alone_would_find_valleys_everywhere(spread: str) -> None:
    """The rule as first designed: derivatives of opposite sign. It calls a valley what rises throughout."""
    truth = TRUTHS["the paper's shape"]
    limits = limits_of(np.tile(X, (REPLICATES, 1)), simulate(truth, SPREADS[spread], 1_000))
    quadratic = first_match(limits, {"valley": RULE["valley"][:2]})
    assert np.mean(quadratic == "valley") > 0.5
    assert np.mean(first_match(limits, RULE) == "valley") < 0.01


@pytest.mark.parametrize("spread", SPREADS)
def test_the_total_is_wrong_in_five_percent(spread: str) -> None:
    """With the mean of every level taken out, conservatism neither pays nor costs."""
    cells = simulate(TRUTHS["flat"], SPREADS[spread], STUDIES)
    cells["total_loss"] = cells["total_loss"] - cells["total_loss"].mean(axis=(0, 1))
    total = first_match(limits_of(np.tile(X, (REPLICATES, 1)), cells), TOTAL)
    for verdict in TOTAL:
        assert np.mean(total == verdict) == pytest.approx(0.025, abs=0.01)
