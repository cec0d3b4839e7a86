"""What is said of made-up studies whose answers are known, that nothing goes without its n, and the checklist."""
# ruff: noqa: RUF001 - pages have true minus signs

from __future__ import annotations

import html
import importlib
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from balanced import Balanced
from goodhart.analysis.gates import deciding
from goodhart.analysis.tradeoff import optimal_conservatism
from goodhart.report import findings, numbers, verdicts
from goodhart.report.checklist import Item, checklist, checklist_page
from goodhart.report.figures import FIGURES
from goodhart.report.findings import findings_page
from goodhart.report.html import TEMPLATES, render
from goodhart.report.results import Results
from goodhart.report.tables import CLAIMS, claims
from goodhart.store.files import read_json
from made_up import BETAS, changed, fit, judged, study
from tiny_study import Study

ROOT = Path(__file__).parents[2]
REDRAWN = ["preferences", "rewards"]
FITS = "AUGC (from the gap in SD)"
GATES = "Could this study show anything?"
CONSERVATISM = "Does AUGC rise with beta?"
SECOND_USE = "What is due to Eq. 10's second use of beta?"
ENTROPY = "Entropy against beta: Proposition 5.1"
SIGNS: dict[str, Callable[[float, int], float]] = {
    "rises": lambda beta, replicate: beta + replicate,
    "falls": lambda beta, replicate: 3 - beta + replicate,
    "wobbles": lambda beta, replicate: 3 + (-1) ** replicate * beta,  # every other replicate falls
    "stays": lambda beta, replicate: 0.3,
}


def made(sign: str = "stays", replicates: int = 3, arms: tuple[str, ...] = ("paper", "matched")) -> Results:
    return study(list(BETAS), replicates, list(arms), entropy=SIGNS[sign])


def stated(results: Results, heading: str) -> list[str]:
    """The paragraphs under a heading of the page of findings."""
    _, _, rest = findings_page(results).partition(f"<h2>{heading}")
    section = rest.partition("</section>")[0]
    found = re.findall(r"<(?:p|li)>(.*?)</(?:p|li)>", section, flags=re.DOTALL)
    return [" ".join(html.unescape(re.sub("<[^>]+>", "", text)).split()) for text in found]


@pytest.fixture(scope="module")
def many() -> Results:
    return made()


# Numbers.


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 3, "-"),
        (math.nan, 3, "-"),
        (0, 3, "0"),
        (0.12345, 3, "0.123"),
        (-0.5, 3, "−0.5"),
        (1234.5, 3, "1234"),
        (-12345.6, 3, "−12346"),
        (999_999.6, 3, "1000000"),
        (1_234_567, 3, "1.23e+06"),
        (1.5e-7, 3, "1.5e−07"),
        (0.999999, 3, "1"),
        (1 / 3, 6, "0.333333"),
    ],
)
def test_a_number_as_it_is_printed(value: float | None, digits: int, text: str) -> None:
    assert numbers.number(value, digits) == text


@given(st.floats(-1e300, 1e300))
def test_a_printed_number_is_the_number(value: float) -> None:
    text = numbers.number(value)
    assert "-" not in text
    assert float(text.replace("−", "-")) == pytest.approx(value, rel=5.01e-3)


@pytest.mark.parametrize(
    ("p", "text"),
    [(None, "no p"), (1, "p = 1.000"), (1 / 3, "p = 0.333"), (5e-4, "p = 0.001"), (4.9e-4, "p < 0.001")],
)
def test_a_probability_is_never_0(p: float | None, text: str) -> None:
    assert numbers.probability(p) == text


def test_uncertainty_is_shown_as_far_as_there_is_one() -> None:
    assert numbers.measured(2, None) == "2"
    assert numbers.measured(2, 0.123) == "2.00 ± 0.12"  # both to the second digit of the error
    assert numbers.measured(1234.5, 56.7) == "1234 ± 57"
    assert numbers.measured(-2, 0.5, (-3, -1)) == "−2.00 ± 0.50 [−3, −1]"
    assert numbers.measured(2, 0) == "2 ± 0"
    assert numbers.measured(2, math.nan, (1, None)) == "2"
    assert numbers.measured(None, None, (None, None)) == "-"


# Verdicts.


@pytest.mark.parametrize(
    ("sign", "said", "side", "verdict"),
    [
        ("rises", "rises with beta", "as in the proof", "contradicts"),
        ("falls", "falls with beta", "as stated", "agrees"),
        ("wobbles", "no significant trend with beta across 4 replicates", "supports neither", "inconclusive"),
        ("stays", "the same at every beta", "supports neither", "inconclusive"),
    ],
)
def test_the_sign_of_proposition_5_1(sign: str, said: str, side: str, verdict: str) -> None:
    """The statement has entropy fall with beta, its proof has it rise; elsewhere the paper says that it falls.

    Four replicates of three levels reach p = 2 / 6^4, which is below 0.05 even for the smallest of some fifteen claims.
    """
    made_up = made(sign, replicates=4)
    assert said in verdicts.direction(made_up.trend("dpo", "paper", "entropy_response_offline"))
    _, *sentences = stated(made_up, ENTROPY)
    assert len(sentences) == 2  # responses and prompts
    for sentence in sentences:
        assert said in sentence
        assert side in sentence
        assert not any(other in sentence for other in {"as in the proof", "as stated", "supports neither"} - {side})
    rows = [row for row in rows_of("Signs of the trends", made_up) if "ntropy" in row["quantity"]]
    assert [(row["arm"], row["verdict"]) for row in rows] == [("all", verdict)] * 2


def test_two_replicates_of_three_levels_are_not_enough_for_a_verdict() -> None:
    """2 of 36 arrangements: p = 0.056."""
    trend = made("rises", replicates=2).trend("dpo", "paper", "entropy_response_offline")
    assert trend["within_replicates"]["p_value"] == pytest.approx(2 / 36)
    assert "inconclusive" in verdicts.direction(trend)
    assert "2 replicates" in verdicts.direction(trend)
    assert "0.056" in verdicts.direction(trend)


def test_a_quantity_without_two_betas_has_no_direction() -> None:
    alone = study(["p50"], 3, ["paper"])
    assert "only one beta" in verdicts.direction(alone.trend("dpo", "paper", "augc"))
    assert "no value" in verdicts.direction(alone.trend("dpo", "paper", "r_uq"))  # the uncertainty never moves


def test_the_question_of_the_paper_in_every_arm(many: Results) -> None:
    """AUGC rises with beta by construction, in both arms and both gaps; its mean is that of the runs."""
    _, *sentences = stated(many, CONSERVATISM)
    assert len(sentences) == 4
    for arm, (ours, printed) in zip(("paper", "matched"), (sentences[:2], sentences[2:]), strict=True):
        assert arm in ours
        assert "rises with beta" in ours
        assert f"p = {2 / 216:.3f}" in ours
        assert "rises with beta" in printed
        augc = many.runs[(many.runs["arm"] == arm) & (many.runs["level"] == "p80")]["augc"]
        assert numbers.measured(augc.mean(), augc.sem()) in ours
        assert "(n = 3)" in ours


def test_few_replicates_and_a_single_arm_are_said_first() -> None:
    alone = made(replicates=1, arms=("paper",))
    first, *_ = stated(alone, CONSERVATISM)
    assert "1 replicate" in first
    assert "illustration" in first
    assert "illustration" not in "".join(stated(made(arms=("paper",)), CONSERVATISM))


def test_the_second_use_of_beta_compares_arms(many: Results) -> None:
    """The second arm's AUGC is half as large again but at p20, whose three runs are in both arms."""
    _, paper, matched, change = stated(many, SECOND_USE)
    assert "each level" in paper
    assert "one online beta" in matched
    assert "rises with beta" in paper
    assert "rises with beta" in matched
    assert "at p20" not in change
    augc = many.runs.pivot_table(index=["level", "replicate"], columns="arm", values="augc")
    for level in ("p50", "p80"):
        apart = (augc["matched"] - augc["paper"])[level]
        assert f"{numbers.measured(apart.mean(), apart.sem())} [" in change
        assert f"(n = 3) at {level}" in change
    assert "share 3 runs" in change
    assert "+1.00, p = 0.250, 3 replicates" in change  # two levels: 2 of 8 arrangements
    assert len(stated(made(arms=("paper",)), SECOND_USE)) == 2


def test_arms_that_share_all_runs_are_not_compared() -> None:
    *_, last = stated(study(["p20"], 2, ["paper", "matched"]), SECOND_USE)
    assert last == "Arms matched and paper share all of their 2 runs."


def test_methods_are_told_apart() -> None:
    both = study(["p20", "p80"], 2, ["paper"], ("dpo", "ipo"))
    assert {row["arm"] for row in rows_of(FITS, both)} == {"dpo, paper", "ipo, paper"}
    assert len(stated(both, SECOND_USE)) == 1 + 2
    assert len(stated(both, ENTROPY)) == 1 + 2 * 2


# Tables.


def tables(page: str) -> dict[str, list[list[str]]]:
    """The rows of cells of every captioned table of a page, the head first."""
    found = re.findall(r"<caption>(.*?)</caption>(.*?)</table>", page, flags=re.DOTALL)
    rows = {caption: re.findall(r"<tr>(.*?)</tr>", body, flags=re.DOTALL) for caption, body in found}
    return {caption: [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in of] for caption, of in rows.items()}


def rows_of(title: str, results: Results) -> list[dict[str, str]]:
    """The rows of the table of the findings whose caption begins with a title, by the names of its columns."""
    found = [rows for caption, rows in tables(findings_page(results)).items() if caption.startswith(title)]
    return [dict(zip(head, row, strict=True)) for head, *rows in found for row in rows]


COUNT = re.compile(r"n = \d|\b\d+ (?:run|replicate|level|evaluation|pair)s?\b")


@pytest.mark.parametrize("replicates", [1, 3])
def test_every_row_of_every_table_has_an_n(replicates: int) -> None:
    found = tables(findings_page(made("rises", replicates)))
    assert len(found) >= 9
    for caption, (head, *rows) in found.items():
        assert rows
        for row in rows:
            assert len(row) == len(head), caption
            assert COUNT.search(" ".join(row)) or "Hyperparameters" in caption, (caption, row)


def test_every_paragraph_with_a_p_value_has_an_n(many: Results) -> None:
    for text in re.findall(r"<p>(.*?)</p>", findings_page(many), flags=re.DOTALL):
        assert COUNT.search(text) or not re.search(r"p [=<] 0\.\d{3}", text)


def test_levels_and_trends_hold_what_table_1_and_trends_hold(many: Results) -> None:
    row = next(r for r in rows_of("Table 1", many) if (r["arm"], r["quantity"]) == ("paper", "AUGC"))
    shown = row["p80 (β = 2.5)"]
    values = many.runs[(many.runs["arm"] == "paper") & (many.runs["level"] == "p80")]["augc"]
    mean, error, low, high, n = (float(digits) for digits in re.findall(r"[\d.]+", shown))
    assert (mean, error, n) == (pytest.approx(values.mean(), rel=5e-3), pytest.approx(values.sem(), rel=5e-2), 3)
    half = 4.302653 * values.sem()  # t on two degrees of freedom
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), rel=5e-3)
    trend = next(r for r in rows_of("Trends", many) if (r["arm"], r["quantity"]) == ("paper", "AUGC"))
    assert trend["within replicates"] == "+1.00, p = 0.009 (3 replicates)"
    assert trend["Spearman, level means"] == "+1.00, p = 0.333 (3 levels)"
    assert trend["Spearman, replicate by replicate"].count("+1.00, p = 0.333 (3 levels)") == 3


def test_a_level_that_an_arm_has_not_is_a_dash(many: Results) -> None:
    lacks = (many.table1["arm"] == "matched") & (many.table1["level"] == "p80")
    rows = rows_of("Table 1", changed(many, table1=many.table1[~lacks]))
    assert all((row["p80 (β = 2.5)"] == "-") == (row["arm"] == "matched") for row in rows)


def test_lambda_is_tabled_step_by_step(many: Results) -> None:
    """AUGC 1, 2, 4 at win rates 0.5, 0.6, 0.7 in each of eight replicates: every resample agrees."""
    replicates = [replicate for replicate in range(8) for _ in range(3)]
    law = fit([0.4, 1.0, 2.5], [1.0, 2.0, 4.0])
    law["tradeoff"] = optimal_conservatism([0.4, 1.0, 2.5] * 8, [1.0, 2.0, 4.0] * 8, [0.5, 0.6, 0.7] * 8, replicates)
    rows = rows_of("β* by λ", changed(many, fits=dict.fromkeys(many.fits, law)))[:3]
    spans = ["from 0 to 10 [10, 10]", "from 10 to 20 [20, 20]", "from 20 to ∞"]
    assert [next(cell for name, cell in row.items() if "λ" in name) for row in rows] == spans
    assert [row["β*"] for row in rows] == ["0.4 (p20)", "1 (p50)", "2.5 (p80)"]
    blind = fit([0.4, 1.0, 2.5], [1.0, 2.0, 4.0])
    assert rows_of("β* by λ", changed(many, fits=dict.fromkeys(many.fits, blind))) == []


def test_what_an_arm_lacks_is_a_dash() -> None:
    rows = rows_of(FITS, study(["p20", "p80"], 1, ["paper"]))
    assert [rows[0][name] for name in ("a [95 %]", "R²", "AUGC at β* (Eq. 15)")] == ["-"] * 3
    assert rows[0]["n"] == "2 runs"


# Gates and the decision.


@pytest.fixture(scope="module")
def unmoved(many: Results) -> Results:
    """The study, had offline training not moved the policy at the lowest beta: the KL there and its ratio fail."""
    runs = many.runs.assign(offline_kl=0.5)
    return changed(many, runs=runs, **judged(runs))


def test_the_page_opens_with_the_gates_and_the_verdict(many: Results, unmoved: Results) -> None:
    for results in (many, unmoved):
        headings = re.findall(r"<h2>(.*?)</h2>", findings_page(results))
        assert headings[:3] == [GATES, "In short", "How to read the numbers"]


def test_gates_that_passed_are_said_and_tabled(many: Results) -> None:
    """pi0 solves half of the problems; its KL at the lowest beta is 2 / 0.4^2, and 2 / 2.5^2 at the highest."""
    said, *_ = stated(many, GATES)
    count = len(deciding(many.gates, "matched"))
    assert said == f"All {count} gates passed: the study could have shown an effect."
    rows = rows_of("Gates", many)
    assert len(rows) == count + 1  # the debris gate of the other arm decides nothing
    assert {row["passed"] for row in rows} == {"yes"}
    assert {row["n"] for row in rows} == {"3 replicates"}
    assert [(row["required"], row["found [95 %]"]) for row in rows[:4]] == [
        ("0.5 to 0.9", "0.5 [0.5, 0.5] accuracy"),
        ("at least 0.65", "0.75 [0.75, 0.75] AUROC"),
        ("at least 1", "12.5 [12.5, 12.5] nats"),
        ("at least 10", "39.1 [39.1, 39.1] ratio"),
    ]
    assert rows[2]["where"] == "p20"
    assert [(row["where"], row["required"]) for row in rows[-2:]] == [
        ("paper", "below 0.05"),
        ("matched", "below 0.05"),
    ]


def test_gates_that_failed_leave_no_verdict(many: Results, unmoved: Results) -> None:
    """Each says what it means; the contrasts are shown all the same."""
    said, lowest, span = stated(unmoved, GATES)
    assert said.startswith(f"2 gates of {len(deciding(unmoved.gates, 'matched'))} failed. No verdict is based on this")
    assert lowest.startswith("Offline training at the lowest beta moves the policy at least 1 nat from pi0")
    assert "(p20): this does not hold. Offline training hardly moved the policy" in lowest
    assert span.startswith("Offline KL from pi0 at the lowest beta is at least ten times that at the highest")
    assert [row["passed"] for row in rows_of("Gates", unmoved)].count("no") == 2
    verdict, primary, *_ = stated(unmoved, "In short")
    assert verdict.startswith("No verdict: a gate failed")
    assert primary.startswith("The primary contrast compares the levels p20, p50, p80 of arm matched")
    assert rows_of("Contrasts", unmoved) == rows_of("Contrasts", many)
    assert {row["verdict"] for row in rows_of("Signs", unmoved)} == {"none (a gate failed)"}


def test_a_gate_of_another_arm_decides_nothing(many: Results) -> None:
    runs = many.runs.assign(debris=(many.runs["arm"] == "paper").astype(int))
    other = changed(many, runs=runs, **judged(runs))
    assert stated(other, GATES) == stated(many, GATES)
    assert [(row["where"], row["passed"]) for row in rows_of("Gates", other)[-2:]] == [
        ("paper", "no"),
        ("matched", "yes"),
    ]


def test_the_verdict_is_the_sentence_of_the_rule(many: Results) -> None:
    """The proxy rises and the truth falls the more the larger beta is: the paradox holds, and conservatism costs."""
    verdict, total, *_ = stated(many, "In short")
    assert verdict.startswith("The paradox holds online: as beta grows, AUGC and the accuracy lost online both grow")
    assert total.startswith("Conservatism costs in total")
    undecided = {**many.decision, "needed": {"verdict": "holds", "replicates": 17, "power": 0.8}}
    assert "would be reached" not in findings_page(many)
    *_, needed, primary, _, _ = stated(changed(many, decision=undecided), "In short")
    assert 'the verdict "holds" would be reached with 17 replicates' in needed
    assert primary.startswith("The primary contrast")


def test_an_unreliable_eq_2_is_said_beside_the_verdict(many: Results) -> None:
    """One run of the primary arm is flagged: the paradox holds by the gap in SD alone."""
    runs = many.runs.copy()
    runs.loc[runs.index[runs["arm"] == "matched"][0], "proxy_at_start_is_negative"] = True
    verdict, _, eq_2, *_ = stated(changed(many, runs=runs, **judged(runs)), "In short")
    assert verdict.startswith("The paradox holds online")
    assert eq_2.startswith("Eq. 2 is unreliable for some runs of the primary contrast")
    assert "the gap in SD alone" not in findings_page(many)


def test_a_study_without_two_levels_has_no_verdict() -> None:
    verdict, *_ = stated(study(["p50"], 3, ["matched"]), "In short")
    assert verdict.startswith("No verdict on the primary contrast: ")
    assert "1 of the two levels" in verdict


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.5, 0.9, "0.5 to 0.9"), (0.65, None, "at least 0.65"), (10.0, None, "at least 10"), (None, 0.05, "below 0.05")],
)
def test_what_a_gate_requires(low: float | None, high: float | None, text: str) -> None:
    assert verdicts.required({"low": low, "high": high}) == text


# Where the truth went.


def test_losses_of_every_level_are_tabled(many: Results) -> None:
    """Accuracy falls by 0.1 x 30 / 40 of the rise of the proxy at step 40, half of it in the mean over the run."""
    rows = rows_of("Losses by level, arm paper", many)
    assert [row["level"] for row in rows] == ["p20 (β = 0.4)", "p50 (β = 1)", "p80 (β = 2.5)"]
    runs = many.runs[(many.runs["arm"] == "paper") & (many.runs["level"] == "p80")]
    assert runs["online_loss"].tolist() == pytest.approx((0.5 * (runs["true_start"] - runs["true_end"])).tolist())
    assert rows[2]["Online loss"] == numbers.cell(many.levels("dpo", "paper")[2], "online_loss")
    assert rows[2]["Offline loss"] == "0 ± 0 [0, 0] (n = 3)"  # checkpoints are as good as pi0
    assert rows[2]["Offline KL"] == "0.32 ± 0 [0.32, 0.32] (n = 3)"
    assert rows[2]["AUGC from pi0"] == rows[2]["AUGC"]  # they start where pi0 does
    matched = rows_of("Losses by level, arm matched", many)
    assert matched[0] == rows[0]  # the runs of p20 are in both arms
    assert matched[2]["Online loss"] != rows[2]["Online loss"]


def test_contrasts_are_tabled_with_their_intervals(many: Results) -> None:
    rows = rows_of("Contrasts", many)
    found = list(many.decision["contrasts"].values())
    assert [html.unescape(row["contrast"]) for row in rows] == [f"{c['title']}, {c['unit']}" for c in found]
    (mean,) = {name for name in rows[0] if name.startswith("mean")}
    assert mean == "mean [95 %]"
    assert [row[mean] for row in rows] == [numbers.measured(c["mean"], c["se"], c["interval"]) for c in found]
    assert {row["sign-flip p"] for row in rows[:3]} == {"p = 0.250"}  # of three replicates with one sign


def test_levels_at_equal_pressure_are_tabled(many: Results) -> None:
    """By KL from pi0 the levels start at 12.5, 2 and 0.32 nats: where the others get to, p20 has never been.

    A third of the cells is then missing, so that nothing is compared.
    """
    rows = rows_of("Accuracy at equal pressure", many)
    assert len(rows) == 2 * 3 * 3
    of_pi0 = [row for row in rows if row["arm"] == "paper" and row["equal"] == "KL from pi0 (nats)"]
    known = {row["level"].split()[0]: (row["accuracy"] == "-", row["n"]) for row in of_pi0}
    assert known == {
        "p20": (True, "0 of 3 replicates"),
        "p50": (True, "0 of 3 replicates"),
        "p80": (True, "0 of 3 replicates"),
    }
    (weakest,) = (
        row for row in rows if (row["arm"], row["equal"]) == ("paper", "proxy (SD since pi0)") and "p20" in row["level"]
    )
    assert weakest["accuracy"] == "0.5 ± 0 [0.5, 0.5]"  # at the end of its run, where half of the answers are right
    assert rows_of("Accuracy at equal pressure", changed(many, pressure=None)) == []


def test_levels_are_compared_in_the_replicates_in_which_all_get_there(many: Results) -> None:
    """One of nine cells is missing, more than a tenth; of twelve it is less, and its replicate counts nowhere."""
    pressure = many.pressure
    assert pressure is not None
    of_proxy = pressure[(pressure["arm"] == "paper") & (pressure["kind"] == "proxy")]
    first = (of_proxy["replicate"] == 0) & (of_proxy["level"] == "p20")
    nine = of_proxy.assign(true=of_proxy["true"].mask(first))
    twelve = pd.concat([nine, of_proxy[of_proxy["replicate"] == 1].assign(replicate=3)])
    for part, n in ((nine, "0 of 3 replicates"), (twelve, "3 of 4 replicates")):
        rows = rows_of("Accuracy at equal pressure", changed(many, pressure=part))
        assert [row["n"] for row in rows] == [n] * 3


def test_methods_are_told_apart_at_equal_pressure() -> None:
    rows = rows_of("Accuracy at equal pressure", study(["p20", "p80"], 2, ["matched"], ("dpo", "ipo")))
    assert [row["arm"] for row in rows] == ["dpo, matched"] * 6 + ["ipo, matched"] * 6
    assert {row["n"].partition(" of ")[2] for row in rows} == {"2 replicates"}


def test_every_replicate_has_a_reference(many: Results) -> None:
    rows = rows_of("Reference policy and reward models", many)
    assert [row["replicate"] for row in rows] == ["0", "1", "2"]
    assert {row["accuracy of pi0"] for row in rows} == {"25 of 50"}
    assert {row["held-out accuracy of the ensemble"] for row in rows} == {"0.750 ± 0.043"}  # sqrt(0.75 x 0.25 / 100)


def test_the_judge_of_definition_6_1_is_named(many: Results) -> None:
    """The win rates by all three judges are equal here, so that only the name changes."""
    asked = "Optimal conservatism"
    assert "as judged by the labelling judge" in stated(many, asked)[0]
    without = many.runs.assign(judge_win_rate=None)
    assert "as judged by the held-out reward models" in stated(changed(many, runs=without), asked)[0]
    without = without.assign(held_out_win_rate=None)
    assert "as judged by the optimised ensemble" in stated(changed(many, runs=without), asked)[0]


def test_what_replicates_redraw_is_said(many: Results) -> None:
    assert "Each replicate has its own preferences, rewards, so errors include" in stated(many, "How to read")[-2]
    assert "All replicates share data, policy and reward models" in stated(changed(many, redraw=[]), "How to read")[-2]
    assert "its own preferences, rewards." in items(many)["c"].value
    assert "its own random numbers." in items(changed(many, redraw=[]))["c"].value


# The paper's claims.


def with_tests(alone: Results, **tests: tuple[float, float]) -> Results:
    """A study of one arm with this rho and p within replicates of the named columns, and no test of the others."""
    nothing = {"statistic": None, "p_value": None}
    trends = []
    for trend in alone.trends:
        rho, p = tests.get(trend["column"], (None, None))
        known = nothing if p is None else {"statistic": rho, "p_value": p}
        trends.append({**trend, "within_replicates": {**trend["within_replicates"], **known}})
    return changed(alone, trends=trends)


def verdicts_of(results: Results) -> dict[str, tuple[str, float | None]]:
    found = list(claims(results))
    assert len(found) == len(CLAIMS)
    return {row["trend"]["column"]: (row["verdict"], row["adjusted"]) for row in found if row["adjusted"] is not None}


def test_claims_are_corrected_by_holm() -> None:
    """Of three tests the smallest p counts three-fold, the next two-fold, and none less than its predecessor.

    The paper has diversity fall with beta, and AUGC rise.
    """
    alone = made(arms=("paper",))
    found = verdicts_of(with_tests(alone, augc=(1.0, 0.01), augc_paper=(-1.0, 0.02), diversity_offline=(-1.0, 0.03)))
    assert found == {
        "augc": ("agrees", pytest.approx(0.03)),
        "augc_paper": ("contradicts", pytest.approx(0.04)),
        "diversity_offline": ("agrees", pytest.approx(0.04)),
    }
    weak = verdicts_of(with_tests(alone, augc=(1.0, 0.02), augc_paper=(-1.0, 0.02), diversity_offline=(-1.0, 0.04)))
    assert {name: verdict for name, (verdict, _) in weak.items()} == dict.fromkeys(weak, "inconclusive")
    assert weak["augc"][1] == pytest.approx(0.06)  # p = 0.02 alone would have been enough


def test_a_claim_with_both_signs_counts_twice() -> None:
    """The paper has the OOD distance fall in one place and rise in another: two claims, one of which must fail."""
    alone = made(arms=("paper",))
    found = list(claims(with_tests(alone, ood_distance_offline=(-1.0, 0.01))))
    both = [(row["sign"], row["verdict"], row["adjusted"]) for row in found if row["adjusted"] is not None]
    assert both == [(-1, "agrees", pytest.approx(0.02)), (1, "contradicts", pytest.approx(0.02))]


@pytest.mark.parametrize("flag", ["true_at_start_is_zero", "proxy_at_start_near_zero", "proxy_at_start_is_negative"])
def test_eq_2_has_no_verdict_where_a_run_is_flagged(flag: str) -> None:
    """It is no test then, so that the others are corrected for two."""
    alone = made(arms=("paper",))
    runs = alone.runs.assign(**{flag: [True] + [False] * (len(alone.runs) - 1)})
    flagged = changed(alone, runs=runs)
    flagged = with_tests(flagged, augc=(1.0, 0.01), augc_paper=(1.0, 0.001), diversity_offline=(-1.0, 0.03))
    assert verdicts_of(flagged) == {
        "augc": ("agrees", pytest.approx(0.02)),
        "diversity_offline": ("agrees", pytest.approx(0.03)),
    }
    (row,) = (row for row in rows_of("Signs", flagged) if row["quantity"] == "Hacking damage, AUGC (Eq. 2)")
    assert (row["verdict"], row["p, corrected by Holm"]) == ("inconclusive", "no p")
    *_, printed = stated(flagged, CONSERVATISM)
    assert "has no verdict, because Eq. 2 is unreliable for some of its runs" in printed
    assert "(1 of 9 runs)" in printed


def test_three_replicates_decide_none_of_many_claims(many: Results) -> None:
    """p = 2 / 216 is below 0.05, and more than 0.05 times a sixth: with two arms there are more than six tests."""
    found = [row for row in claims(many) if row["p"] == pytest.approx(2 / 216)]
    assert found
    assert {row["verdict"] for row in found} == {"inconclusive"}
    assert min(row["adjusted"] for row in found) > 0.05


# Pages.


@pytest.mark.parametrize("replicates", [1, 3])
def test_pages_are_well_formed_and_whole(replicates: int) -> None:
    made_up = made("wobbles", replicates)
    for page in (findings_page(made_up), checklist_page(checklist(made_up), REDRAWN)):
        parsed = Balanced(page)
        assert parsed.open == []
        assert page.startswith("<!DOCTYPE html>")
        assert "src=" not in page
        assert "http" not in page
        assert not {"nan", "None", "inf"} & set(re.findall(r"\w+", page))


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="examples"):
        render("samples", sections=[])


def test_every_template_is_used() -> None:
    names = {path.name.removesuffix(".html.jinja") for path in TEMPLATES.iterdir()}
    code = "".join(path.read_text() for path in [*TEMPLATES.parent.glob("*.py"), *TEMPLATES.iterdir()])
    assert all(f'"{name}' in code for name in names)


def test_names_from_outside_are_escaped(many: Results) -> None:
    named = study(["<b>", "p20"], 3, ["paper"])
    named = changed(named, coverage={**named.setup["coverage"], "responses_by_source_model": {"<i>&": 9}})
    items_page = checklist_page(checklist(named), REDRAWN)
    for page, name in ((findings_page(named), "&lt;b&gt;"), (items_page, "&lt;i&gt;&amp;")):
        assert name in page
        assert not {"b", "i"} & set(Balanced(page).seen)


# The checklist.


def items(made_up: Results) -> dict[str, Item]:
    return {item.number: item for item in checklist(made_up)}


@pytest.fixture(scope="module")
def whole(many: Results) -> Results:
    """A study that lacks nothing: the made-up uncertainty is constant, so r_UQ has to be made up as well."""
    return changed(many, runs=many.runs.assign(r_uq=0.5, r_uq_differences=0.5, r_uq_paper=0.5))


def test_all_items_in_the_order_of_the_appendix(whole: Results) -> None:
    found = checklist(whole)
    assert [item.number for item in found] == [*map(str, range(1, 11)), *"abcd"]
    for item in found:
        assert all((item.asks, item.value, item.place, item.code))
        assert item.met, item
    page = checklist_page(found, REDRAWN)
    rows = tables(page)["Items"]
    assert [row[0] for row in rows[1:]] == [item.number for item in found]
    assert "14 of 14" in page


EQ_2 = {"gap_paper": 1.0}


def undefined(trends: Any) -> list[dict[str, Any]]:
    nothing = {"statistic": None, "p_value": None, "smallest_p": None, "n": 1, "method": "undefined"}
    return [{**t, "level_means": nothing} if t["column"] == "augc" else t for t in trends]


@pytest.mark.parametrize(
    ("number", "change"),
    [
        ("1", lambda whole: changed(whole, runs=whole.runs.assign(steps=201))),  # 5 are asked for, there are 4
        ("2", lambda whole: changed(whole, table1=whole.table1.assign(augc_n=2))),
        ("3", lambda whole: changed(whole, runs=whole.runs.assign(entropy_prompt_offline=math.nan))),
        ("4", lambda whole: changed(whole, runs=whole.runs.assign(entropy_response_collapse=math.nan))),
        ("5", lambda whole: changed(whole, runs=whole.runs.assign(ood_distance_offline=math.nan))),
        ("6", lambda whole: changed(whole, runs=whole.runs.assign(diversity_offline=math.nan))),
        ("a", lambda whole: changed(whole, grid=whole.setup["grid"][1:])),
        ("c", lambda whole: changed(whole, runs=whole.runs.iloc[1:])),
        ("7", lambda whole: changed(whole, trends=undefined(whole.trends))),
        ("8", lambda whole: changed(whole, runs=whole.runs.assign(r_uq=[None, *[0.5] * (len(whole.runs) - 1)]))),
        ("b", lambda whole: changed(whole, scales={**whole.scales, "thresholds": {"paper": {"gap": None, **EQ_2}}})),
        ("d", lambda whole: changed(whole, coverage={**whole.setup["coverage"], "responses_by_source_model": {}})),
    ],
)
def test_what_is_missing_is_not_met(whole: Results, number: str, change: Callable[[Results], Results]) -> None:
    missing = [name for name, item in items(change(whole)).items() if not item.met]
    assert missing == [number]


def test_evaluations_enough_for_their_steps_are_met(whole: Results) -> None:
    """ceil(200 / 50) = 4, as many as there are."""
    assert items(changed(whole, runs=whole.runs.assign(steps=200)))["1"].met


def test_two_replicates_are_short_of_metric_2() -> None:
    found = items(made(replicates=2))
    assert not found["2"].met
    assert "n = 2" in found["2"].value


@pytest.mark.parametrize("augc", [[3.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
def test_a_power_law_that_is_none_is_not_met(whole: Results, augc: list[float]) -> None:
    laws = dict.fromkeys(whole.fits, fit([0.4, 1.0, 2.5], augc))
    missing = [name for name, item in items(changed(whole, fits=laws)).items() if not item.met]
    assert missing == ["9", "10"]


def test_the_places_of_the_checklist_are_files_of_a_study(tiny: Study, whole: Results) -> None:
    """With their columns and keys; figures and configuration keys as well."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    seen = 0
    for item in checklist(whole):
        for part in item.place.split("; "):
            if figures := re.match(r"figures? (.*)", part):
                assert set(re.findall(r"\w{4,}", figures[1])) <= set(FIGURES), part
                continue
            paths, _, columns = part.partition(": ")
            for path in paths.split(", "):
                file = tiny / path.replace("<method>-<arm>", "dpo-paper").replace("<r>", "0")
                assert file.is_file(), path
                seen += 1
                if columns:
                    table = pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)
                    assert set(columns.split(", ")) <= set(table.columns), part
        for module, name in re.findall(r"\b([a-z_.]+)\.([a-z_]\w*)", item.code):
            if item.code.startswith("config"):
                assert name in config[module]
            else:
                assert callable(getattr(importlib.import_module(f"goodhart.{module}"), name)), item.code
    assert seen > 10


def test_a_real_study_says_what_its_tables_say(tiny: Study, tmp_path: Path) -> None:
    tiny.run("write_findings", tmp_path)
    page = (tmp_path / "findings.html").read_text()
    table = pd.read_csv(tiny / "tables/table1.csv")
    for _, row in table.iterrows():
        assert numbers.cell(row, "augc") in page
    for level in read_json(tiny / "beta_grid.json")["levels"]:
        assert numbers.number(level["beta"], 6) in page
    assert Balanced(page).open == []


def test_problems_that_are_trained_on_and_judged_by_are_said(many: Results) -> None:
    *_, sizes = stated(many, "How to read the numbers")
    assert "The 30 problems of the online stage are disjoint from the evaluation problems" in sizes
    *_, sizes = stated(changed(many, shared_problems=30), "How to read the numbers")
    assert "30 of the 30 problems of the online stage are also evaluation problems" in sizes


USUAL = {
    "truncated_end": 0.04,
    "empty_end": 0.04,
    "reward_truncated_end": 0.0,
    "zero_variance_batches": 0,
    "true_at_start_is_zero": False,
}


def test_what_makes_numbers_mean_less_is_said_where_there_is_any(many: Results) -> None:
    usual = changed(many, runs=many.runs.assign(**USUAL))
    assert not any(value for name, value in findings.caveats(usual).items() if name != "worst")
    headline = stated(usual, "In short")
    assert len(headline) == 2 + 1 + 2  # both verdicts, the primary contrast, one an arm
    odd = usual.runs.assign(steps=80, truncated_end=0.4, empty_end=0.3)
    odd.loc[odd.index[:2], "zero_variance_batches"] = [3, 7]
    odd.loc[odd.index[:3], "true_at_start_is_zero"] = True
    *same, cut, empty, batches, zero = stated(changed(many, runs=odd), "In short")
    assert same == headline
    n = f"{len(odd)} runs"
    assert f"40% of the responses are truncated at the token limit (n = {n})" in cut
    assert f"30% of the responses are empty (n = {n})" in empty
    assert batches.startswith(f"In 2 of {n}, some batches have zero reward variance: at most 7 of 80 in one run")
    assert zero.startswith(f"In 3 of {n}, the true reward is 0 at the start")


def test_reward_models_that_read_only_part_of_the_responses_are_said_first(many: Results) -> None:
    assert "read only part" not in findings_page(changed(many, runs=many.runs.assign(**USUAL)))
    runs = many.runs.assign(**USUAL | {"reward_truncated_end": 0.4, "empty_end": 0.3})
    *_, first, _ = stated(changed(many, runs=runs), "In short")
    assert "the reward models read only part of 40% of the responses" in first
    length = many.setup["derived"]["reward"]["values"]["max_length"]["value"]
    assert f"exceed the max_length of {length} tokens" in first
