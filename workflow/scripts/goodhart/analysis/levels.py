"""Levels of beta: Table 1, the trends of its quantities with beta, and differences of AUGC between arms."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from goodhart.analysis.replicates import t_interval
from goodhart.analysis.statistics import rank_correlation, replicate_slopes, stratified_trend

CENSORED = ("onset", "onset_paper")  # a run without an onset is censored and ranks after all others

# The columns of Table 1: title, and the column of the run table that is averaged.
TABLE1 = {
    "AUGC": "augc",
    "AUGC (Eq. 2)": "augc_paper",
    "AUGC from pi0": "augc_reference",
    "AUGC floor": "augc_floor",
    "Offline loss": "offline_loss",
    "Online loss": "online_loss",
    "Online loss, share": "online_loss_share",
    "Total loss": "total_loss",
    "Mean UQ": "uncertainty_mean",
    "Mean UQ, centred": "uncertainty_centred_mean",
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
    "Win rate, judge": "judge_win_rate",
    "Win rate, held-out": "held_out_win_rate",
    "Offline KL": "offline_kl",
    "KL from pi0, end": "kl_reference_end",
    "Held-out gap, end": "held_out_gap_end",
    "Reward error, end": "reward_error_end",
    "Specification error, end": "specification_error_end",
    "Calibrated gap, end": "calibrated_gap_end",
}

# Why Eq. 2 is unreliable for a run (`gap.flags_at_start`); every table counts these runs.
FLAGS = {
    "true_at_start_is_zero": "True start 0",
    "proxy_at_start_near_zero": "Proxy start near 0",
    "proxy_at_start_is_negative": "Proxy start below 0",
}


def by_level(runs: pd.DataFrame) -> Iterator[tuple[str, str, str, float, pd.DataFrame]]:
    """Yield (arm, method, level, beta, runs): arms and methods in the order of the runs, the smallest beta first."""
    for (arm, method), part in runs.groupby(["arm", "method"], sort=False):
        betas = part.groupby("level")["beta"].mean().sort_values()
        for level, beta in betas.items():
            yield str(arm), str(method), str(level), float(beta), part[part["level"] == level]


def table1(runs: pd.DataFrame) -> pd.DataFrame:
    """Table 1: arm, method, level, beta, n, then for each column of `TABLE1` the mean over replicates and its error.

    `<column>_se` is the standard error, `<column>_low` and `_high` the 95 % t interval over replicates. beta is the
    mean of the level over replicates. An average leaves out the runs without a value; `<column>_n` counts the runs with
    one. The columns of `FLAGS` count the runs for which Eq. 2 is unreliable.
    """
    rows = []
    for arm, method, level, beta, part in by_level(runs):
        row: dict[str, Any] = {"arm": arm, "method": method, "level": level, "beta": beta, "n": len(part)}
        for column in TABLE1.values():
            found = t_interval(part.sort_values("replicate")[column].dropna())
            low, high = found["interval"] or (None, None)
            row |= {column: found["mean"], f"{column}_se": found["se"]}
            row |= {f"{column}_low": low, f"{column}_high": high, f"{column}_n": found["n"]}
        row |= {flag: int(part[flag].sum()) for flag in FLAGS}
        rows.append(row)
    return pd.DataFrame(rows)


def trends(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The trend with beta, by several tests, of each arm, method and column of Table 1.

    `level_means`, `pooled` and `per_replicate` are Spearman's rho of the means over replicates, of all runs, and of
    each replicate's runs, each with its permutation p; `kendall` holds Kendall's tau of the same three.
    `within_replicates` is the test stratified by replicate; `slope` is the change per factor e in beta, for each
    replicate. Every p is two-sided, and every test has its own n. A run without an onset ranks after all runs with one,
    and the onset then has no slope.
    """
    found = []
    for (arm, method), part in runs.groupby(["arm", "method"], sort=False):
        for title, column in TABLE1.items():
            known = part.sort_values(["replicate", "beta"])
            never = column in CENSORED and known[column].isna().any() and not known[column].isna().all()
            known = known.fillna({column: known[column].max() + 1}) if never else known.dropna(subset=[column])
            beta, replicate = known["beta"].to_numpy(), known["replicate"].to_numpy()
            values = known[column].to_numpy(dtype=float)
            spearman, kendall = (_rank_correlations(known, column, kind) for kind in ("spearman", "kendall"))
            found.append(
                {"arm": arm, "method": method, "quantity": title, "column": column}
                | spearman
                | {"kendall": kendall}
                | {"within_replicates": stratified_trend(beta, values, replicate)}
                | {"slope": None if never else replicate_slopes(np.log(beta), values, replicate)}
            )
    return found


def arm_differences(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """AUGC of every other arm minus AUGC of the first arm, for pairs of runs with the same method, level and replicate.

    There is one row per method and other arm: `levels` holds mean, standard error, interval and n of the difference at
    each level, `slope` its change per factor e in beta, `within_replicates` the test of its trend. A run that belongs
    to both arms has no difference and is left out; `shared` is the number of such runs.
    """
    found = []
    key = ["method", "level", "beta", "replicate"]
    for method, part in runs.groupby("method", sort=False):
        first, *others = part["arm"].unique()
        for arm in others:
            pair = part[part["arm"] == first].merge(part[part["arm"] == arm], on=key, suffixes=("_first", ""))
            pair = pair.assign(change=pair["augc"] - pair["augc_first"]).sort_values(["replicate", "beta"])
            apart = pair[pair["kl_level"] != pair["kl_level_first"]]
            beta, change, replicate = (apart[name].to_numpy() for name in ("beta", "change", "replicate"))
            by = apart.groupby("level", sort=False)["change"]
            found.append(
                {
                    "method": method,
                    "arm": arm,
                    "first": first,
                    "levels": [{"level": level, **t_interval(values)} for level, values in by],
                    "slope": replicate_slopes(np.log(beta), change, replicate),
                    "within_replicates": stratified_trend(beta, change, replicate),
                    "shared": int((pair["kl_level"] == pair["kl_level_first"]).sum()),
                }
            )
    return found


def _rank_correlations(runs: pd.DataFrame, column: str, kind: str) -> dict[str, Any]:
    means = runs.groupby("level")[["beta", column]].mean()
    by = runs.groupby("replicate")
    return {
        "level_means": rank_correlation(means["beta"], means[column], kind),
        "pooled": rank_correlation(runs["beta"], runs[column], kind),
        "per_replicate": [
            {"replicate": int(str(r)), **rank_correlation(part["beta"], part[column], kind)} for r, part in by
        ],
    }
