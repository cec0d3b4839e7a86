"""The tables of a study from three hand-made runs whose gaps, areas and losses can be done on paper."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from goodhart.analysis.calibration import Calibration
from goodhart.analysis.estimands import Origin
from goodhart.analysis.reference import Reference
from goodhart.analysis.runs import RUN, add_gaps, add_onsets, alignment, run_rows, select_arms
from goodhart.errors import InputError
from goodhart.store.schemas.summaries import GAPS_KNOWN, RUNS

BETA = {"p20": 0.3, "p80": 2.0}
MEASURES = ("n", "kl", "entropy_prompt", "entropy_response", "ood_distance", "diversity", "truncated", "uncertainty")
MEASURES += ("reward_truncated", "empty", "held_out")

# Correctness is 1/2 whatever the proxy; the error of the intercept, 0.4, is 0.4 / 4 in the promised accuracy.
CALIBRATION = Calibration(0.0, 0.0, 0.0, 1.0, np.diag([0.16, 0.0]), tail=2.5, n=4)
PI0 = Reference(0, 8, 16, Origin(2, 2), Origin(1, 0.5), Origin(0, 1), Origin(3, 2), CALIBRATION)
BARE = replace(PI0, held_out=None, judge=None, calibration=None)


def trajectory(level: str, kl_level: str, replicate: int, proxy: list[float], true: list[float]) -> pd.DataFrame:
    """Evaluations every 10 steps; uncertainty and the like are 0, 1, 2, and the last one is debris."""
    count = len(proxy)
    columns = {
        "method": "dpo",
        "level": level,
        "beta": BETA[level],
        "replicate": replicate,
        "kl_level": kl_level,
        "kl_beta": BETA[kl_level],
        "step": [10 * i for i in range(count)],
        "proxy": proxy,
        "true": true,
        **{name: [float(i) for i in range(count)] for name in MEASURES},
        "uncertainty_centred": [0.5 * i for i in range(count)],
        "judge": [3.0 + i for i in range(count)],
        "kl_reference": [0.0, 20.0, 21.0],
        "response_tokens": 20.0,
        "n": 100,
    }
    return pd.DataFrame(columns, index=range(count))


def answers(run: pd.DataFrame) -> pd.DataFrame:
    """Two responses per evaluation, in no order, both right at first, then one, then none; two members' rewards."""
    scores = [(0, "a", 1, True), (0, "b", 1, True), (10, "a", 2, True), (10, "b", 4, False)]
    scores += [(20, "a", 3, False), (20, "b", 3, False)]
    rows = [
        {"step": step, "problem_id": problem, "rewards": [mean - 1.0, mean + 1.0], "correct": correct}
        for step, problem, mean, correct in scores[::-1]
    ]
    return pd.DataFrame(rows).assign(**{name: run[name].iloc[0] for name in RUN})


RUNS_BY_HAND = [
    # gap = (proxy - 1) / 2 - (true - 0.5) / 0.5: 0, 1.5, 2; doubt 0, 1, 2
    trajectory("p20", "p20", 0, [1.0, 3.0, 3.0], [0.5, 0.25, 0.0]),
    # gap: 0, -1, 1: below zero for half of the second interval
    trajectory("p80", "p80", 0, [1.0, 1.0, 2.0], [0.5, 1.0, 0.25]),
    # flat: no gap, no onset, no correlation
    trajectory("p80", "p20", 0, [1.0, 1.0, 1.0], [0.5, 0.5, 0.5]),
]
ANSWERS = [answers(run) for run in RUNS_BY_HAND]


def probe(level: str, replicate: int = 0) -> dict[str, Any]:
    return {
        "method": "dpo",
        "level": level,
        "replicate": replicate,
        "kl": 7.0,
        "entropy_prompt": 5.0,
        "entropy_response": 4.0,
        "ood_distance": 0.1,
        "diversity": 0.2,
        "uncertainty": 0.3,
        "win_rate": 0.6,
        "held_out_win_rate": 0.5,
        "judge_win_rate": 0.4,
        "preference_accuracy": 0.7,
    }


PROBES = pd.DataFrame([probe("p20"), probe("p80")])
FLOORS = pd.DataFrame(
    [
        {"method": "dpo", "level": level, "replicate": 0, "number": number, "proxy": proxy, "true": 0.5}
        for level, number, proxy in (("p20", 1, 1.0), ("p20", 2, 3.0), ("p80", 0, 1.0))
    ]
)
UPDATES = pd.DataFrame(
    [
        {"method": "dpo", "level": level, "kl_level": kl, "replicate": 0, "zero_variance": degenerate}
        for level, kl, flags in (("p20", "p20", (0, 1)), ("p80", "p80", (0, 0)), ("p80", "p20", (1, 1)))
        for degenerate in map(bool, flags)
    ]
)


@pytest.fixture
def gaps() -> pd.DataFrame:
    return add_gaps(RUNS_BY_HAND, ANSWERS, {0: PI0})


@pytest.fixture
def rows(gaps: pd.DataFrame) -> pd.DataFrame:
    return run_rows(gaps, PROBES, FLOORS, UPDATES, {0: PI0})


# The gaps.


def test_gaps_of_every_evaluation_from_the_own_start() -> None:
    """Rows may come in any order."""
    gaps = add_gaps([run.iloc[::-1] for run in RUNS_BY_HAND], ANSWERS, {0: PI0})
    assert gaps["step"].tolist() == [0, 10, 20] * 3
    assert gaps["gap"].tolist() == pytest.approx([0, 1.5, 2, 0, -1, 1, 0, 0, 0])
    assert gaps["gap_paper"].tolist() == pytest.approx([0, 2.5, 3, 0, -1, 1.5, 0, 0, 0], abs=1e-6)


def test_gaps_from_pi0(gaps: pd.DataFrame) -> None:
    """pi0's proxy is 2 with SD 2, and its accuracy 1 with SD 1 / 2: each gap is that from the own start plus 1 / 2."""
    assert gaps["proxy_rise"].tolist() == pytest.approx([-0.5, 0.5, 0.5, -0.5, -0.5, 0, -0.5, -0.5, -0.5])
    assert gaps["true_rise"].tolist() == pytest.approx([-1, -1.5, -2, -1, 0, -1.5, -1, -1, -1])
    assert gaps["gap_reference"].tolist() == pytest.approx([0.5, 2, 2.5, 0.5, -0.5, 1.5, 0.5, 0.5, 0.5])
    assert gaps["debris"].tolist() == [False, False, True] * 3  # 20 nats in 20 tokens are none yet, 21 are


def test_gaps_to_other_judges_of_the_first_run(gaps: pd.DataFrame) -> None:
    """Rises of the held-out models 0, 1, 2, of the judge 0, 1/2, 1, of the proxy -1/2, 1/2, 1/2, of the truth -1 to -2.

    What the reward models and what the judge credit wrongly add up to the gap from pi0.
    """
    first = gaps.iloc[:3]
    assert first["held_out_gap"].tolist() == pytest.approx([-0.5, -0.5, -1.5])
    assert first["reward_error"].tolist() == pytest.approx([-0.5, 0, -0.5])
    assert first["specification_error"].tolist() == pytest.approx([1, 2, 3])
    errors = gaps["reward_error"] + gaps["specification_error"]
    assert errors.tolist() == pytest.approx(gaps["gap_reference"].tolist())


def test_the_calibrated_gap_of_every_run(gaps: pd.DataFrame) -> None:
    """Half of the answers are promised; all, half and none are right. Of the scores 1 1, 2 4 and 3 3, those over 2.5.

    Over two problems, the errors -1/2 and 1/2 have a standard error of 1/2; the calibration adds 0.1 in quadrature.
    """
    assert gaps["calibrated_gap"].tolist() == pytest.approx([-0.5, 0, 0.5] * 3)
    assert gaps["calibrated_gap_se"].tolist() == pytest.approx([0.1, math.sqrt(0.26), 0.1] * 3)
    assert gaps["beyond_calibration"].tolist() == [0, 0.5, 1] * 3


def test_gaps_that_a_study_cannot_know_are_empty() -> None:
    gaps = add_gaps(RUNS_BY_HAND, ANSWERS, {0: BARE})
    assert gaps[[*GAPS_KNOWN, "calibrated_gap_se", "beyond_calibration"]].isna().all(axis=None)
    rows = run_rows(gaps, PROBES, FLOORS, UPDATES, {0: BARE})
    assert rows[[f"{name}_end" for name in GAPS_KNOWN]].isna().all(axis=None)
    judged = add_gaps(RUNS_BY_HAND, ANSWERS, {0: replace(BARE, judge=PI0.judge)})
    assert judged["reward_error"].notna().all()
    assert judged["held_out_gap"].isna().all()


def test_every_replicate_has_an_origin_of_its_own() -> None:
    """In replicate 1 pi0's proxy is 0 with SD 1, so that proxies 1, 3, 3 are rises and give gaps 0, 2.5, 3."""
    other = RUNS_BY_HAND[0].assign(replicate=1)
    pi0 = {0: PI0, 1: replace(PI0, replicate=1, proxy=Origin(0, 1))}
    gaps = add_gaps([RUNS_BY_HAND[0], other], [ANSWERS[0], answers(other)], pi0)
    assert gaps["proxy_rise"].tolist() == pytest.approx([-0.5, 0.5, 0.5, 1, 3, 3])
    assert gaps["gap"].tolist() == pytest.approx([0, 1.5, 2, 0, 2.5, 3])
    with pytest.raises(InputError, match="replicate 1 has a run, but no quality"):
        add_gaps([other], [answers(other)], {0: PI0})


# The rows.


def test_a_run_without_one_of_its_tables_is_named(gaps: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="p80/p80/0 has no probe of its offline checkpoint"):
        run_rows(gaps, PROBES[:1], FLOORS, UPDATES, {0: PI0})
    with pytest.raises(InputError, match="p80/p80/0 has no noise floor of its offline checkpoint"):
        run_rows(gaps, PROBES, FLOORS[:2], UPDATES, {0: PI0})
    with pytest.raises(InputError, match="p80/p20/0 has no table of its updates"):
        run_rows(gaps, PROBES, FLOORS, UPDATES[:4], {0: PI0})


def test_areas_and_correlations_of_each_run(rows: pd.DataFrame) -> None:
    """Areas: 10 (0 + 1.5) / 2 + 10 (1.5 + 2) / 2 = 25; half an interval up to 1: 5 x 1 / 2 = 2.5; nothing."""
    assert rows["augc"].tolist() == pytest.approx([25, 2.5, 0])
    assert rows["augc_paper"].tolist() == pytest.approx([10 * 2.5 / 2 + 10 * 5.5 / 2, 6 * 1.5 / 2, 0], abs=1e-4)
    expected = [np.corrcoef([0, 1, 2], [0, 1.5, 2])[0, 1], np.corrcoef([0, 1, 2], [0, -1, 1])[0, 1], np.nan]
    assert rows["r_uq"].astype(float).tolist() == pytest.approx(expected, nan_ok=True)


def test_areas_from_pi0(rows: pd.DataFrame) -> None:
    """10 (0.5 + 2) / 2 + 10 (2 + 2.5) / 2; triangles 5 x 0.5 / 2 and 7.5 x 1.5 / 2 on both sides of -0.5; 20 x 0.5."""
    assert rows["augc_reference"].tolist() == pytest.approx([35, 1.25 + 5.625, 10])
    assert rows["gap_reference_end"].tolist() == pytest.approx([2.5, 1.5, 0.5])


def test_losses_of_each_run(rows: pd.DataFrame) -> None:
    """pi0 is always right, all checkpoints in half: 0.5 is lost offline.

    Online, truth falls by 0, 0.25, 0.5, of which the mean over the run is 0.25; by 0, -0.5, 0.25, mean -0.1875; by 0.
    """
    assert rows["true_reference"].tolist() == [1, 1, 1]
    assert rows["offline_loss"].tolist() == pytest.approx([0.5, 0.5, 0.5])
    assert rows["online_loss"].tolist() == pytest.approx([0.25, -0.1875, 0])
    assert rows["online_loss_share"].tolist() == pytest.approx([0.5, -0.375, 0])
    assert rows["total_loss"].tolist() == pytest.approx([0.75, 0.3125, 0.5])


def test_the_noise_floor_of_each_checkpoint(rows: pd.DataFrame) -> None:
    """Proxies 1 and 3 at one accuracy are gaps 1 SD apart: their SD, corrected for n = 2, is sqrt(pi) / 2.

    With sqrt(1/2) and 1.28973 per step before and after step 10, the floor is 10 (0.70711 + 1.28973) / sqrt(8). One
    evaluation, as at p80, knows no noise.
    """
    assert rows["augc_floor"].iloc[0] == pytest.approx(10 * (0.70711 + 1.28973) / math.sqrt(8), rel=1e-4)
    assert rows["augc_floor"].iloc[1:].isna().all()


def test_eq_2_as_printed_has_a_correlation_of_its_own(rows: pd.DataFrame) -> None:
    """Its gaps are 0, 2.5, 3 and 0, -1, 1.5 and nothing."""
    expected = [np.corrcoef([0, 1, 2], gap)[0, 1] for gap in ([0, 2.5, 3], [0, -1, 1.5])]
    assert rows["r_uq_paper"].astype(float).tolist() == pytest.approx([*expected, np.nan], nan_ok=True)
    assert rows["r_uq_paper_differences"].isna().all()  # of two differences


def test_the_other_columns_of_a_run(rows: pd.DataFrame) -> None:
    assert rows.iloc[0][["steps", "evaluations", "beta", "kl_beta"]].tolist() == [20, 3, 0.3, 0.3]
    assert rows["kl_beta"].tolist() == [0.3, 2.0, 0.3]
    assert rows["zero_variance_batches"].tolist() == [1, 0, 2]
    assert rows[["truncated_end", "empty_end", "reward_truncated_end"]].notna().all(axis=None)
    assert rows["gap_end"].tolist() == pytest.approx([2, 1, 0])
    assert rows["proxy_rise"].tolist() == pytest.approx([1, 0.5, 0])  # online, in SD
    first = rows.iloc[0]
    assert (first["proxy_start"], first["proxy_end"], first["true_start"], first["true_end"]) == (1, 3, 0.5, 0)
    assert first["true_drop_se"] == pytest.approx(math.sqrt(0.25 / 100))
    assert rows["true_drop_se"].iloc[2] == pytest.approx(math.sqrt(2 * 0.25 / 100))
    ends = first[["held_out_gap_end", "reward_error_end", "specification_error_end", "calibrated_gap_end"]]
    assert ends.tolist() == pytest.approx([-1.5, -0.5, 3, 0.5])
    assert (first["kl_end"], first["kl_reference_end"], first["offline_kl"], first["debris"]) == (2, 21, 7, 1)
    assert (first["uncertainty_mean"], first["uncertainty_centred_mean"], first["uncertainty_offline"]) == (1, 0.5, 0.3)
    assert (first["entropy_prompt_collapse"], first["entropy_response_collapse"]) == (5 - 2, 4 - 2)
    assert first[["win_rate", "held_out_win_rate", "judge_win_rate"]].tolist() == [0.6, 0.5, 0.4]
    assert first["preference_accuracy"] == 0.7
    assert not rows["true_at_start_is_zero"].any()
    assert rows["proxy_at_start_near_zero"].tolist() == [False, False, False]


def test_starts_that_eq_2_cannot_divide_by_are_flagged() -> None:
    """Of a start at 0 nothing can be lost, so that the loss has no share."""
    run = trajectory("p20", "p20", 0, [0.01, 1.0, 2.0], [0.0, 0.0, 0.36])
    (row,) = run_rows(add_gaps([run], [answers(run)], {0: PI0}), PROBES, FLOORS, UPDATES, {0: PI0}).to_dict("records")
    assert row["true_at_start_is_zero"] is True
    assert row["proxy_at_start_near_zero"] is True
    assert row["proxy_at_start_is_negative"] is False
    assert (row["online_loss_share"], row["online_loss"]) == (None, pytest.approx(-0.09))


# Arms.


def test_arms_are_stacked_and_a_shared_run_stands_in_both(rows: pd.DataFrame, gaps: pd.DataFrame) -> None:
    run, penalised, shared = ("dpo", "p20", "p20", 0), ("dpo", "p80", "p80", 0), ("dpo", "p80", "p20", 0)
    cells = [("paper", *run), ("paper", *penalised), ("matched", *run), ("matched", *shared)]
    stacked = select_arms(rows, pd.DataFrame(cells, columns=["arm", *RUN]))
    assert stacked.columns[0] == "arm"
    assert stacked["arm"].tolist() == ["paper", "paper", "matched", "matched"]
    assert stacked["augc"].tolist() == pytest.approx([25, 2.5, 25, 0])
    assert set(add_onsets(stacked, gaps)[0].columns) == set(RUNS.schema.names)


def test_an_arm_with_a_run_that_does_not_exist_is_refused(rows: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="p50"):
        select_arms(rows, pd.DataFrame([("paper", "dpo", "p50", "p50", 0)], columns=["arm", *RUN]))


def series(level: str, gap: list[float], gap_paper: list[float]) -> pd.DataFrame:
    run = {"method": "dpo", "level": level, "kl_level": "p20", "replicate": 0}
    return pd.DataFrame({**run, "step": range(0, 10 * len(gap), 10), "gap": gap, "gap_paper": gap_paper})


def test_every_arm_has_a_threshold_of_its_own() -> None:
    """The run at p20 is in both arms. Alone, its positive gaps 1 and 3 have the 75th percentile 2.5.

    With the four gaps of 0.2 of the other run it is 0.2 + 0.75 (1 - 0.2) = 0.8, so that the onset is at step 10 there.
    By Eq. 2 the gaps 2 and 4 have the percentile 3.5, and 2, 4 and 1 have 3. Rows and arms may come in any order.
    """
    gaps = pd.concat([series("p20", [0, 1, 3], [0, 4, 2]), series("p80", [0, 0.2, 0.2, 0.2, 0.2], [-1, 1, 0, 0, 0])])
    cells = [("matched", "p80"), ("own", "p20"), ("matched", "p20")]
    runs = pd.DataFrame([(arm, "dpo", level, "p20", 0) for arm, level in cells], columns=["arm", *RUN], index=[5, 2, 9])
    found, thresholds = add_onsets(runs, gaps.sample(frac=1, random_state=0))
    assert thresholds == {
        "matched": {"gap": pytest.approx(0.8), "gap_paper": pytest.approx(3)},
        "own": {"gap": pytest.approx(2.5), "gap_paper": pytest.approx(3.5)},
    }
    assert found["onset"].astype(object).where(found["onset"].notna(), None).to_dict() == {5: None, 2: 20, 9: 10}
    assert found["onset_paper"].astype(object).where(found["onset_paper"].notna(), None).to_dict() == {
        5: None,
        2: 10,
        9: 10,
    }


def test_rounding_at_the_start_is_no_hacking(gaps: pd.DataFrame) -> None:
    """Eq. 2 is 1 - 1 at the start of every run, but for its epsilon; the threshold is that of 1.5, 2.5 and 3."""
    runs = gaps.drop_duplicates(RUN)[RUN].assign(arm="all").reset_index(drop=True)
    _, thresholds = add_onsets(runs, gaps)
    assert thresholds == {"all": {"gap": pytest.approx(1.75), "gap_paper": pytest.approx(2.75, abs=1e-3)}}


def test_an_arm_without_a_positive_gap_has_no_threshold_and_no_onset() -> None:
    runs = pd.DataFrame([("own", "dpo", "p20", "p20", 0)], columns=["arm", *RUN])
    found, thresholds = add_onsets(runs, series("p20", [0, -1, 0], [0, 0, 0]))
    assert thresholds == {"own": {"gap": None, "gap_paper": None}}
    assert found[["onset", "onset_paper"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("absent", "name", "value"),
    [
        ([], "labelling judge", 0.4),
        (["judge_win_rate"], "held-out reward models", 0.5),
        (["judge_win_rate", "held_out_win_rate"], "optimised ensemble", 0.6),
    ],
)
def test_the_best_known_judge_says_who_wins(rows: pd.DataFrame, absent: list[str], name: str, value: float) -> None:
    """One run that lacks a judge is enough for that judge to be left out: levels are compared by one judge."""
    rows.loc[rows.index[0], absent] = None
    judge, win_rates = alignment(rows)
    assert (judge, win_rates.iloc[1:].tolist()) == (name, [value, value])
