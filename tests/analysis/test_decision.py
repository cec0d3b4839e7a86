"""The verdict of one study: recomputed from a CSV with pandas and scipy alone, and case by case."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import interpolate, stats

from goodhart.analysis.contrasts import CONTRASTS
from goodhart.analysis.decision import CELLS, decide
from goodhart.analysis.replicates import replicates_needed
from goodhart.analysis.rule import RULE, SENTENCES, TOTAL, TOTAL_SENTENCES
from goodhart.errors import InputError

BETAS = (0.3, 1.0, 3.0)
# A mean of each column at the three betas that gives the verdict, with a little noise on every number.
CASES: dict[str, dict[str, Any]] = {
    "valley": {"augc": [130, 60, 125]},
    "reversed": {"augc": [130, 100, 60]},
    "refuted": {"augc": [96, 100, 104]},
    "holds": {"augc": [50, 90, 150], "online_loss": [0.02, 0.1, 0.2]},
    "artefact": {"augc": [50, 90, 150], "online_loss": [0.1, 0.09, 0.08]},
    "undecided": {"augc": [50, 90, 150], "augc_paper": [100, 100, 100], "online_loss": [0.1, 0.1, 0.1]},
}


def study(case: str = "holds", replicates: int = 6, noise: float = 0.02, seed: int = 0, **columns: Any) -> pd.DataFrame:
    """Replicates of a case; AUGC has relative noise, and its level differs three-fold between replicates."""
    rng = np.random.default_rng(seed)
    means = {"true_start": [0.6, 0.7, 0.8], "total_loss": [0.3, 0.2, 0.1], "online_loss": [0.1] * 3}
    means |= {"augc_paper": 2 * np.array(CASES[case]["augc"])} | CASES[case] | columns
    rows = []
    for replicate in range(replicates):
        size = rng.uniform(1, 3)
        row: dict[str, Any] = {"replicate": replicate, "beta": BETAS}
        for name in CELLS:
            drawn = noise * rng.normal(size=3)
            factor = size * np.exp(drawn) if name.startswith("augc") else 1
            row[name] = np.array(means[name]) * factor + (0 if name.startswith("augc") else drawn)
        rows.append(pd.DataFrame(row))
    return pd.concat(rows, ignore_index=True)


def recomputed(path: Path) -> tuple[str, str]:
    """Both verdicts, from the text of the design with pandas and scipy alone."""
    table = pd.read_csv(path)
    table["x"] = np.log(table["beta"])
    table["share"] = table["online_loss"] / table["true_start"]
    rows = []
    for _, chain in table.groupby("replicate"):
        chain = chain.sort_values("beta")
        x, low, middle, high = chain["x"].to_numpy(), *chain["augc"]
        parabola = interpolate.KroghInterpolator(x, chain["augc"].to_numpy())
        rows.append(
            {
                "a": stats.linregress(x, chain["augc"]).slope / chain["augc"].mean(),
                "b": stats.linregress(x, chain["augc_paper"]).slope / chain["augc_paper"].mean(),
                "o": stats.linregress(x, chain["online_loss"]).slope,
                "s": stats.linregress(x, chain["share"]).slope,
                "d": stats.linregress(x, chain["total_loss"]).slope,
                "first": float(parabola.derivative(x[0])) / chain["augc"].mean(),
                "last": float(parabola.derivative(x[-1])) / chain["augc"].mean(),
                "down": (middle - low) / (middle + low),
                "up": (high - middle) / (high + middle),
            }
        )
    chains = pd.DataFrame(rows)
    ends = stats.t.interval(0.95, len(chains) - 1, loc=chains.mean(), scale=chains.sem())
    lower, upper = (pd.Series(end, index=chains.columns) for end in ends)
    total = "pays" if upper["d"] < 0 else "costs" if lower["d"] > 0 else "undecided"
    if upper["first"] < 0 < lower["last"] and upper["down"] < 0 < lower["up"]:
        return "valley", total
    if upper["a"] < 0 and upper["b"] < 0:
        return "reversed", total
    if upper["a"] < 0.18 and upper["b"] < 0.18:
        return "refuted", total
    if lower["a"] > 0 and lower["b"] > 0 and lower["o"] > 0 and lower["s"] > 0:
        return "holds", total
    if lower["a"] > 0 and lower["b"] > 0 and upper["o"] < 0.02 and upper["s"] < 0.02:
        return "artefact", total
    return "undecided", total


def test_verdicts_recomputed_from_a_csv(tmp_path: Path) -> None:
    """Every case with little, some and much noise; every verdict occurs."""
    verdicts, totals = set(), set()
    for number, (case, noise) in enumerate([(case, noise) for case in CASES for noise in (0.02, 0.15, 0.5)]):
        for total in ([0.3, 0.2, 0.1], [0.1, 0.2, 0.3], [0.2, 0.2, 0.2]):
            table = study(case, noise=noise, seed=number, total_loss=total)
            table.to_csv(tmp_path / "study.csv", index=False)
            found = decide(table.sample(frac=1, random_state=number), gates_passed=True)
            assert (found["verdict"], found["total"]["verdict"]) == recomputed(tmp_path / "study.csv")
            verdicts.add(found["verdict"])
            totals.add(found["total"]["verdict"])
    assert verdicts == {*RULE, "undecided"}
    assert totals == {*TOTAL, "undecided"}


@pytest.mark.parametrize("case", CASES)
def test_every_verdict_says_what_it_rests_on(case: str) -> None:
    found = decide(study(case), gates_passed=True)
    assert found["verdict"] == case
    assert "{" not in found["sentence"] + found["total"]["sentence"]
    assert (found["replicates"], found["levels"]) == (6, 3)
    assert set(found["conditions"]) == {*RULE, *TOTAL}
    assert set(found["contrasts"]) == set(CONTRASTS)
    if case != "undecided":
        assert all(condition["met"] for condition in found["conditions"][case])
        used = found["contrasts"][RULE[case][-1].contrast]
        assert f"{used['mean']:+.3f} [{used['interval'][0]:+.3f}, {used['interval'][1]:+.3f}]" in found["sentence"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found == decide(study(case), gates_passed=True)


def test_a_failed_gate_leaves_no_verdict() -> None:
    for case in CASES:
        found = decide(study(case), gates_passed=False)
        assert (found["verdict"], found["total"]["verdict"], found["needed"]) == ("no verdict", "no verdict", None)
        assert found["contrasts"] == decide(study(case), gates_passed=True)["contrasts"]
    assert set(SENTENCES) == {"no verdict", *RULE, "undecided"}
    assert set(TOTAL_SENTENCES) == {"no verdict", *TOTAL, "undecided"}


@pytest.mark.parametrize(
    "columns",
    [
        {"augc_paper": [130, 100, 60]},  # falls by Eq. 2
        {"online_loss": [0.12, 0.16, 0.2], "true_start": [0.2, 0.4, 0.9]},  # grows in points and falls as a share
    ],
)
def test_forms_that_disagree_decide_nothing(columns: dict[str, Any]) -> None:
    found = decide(study("holds", noise=0.002, **columns), gates_passed=True)
    assert found["verdict"] == "undecided"
    assert found["needed"] is None  # more replicates would not change that


def test_forms_may_differ_in_size() -> None:
    """By Eq. 2 AUGC grows by less than 0.18, in SD by more: nothing is refuted, and both forms grow."""
    assert decide(study("holds", noise=0.002, augc_paper=[96, 100, 104]), gates_passed=True)["verdict"] == "holds"


def test_a_small_loss_that_grows_still_holds() -> None:
    """0.01 per factor e is above 0 and below 0.02: the order of the rule decides."""
    table = study("holds", noise=0.0005, online_loss=[0.002, 0.008, 0.014], true_start=[0.7, 0.7, 0.7])
    found = decide(table, gates_passed=True)
    assert all(condition["met"] for condition in found["conditions"]["artefact"])
    assert found["verdict"] == "holds"


def test_rounding_is_no_evidence() -> None:
    """Without any noise every interval is a point; equal values differ from 0 by rounding alone."""
    flat = study("refuted", noise=0, augc=[0.1] * 3, augc_paper=[0.1] * 3, total_loss=[0.1] * 3)
    found = decide(flat, gates_passed=True)
    assert (found["verdict"], found["total"]["verdict"]) == ("refuted", "undecided")
    assert not any(condition["met"] for condition in found["conditions"]["reversed"] + found["conditions"]["valley"])


@pytest.mark.filterwarnings("error")
def test_a_missing_number_decides_nothing() -> None:
    """Neither is its replicate dropped: the contrast has no interval, and what rests on it is not reached.

    Eq. 2 is an exception: where it is unreliable in some run, the rule is applied to the gap in SD alone.
    """
    assert decide(study(), gates_passed=True)["eq2_reliable"]
    flagged = study()
    flagged.loc[4, "augc_paper"] = np.nan
    found = decide(flagged, gates_passed=True)
    assert (found["verdict"], found["total"]["verdict"], found["eq2_reliable"]) == ("holds", "pays", False)
    assert found["contrasts"]["augc_paper"]["n"] == 0
    assert "gap of Eq. 2: no interval" in found["sentence"]
    collapsed = study()
    collapsed.loc[4, "true_start"] = 0.0
    assert decide(collapsed, gates_passed=True)["verdict"] == "undecided"
    still = study("refuted")
    still.loc[still["replicate"] == 1, ["augc", "augc_paper"]] = 0.0  # no gap at any level: no slope either
    found = decide(still, gates_passed=True)
    assert (found["verdict"], found["contrasts"]["augc"]["n"]) == ("refuted", 6)


@pytest.mark.filterwarnings("error")
def test_one_replicate_and_two_levels() -> None:
    alone = decide(study(replicates=1), gates_passed=True)
    assert (alone["verdict"], alone["needed"], alone["contrasts"]["augc"]["interval"]) == ("undecided", None, None)
    two = decide(study("refuted")[lambda rows: rows["beta"] != 1], gates_passed=True)
    assert (two["verdict"], two["levels"]) == ("refuted", 2)
    assert two["contrasts"]["descent"]["mean"] is None


def test_replicates_may_have_their_own_betas() -> None:
    """Levels are ranks: betas a tenth higher in one replicate change no slope on ln beta."""
    own = study()
    own.loc[own["replicate"] == 2, "beta"] *= 1.1
    found, same = (decide(table, gates_passed=True)["contrasts"] for table in (own, study()))
    for name in CONTRASTS:
        assert found[name]["mean"] == pytest.approx(same[name]["mean"])


def test_a_valley_among_more_levels_pays_for_the_choice() -> None:
    """Four levels have two interior ones, of which the data choose the lower: intervals at 97.5 %."""
    rows = study("valley")
    extra = rows[rows["beta"] == 1].assign(beta=2.0)
    found = decide(pd.concat([rows, extra.assign(augc=extra["augc"] * 1.1)]), gates_passed=True)
    assert found["verdict"] == "valley"
    assert [found["contrasts"][name]["level"] for name in ("descent", "augc")] == pytest.approx([0.975, 0.95])


def test_an_undecided_study_says_how_many_replicates_it_takes() -> None:
    """AUGC rises, the loss is noisy: the nearest verdict, by the observed means and SDs."""
    table = study("holds", noise=0.06, online_loss=[0.08, 0.1, 0.12], seed=3)
    found = decide(table, gates_passed=True)
    assert found["verdict"] == "undecided"
    loss, share = (found["contrasts"][name] for name in ("online_loss", "online_share"))
    numbers = {
        "holds": [replicates_needed(row["mean"], row["sd"]) for row in (loss, share)],
        "artefact": [replicates_needed(row["mean"] - 0.02, row["sd"]) for row in (loss, share)],
    }
    possible = {
        "holds": min(loss["mean"], share["mean"]) > 0,
        "artefact": max(loss["mean"], share["mean"]) < 0.02,
    }
    best = min((max(n or 0 for n in numbers[name]), name) for name in numbers if possible[name])
    assert found["needed"] == {"verdict": best[1], "replicates": best[0], "power": 0.8}
    assert best[0] > 6
    noisy = decide(study("holds", noise=0.5, total_loss=[0.2, 0.2, 0.25], seed=1), gates_passed=True)["total"]
    assert noisy["verdict"] == "undecided"
    assert noisy["needed"]["replicates"] > 6


def test_tables_that_do_not_fit() -> None:
    table = study()
    with pytest.raises(InputError, match="'true_start'"):
        decide(table.drop(columns="true_start"), gates_passed=True)
    for bad in (table.iloc[:-1], table.iloc[:0], table[table["beta"] == 1]):
        with pytest.raises(InputError, match="same number of betas"):
            decide(bad, gates_passed=True)
    with pytest.raises(InputError, match="different within a replicate"):
        decide(table.assign(beta=0.3), gates_passed=True)
    with pytest.raises(InputError, match="positive"):
        decide(table.assign(beta=-table["beta"]), gates_passed=True)
    with pytest.raises(InputError, match="infinite"):
        decide(table.assign(online_loss=np.inf), gates_passed=True)
    with pytest.raises(InputError, match="below 0"):
        decide(table.assign(augc=-1.0), gates_passed=True)
