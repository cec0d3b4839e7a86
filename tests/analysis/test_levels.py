"""Table 1, trends with beta and differences between arms, from runs of two betas that can be done on paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from goodhart.analysis.levels import FLAGS, TABLE1, arm_differences, table1, trends
from goodhart.analysis.runs import RUN
from goodhart.store.schemas.summaries import RUNS

TEST = {"statistic", "p_value", "smallest_p", "n", "method"}


def levels(**columns: list[Any]) -> pd.DataFrame:
    """Runs of two betas and three replicates in one arm; all columns of Table 1 are 0 but those given."""
    base = {"arm": "paper", "method": "dpo", "level": ["p20"] * 3 + ["p80"] * 3, "beta": [0.3] * 3 + [2.0] * 3}
    zeros = dict.fromkeys(TABLE1.values(), 0.0) | dict.fromkeys(FLAGS, False) | {"steps": 80}
    return pd.DataFrame({**base, "replicate": [0, 1, 2] * 2, **zeros, **columns})


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


def test_intervals_of_table_1_are_over_the_replicates() -> None:
    """t is 4.303 on two degrees of freedom, and 12.706 on one: 3 ± 4.303 sqrt(7 / 3), and 15 ± 12.706 * 5."""
    table = table1(levels(augc=[1.0, 2.0, 6.0, 4.0, 4.0, 4.0], onset=[10.0, 20.0, None, None, None, 7.0]))
    half = 4.302653 * math.sqrt(7 / 3)
    assert table.loc[0, ["augc_low", "augc_high"]].tolist() == pytest.approx([3 - half, 3 + half])
    assert table.loc[1, ["augc_low", "augc_high"]].tolist() == [4, 4]
    assert table.loc[0, ["onset_low", "onset_high"]].tolist() == pytest.approx([15 - 63.531023, 15 + 63.531023])
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
    """Two betas: rho of level means is 1 with p = 1; three replicates that all rise: 2 of 8 arrangements."""
    found = trends(levels(augc=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], onset=[10.0, 20.0, None, None, None, None]))
    assert [(t["arm"], t["method"], t["quantity"], t["column"]) for t in found] == [
        ("paper", "dpo", title, column) for title, column in TABLE1.items()
    ]
    augc, onset = found[0], found[list(TABLE1.values()).index("onset")]
    assert set(augc["level_means"]) == set(augc["within_replicates"]) == TEST
    assert (augc["level_means"]["statistic"], augc["level_means"]["p_value"]) == (1, 1)
    assert (augc["within_replicates"]["statistic"], augc["within_replicates"]["p_value"]) == (1, 0.25)
    assert onset["slope"] is None


def test_each_reading_of_a_trend_by_hand() -> None:
    """Levels 1 2 3 in replicate 0 and 1 3 2 in replicate 1, whose first value 2 lacks: rho 1, 1 / 2 and -1."""
    runs = pd.concat([levels().assign(level=["p20", "p50", "p80"] * 2, beta=[1.0, 2.0, 4.0] * 2)] * 2).iloc[:9]
    runs = runs.assign(replicate=np.repeat([0, 1, 2], 3), augc=[1.0, 2, 3, 11, 13, 12, None, 25, 24])
    (augc,) = (t for t in trends(runs) if t["column"] == "augc")
    assert [(s["replicate"], s["n"]) for s in augc["per_replicate"]] == [(0, 3), (1, 3), (2, 2)]
    assert [s["statistic"] for s in augc["per_replicate"]] == pytest.approx([1, 0.5, -1])
    assert [s["p_value"] for s in augc["per_replicate"]] == pytest.approx([1 / 3, 1, 1])
    assert [s["statistic"] for s in augc["kendall"]["per_replicate"]] == pytest.approx([1, 1 / 3, -1])
    assert augc["level_means"]["statistic"] == pytest.approx(0.5)  # of 6, 40 / 3 and 13
    assert augc["kendall"]["level_means"]["statistic"] == pytest.approx(1 / 3)
    assert (augc["level_means"]["n"], augc["pooled"]["n"], augc["kendall"]["pooled"]["n"]) == (3, 8, 8)
    assert augc["within_replicates"]["statistic"] == pytest.approx((1 + 0.5 - 1) / 3)
    assert augc["slope"]["slopes"] == pytest.approx(np.array([1, 0.5, -1]) / math.log(2))
    assert (augc["slope"]["n"], augc["within_replicates"]["n"]) == (3, 3)


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
        "sd": pytest.approx(0, abs=1e-12),
        "se": pytest.approx(0, abs=1e-12),
        "n": 3,
        "interval": pytest.approx([rise] * 2),
    }


def test_a_run_without_an_onset_is_later_than_all_others() -> None:
    """Replicate 0 starts at 10 and then never, 1 never and then at 20, 2 never at all: rho 1, -1 and 0."""
    found = trends(levels(onset=[10.0, None, None, None, 20.0, None], r_uq=[0.1, None, 0.2, 0.3, 0.4, None]))
    onset, r_uq = (next(t for t in found if t["column"] == column) for column in ("onset", "r_uq"))
    assert [s["statistic"] for s in onset["per_replicate"]] == [1, -1, None]
    assert (onset["within_replicates"]["statistic"], onset["within_replicates"]["n"]) == (0, 3)
    assert (onset["level_means"]["statistic"], onset["pooled"]["n"], onset["slope"]) == (1, 6, None)
    assert (r_uq["pooled"]["n"], r_uq["slope"]["n"]) == (4, 1)  # a correlation that does not exist is not known


def test_arms_are_compared_run_by_run() -> None:
    """At p50 two replicates have 1 and 3 less than in the first arm, and at p80 2 and 6 less.

    At p20 the runs are the same in both, so that the arms do not differ there by measurement; these are counted. The
    mean difference at p50 is -2 with a standard error of 1, and t is 12.706 on one degree of freedom.
    """
    levels, betas = ["p20", "p50", "p80"] * 2, [0.3, 1.0, 2.0] * 2
    base = {"method": "dpo", "level": levels, "beta": betas, "replicate": [0, 0, 0, 1, 1, 1]}
    paper = pd.DataFrame({"arm": "paper", **base, "kl_level": levels, "augc": [1.0, 4.0, 5.0, 2.0, 8.0, 9.0]})
    matched = paper.assign(arm="matched", kl_level="p20", augc=[1.0, 3.0, 3.0, 2.0, 5.0, 3.0])
    (found,) = arm_differences(pd.concat([paper, matched.iloc[::-1]]))
    assert (found["method"], found["arm"], found["first"], found["shared"]) == ("dpo", "matched", "paper", 2)
    some, more = found["levels"]
    assert some == {"level": "p50", "mean": -2, "sd": pytest.approx(math.sqrt(2)), "se": pytest.approx(1), "n": 2} | {
        "interval": pytest.approx([-2 - 12.706205, -2 + 12.706205])
    }
    assert (more["level"], more["mean"], more["se"], more["n"]) == ("p80", -4, pytest.approx(2), 2)
    assert found["slope"]["slopes"] == pytest.approx(np.array([-1, -3]) / math.log(2.0))
    assert (found["within_replicates"]["statistic"], found["within_replicates"]["p_value"]) == (-1, 0.5)
    assert arm_differences(paper) == []


def test_arms_that_share_all_runs_have_no_difference() -> None:
    paper = pd.DataFrame(
        {"arm": "paper", "method": "dpo", "level": "p20", "kl_level": "p20", "beta": 0.3}, index=[0, 1]
    )
    paper = paper.assign(replicate=[0, 1], augc=[1.0, 2.0])
    (found,) = arm_differences(pd.concat([paper, paper.assign(arm="matched")]))
    assert (found["levels"], found["shared"], found["slope"]["n"]) == ([], 2, 0)
    assert found["within_replicates"]["statistic"] is None


def test_a_quantity_nobody_has_shows_no_trend() -> None:
    (onset,) = (t for t in trends(levels(onset=[None] * 6)) if t["column"] == "onset")
    for found in (onset["level_means"], onset["pooled"], onset["kendall"]["pooled"], onset["within_replicates"]):
        assert (found["statistic"], found["p_value"], found["n"]) == (None, None, 0)
    assert (onset["per_replicate"], onset["slope"]["slopes"], onset["slope"]["mean"]) == ([], [], None)


def test_the_columns_of_table_1_are_columns_of_the_runs() -> None:
    assert set(FLAGS) <= set(RUNS.schema.names)
    assert set(TABLE1.values()) <= set(RUNS.schema.names)
    assert RUN == ["method", "level", "kl_level", "replicate"]
