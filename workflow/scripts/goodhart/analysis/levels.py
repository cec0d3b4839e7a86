"""Levels of beta: Table 1, the trends of its quantities with beta, and differences of AUGC between arms."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from goodhart.analysis.statistics import estimate, rank_correlation, seed_slopes, seed_stratified_trend

CENSORED = ("onset", "onset_paper")  # a run without an onset is censored and ranks after all others

# The columns of Table 1: title, and the column of the run table that is averaged.
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

# Why Eq. 2 is unreliable for a run (`gap.flags_at_start`); every table counts these runs.
FLAGS = {
    "true_at_start_is_zero": "True start 0",
    "proxy_at_start_near_zero": "Proxy start near 0",
    "proxy_at_start_is_negative": "Proxy start below 0",
}


def by_level(runs: pd.DataFrame) -> Iterator[tuple[str, str, str, float, pd.DataFrame]]:
    """Yield (arm, method, level, beta, runs): arms and methods in the order of the runs, the smallest beta first."""
    for (arm, method), part in runs.groupby(["arm", "method"], sort=False):
        for (beta, level), rows in part.groupby(["beta", "level"]):
            yield str(arm), str(method), str(level), float(str(beta)), rows


def table1(runs: pd.DataFrame) -> pd.DataFrame:
    """Table 1: arm, method, level, beta, n, then for each column of `TABLE1` the mean over seeds and its uncertainty.

    `<column>_se` is the standard error, `<column>_low` and `_high` the 95 % bootstrap interval over seeds (too narrow
    with only a few seeds). An average leaves out the runs without a value; `<column>_n` counts the runs with one.
    The columns of `FLAGS` count the runs for which Eq. 2 is unreliable.
    """
    rows = []
    for arm, method, level, beta, part in by_level(runs):
        row: dict[str, Any] = {"arm": arm, "method": method, "level": level, "beta": beta, "n": len(part)}
        for column in TABLE1.values():
            found = estimate(part.sort_values("seed")[column].dropna())
            low, high = found["interval"] or (None, None)
            row |= {column: found["mean"], f"{column}_se": found["se"]}
            row |= {f"{column}_low": low, f"{column}_high": high, f"{column}_n": found["n"]}
        row |= {flag: int(part[flag].sum()) for flag in FLAGS}
        rows.append(row)
    return pd.DataFrame(rows)


def trends(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The trend with beta, by several tests, of each arm, method and column of Table 1.

    `level_means`, `pooled` and `per_seed` are Spearman's rho of the means over seeds, of all runs, and of each seed's
    runs, each with its permutation p; `kendall` holds Kendall's tau of the same three. `within_seeds` is the test
    stratified by seed; `slope` is the change per factor e in beta, for each seed. Every p is two-sided, and every
    test has its own n. A run without an onset ranks after all runs with one, and the onset then has no slope.
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
    """AUGC of every other arm minus AUGC of the first arm, for pairs of runs with the same method, level and seed.

    There is one row per method and other arm: `levels` holds mean, standard error, interval and n of the difference at
    each level, `slope` its change per factor e in beta, `within_seeds` the test of its trend, and `shared` the number
    of runs that belong to both arms.
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
