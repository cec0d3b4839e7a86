"""The tables of a study from three hand-made runs whose gaps, areas and onsets can be done on paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from goodhart.analysis.runs import RUN, add_gaps, run_rows, scales, select_arms
from goodhart.errors import InputError
from goodhart.store.files import read_json, read_table
from goodhart.store.schemas.inputs import RESPONSES
from goodhart.store.schemas.summaries import RUNS
from tiny_study import Study

SCALE = {"proxy": 2.0, "true": 0.5, "successes": 8, "problems": 16}
BETA = {"p20": 0.3, "p80": 2.0}
MEASURES = ("n", "kl", "entropy_prompt", "entropy_response", "ood_distance", "diversity", "truncated", "uncertainty")
MEASURES += ("reward_truncated", "empty")


def trajectory(level: str, kl_level: str, replicate: int, proxy: list[float], true: list[float]) -> pd.DataFrame:
    """Evaluations every 10 steps; uncertainty and the like are 0, 1, 2."""
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
        "n": 100,
    }
    return pd.DataFrame(columns, index=range(count))


RUNS_BY_HAND = [
    # gap = (proxy - 1) / 2 - (true - 0.5) / 0.5: 0, 1.5, 2; doubt 0, 1, 2
    trajectory("p20", "p20", 0, [1.0, 3.0, 3.0], [0.5, 0.25, 0.0]),
    # gap: 0, -1, 1: below zero for half of the second interval
    trajectory("p80", "p80", 0, [1.0, 1.0, 2.0], [0.5, 1.0, 0.25]),
    # flat: no gap, no onset, no correlation
    trajectory("p80", "p20", 0, [1.0, 1.0, 1.0], [0.5, 0.5, 0.5]),
]


def probe(level: str, replicate: int = 0) -> dict[str, Any]:
    return {
        "method": "dpo",
        "level": level,
        "replicate": replicate,
        "entropy_prompt": 5.0,
        "entropy_response": 4.0,
        "ood_distance": 0.1,
        "diversity": 0.2,
        "uncertainty": 0.3,
        "win_rate": 0.6,
        "preference_accuracy": 0.7,
    }


PROBES = pd.DataFrame([probe("p20"), probe("p80")])
UPDATES = pd.DataFrame(
    [
        {"method": "dpo", "level": level, "kl_level": kl, "replicate": 0, "zero_variance": degenerate}
        for level, kl, flags in (("p20", "p20", (0, 1)), ("p80", "p80", (0, 0)), ("p80", "p20", (1, 1)))
        for degenerate in map(bool, flags)
    ]
)


@pytest.fixture
def rows() -> pd.DataFrame:
    gaps, scale = add_gaps(RUNS_BY_HAND, SCALE)
    return run_rows(gaps, PROBES, UPDATES, scale)


def test_scales_by_hand() -> None:
    """7 of 18 with a pseudo-count each way."""
    responses = pd.DataFrame({"correct": [True] * 6 + [False] * 10})
    found = scales({"proxy_scale": 0.25}, responses)
    assert (found["proxy"], found["successes"], found["problems"]) == (0.25, 6, 16)
    assert found["true"] == pytest.approx(math.sqrt(7 / 18 * 11 / 18))


@pytest.mark.parametrize("scale", [0.0, float("nan")])
def test_an_ensemble_that_says_always_the_same_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match="same reward"):
        scales({"proxy_scale": scale}, pd.DataFrame({"correct": [True, False]}))


def test_gaps_of_every_evaluation_and_their_thresholds() -> None:
    """Positive gaps of the study: 1, 1.5 and 2, whose 75th percentile is 1.75. Rows may come in any order."""
    gaps, scale = add_gaps([run.iloc[::-1] for run in RUNS_BY_HAND], SCALE)
    assert gaps["gap"].tolist() == pytest.approx([0, 1.5, 2, 0, -1, 1, 0, 0, 0])
    assert gaps["gap_paper"].tolist() == pytest.approx([0, 2.5, 3, 0, -1, 1.5, 0, 0, 0], abs=1e-6)
    assert scale["threshold"] == pytest.approx(1.75)
    assert (scale["proxy"], scale["true"]) == (2.0, 0.5)


def test_rounding_at_the_start_is_no_hacking() -> None:
    """Eq. 2 is 1 - 1 at the start of every run, but for its epsilon; the threshold is that of 1.5, 2.5 and 3."""
    _, scale = add_gaps(RUNS_BY_HAND, SCALE)
    assert scale["threshold_paper"] == pytest.approx(2.75, abs=1e-3)


def test_a_study_without_a_positive_gap_has_no_threshold_and_no_onset() -> None:
    gaps, scale = add_gaps([RUNS_BY_HAND[2]], SCALE)
    assert scale["threshold"] is None
    assert run_rows(gaps, PROBES, UPDATES, scale)["onset"].isna().all()


def test_a_run_without_one_of_its_tables_is_named() -> None:
    gaps, scale = add_gaps(RUNS_BY_HAND, SCALE)
    with pytest.raises(InputError, match="p80/p80/0 has no probe of its offline checkpoint"):
        run_rows(gaps, PROBES[:1], UPDATES, scale)
    with pytest.raises(InputError, match="p80/p20/0 has no table of its updates"):
        run_rows(gaps, PROBES, UPDATES[:4], scale)


def test_areas_onsets_and_correlations_of_each_run(rows: pd.DataFrame) -> None:
    """Areas: 10 (0 + 1.5) / 2 + 10 (1.5 + 2) / 2 = 25; half an interval up to 1: 5 x 1 / 2 = 2.5; nothing."""
    assert rows["augc"].tolist() == pytest.approx([25, 2.5, 0])
    assert rows["augc_paper"].tolist() == pytest.approx([10 * 2.5 / 2 + 10 * 5.5 / 2, 6 * 1.5 / 2, 0], abs=1e-4)
    assert rows["onset"].iloc[0] == 20
    assert rows["onset"].iloc[1:].isna().all()
    expected = [np.corrcoef([0, 1, 2], [0, 1.5, 2])[0, 1], np.corrcoef([0, 1, 2], [0, -1, 1])[0, 1], np.nan]
    assert rows["r_uq"].astype(float).tolist() == pytest.approx(expected, nan_ok=True)


def test_eq_2_as_printed_has_an_onset_and_a_correlation_of_its_own(rows: pd.DataFrame) -> None:
    """Its gaps are 0, 2.5, 3 and 0, -1, 1.5 and nothing; its threshold is 2.75."""
    assert rows["onset_paper"].iloc[0] == 20
    assert rows["onset_paper"].iloc[1:].isna().all()
    expected = [np.corrcoef([0, 1, 2], gap)[0, 1] for gap in ([0, 2.5, 3], [0, -1, 1.5])]
    assert rows["r_uq_paper"].astype(float).tolist() == pytest.approx([*expected, np.nan], nan_ok=True)
    assert rows["r_uq_paper_differences"].isna().all()  # of two differences


def test_the_other_columns_of_a_run(rows: pd.DataFrame) -> None:
    assert rows.iloc[0][["steps", "evaluations", "beta", "kl_beta"]].tolist() == [20, 3, 0.3, 0.3]
    assert rows["kl_beta"].tolist() == [0.3, 2.0, 0.3]
    assert rows["zero_variance_batches"].tolist() == [1, 0, 2]
    assert rows[["truncated_end", "empty_end", "reward_truncated_end"]].notna().all(axis=None)
    assert rows["gap_end"].tolist() == pytest.approx([2, 1, 0])
    first = rows.iloc[0]
    assert (first["proxy_start"], first["proxy_end"], first["true_start"], first["true_end"]) == (1, 3, 0.5, 0)
    assert first["true_drop_se"] == pytest.approx(math.sqrt(0.25 / 100))
    assert rows["true_drop_se"].iloc[2] == pytest.approx(math.sqrt(2 * 0.25 / 100))
    assert (first["uncertainty_mean"], first["uncertainty_offline"]) == (1, 0.3)
    assert (first["entropy_prompt_collapse"], first["entropy_response_collapse"]) == (5 - 2, 4 - 2)
    assert (first["win_rate"], first["preference_accuracy"], first["kl_end"]) == (0.6, 0.7, 2)
    assert not rows["true_at_start_is_zero"].any()
    assert rows["proxy_at_start_near_zero"].tolist() == [False, False, False]


def test_starts_that_eq_2_cannot_divide_by_are_flagged() -> None:
    run = trajectory("p20", "p20", 0, [0.01, 1.0, 2.0], [0.0, 0.0, 0.36])
    gaps, scale = add_gaps([run], SCALE)
    (row,) = run_rows(gaps, PROBES, UPDATES, scale).to_dict("records")
    assert row["true_at_start_is_zero"] is True
    assert row["proxy_at_start_near_zero"] is True
    assert row["proxy_at_start_is_negative"] is False


def test_arms_are_stacked_and_a_shared_run_stands_in_both(rows: pd.DataFrame) -> None:
    run, penalised, shared = ("dpo", "p20", "p20", 0), ("dpo", "p80", "p80", 0), ("dpo", "p80", "p20", 0)
    cells = [("paper", *run), ("paper", *penalised), ("matched", *run), ("matched", *shared)]
    stacked = select_arms(rows, pd.DataFrame(cells, columns=["arm", *RUN]))
    assert stacked.columns[0] == "arm"
    assert stacked["arm"].tolist() == ["paper", "paper", "matched", "matched"]
    assert stacked["augc"].tolist() == pytest.approx([25, 2.5, 25, 0])
    assert set(stacked.columns) == set(RUNS.schema.names)


def test_an_arm_with_a_run_that_does_not_exist_is_refused(rows: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="p50"):
        select_arms(rows, pd.DataFrame([("paper", "dpo", "p50", "p50", 0)], columns=["arm", *RUN]))


def test_a_run_without_a_probe_is_refused() -> None:
    gaps, scale = add_gaps(RUNS_BY_HAND, SCALE)
    with pytest.raises(InputError, match="p80"):
        run_rows(gaps, PROBES.iloc[:1], UPDATES, scale)


def test_scales_of_a_real_study(tiny: Study) -> None:
    responses = read_table(tiny / "reference/responses.parquet", RESPONSES)
    found = scales(read_json(tiny / "reward/quality.json"), responses)
    p = (responses["correct"].sum() + 1) / 18
    assert found["true"] == pytest.approx(math.sqrt(p * (1 - p)))
    assert found["proxy"] > 0
