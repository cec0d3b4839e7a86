"""The pages of a study's report: its findings section by section, and the checklist of Appendix F."""
# ruff: noqa: RUF001 - reports speak Greek

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from goodhart import findings as f
from goodhart import result_tables as t
from goodhart.checklist import Item
from goodhart.pages import page, paragraphs, rows_table, section

_NOTATION = (
    "Numbers are means over seeds ± one standard error, with 95 % percentile bootstrap intervals over seeds in square "
    "brackets (a handful of seeds makes these too narrow); n counts what a number rests on. Every p is two-sided and "
    "counts permutations, all of them where they are few; within seeds, values change places inside a seed only, so "
    f"that every seed adds evidence. A trend is called one below p = {f.SIGNIFICANCE}; the p are not corrected for "
    "their number. All seeds share data, policy and rewards, whose choice no error here contains."
)

_TRADEOFF = (
    "β* = argmin AUGC(β) − λ A(β) over the betas that were run, A the win rate of the offline checkpoint over the "
    "reference policy as the ensemble judges it. The paper gives λ no value. Intervals are of the λ at which resampled "
    "seeds choose a later β."
)
_DISTANCE = (
    "R(d) = d (α − β log d), d = √KL from the offline checkpoint, least squares over the evaluations of all seeds; "
    "rewards count from the start of their run, in the standard deviations of the gap. A peak is given where the curve "
    "bends down with a tenth of the evaluations on either side, and resampled seeds agree."
)


def findings_page(results: f.Results) -> str:
    """The page of findings, each section with the tables it rests on."""
    sections = [
        section("How to read the numbers", paragraphs([_NOTATION])),
        section("Does AUGC rise with beta?", paragraphs(f.conservatism(results))),
        section("What of it is Eq. 10's second use of beta?", paragraphs(f.second_use(results))),
        section("Entropy against beta: Proposition 5.1", paragraphs(f.entropy(results))),
        section("What the paper says goes with beta", rows_table("Signs against beta", t.claim_rows(results))),
        section(
            "Every quantity by level, and against beta",
            rows_table("Table 1 with intervals", t.level_rows(results)),
            rows_table("Trends: coefficient, p and n", t.trend_rows(results)),
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
        f"{met} of {len(items)} items are met. An item is met when the study has what the appendix asks for, whatever "
        "the number says. Paths lie in the folder of the study. "
    )
    return page("Appendix F: the benchmark's checklist", paragraphs([text + _NOTATION]) + rows_table("Items", rows))


def _rewards(results: f.Results) -> str:
    """The rewards and the scales that every gap rests on, in one sentence each."""
    scales, quality = results.scales, results.quality
    accuracy, pairs = quality["ensemble_accuracy"], quality["pairs"]
    error = float(np.sqrt(accuracy * (1 - accuracy) / pairs))
    return (
        f"Reward ensemble: held-out accuracy {f.measured(accuracy, error)} (n = {pairs} pairs, binomial error); "
        f"members {', '.join(f.number(value) for value in quality['member_accuracy'])}. Scales of the gap: the proxy's "
        f"standard deviation over held-out responses is {f.number(scales['proxy'], 4)}; that of one true reward at the "
        f"reference policy {f.number(scales['true'], 4)} ({scales['successes']} of n = {scales['problems']} problems "
        f"right). Hacking threshold {f.number(scales['threshold'])} SD; of Eq. 2 as printed "
        f"{f.number(scales['threshold_paper'])}."
    )
