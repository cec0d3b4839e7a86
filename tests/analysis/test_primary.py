"""The primary contrast: its runs, what the gates and the rule read of them, and levels at equal pressure."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from goodhart.analysis import gates
from goodhart.analysis.decision import CELLS
from goodhart.analysis.primary import (
    PRESSURES,
    at_equal_pressure,
    cells,
    gate_tables,
    primary_runs,
    verdict,
)
from goodhart.analysis.rule import SENTENCES
from goodhart.errors import InputError
from goodhart.store.schemas.summaries import PRESSURE

BETAS = {"p20": 0.3, "p50": 1.0, "p80": 3.0}


def runs(betas: dict[str, Any] = BETAS, replicates: int = 4, **columns: Any) -> pd.DataFrame:
    """Runs of one arm, level by level; AUGC and the losses rise with the level, a little apart in every replicate."""
    rows = []
    for k, (level, beta) in enumerate(betas.items()):
        for r in range(replicates):
            apart = 1 + 0.01 * (-1) ** (r + k)
            row = {"arm": "matched", "method": "dpo", "level": level, "kl_level": "p20", "replicate": r, "beta": beta}
            row |= {"augc": 10 * (k + 1) * apart, "augc_paper": 20 * (k + 1) * apart, "online_loss": 0.1 * k * apart}
            row |= {"true_start": 0.5, "true_end": 0.5 - 0.1 * k, "total_loss": 0.1 + 0.1 * k * apart}
            row |= {"proxy_rise": 1.0, "offline_kl": 20 / 10**k, "true_reference": 0.6, "debris": k, "evaluations": 10}
            row |= {"true_at_start_is_zero": False, "proxy_at_start_is_negative": False}
            rows.append(row | {"proxy_at_start_near_zero": False})
    return pd.DataFrame(rows).assign(**columns)


def levels_in(table: pd.DataFrame, low: float = 0.3, high: float = 3.0, arm: str = "matched") -> list[str]:
    return primary_runs(table, arm, low, high)["level"].unique().tolist()


# The runs of the contrast.


@pytest.mark.parametrize(
    ("beta", "inside"),
    [(0.286, True), (0.284, False), (0.3, True), (3.14, True), (3.16, False), (1.0, True)],
)
def test_a_level_may_miss_an_end_by_a_twentieth(beta: float, inside: bool) -> None:
    """0.3 x 0.95 = 0.285 and 3 x 1.05 = 3.15."""
    assert levels_in(runs({"p20": beta})) == (["p20"] if inside else [])


def test_a_level_is_in_all_replicates_or_in_none() -> None:
    """The mean beta decides: replicates at 0.2 and 0.4 have a mean of 0.3, at 0.2 and 0.3 of 0.25."""
    table = runs({"p20": 0.0, "p50": 1.0}, replicates=2)
    near, far = (table.assign(beta=[*betas, 1.0, 1.0]) for betas in ((0.2, 0.4), (0.2, 0.3)))
    assert primary_runs(near, "matched", 0.3, 3)["level"].tolist() == ["p20", "p50"] * 2  # by replicate and beta
    assert primary_runs(far, "matched", 0.3, 3)["level"].tolist() == ["p50"] * 2


def test_other_arms_and_methods_are_left_out() -> None:
    table = runs()
    both = pd.concat([table, table.assign(arm="paper", beta=100.0), table.assign(method="ipo", beta=0.5)])
    found = primary_runs(both, "matched", 0.3, 3)
    assert (set(found["arm"]), set(found["method"]), len(found)) == ({"matched"}, {"dpo"}, 12)
    with pytest.raises(InputError, match="no arm 'own'; its arms are matched, paper"):
        primary_runs(both, "own", 0.3, 3)


# What the rule reads.


@pytest.mark.parametrize("flag", ["true_at_start_is_zero", "proxy_at_start_near_zero", "proxy_at_start_is_negative"])
def test_flagged_numbers_of_eq_2_are_missing(flag: str) -> None:
    """Those of the other runs, and those in SD, stay."""
    table = runs(replicates=1, **{flag: [False, True, False]})
    found = cells(table)
    assert found.columns.tolist() == ["replicate", "beta", *CELLS]
    assert found["augc_paper"].isna().tolist() == [False, True, False]
    assert found["augc_paper"].dropna().tolist() == table["augc_paper"].iloc[[0, 2]].tolist()
    assert found["augc"].tolist() == table["augc"].tolist()


def test_one_flagged_run_leaves_eq_2_without_an_interval() -> None:
    """Where one number is missing, the verdict rests on the gap in SD alone."""
    assert verdict(runs(), gates_passed=True)["verdict"] == "holds"
    found = verdict(runs(true_at_start_is_zero=[True] + [False] * 11), gates_passed=True)
    assert (found["verdict"], found["eq2_reliable"]) == ("holds", False)
    assert found["contrasts"]["augc_paper"]["interval"] is None
    assert found["contrasts"]["augc"]["interval"] is not None


def test_the_verdict_names_its_levels() -> None:
    table = runs({"p20": 0.0, "p80": 3.0}, replicates=2).assign(beta=[0.25, 0.35, 3.0, 3.0])
    found = verdict(primary_runs(table, "matched", 0.3, 3), gates_passed=True)
    assert found["levels_of"] == {"p20": pytest.approx(0.3), "p80": 3.0}
    assert (found["replicates"], found["levels"]) == (2, 2)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_levels_give_no_verdict(count: int) -> None:
    table = primary_runs(runs(), "matched", 0.9, 1.1 if count else 0.9)
    found = verdict(table, gates_passed=True)
    assert list(found["levels_of"]) == ["p50"][:count]
    assert (found["verdict"], found["needed"], found["total"]["verdict"]) == ("no verdict", None, "no verdict")
    assert f"it has {count} of the two levels that it needs" in found["sentence"]
    assert (found["contrasts"], found["conditions"]) == ({}, {})


def test_levels_with_online_betas_of_their_own_give_no_verdict() -> None:
    """What such levels lose may be due to either use of beta."""
    table = runs()
    found = verdict(table.assign(kl_level=table["level"]), gates_passed=True)
    assert list(found["levels_of"]) == list(BETAS)
    assert (found["verdict"], found["total"]["verdict"], found["contrasts"]) == ("no verdict", "no verdict", {})
    assert "its levels also differ in the online beta (Eq. 10)" in found["sentence"]


def test_a_failed_gate_leaves_no_verdict() -> None:
    found = verdict(runs(), gates_passed=False)
    assert (found["verdict"], found["sentence"]) == ("no verdict", SENTENCES["no verdict"])
    assert found["contrasts"]["augc"]["interval"] is not None


# What the gates read.


def test_the_tables_of_the_gates_by_hand() -> None:
    """In style "a" the proxy ranks a wrong answer between the two right ones: 3 of 4 pairs are as they should be.

    Over both styles, it is 1, 2 and 3 of 3 pairs.
    """
    scored = pd.DataFrame(
        {
            "proxy": [1.0, 2.0, 3.0, 0.0, 5.0, 4.0],
            "correct": [True, False, True, False, True, False],
            "style": ["a", "a", "a", "a", "b", "b"],
        }
    )
    table = runs(replicates=2)
    primary = primary_runs(table, "matched", 0.9, 3)
    policies, styles, levels, arms = gate_tables(table, primary, {0: scored, 1: scored.assign(style=None)})
    assert policies.to_dict("list") == {"replicate": [0, 1], "accuracy": [0.6, 0.6]}
    assert styles.to_dict("list") == {
        "replicate": [0, 0, 1],
        "style": ["a", "b", "all"],
        "auroc": pytest.approx([3 / 4, 1, 6 / 9]),
    }
    assert levels["level"].tolist() == ["p50", "p80"] * 2  # of the primary contrast alone
    assert levels["true_fall"].tolist() == pytest.approx([0.1, 0.2] * 2)
    assert arms["arm"].tolist() == ["matched"] * 2
    assert arms["debris"].tolist() == pytest.approx([(1 + 2) / 20] * 2)  # of the levels of the contrast
    rows = gates.check(policies, styles, levels, arms)
    assert {row["gate"]: row["passed"] for row in rows if row["gate"] in ("debris", "accuracy", "true_fall")} == {
        "debris": False,
        "accuracy": True,
        "true_fall": True,
    }


def test_a_style_of_right_answers_alone_has_no_auroc() -> None:
    scored = pd.DataFrame({"proxy": [1.0, 2.0], "correct": [True, True], "style": ["a", "a"]})
    table = runs(replicates=1)
    tables = gate_tables(table, table, {0: scored})
    assert tables[1]["auroc"].isna().tolist() == [True]
    (row,) = (row for row in gates.check(*tables) if row["gate"] == "auroc")
    assert (row["passed"], row["value"]) == (False, None)


# Equal pressure.


def answers(level: str, proxy: list[float], kl: list[float], true: list[float]) -> pd.DataFrame:
    """Two members' rewards of four problems that all have the same proxy and KL; `true` is the share that is right.

    The right ones are problems 0 and 1 first, so that both halves, of even and odd problems, have this share.
    """
    rows = [
        {"step": 10 * k, "problem_id": f"e-{i}", "rewards": [at - 1, at + 1], "correct": i < 4 * share}
        | {"log_ratio": far, "log_ratio_reference": far + 2}
        for k, (at, far, share) in enumerate(zip(proxy, kl, true, strict=True))
        for i in range(4)
    ]
    return pd.DataFrame(rows[::-1]).assign(method="dpo", level=level, kl_level="p20", replicate=0)


def test_levels_at_equal_pressure_by_hand() -> None:
    """pi0's proxy is 1 with SD 2: "p20" goes from 0 to 1 and 2 SD, "p80" from 0 to 4 SD. All reach 2 SD.

    There "p20" is at its end, with accuracy 0, and "p80" half-way from 1 to 0.5, with 0.75. By KL "p20" gets to 2 nats,
    where "p80" is a quarter of the way to 8. From pi0 both start at 2 nats, and "p20" ends at 4, as far along.
    """
    proxy = {0: {"mean": 1.0, "scale": 2.0}}
    slow = answers("p20", [1, 3, 5], [0, 1, 2], [1, 0.5, 0])
    fast = answers("p80", [1, 9], [0, 8], [1, 0.5])
    table = runs({"p20": 0.3, "p50": 1.0, "p80": 3.0}, replicates=1)
    found = at_equal_pressure(table, [slow, fast], ["p20", "p80"], proxy)
    assert found["kind"].tolist() == [kind for kind in PRESSURES for _ in range(2)]
    assert found["level"].tolist() == ["p20", "p80"] * 3
    assert found["beta"].tolist() == [0.3, 3.0] * 3
    assert found["target"].tolist() == pytest.approx([2, 2, 2, 2, 4, 4])
    assert found["true"].tolist() == pytest.approx([0, 0.75, 0, 0.875, 0, 0.875])
    assert found["evaluation"].tolist() == pytest.approx([2, 0.5, 2, 0.25, 2, 0.25])
    assert found["pressure"].tolist() == pytest.approx(found["target"].tolist())
    assert set(found.columns) == set(PRESSURE.schema.names)


def test_a_level_that_never_gets_there_has_no_value() -> None:
    """ "p80" starts at 3 SD, beyond the 2 SD that "p20" reaches; its KL is measured from its own start."""
    proxy = {0: {"mean": 1.0, "scale": 2.0}}
    slow, far = answers("p20", [1, 3, 5], [0, 1, 2], [1, 0.5, 0]), answers("p80", [7, 9], [0, 8], [1, 0.5])
    table = runs({"p20": 0.3, "p80": 3.0}, replicates=1)
    found = at_equal_pressure(table, [slow, far], ["p20", "p80"], proxy).set_index(["kind", "level"])
    assert found.loc[("proxy", "p80"), ["true", "pressure", "evaluation"]].isna().all()
    assert found.loc[("proxy", "p20"), "true"] == 0
    assert found.loc[("kl", "p80"), "true"] == pytest.approx(0.875)


def test_every_arm_is_a_comparison_of_its_own() -> None:
    """The arms share the run at p20. In the arm "paper", the run at p80 gets to 1 SD only, the target there."""
    proxy = {0: {"mean": 1.0, "scale": 2.0}}
    slow, fast = answers("p20", [1, 3, 5], [0, 1, 2], [1, 0.5, 0]), answers("p80", [1, 9], [0, 8], [1, 0.5])
    lame = answers("p80", [1, 3], [0, 1], [1, 1]).assign(kl_level="p80")
    table = runs({"p20": 0.3, "p80": 3.0}, replicates=1)
    paper = table.assign(arm="paper", kl_level=["p20", "p80"])
    found = at_equal_pressure(pd.concat([table, paper]), [slow, fast, lame], ["p20", "p80"], proxy)
    of_proxy = found[found["kind"] == "proxy"].set_index(["arm", "level"])
    assert of_proxy["target"].to_dict() == pytest.approx(
        {("matched", "p20"): 2, ("matched", "p80"): 2, ("paper", "p20"): 1, ("paper", "p80"): 1}
    )
    assert of_proxy["true"].to_dict() == pytest.approx(
        {("matched", "p20"): 0, ("matched", "p80"): 0.75, ("paper", "p20"): 0.5, ("paper", "p80"): 1}
    )
