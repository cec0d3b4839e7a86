"""The pages of a study's report: its findings section by section, and the checklist of Appendix F."""
# ruff: noqa: RUF001 - reports speak Greek

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from goodhart.report import findings as f
from goodhart.report import tables as t
from goodhart.report.caveats import counted
from goodhart.report.checklist import Item
from goodhart.report.html import page, paragraphs, rows_table, section
from goodhart.report.numbers import measured, number
from goodhart.report.results import Results

_NOTATION = (
    "Numbers are means over seeds ± one standard error, with 95 % percentile bootstrap intervals over seeds in square"
    " brackets; with a handful of seeds these are too narrow, and of three they are no more than the smallest and the"
    " largest. Every p is two-sided and counts permutations, all of them where they are few; within seeds, values "
    "change places inside a seed only, so that every seed adds evidence. A trend is called one below p = "
    f"{f.SIGNIFICANCE}; the p are not corrected for their number. All seeds share data, policy and rewards: no error "
    "here says what others of these would have given."
)
_TERMS = (
    "Goodhart gap: the rise of the proxy since the start of the online stage less the rise of the true reward, each "
    "in its standard deviations (SD); Eq. 2 as printed stands beside it. AUGC: the area of its positive part over the"
    " updates. Levels: p20 is the 20th percentile of Eq. 7, b0.10 an explicit beta. Arm: whose beta enters Eq. 10 "
    "online. UQ: SD over the reward members (Eq. 13), r_UQ its correlation with the gap over a run. Onset: the first "
    "evaluation over the hacking threshold, the 75th percentile of the positive gaps of all runs of all arms. KL end:"
    " nats a response from the offline checkpoint. Truncated: responses cut at the token limit; empty: without a word. "
    "Updates without a preference: their rewards did not differ, and Eq. 9 has no advantage. Entropy collapse: that "
    "of the offline checkpoint less that at the end. OOD distance and diversity: cosine, in the rewards' hidden space. "
    "Win rate: over the reference policy, as the ensemble judges, ties a half."
)
_TRADEOFF = (
    "β* = argmin AUGC(β) − λ A(β) over the betas that were run, A the win rate of the offline checkpoint over the "
    "reference policy as the ensemble judges it. The paper gives λ no value. Intervals are of the λ at which resampled "
    "seeds choose a β further down."
)
_DISTANCE = (
    "R(d) = d (α − β log d), d = √KL from the offline checkpoint, least squares over the evaluations of all seeds; "
    "rewards count from the start of their run, in the standard deviations of the gap. A peak is given where the curve "
    "bends down with a tenth of the evaluations on either side, and resampled seeds agree."
)


def findings_page(results: Results) -> str:
    """The page of findings, each section with the tables it rests on."""
    sections = [
        section("In short", paragraphs([*f.headline(results), *f.cut_by_the_rewards(results), *counted(results)])),
        section("How to read the numbers", paragraphs([_TERMS, f"{_NOTATION} {_sizes(results)}"])),
        section("Does AUGC rise with beta?", paragraphs(f.conservatism(results))),
        section("What of it is Eq. 10's second use of beta?", paragraphs(f.second_use(results))),
        section("Entropy against beta: Proposition 5.1", paragraphs(f.entropy(results))),
        section("What the paper says goes with beta", rows_table("Signs against beta", t.claim_rows(results))),
        section(
            "Every quantity by level, and against beta",
            rows_table("Table 1 with intervals", t.level_rows(results)),
            rows_table(
                "Trends: coefficient, p and n; a run without an onset counts as later than all others",
                t.trend_rows(results),
            ),
        ),
        section(
            "The power law, its beta*, and its rivals",
            rows_table(
                "AUGC (from the gap in SD) = a β^b + c (Eq. 14), and β* (Eq. 15, Appendix E)", t.fit_rows(results)
            ),
            paragraphs(f.warnings(results)),
            rows_table("Other curves, the best AICc first (AICc exists for n > parameters + 2)", t.rival_rows(results)),
        ),
        section(
            "Optimal conservatism as a function of lambda: Definition 6.1",
            paragraphs([_TRADEOFF]),
            rows_table("β* by λ", t.tradeoff_rows(results)),
        ),
        section(
            "Reward against distance: Gao et al. (2022)",
            paragraphs([_DISTANCE]),
            rows_table("Fits by arm and level", t.distance_rows(results)),
        ),
        section(
            "What was derived, and from what",
            paragraphs([_rewards(results)]),
            rows_table("The beta grid (Eq. 6-7)", t.beta_rows(results)),
            rows_table("Inputs of Appendix C", t.input_rows(results)),
            rows_table("Hyperparameters (Appendix C)", t.derived_rows(results)),
        ),
    ]
    return page("What this study found", "".join(sections))


def checklist_page(items: Sequence[Item]) -> str:
    """The checklist of Appendix F."""
    met = sum(item.met for item in items)
    rows = [
        {
            "item": item.number,
            "": "✓" if item.met else "✗ not met",
            "Appendix F asks for": item.asks,
            "this study": item.value,
            "where": item.place,
            "equation and code": item.code,
        }
        for item in items
    ]
    text = (
        f"{met} of {len(items)} items are met. An item is met when every run or arm has what the appendix asks for, "
        "whatever its value; where the data of an arm determine no power law or no beta*, items 9 and 10 are not, and "
        "the page of findings says why. Paths lie in the folder of the study. "
    )
    return page("Appendix F: the benchmark's checklist", paragraphs([text + _NOTATION]) + rows_table("Items", rows))


def _sizes(results: Results) -> str:
    """What a run's measures rest on."""
    n = int(results.gaps["n"].max())
    shared = (
        f"{results.shared_problems} of the {results.online_problems} problems of the online stage are among them: the "
        "policy was trained, against the proxy, on prompts that it is judged by"
        if results.shared_problems
        else f"none of the {results.online_problems} problems of the online stage is among them"
    )
    return (
        f"A run is measured on n = {n} evaluation problems, one response each, its entropies on the first "
        f"{math.isqrt(n - 1) + 1} of them; {shared}."
    )


def _rewards(results: Results) -> str:
    """The rewards and the scales that every gap rests on, in one sentence each."""
    scales, quality = results.scales, results.quality
    accuracy, pairs = quality["ensemble_accuracy"], quality["pairs"]
    error = float(np.sqrt(accuracy * (1 - accuracy) / pairs))
    return (
        f"Reward ensemble: held-out accuracy {measured(accuracy, error)} (n = {pairs} pairs, binomial error); "
        f"members {', '.join(number(value) for value in quality['member_accuracy'])}. Scales of the gap: the proxy's "
        f"standard deviation over held-out responses is {number(scales['proxy'], 4)}; that of one true reward at the "
        f"reference policy {number(scales['true'], 4)} ({scales['successes']} of n = {scales['problems']} problems "
        f"right). Hacking threshold {number(scales['threshold'])} SD; of Eq. 2 as printed "
        f"{number(scales['threshold_paper'])}."
    )
