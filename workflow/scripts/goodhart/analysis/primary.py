"""The primary contrast of a study: its runs, the tables of the gates and the decision rule, and equal pressure."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from goodhart.analysis.decision import CELLS, decide
from goodhart.analysis.gap import FloatArray
from goodhart.analysis.levels import FLAGS
from goodhart.analysis.pressure import true_at_pressure
from goodhart.analysis.rank import auroc_within
from goodhart.analysis.reference import by_step
from goodhart.analysis.runs import RUN
from goodhart.errors import InputError

# Offline betas of the primary contrast may miss its ends by this share, because percentiles differ between replicates.
SLACK = 0.05


def primary_runs(runs: pd.DataFrame, arm: str, beta_from: float, beta_to: float) -> pd.DataFrame:
    """The runs of one arm, of the first method, at the levels whose mean beta lies in the range.

    A level belongs to the contrast in all replicates or in none.
    """
    mine = runs[(runs["arm"] == arm) & (runs["method"] == runs["method"].iloc[0])]
    if mine.empty:
        raise InputError(f"the study has no arm {arm!r}; its arms are {', '.join(runs['arm'].unique())}.")
    means = mine.groupby("level")["beta"].mean()
    inside = means[(means >= beta_from * (1 - SLACK)) & (means <= beta_to * (1 + SLACK))].sort_values()
    return mine[mine["level"].isin(inside.index)].sort_values(["replicate", "beta"])


def verdict(primary: pd.DataFrame, gates_passed: bool) -> dict[str, Any]:
    """`decision.decide` on the primary contrast; no verdict below two levels, or if they differ in the online beta."""
    levels = primary.groupby("level", sort=False)["beta"].mean().to_dict()
    confounded = len(set(primary["kl_level"])) > 1
    if len(levels) < 2 or confounded:
        few = f"it has {len(levels)} of the two levels that it needs"
        reason = "its levels also differ in the online beta (Eq. 10)" if confounded else few
        sentence = f"No verdict on the primary contrast: {reason}."
        nothing = {"verdict": "no verdict", "sentence": sentence, "needed": None}
        return {
            "levels_of": levels,
            **nothing,
            "total": nothing,
            "eq2_reliable": True,
            "replicates": 0,
            "conditions": {},
            "contrasts": {},
        }
    return {"levels_of": levels, **decide(cells(primary), gates_passed)}


def cells(primary: pd.DataFrame) -> pd.DataFrame:
    """The columns that the decision rule reads; a number that is flagged as unreliable is missing (NaN).

    Eq. 2 is unreliable where a reward starts near 0, or the proxy below 0 (`gap.flags_at_start`).
    """
    reliable = primary["augc_paper"].where(~primary[list(FLAGS)].any(axis=1))
    return primary.assign(augc_paper=reliable)[["replicate", "beta", *CELLS]]


def gate_tables(
    runs: pd.DataFrame, primary: pd.DataFrame, scored: Mapping[int, pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The arguments of `gates.check`; `scored` holds pi0's responses with their scores, by replicate."""
    policies = runs.drop_duplicates("replicate")[["replicate", "true_reference"]]
    styles = []
    for replicate, responses in scored.items():
        for style, ranking in auroc_within(
            responses["proxy"], responses["correct"], responses["style"].fillna("all").to_numpy()
        ).items():
            styles.append({"replicate": replicate, "style": style, "auroc": ranking.auroc})
    levels = primary.assign(true_fall=primary["true_start"] - primary["true_end"])
    columns = ["replicate", "level", "beta", "offline_kl", "true_start", "proxy_rise", "true_fall"]
    # The primary arm is judged on the levels of the contrast alone: others may break, and are not compared.
    judged = pd.concat([runs[runs["arm"] != primary["arm"].iloc[0]], primary]) if len(primary) else runs
    arms = judged.groupby(["replicate", "arm"], sort=False)[["debris", "evaluations"]].sum().reset_index()
    return (
        policies.rename(columns={"true_reference": "accuracy"}),
        pd.DataFrame(styles).astype({"auroc": np.float64}),
        levels[columns],
        arms.assign(debris=arms["debris"] / arms["evaluations"])[["replicate", "arm", "debris"]],
    )


PRESSURES = ("proxy", "kl", "kl_reference")  # the mean reward of the ensemble; log-ratios to the own start and to pi0


def at_equal_pressure(
    runs: pd.DataFrame, responses: Iterable[pd.DataFrame], levels: list[str], proxy: Mapping[int, Mapping[str, float]]
) -> pd.DataFrame:
    """The true reward of every level where all levels are under equal pressure (rows of `summaries.PRESSURE`).

    Args:
        runs: the run table; every arm, method and replicate is a comparison of its levels.
        responses: the responses of each run.
        levels: the levels that are compared.
        proxy: {"mean", "scale"} of the proxy at pi0, by replicate; the pressure of the proxy is in SD since pi0.
    """
    series: dict[tuple[Any, ...], dict[str, FloatArray]] = {}
    for answers in responses:
        key = tuple(answers[RUN].iloc[0])
        origin = proxy[key[-1]]
        mean = np.stack(list(answers["rewards"])).mean(axis=1)
        columns = {
            "proxy": (mean - origin["mean"]) / origin["scale"],
            "kl": answers["log_ratio"],
            "kl_reference": answers["log_ratio_reference"],
            "true": answers["correct"],
        }
        scored = answers[["step", "problem_id"]].assign(**columns)
        series[key] = {name: by_step(scored, name) for name in columns}
    rows = []
    compared = runs[runs["level"].isin(levels)]
    for (arm, method, replicate), part in compared.groupby(["arm", "method", "replicate"], sort=False):
        run_of = {row["level"]: series[tuple(row[RUN])] for _, row in part.iterrows()}
        betas = dict(zip(part["level"], part["beta"], strict=True))
        for kind in PRESSURES:
            pressure, true = ({level: s[name] for level, s in run_of.items()} for name in (kind, "true"))
            found = true_at_pressure(pressure, true)
            for level, reading in found.readings.items():
                values = reading._asdict() if reading else dict.fromkeys(("true", "pressure", "evaluation"))
                cell = {"arm": arm, "method": method, "level": level, "beta": betas[level], "replicate": replicate}
                rows.append({**cell, "kind": kind, "target": found.target, **values})
    return pd.DataFrame(rows)
