"""The tables of a study from three hand-made runs whose gaps, areas and onsets can be done on paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from goodhart.analysis.runs import (
    FLAGS,
    RUN,
    TABLE1,
    Scales,
    add_gaps,
    arm_differences,
    run_rows,
    scales,
    select_arms,
    table1,
    trends,
)
from goodhart.errors import InputError
from goodhart.store.files import read_json, read_table
from goodhart.store.schemas.inputs import RESPONSES
from goodhart.store.schemas.summaries import RUNS
from tiny_study import Study

TEST = {"statistic", "p_value", "smallest_p", "n", "method"}
SCALE = Scales(proxy=2.0, true=0.5, successes=8, problems=16)
BETA = {"p20": 0.3, "p80": 2.0}
MEASURES = ("n", "kl", "entropy_prompt", "entropy_response", "ood_distance", "diversity", "truncated", "uncertainty")
MEASURES += ("reward_truncated", "empty")


def trajectory(level: str, kl_level: str, seed: int, proxy: list[float], true: list[float]) -> pd.DataFrame:
    """Evaluations every 10 steps; uncertainty and the like are 0, 1, 2."""
    count = len(proxy)
    columns = {
        "method": "dpo",
        "level": level,
        "beta": BETA[level],
        "seed": seed,
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


def probe(level: str, seed: int = 0) -> dict[str, Any]:
    return {
        "method": "dpo",
        "level": level,
        "seed": seed,
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
        {"method": "dpo", "level": level, "kl_level": kl, "seed": 0, "zero_variance": degenerate}
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
    assert (found.proxy, found.successes, found.problems) == (0.25, 6, 16)
    assert found.true == pytest.approx(math.sqrt(7 / 18 * 11 / 18))


@pytest.mark.parametrize("scale", [0.0, float("nan")])
def test_an_ensemble_that_says_always_the_same_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match="same reward"):
        scales({"proxy_scale": scale}, pd.DataFrame({"correct": [True, False]}))


def test_gaps_of_every_evaluation_and_their_thresholds() -> None:
    """Positive gaps of the study: 1, 1.5 and 2, whose 75th percentile is 1.75. Rows may come in any order."""
    gaps, scale = add_gaps([run.iloc[::-1] for run in RUNS_BY_HAND], SCALE)
    assert gaps["gap"].tolist() == pytest.approx([0, 1.5, 2, 0, -1, 1, 0, 0, 0])
    assert gaps["gap_paper"].tolist() == pytest.approx([0, 2.5, 3, 0, -1, 1.5, 0, 0, 0], abs=1e-6)
    assert scale.threshold == pytest.approx(1.75)
    assert (scale.proxy, scale.true) == (2.0, 0.5)


def test_rounding_at_the_start_is_no_hacking() -> None:
    """Eq. 2 is 1 - 1 at the start of every run, but for its epsilon; the threshold is that of 1.5, 2.5 and 3."""
    _, scale = add_gaps(RUNS_BY_HAND, SCALE)
    assert scale.threshold_paper == pytest.approx(2.75, abs=1e-3)


def test_a_study_without_a_positive_gap_has_no_threshold_and_no_onset() -> None:
    gaps, scale = add_gaps([RUNS_BY_HAND[2]], SCALE)
    assert scale.threshold is None
    assert run_rows(gaps, PROBES, UPDATES, scale)["onset"].isna().all()


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
    arms = {
        "paper": [("dpo", "p20", "p20", 0), ("dpo", "p80", "p80", 0)],
        "matched": [("dpo", "p20", "p20", 0), ("dpo", "p80", "p20", 0)],
    }
    stacked = select_arms(rows, arms)
    assert stacked.columns[0] == "arm"
    assert stacked["arm"].tolist() == ["paper", "paper", "matched", "matched"]
    assert stacked["augc"].tolist() == pytest.approx([25, 2.5, 25, 0])
    assert set(stacked.columns) == set(RUNS.schema.names)


def test_an_arm_with_a_run_that_does_not_exist_is_refused(rows: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="p50"):
        select_arms(rows, {"paper": [("dpo", "p50", "p50", 0)]})


def test_a_run_without_a_probe_is_refused() -> None:
    gaps, scale = add_gaps(RUNS_BY_HAND, SCALE)
    with pytest.raises(InputError, match="p80"):
        run_rows(gaps, PROBES.iloc[:1], UPDATES, scale)


def levels(**columns: list[Any]) -> pd.DataFrame:
    """Runs of two betas and three seeds in one arm; all columns of Table 1 are 0 but those given."""
    base = {"arm": "paper", "method": "dpo", "level": ["p20"] * 3 + ["p80"] * 3, "beta": [0.3] * 3 + [2.0] * 3}
    zeros = dict.fromkeys(TABLE1.values(), 0.0) | dict.fromkeys(FLAGS, False) | {"steps": 80}
    return pd.DataFrame({**base, "seed": [0, 1, 2] * 2, **zeros, **columns})


def test_table_1_is_mean_and_standard_error_over_the_runs_that_have_a_value() -> None:
    table = table1(levels(augc=[1.0, 2.0, 6.0, 4.0, 4.0, 4.0], onset=[10.0, 20.0, None, None, None, 7.0]))
    assert table[["arm", "method", "level", "n"]].to_numpy().tolist() == [
        ["paper", "dpo", "p20", 3],
        ["paper", "dpo", "p80", 3],
    ]
    assert table["augc"].tolist() == pytest.approx([3, 4])
    assert table["augc_se"].tolist() == pytest.approx([math.sqrt(7 / 3), 0])
    assert table["onset"].tolist() == [15, 7]
    assert table["onset_n"].tolist() == [2, 1]
    assert table["onset_se"].iloc[0] == pytest.approx(5)
    assert pd.isna(table["onset_se"].iloc[1])


def test_intervals_of_table_1_are_over_the_seeds() -> None:
    """Of 27 resamples of three seeds one is all 1, more than 2.5 %; two seeds reach from one to the other."""
    table = table1(levels(augc=[1.0, 2.0, 6.0, 4.0, 4.0, 4.0], onset=[10.0, 20.0, None, None, None, 7.0]))
    assert table[["augc_low", "augc_high"]].to_numpy().tolist() == [[1, 6], [4, 4]]
    assert table.loc[0, ["onset_low", "onset_high"]].tolist() == [10, 20]
    assert table.loc[1, ["onset_low", "onset_high"]].isna().all()
    order = [2, 5, 0, 3, 1, 4]  # the runs may come in any
    pd.testing.assert_frame_equal(
        table1(levels(augc=[1, 2, 4, 6, 7, 9]).iloc[order]), table1(levels(augc=[1, 2, 4, 6, 7, 9]))
    )


def test_table_1_counts_the_runs_that_eq_2_cannot_divide() -> None:
    table = table1(levels(true_at_start_is_zero=[True, False, True, False, False, False]))
    assert table["true_at_start_is_zero"].tolist() == [2, 0]
    assert table["proxy_at_start_near_zero"].tolist() == [0, 0]


def test_a_quantity_no_run_has_is_empty_in_table_1() -> None:
    table = table1(levels(r_uq=[None] * 6))
    assert table[["r_uq", "r_uq_se", "r_uq_low", "r_uq_high"]].isna().all(axis=None)
    assert table["r_uq_n"].tolist() == [0, 0]


def test_table_1_is_in_order_of_beta() -> None:
    runs = levels().assign(level=["p9"] * 3 + ["p10"] * 3, beta=[0.2] * 3 + [0.3] * 3)
    assert table1(runs.iloc[::-1])["level"].tolist() == ["p9", "p10"]


def test_trends_of_every_quantity() -> None:
    """Two betas: rho of level means is 1 with p = 1; three seeds that all rise: 2 of 8 arrangements."""
    found = trends(levels(augc=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], onset=[10.0, 20.0, None, None, None, None]))
    assert [(t["arm"], t["method"], t["quantity"], t["column"]) for t in found] == [
        ("paper", "dpo", title, column) for title, column in TABLE1.items()
    ]
    augc, onset = found[0], found[list(TABLE1.values()).index("onset")]
    assert set(augc["level_means"]) == set(augc["within_seeds"]) == TEST
    assert (augc["level_means"]["statistic"], augc["level_means"]["p_value"]) == (1, 1)
    assert (augc["within_seeds"]["statistic"], augc["within_seeds"]["p_value"]) == (1, 0.25)
    assert onset["slope"] is None


def test_each_reading_of_a_trend_by_hand() -> None:
    """Levels 1 2 3 in seed 0 and 1 3 2 in seed 1, whose first value is missing in seed 2: rho 1, 1 / 2 and -1."""
    runs = pd.concat([levels().assign(level=["p20", "p50", "p80"] * 2, beta=[1.0, 2.0, 4.0] * 2)] * 2).iloc[:9]
    runs = runs.assign(seed=np.repeat([0, 1, 2], 3), augc=[1.0, 2, 3, 11, 13, 12, None, 25, 24])
    (augc,) = (t for t in trends(runs) if t["column"] == "augc")
    assert [(s["seed"], s["n"]) for s in augc["per_seed"]] == [(0, 3), (1, 3), (2, 2)]
    assert [s["statistic"] for s in augc["per_seed"]] == pytest.approx([1, 0.5, -1])
    assert [s["p_value"] for s in augc["per_seed"]] == pytest.approx([1 / 3, 1, 1])
    assert [s["statistic"] for s in augc["kendall"]["per_seed"]] == pytest.approx([1, 1 / 3, -1])
    assert augc["level_means"]["statistic"] == pytest.approx(0.5)  # of 6, 40 / 3 and 13
    assert augc["kendall"]["level_means"]["statistic"] == pytest.approx(1 / 3)
    assert (augc["level_means"]["n"], augc["pooled"]["n"], augc["kendall"]["pooled"]["n"]) == (3, 8, 8)
    assert augc["within_seeds"]["statistic"] == pytest.approx((1 + 0.5 - 1) / 3)
    assert augc["slope"]["slopes"] == pytest.approx(np.array([1, 0.5, -1]) / math.log(2))
    assert (augc["slope"]["n"], augc["within_seeds"]["n"]) == (3, 3)


def test_all_runs_pooled_by_hand() -> None:
    """Two betas, all values of one above all of the other: 2 of 20 choices of three are as extreme."""
    (augc, *_) = trends(levels(augc=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    assert augc["pooled"]["statistic"] == pytest.approx(13.5 / math.sqrt(13.5 * 17.5))
    assert augc["kendall"]["pooled"]["statistic"] == pytest.approx(9 / math.sqrt(9 * 15))  # tau-b: 6 pairs tie in beta
    assert augc["pooled"]["p_value"] == augc["kendall"]["pooled"]["p_value"] == pytest.approx(0.1)
    assert set(augc["pooled"]) == set(augc["kendall"]["pooled"]) == TEST
    rise = 3 / math.log(2.0 / 0.3)  # a factor of e in beta
    assert augc["slope"] == {
        "slopes": pytest.approx([rise] * 3),
        "mean": pytest.approx(rise),
        "se": pytest.approx(0, abs=1e-12),
        "n": 3,
        "interval": pytest.approx([rise] * 2),
    }


def test_a_run_without_an_onset_is_later_than_all_others() -> None:
    """Seed 0 starts at 10 and then never, seed 1 never and then at 20, seed 2 never at all: rho 1, -1 and 0."""
    found = trends(levels(onset=[10.0, None, None, None, 20.0, None], r_uq=[0.1, None, 0.2, 0.3, 0.4, None]))
    onset, r_uq = (next(t for t in found if t["column"] == column) for column in ("onset", "r_uq"))
    assert [s["statistic"] for s in onset["per_seed"]] == [1, -1, None]
    assert (onset["within_seeds"]["statistic"], onset["within_seeds"]["n"]) == (0, 3)
    assert (onset["level_means"]["statistic"], onset["pooled"]["n"], onset["slope"]) == (1, 6, None)
    assert (r_uq["pooled"]["n"], r_uq["slope"]["n"]) == (4, 1)  # a correlation that does not exist is not known


def test_arms_are_compared_run_by_run() -> None:
    """At p20 three seeds have the same runs in both; at p80 two have 2 and 4 less than in the first arm."""
    levels, betas = ["p20", "p80", "p20", "p80", "p20"], [0.3, 2.0, 0.3, 2.0, 0.3]
    base = {"method": "dpo", "level": levels, "beta": betas, "seed": [0, 0, 1, 1, 2]}
    paper = pd.DataFrame({"arm": "paper", **base, "kl_level": levels, "augc": [1.0, 5.0, 2.0, 9.0, 4.0]})
    matched = paper.assign(arm="matched", kl_level="p20", augc=[1.0, 3.0, 2.0, 5.0, 4.0])
    (found,) = arm_differences(pd.concat([paper, matched.iloc[::-1]]))
    assert (found["method"], found["arm"], found["first"], found["shared"]) == ("dpo", "matched", "paper", 3)
    same, less = found["levels"]
    assert same == {"level": "p20", "mean": 0, "se": 0, "n": 3, "interval": [0, 0]}
    assert less == {"level": "p80", "mean": -3, "se": pytest.approx(1), "n": 2, "interval": [-4, -2]}
    assert found["slope"]["slopes"] == pytest.approx(np.array([-2, -4]) / math.log(2.0 / 0.3))
    assert (found["within_seeds"]["statistic"], found["within_seeds"]["p_value"]) == (-1, 0.5)
    assert arm_differences(paper) == []


def test_a_quantity_nobody_has_shows_no_trend() -> None:
    (onset,) = (t for t in trends(levels(onset=[None] * 6)) if t["column"] == "onset")
    for found in (onset["level_means"], onset["pooled"], onset["kendall"]["pooled"], onset["within_seeds"]):
        assert (found["statistic"], found["p_value"], found["n"]) == (None, None, 0)
    assert (onset["per_seed"], onset["slope"]["slopes"], onset["slope"]["mean"]) == ([], [], None)


def test_the_columns_of_table_1_are_columns_of_the_runs() -> None:
    assert set(FLAGS) <= set(RUNS.schema.names)
    assert set(TABLE1.values()) <= set(RUNS.schema.names)
    assert RUN == ["method", "level", "kl_level", "seed"]


def test_scales_of_a_real_study(tiny: Study) -> None:
    responses = read_table(tiny / "reference/responses.parquet", RESPONSES)
    found = scales(read_json(tiny / "reward/quality.json"), responses)
    p = (responses["correct"].sum() + 1) / 18
    assert found.true == pytest.approx(math.sqrt(p * (1 - p)))
    assert found.proxy > 0
