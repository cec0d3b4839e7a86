"""The values and verdicts on the findings page; the text of the page is in templates/findings.html.jinja."""

import math
from collections.abc import Iterator
from typing import Any

from goodhart.analysis.gates import deciding
from goodhart.analysis.levels import FLAGS, TABLE1
from goodhart.analysis.replicates import t_interval
from goodhart.analysis.runs import alignment
from goodhart.report import verdicts
from goodhart.report.html import render
from goodhart.report.numbers import measured, number
from goodhart.report.results import Results
from goodhart.report.tables import claims, level_rows

FEWEST_REPLICATES = 3  # Appendix F, metric 2
NOTABLE = 0.05  # the page reports a share of truncated, empty or partly scored responses above this


def findings_page(results: Results) -> str:
    """The findings page; each section includes the tables that support it."""
    found, (judge, win_rates) = list(arms(results)), alignment(results.runs)
    return render(
        "findings",
        results=results,
        setup=results.setup,
        redraw=results.setup["redraw"],
        caveats=caveats(results),
        arms=found,
        rivals=[{"arm": arm, "curve": curve} for arm in found for curve in arm["fit"]["rivals"]["curves"]],
        lambdas=[
            {"arm": arm, "step": step, "level": level}
            for arm in found
            for step in (arm["fit"]["tradeoff"] or {"path": []})["path"]
            for level in arm["levels"]
            if math.isclose(level["beta"], step["beta"])
        ],
        hyperparameters=[
            {"stage": stage, "name": name, **value}
            for stage, entry in results.setup["derived"].items()
            for name, value in entry["values"].items()
            if (stage, name) != ("online", "lora_dropout")  # online updates use no dropout
        ],
        claims=list(claims(results)),
        levels=list(level_rows(results)),
        entropies=list(entropies(results)),
        problems=int(results.gaps["n"].max()),
        replicates=list(replicates(results)),
        deciding=deciding(results.gates, results.decision["primary"]["arm"]),
        pressures=list(pressures(results)),
        judge=judge,
        judged=str(win_rates.name),
        TABLE1=TABLE1,
        few_replicates=min(int(results.table1["n"].min()), FEWEST_REPLICATES),
        FEWEST_REPLICATES=FEWEST_REPLICATES,
        isqrt=math.isqrt,
        verdicts=verdicts,
    )


def caveats(results: Results) -> dict[str, Any]:
    """Conditions that do not stop a run but limit how its numbers can be interpreted; 0 where nothing is to report.

    Returns the mean shares of responses at the end of the online stage that the token limit cut (`truncated`), that
    are `empty`, or that the reward models read only in part (`reward_truncated`); the number of runs with zero-variance
    batches (`zero_variance`) and the run with most of them (`worst`); and the number of runs whose true reward starts
    at 0 (`true_zero`).
    """
    runs = results.runs
    shares = {name: float(runs[f"{name}_end"].mean()) for name in ("truncated", "empty", "reward_truncated")}
    return {
        **{name: share if share > NOTABLE else 0 for name, share in shares.items()},
        "zero_variance": int((runs["zero_variance_batches"] > 0).sum()),
        "worst": runs.sort_values("zero_variance_batches").iloc[-1].to_dict(),
        "true_zero": int(runs["true_at_start_is_zero"].sum()),
    }


def arms(results: Results) -> Iterator[dict[str, Any]]:
    """Each arm with its levels, the trends of AUGC in both forms, and the runs for which Eq. 2 is unreliable."""
    for method, arm in results.panels:
        runs = results.of(results.runs, method, arm)
        yield {
            "name": results.name(method, arm),
            "levels": results.levels(method, arm),
            "augc": results.trend(method, arm, "augc"),
            "augc_paper": results.trend(method, arm, "augc_paper"),
            "runs": len(runs),
            "flagged": {title: int(runs[flag].sum()) for flag, title in FLAGS.items()},
            "one_online_beta": runs["kl_level"].nunique() == 1,
            "fit": results.fits[method, arm],
        }


def replicates(results: Results) -> Iterator[dict[str, Any]]:
    """What pi0 scored in each replicate, with the held-out accuracy of its reward models."""
    for reference, quality in zip(results.scales["replicates"], results.qualities, strict=True):
        accuracy, pairs = quality["ensemble_accuracy"], quality["pairs"]
        yield {
            **reference,
            "accuracy": measured(accuracy, math.sqrt(accuracy * (1 - accuracy) / pairs)),
            "members": ", ".join(number(value) for value in quality["member_accuracy"]),
            "pairs": pairs,
        }


MOST_MISSING = 0.1  # of the levels and replicates of a comparison at equal pressure
PRESSURES = {
    "proxy": "proxy (SD since pi0)",
    "kl": "KL from the own start (nats)",
    "kl_reference": "KL from pi0 (nats)",
}


def pressures(results: Results) -> Iterator[dict[str, Any]]:
    """The accuracy of each level at equal pressure, over the replicates in which all levels get there.

    There is no value where more than `MOST_MISSING` of the cells do not get there.
    """
    if results.pressure is None:
        return
    for (method, arm, kind), compared in results.pressure.groupby(["method", "arm", "kind"], sort=False):
        gone = compared["true"].isna()
        whole = compared[~compared["replicate"].isin(compared.loc[gone, "replicate"])]
        known = whole if gone.mean() <= MOST_MISSING else whole[:0]
        for level, part in compared.groupby("level", sort=False):
            yield {
                "arm": results.name(str(method), str(arm)),
                "kind": PRESSURES[str(kind)],
                "level": level,
                "beta": part["beta"].mean(),
                "target": part["target"].mean(),
                "of": len(part),
                **t_interval(known.loc[known["level"] == level, "true"]),
            }


def entropies(results: Results) -> Iterator[dict[str, Any]]:
    """Both entropies of the offline checkpoints by method, with the trend and the side of Prop. 5.1 it supports."""
    for method, arm in results.first_panels:
        for tokens in ("response", "prompt"):
            trend = results.trend(method, arm, f"entropy_{tokens}_offline")
            side = "proof" if (trend["within_replicates"]["statistic"] or 0) > 0 else "statement"
            decided = verdicts.decided(trend["within_replicates"])
            yield {"method": method, "tokens": tokens, "trend": trend, "side": side if decided else None}
