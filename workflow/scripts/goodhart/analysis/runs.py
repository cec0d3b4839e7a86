"""The gaps of every evaluation of a study, and one row per run with the metrics of Appendix F and our estimands."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from goodhart.analysis import estimands
from goodhart.analysis.calibration import calibrated_gap
from goodhart.analysis.floor import noise_floor
from goodhart.analysis.gap import (
    FloatArray,
    augc,
    flags_at_start,
    gap,
    gap_paper,
    hacking_threshold,
    onset,
    uq_correlation,
)
from goodhart.analysis.reference import Reference, by_step
from goodhart.errors import InputError

RUN = ["method", "level", "kl_level", "replicate"]
CHECKPOINT = ["method", "level", "replicate"]

# Gaps whose reward models or judge a study may lack, and the two series of which they are the difference.
OPTIONAL_GAPS = {
    "held_out_gap": ("proxy", "held_out"),
    "reward_error": ("proxy", "judge"),
    "specification_error": ("judge", "true"),
}


def add_gaps(
    trajectories: Iterable[pd.DataFrame], responses: Iterable[pd.DataFrame], references: Mapping[int, Reference]
) -> pd.DataFrame:
    """All trajectories in one table with every form of the gap (columns of `summaries.GAPS`).

    Args:
        trajectories, responses: the tables of the same runs, in the same order.
        references: what pi0 scored, by replicate.
    """
    parts = []
    for trajectory, answers in zip(trajectories, responses, strict=True):
        run = trajectory.sort_values("step")
        replicate = int(run["replicate"].iloc[0])
        if replicate not in references:
            raise InputError(f"replicate {replicate} has a run, but no quality.json, baseline and responses of pi0.")
        parts.append(run.assign(**_gaps(run, answers, references[replicate])))
    return pd.concat(parts, ignore_index=True)


def _gaps(run: pd.DataFrame, answers: pd.DataFrame, reference: Reference) -> dict[str, Any]:
    proxy, true = run["proxy"].to_numpy(), run["true"].to_numpy()
    found: dict[str, Any] = {
        "proxy_rise": estimands.rise(proxy, reference.proxy),
        "true_rise": estimands.rise(true, reference.true),
        "gap": gap(proxy, true, reference.proxy.scale, reference.true.scale),
        "gap_paper": gap_paper(proxy, true),
        "gap_reference": estimands.gap_from_reference(proxy, true, reference.proxy, reference.true),
        "debris": estimands.debris(run["kl_reference"], run["response_tokens"]),
    }
    for name, (first, second) in OPTIONAL_GAPS.items():
        origins = getattr(reference, first), getattr(reference, second)
        found[name] = None
        if None not in origins:
            found[name] = estimands.rise(run[first], origins[0]) - estimands.rise(run[second], origins[1])
    found |= dict.fromkeys(("calibrated_gap", "calibrated_gap_se", "beyond_calibration"))
    if reference.calibration:
        scores = answers.assign(proxy=np.stack(list(answers["rewards"])).mean(axis=1))
        calibrated = calibrated_gap(reference.calibration, by_step(scores, "proxy"), by_step(answers, "correct"))
        found["calibrated_gap"], found["beyond_calibration"] = calibrated.gap, calibrated.beyond
        found["calibrated_gap_se"] = np.hypot(calibrated.se, calibrated.fit_se)
    return found


def run_rows(
    gaps: pd.DataFrame,
    probes: pd.DataFrame,
    floors: pd.DataFrame,
    updates: pd.DataFrame,
    references: Mapping[int, Reference],
) -> pd.DataFrame:
    """One row per run (columns of `summaries.RUNS` except `arm` and the onsets).

    `true_drop_se` is the standard error of the fall in accuracy, with both accuracies treated as independent binomial
    samples. It is conservative, because both samples use the same problems.
    """
    probe_of = {tuple(row[name] for name in CHECKPOINT): row for _, row in probes.iterrows()}
    floor_of = dict(iter(floors.groupby(CHECKPOINT)))
    degenerate = updates.groupby(RUN)["zero_variance"].sum().to_dict()
    rows = []
    for key, run in gaps.groupby(RUN, sort=False):
        run = run.sort_values("step")
        first, last = run.iloc[0], run.iloc[-1]
        checkpoint = tuple(first[name] for name in CHECKPOINT)
        for known, what in ((probe_of, "probe"), (floor_of, "noise floor")):
            if checkpoint not in known:
                raise InputError(f"run {'/'.join(map(str, key))} has no {what} of its offline checkpoint; name it too.")
        if key not in degenerate:
            raise InputError(f"run {'/'.join(map(str, key))} has no table of its updates; name it too.")
        offline, reference = probe_of[checkpoint], references[int(first["replicate"])]
        steps, series, printed = (run[name].to_numpy() for name in ("step", "gap", "gap_paper"))
        correlation, correlation_paper = (uq_correlation(run["uncertainty"].to_numpy(), g) for g in (series, printed))
        lost = estimands.losses(steps, run["true"].to_numpy(), reference.true.mean)
        rows.append(
            {
                **{name: first[name] for name in (*RUN, "beta", "kl_beta")},
                "steps": last["step"],
                "evaluations": len(run),
                "augc": augc(steps, series),
                "augc_paper": augc(steps, printed),
                "augc_reference": augc(steps, run["gap_reference"].to_numpy()),
                "augc_floor": _floor(floor_of[checkpoint], steps, reference),
                "true_reference": reference.true.mean,
                "offline_loss": lost.offline,
                "online_loss": lost.online,
                "online_loss_share": lost.online_share,
                "total_loss": lost.total,
                "r_uq": correlation["levels"],
                "r_uq_differences": correlation["differences"],
                "r_uq_paper": correlation_paper["levels"],
                "r_uq_paper_differences": correlation_paper["differences"],
                "proxy_start": first["proxy"],
                "proxy_end": last["proxy"],
                "proxy_rise": last["proxy_rise"] - first["proxy_rise"],
                "true_start": first["true"],
                "true_end": last["true"],
                "true_drop_se": np.sqrt(
                    sum(p * (1 - p) / n for p, n in ((first["true"], first["n"]), (last["true"], last["n"])))
                ),
                "gap_end": last["gap"],
                **{f"{name}_end": last[name] for name in (*OPTIONAL_GAPS, "gap_reference", "calibrated_gap")},
                "kl_end": last["kl"],
                "kl_reference_end": last["kl_reference"],
                "offline_kl": offline["kl"],
                "debris": int(run["debris"].sum()),
                "uncertainty_mean": run["uncertainty"].mean(),
                "uncertainty_centred_mean": run["uncertainty_centred"].mean(),
                "entropy_prompt_offline": offline["entropy_prompt"],
                "entropy_response_offline": offline["entropy_response"],
                "entropy_prompt_collapse": offline["entropy_prompt"] - last["entropy_prompt"],
                "entropy_response_collapse": offline["entropy_response"] - last["entropy_response"],
                "ood_distance_offline": offline["ood_distance"],
                "diversity_offline": offline["diversity"],
                "uncertainty_offline": offline["uncertainty"],
                **{name: offline[name] for name in ("win_rate", "judge_win_rate", "held_out_win_rate")},
                "preference_accuracy": offline["preference_accuracy"],
                "truncated_end": last["truncated"],
                "empty_end": last["empty"],
                "reward_truncated_end": last["reward_truncated"],
                "zero_variance_batches": degenerate[key],
                **flags_at_start(run["proxy"].to_numpy(), run["true"].to_numpy()),
            }
        )
    return pd.DataFrame(rows)


def _floor(evaluations: pd.DataFrame, steps: FloatArray, reference: Reference) -> float | None:
    """The noise floor of AUGC from further evaluations of the unmoved checkpoint; None below two of them."""
    if len(evaluations) < 2:
        return None
    rises = estimands.rise(evaluations["proxy"], reference.proxy) - estimands.rise(evaluations["true"], reference.true)
    return noise_floor(rises, steps).augc


def select_arms(runs: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The runs of every arm, in the order of `cells`, whose columns are arm, method, level, kl_level and replicate.

    A run in two arms appears twice.
    """
    absent = cells[~pd.MultiIndex.from_frame(cells[RUN]).isin(runs.set_index(RUN).index)]
    if len(absent):
        arm, *run = absent.iloc[0][["arm", *RUN]]
        raise InputError(f"arm {arm} needs run {'/'.join(map(str, run))}, but no trajectory of this run was given.")
    return cells.merge(runs, on=RUN)


def alignment(runs: pd.DataFrame) -> tuple[str, pd.Series]:
    """A of Definition 6.1, the win rate over pi0, and who judges it.

    The best known judge is taken: the labelling judge, else the held-out reward models. The ensemble that is optimised
    is a judge of last resort, because its opinion of a hacked policy is no measure of quality.
    """
    judges = {"labelling judge": "judge_win_rate", "held-out reward models": "held_out_win_rate"}
    known = {name: column for name, column in judges.items() if runs[column].notna().all()}
    name, column = next(iter(known.items()), ("optimised ensemble", "win_rate"))
    return name, runs[column]


def add_onsets(runs: pd.DataFrame, gaps: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, dict[str, float | None]]]:
    """The onset of every run by both forms of the gap, and the hacking thresholds: one of each form per arm."""
    thresholds: dict[str, dict[str, float | None]] = {}
    series = {key: run.sort_values("step") for key, run in gaps.groupby(RUN)}
    rows = runs.copy()
    for form in ("gap", "gap_paper"):
        found: list[int | None] = []
        for arm, part in runs.groupby("arm", sort=False):
            mine = [series[key] for key in part[RUN].itertuples(index=False, name=None)]
            threshold = hacking_threshold(np.concatenate([run[form] for run in mine]))
            thresholds.setdefault(str(arm), {})[form] = threshold
            found += [onset(run["step"], run[form], threshold) for run in mine]
        order = [place for _, part in runs.groupby("arm", sort=False) for place in part.index]
        rows[form.replace("gap", "onset")] = pd.Series(found, index=order, dtype="Int64")
    return rows, thresholds
