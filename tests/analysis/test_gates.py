"""Each gate at, above and below its threshold; missing figures fail; no replicate is dropped."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from goodhart.analysis.gates import GATES, check, deciding, passed
from goodhart.errors import InputError

R, BETAS = [0, 1, 2], {"b0.30": 0.3, "b1.00": 1.0, "b3.00": 3.0}


def tables() -> dict[str, pd.DataFrame]:
    """A study whose gates all pass: three replicates, two styles, three levels, two arms."""
    cells = pd.MultiIndex.from_product([R, BETAS], names=["replicate", "level"]).to_frame(index=False)
    return {
        "policies": pd.DataFrame({"replicate": R, "accuracy": [0.7, 0.72, 0.68]}),
        "styles": pd.DataFrame(
            {"replicate": R * 2, "style": ["plain"] * 3 + ["filler"] * 3, "auroc": [0.7, 0.8, 0.75, 0.66, 0.9, 0.6]}
        ),
        "levels": cells.assign(
            beta=cells["level"].map(BETAS),
            offline_kl=[10, 2, 0.2, 20, 3, 0.2, 5, 1, 0.2],
            true_start=[0.5, 0.7, 0.8] * 3,
            proxy_rise=[0.5, 1.5, 1.2] * 3,
            true_fall=[0.3, 0.06, 0.04] * 3,
        ),
        "arms": pd.DataFrame(
            {"replicate": R * 2, "arm": ["own"] * 3 + ["paper"] * 3, "debris": [0, 0, 0.1] + [0.2] * 3}
        ),
    }


def row(gate: str, where: Any = None, **changed: pd.DataFrame) -> dict[str, Any]:
    found = [r for r in check(**{**tables(), **changed}) if r["gate"] == gate and where in (None, r["where"])]
    return found[0]


def levels(level: str | None = None, **columns: Any) -> pd.DataFrame:
    table = tables()["levels"]
    for name, values in columns.items():
        table.loc[(table["level"] == level) | (level is None), name] = values
    return table


def test_every_gate_has_a_row_and_failures_say_what_they_cost() -> None:
    rows = check(**tables())
    assert list(dict.fromkeys(r["gate"] for r in rows)) == list(GATES)
    assert [(r["gate"], r["where"]) for r in rows if not r["passed"]] == [("debris", "paper")]
    assert [r["consequence"] is None for r in rows] == [r["passed"] for r in rows]
    assert (passed(rows, "own"), passed(rows, "paper")) == (True, False)
    with pytest.raises(InputError, match="arm 'matched'"):
        passed(rows, "matched")
    assert [r for r in rows if r not in deciding(rows, "own")] == [r for r in rows if r["where"] == "paper"]


def test_figures_on_paper() -> None:
    assert row("accuracy")["value"] == pytest.approx(0.7)
    half = 4.302653 * 0.02 / math.sqrt(3)
    assert row("accuracy")["interval"] == pytest.approx([0.7 - half, 0.7 + half])
    assert [row("auroc", style)["value"] for style in ("plain", "filler")] == pytest.approx([0.75, 0.72])
    assert (row("kl_lowest")["value"], row("kl_lowest")["where"]) == (pytest.approx(10), "b0.30")  # of 10, 20 and 5
    assert row("kl_span")["value"] == pytest.approx(50)
    half = 4.302653 * math.log(2) / math.sqrt(3)  # the logarithms are ln 50 and ln 50 plus and minus ln 2
    assert row("kl_span")["interval"] == pytest.approx([50 * math.exp(-half), 50 * math.exp(half)])
    kept = np.mean([0.5 / 0.7, 0.5 / 0.72, 0.5 / 0.68])
    assert (row("start")["value"], row("start")["where"]) == (pytest.approx(kept), "b0.30")
    assert (row("debris", "own")["value"], row("debris", "own")["n"]) == (pytest.approx(0.1 / 3), 3)


@pytest.mark.parametrize(("accuracy", "ok"), [(0.49, False), (0.5, True), (0.7, True), (0.9, True), (0.91, False)])
def test_accuracy(accuracy: float, ok: bool) -> None:
    """The mean decides: 0.1 below and 0.1 above are dropped by nobody, and rounding decides nothing."""
    policies = pd.DataFrame({"replicate": R, "accuracy": [accuracy - 0.1, accuracy, accuracy + 0.1]})
    assert row("accuracy", policies=policies)["passed"] is ok


@pytest.mark.parametrize(("auroc", "ok"), [(0.64, False), (0.65, True), (0.2, False)])
def test_one_style_that_the_reward_models_misjudge_is_enough(auroc: float, ok: bool) -> None:
    styles = tables()["styles"]
    styles.loc[styles["style"] == "filler", "auroc"] = auroc
    rows = check(**{**tables(), "styles": styles})
    assert passed(rows, "own") is ok


def test_kl_near_zero_is_raised_to_the_floor() -> None:
    """Estimates at the highest beta may be 0 or less: with 0.01 nats there, the ratio is 10 / 0.01."""
    found = row("kl_span", levels=levels("b3.00", offline_kl=[-0.01, 0, 0.005]))
    assert found["value"] == pytest.approx(1000)
    unmoved = levels(offline_kl=0.0)
    assert row("kl_span", levels=unmoved)["value"] == pytest.approx(1)
    assert not row("kl_span", levels=unmoved)["passed"]
    assert not row("kl_lowest", levels=unmoved)["passed"]


def test_one_broken_chain_does_not_lift_the_kl() -> None:
    """KL 0.1, 0.1 and 50 have a mean of 17 nats and a geometric mean of 0.8."""
    assert not row("kl_lowest", levels=levels("b0.30", offline_kl=[0.1, 0.1, 50]))["passed"]


def test_the_start_of_every_level_counts() -> None:
    assert row("start", levels=levels("b1.00", true_start=0.34))["where"] == "b1.00"
    assert not row("start", levels=levels("b1.00", true_start=0.34))["passed"]
    nothing = tables()["policies"].assign(accuracy=[0.0, 1.0, 1.0])
    assert row("start", policies=nothing, levels=levels(true_start=[0.0] * 3 + [0.9] * 6))["value"] == pytest.approx(
        0.6
    )


def test_proxy_and_truth_must_part_at_one_level() -> None:
    """At b0.30 accuracy falls without a rise of the proxy, at b3.00 the proxy rises alone: b1.00 has both."""
    rise, fall = row("proxy_rise"), row("true_fall")
    assert (rise["where"], fall["where"]) == ("b1.00", "b1.00")
    assert (rise["value"], fall["value"]) == (pytest.approx(1.5), pytest.approx(0.06))
    apart = levels("b1.00", proxy_rise=0.9)
    assert not passed(check(**{**tables(), "levels": apart}), "own")


@pytest.mark.parametrize(("debris", "ok"), [(0.049, True), (0.05, False), (0.0, True)])
def test_debris(debris: float, ok: bool) -> None:
    arms = pd.DataFrame({"replicate": R, "arm": "own", "debris": debris})
    assert row("debris", arms=arms)["passed"] is ok


def test_a_figure_that_a_replicate_lacks_fails_its_gate() -> None:
    accuracy = row("accuracy", policies=tables()["policies"].assign(accuracy=[0.7, np.nan, 0.7]))
    assert (accuracy["passed"], accuracy["value"], accuracy["interval"], accuracy["n"]) == (False, None, None, 2)
    assert "2 of 3" in accuracy["consequence"]
    assert not row("auroc", "filler", styles=tables()["styles"].iloc[:-1])["passed"]
    assert not row("start", levels=levels("b3.00", true_start=[0.9, np.nan, 0.9]))["passed"]
    assert row("proxy_rise", levels=levels("b3.00", proxy_rise=np.nan))["passed"]  # one complete level is enough
    for name in ("styles", "levels", "arms"):
        empty = {**tables(), name: tables()[name].iloc[:0]}
        assert not all(r["passed"] for r in check(**empty))


def test_tables_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="two rows"):
        row("auroc", styles=pd.concat([tables()["styles"]] * 2))
    with pytest.raises(InputError, match="replicate 7"):
        row("auroc", styles=tables()["styles"].assign(replicate=7, style=list("abcdef")))


def test_a_single_replicate_has_figures_and_no_interval() -> None:
    rows = check(**{name: table[table["replicate"] == 0] for name, table in tables().items()})
    assert all(r["interval"] is None and r["value"] is not None for r in rows)
