"""From trajectories to the tables of a study: gaps, one row a run with the metrics of Appendix F, one row a level."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
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
from goodhart.analysis.statistics import (
    estimate,
    rank_correlation,
    seed_slopes,
    seed_stratified_trend,
)
from goodhart.errors import InputError

RUN = ["method", "level", "kl_level", "seed"]
CENSORED = ("onset", "onset_paper")  # a run without a value is later than every other, not unknown

# The columns of Table 1: what it is called, and the column of the run table that it averages.
TABLE1 = {
    "AUGC": "augc",
    "AUGC (Eq. 2)": "augc_paper",
    "Mean UQ": "uncertainty_mean",
    "Onset step": "onset",
    "Onset step (Eq. 2)": "onset_paper",
    "r_UQ": "r_uq",
    "r_UQ (Eq. 2)": "r_uq_paper",
    "True start": "true_start",
    "True end": "true_end",
    "KL end": "kl_end",
    "Truncated end": "truncated_end",
    "Empty end": "empty_end",
    "Truncated by reward models, end": "reward_truncated_end",
    "Zero-variance batches": "zero_variance_batches",
    "Entropy (Eq. 11)": "entropy_prompt_offline",
    "Entropy, responses": "entropy_response_offline",
    "Entropy collapse (Eq. 11)": "entropy_prompt_collapse",
    "Entropy collapse, responses": "entropy_response_collapse",
    "OOD distance": "ood_distance_offline",
    "Diversity": "diversity_offline",
    "Win rate": "win_rate",
}

# What makes Eq. 2 mean little (`gap.flags_at_start`); every table counts the runs that have it.
FLAGS = {
    "true_at_start_is_zero": "True start 0",
    "proxy_at_start_near_zero": "Proxy start near 0",
    "proxy_at_start_is_negative": "Proxy start below 0",
}


@dataclass(frozen=True)
class Scales:
    """What turns rewards into gaps, one set a study.

    proxy: SD of the ensemble mean over held-out preference responses; true: SD of one true reward at the reference
    policy, whose `successes` of `problems` are counted; thresholds: 75th percentile of all positive gaps, by form.
    """

    proxy: float
    true: float
    successes: int
    problems: int
    threshold: float | None = None
    threshold_paper: float | None = None


def scales(quality: Mapping[str, Any], responses: pd.DataFrame) -> Scales:
    """The scales of both rewards, from the ensemble's `quality.json` and the reference policy's responses."""
    if not quality["proxy_scale"] > 0:
        raise InputError("the ensemble gives every held-out response the same reward; it has learned nothing to hack.")
    successes, problems = int(responses["correct"].sum()), len(responses)
    return Scales(quality["proxy_scale"], true_scale(successes, problems), successes, problems)


def add_gaps(trajectories: Iterable[pd.DataFrame], scale: Scales) -> tuple[pd.DataFrame, Scales]:
    """All trajectories in one table with both forms of the gap, and the scales with the hacking thresholds."""
    parts = []
    for trajectory in trajectories:
        ordered = trajectory.sort_values("step")
        proxy, true = ordered["proxy"].to_numpy(), ordered["true"].to_numpy()
        parts.append(ordered.assign(gap=gap(proxy, true, scale.proxy, scale.true), gap_paper=gap_paper(proxy, true)))
    gaps = pd.concat(parts, ignore_index=True)
    threshold, threshold_paper = (hacking_threshold([gaps[form].to_numpy()]) for form in ("gap", "gap_paper"))
    return gaps, replace(scale, threshold=threshold, threshold_paper=threshold_paper)


def run_rows(gaps: pd.DataFrame, probes: pd.DataFrame, updates: pd.DataFrame, scale: Scales) -> pd.DataFrame:
    """One row a run: the metrics of Appendix F (columns of `summaries.RUNS` but `arm`).

    `true_drop_se` is the standard error of the fall in accuracy, of two binomial samples taken as independent: too
    wide rather than too narrow, as both are of the same problems.
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
            raise InputError(f"run {'/'.join(map(str, key))} has no probe of its offline checkpoint; name it too.")
        correlation, correlation_paper = (uq_correlation(run["uncertainty"].to_numpy(), g) for g in (series, printed))
        rows.append(
            {
                **{name: first[name] for name in (*RUN, "beta", "kl_beta")},
                "steps": last["step"],
                "evaluations": len(run),
                "augc": augc(steps, series),
                "augc_paper": augc(steps, printed),
                "onset": onset(steps, series, scale.threshold),
                "onset_paper": onset(steps, printed, scale.threshold_paper),
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


def select_arms(runs: pd.DataFrame, arms: Mapping[str, Iterable[tuple[str, str, str, int]]]) -> pd.DataFrame:
    """The runs of every arm, stacked, with a first column `arm`; a run in two arms stands twice."""
    indexed = runs.set_index(RUN)
    for arm, cells in arms.items():
        for cell in cells:
            if cell not in indexed.index:
                raise InputError(f"arm {arm} wants run {'/'.join(map(str, cell))}, which is not among the runs.")
    parts = [indexed.loc[list(cells)].reset_index().assign(arm=arm) for arm, cells in arms.items()]
    stacked = pd.concat(parts, ignore_index=True)
    return stacked[["arm", *(column for column in stacked if column != "arm")]]


def by_level(runs: pd.DataFrame) -> Iterator[tuple[str, str, str, float, pd.DataFrame]]:
    """(arm, method, level, beta, its runs): arms and methods in the order of the runs, the smallest beta first."""
    for (arm, method), part in runs.groupby(["arm", "method"], sort=False):
        for (beta, level), rows in part.groupby(["beta", "level"]):
            yield str(arm), str(method), str(level), float(str(beta)), rows


def table1(runs: pd.DataFrame) -> pd.DataFrame:
    """Table 1: arm, method, level, beta, n, then of each column of `TABLE1` its mean over seeds and how sure it is.

    `<column>_se` is the standard error, `<column>_low` and `_high` the 95 % bootstrap interval over seeds (a handful of
    seeds makes it too narrow). An average leaves out the runs without a value; `<column>_n` counts those that have one.
    The columns of `FLAGS` count the runs in which Eq. 2 means little.
    """
    rows = []
    for arm, method, level, beta, part in by_level(runs):
        row: dict[str, Any] = {"arm": arm, "method": method, "level": level, "beta": beta, "n": len(part)}
        for column in TABLE1.values():
            values = part.sort_values("seed")[column].dropna().to_numpy(dtype=float)
            found = estimate(values)
            low, high = found["interval"] or (None, None)
            row |= {column: found["mean"], f"{column}_se": found["se"]}
            row |= {f"{column}_low": low, f"{column}_high": high, f"{column}_n": found["n"]}
        row |= {flag: int(part[flag].sum()) for flag in FLAGS}
        rows.append(row)
    return pd.DataFrame(rows)


def trends(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """For each arm, method and column of Table 1: how the quantity goes with beta, in the ways a reader may ask for.

    `level_means`, `pooled` and `per_seed` are Spearman's rho of the means over seeds, of all runs, and of each seed's
    runs, each with its permutation p; `kendall` holds Kendall's tau of the same three. `within_seeds` is the test that
    uses the seeds; `slope` the change per factor e in beta, seed by seed. Every p is two-sided, every n its own. A run
    without an onset ranks after all that have one, and the onset then has no slope.
    """
    found = []
    for (arm, method), part in runs.groupby(["arm", "method"], sort=False):
        for title, column in TABLE1.items():
            known = part.sort_values(["seed", "beta"])
            never = column in CENSORED and known[column].isna().any() and not known[column].isna().all()
            known = known.fillna({column: known[column].max() + 1}) if never else known.dropna(subset=[column])
            beta, seed = known["beta"].to_numpy(), known["seed"].to_numpy()
            values = known[column].to_numpy(dtype=float)
            spearman, kendall = (_rank_correlations(beta, values, seed, kind) for kind in ("spearman", "kendall"))
            found.append(
                {"arm": arm, "method": method, "quantity": title, "column": column}
                | spearman
                | {"kendall": kendall}
                | {"within_seeds": seed_stratified_trend(beta, values, seed)}
                | {"slope": None if never else seed_slopes(np.log(beta), values, seed)}
            )
    return found


def arm_differences(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """AUGC of every other arm less that of the first, run by run with the same method, level and seed.

    A row a method and other arm: `levels` with mean, standard error, interval and n of the difference at each level,
    `slope` its change per factor e in beta, `within_seeds` the test of its trend, `shared` how many runs are in both.
    """
    found = []
    key = ["method", "level", "beta", "seed"]
    for method, part in runs.groupby("method", sort=False):
        first, *others = part["arm"].unique()
        for arm in others:
            pair = part[part["arm"] == first].merge(part[part["arm"] == arm], on=key, suffixes=("_first", ""))
            pair = pair.assign(change=pair["augc"] - pair["augc_first"]).sort_values(["seed", "beta"])
            beta, change, seed = (pair[name].to_numpy() for name in ("beta", "change", "seed"))
            by = pair.groupby(["beta", "level"])["change"]
            found.append(
                {
                    "method": method,
                    "arm": arm,
                    "first": first,
                    "levels": [{"level": level, **estimate(values)} for (_, level), values in by],
                    "slope": seed_slopes(np.log(beta), change, seed),
                    "within_seeds": seed_stratified_trend(beta, change, seed),
                    "shared": int((pair["kl_level"] == pair["kl_level_first"]).sum()),
                }
            )
    return found


def _rank_correlations(
    beta: npt.NDArray[Any], values: npt.NDArray[Any], seed: npt.NDArray[Any], kind: str
) -> dict[str, Any]:
    betas = np.unique(beta)
    means = [values[beta == b].mean() for b in betas]
    of = {int(s): seed == s for s in np.unique(seed)}
    return {
        "level_means": rank_correlation(betas, means, kind),
        "pooled": rank_correlation(beta, values, kind),
        "per_seed": [{"seed": s, **rank_correlation(beta[mine], values[mine], kind)} for s, mine in of.items()],
    }
