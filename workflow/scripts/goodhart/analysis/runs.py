"""The gaps of every evaluation of a study, and one row per run with the metrics of Appendix F."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from goodhart.analysis.gap import (
    augc,
    flags_at_start,
    gap,
    gap_paper,
    hacking_threshold,
    onset,
    true_scale,
    uq_correlation,
)
from goodhart.errors import InputError

RUN = ["method", "level", "kl_level", "seed"]


def scales(quality: Mapping[str, Any], responses: pd.DataFrame) -> dict[str, Any]:
    """The scales that turn rewards into gaps, from the ensemble's `quality.json` and the reference policy's responses.

    Returns {"proxy", "true", "successes", "problems"}: `proxy` is the SD of the ensemble mean over held-out preference
    responses, `true` that of one true reward at the reference policy, which solves `successes` of `problems`.
    """
    if not quality["proxy_scale"] > 0:
        raise InputError("the reward models give all held-out responses the same reward, so they have learned nothing.")
    successes, problems = int(responses["correct"].sum()), len(responses)
    true = true_scale(successes, problems)
    return {"proxy": quality["proxy_scale"], "true": true, "successes": successes, "problems": problems}


def add_gaps(trajectories: Iterable[pd.DataFrame], scale: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """All trajectories in one table with both forms of the gap, and the scales with the hacking thresholds.

    `threshold` and `threshold_paper` are the 75th percentile of all positive gaps, for each form of the gap.
    """
    parts = []
    for trajectory in trajectories:
        ordered = trajectory.sort_values("step")
        proxy, true = ordered["proxy"].to_numpy(), ordered["true"].to_numpy()
        ours = gap(proxy, true, scale["proxy"], scale["true"])
        parts.append(ordered.assign(gap=ours, gap_paper=gap_paper(proxy, true)))
    gaps = pd.concat(parts, ignore_index=True)
    thresholds = {f"threshold{form}": hacking_threshold(gaps[f"gap{form}"]) for form in ("", "_paper")}
    return gaps, {**scale, **thresholds}


def run_rows(gaps: pd.DataFrame, probes: pd.DataFrame, updates: pd.DataFrame, scale: Mapping[str, Any]) -> pd.DataFrame:
    """One row per run: the metrics of Appendix F (columns of `summaries.RUNS` except `arm`).

    `true_drop_se` is the standard error of the fall in accuracy, with both accuracies treated as independent binomial
    samples. It is conservative, because both samples use the same problems.
    """
    probe_of = {(row["method"], row["level"], row["seed"]): row for _, row in probes.iterrows()}
    degenerate = updates.groupby(RUN)["zero_variance"].sum().to_dict()
    rows = []
    for key, run in gaps.groupby(RUN, sort=False):
        run = run.sort_values("step")
        first, last = run.iloc[0], run.iloc[-1]
        steps, series, printed = (run[name].to_numpy() for name in ("step", "gap", "gap_paper"))
        offline = probe_of.get((first["method"], first["level"], first["seed"]))
        if offline is None:
            raise InputError(f"run {'/'.join(map(str, key))} has no probe of its offline checkpoint; extend --probes.")
        if key not in degenerate:
            raise InputError(f"run {'/'.join(map(str, key))} has no table of its updates; extend --updates.")
        correlation, correlation_paper = (uq_correlation(run["uncertainty"].to_numpy(), g) for g in (series, printed))
        rows.append(
            {
                **{name: first[name] for name in (*RUN, "beta", "kl_beta")},
                "steps": last["step"],
                "evaluations": len(run),
                "augc": augc(steps, series),
                "augc_paper": augc(steps, printed),
                "onset": onset(steps, series, scale["threshold"]),
                "onset_paper": onset(steps, printed, scale["threshold_paper"]),
                "r_uq": correlation["levels"],
                "r_uq_differences": correlation["differences"],
                "r_uq_paper": correlation_paper["levels"],
                "r_uq_paper_differences": correlation_paper["differences"],
                "proxy_start": first["proxy"],
                "proxy_end": last["proxy"],
                "true_start": first["true"],
                "true_end": last["true"],
                "true_drop_se": np.sqrt(
                    sum(p * (1 - p) / n for p, n in ((first["true"], first["n"]), (last["true"], last["n"])))
                ),
                "gap_end": last["gap"],
                "kl_end": last["kl"],
                "uncertainty_mean": run["uncertainty"].mean(),
                "entropy_prompt_offline": offline["entropy_prompt"],
                "entropy_response_offline": offline["entropy_response"],
                "entropy_prompt_collapse": offline["entropy_prompt"] - last["entropy_prompt"],
                "entropy_response_collapse": offline["entropy_response"] - last["entropy_response"],
                "ood_distance_offline": offline["ood_distance"],
                "diversity_offline": offline["diversity"],
                "uncertainty_offline": offline["uncertainty"],
                "win_rate": offline["win_rate"],
                "preference_accuracy": offline["preference_accuracy"],
                "truncated_end": last["truncated"],
                "empty_end": last["empty"],
                "reward_truncated_end": last["reward_truncated"],
                "zero_variance_batches": degenerate[key],
                **flags_at_start(run["proxy"].to_numpy(), run["true"].to_numpy()),
            }
        )
    return pd.DataFrame(rows)


def select_arms(runs: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The runs of every arm, in the order of `cells`, whose columns are arm, method, level, kl_level and seed.

    A run in two arms appears twice.
    """
    absent = cells[~pd.MultiIndex.from_frame(cells[RUN]).isin(runs.set_index(RUN).index)]
    if len(absent):
        arm, *run = absent.iloc[0][["arm", *RUN]]
        raise InputError(f"arm {arm} needs run {'/'.join(map(str, run))}, but no trajectory of this run was given.")
    return cells.merge(runs, on=RUN)
