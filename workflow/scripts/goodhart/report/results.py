"""The results of a finished study: what findings, tables and figures are made from."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from goodhart.analysis.levels import arm_differences, table1, trends
from goodhart.analysis.runs import RUN
from goodhart.errors import InputError
from goodhart.report.flags import FindingsFlags, ResultFlags
from goodhart.store.files import read_json

Record = Mapping[str, Any]

# The keys of a fit, as fit_power_law.py writes it.
FIT = [
    *("a", "b", "c", "r_squared", "n", "exact_by_construction", "parameter_intervals", "beta_star"),
    *("beta_star_interval", "augc_at_beta_star", "resamples", "warnings", "rivals", "tradeoff"),
]


@dataclass(frozen=True)
class Results:
    """The tables and records of a finished study, as the scripts write them; `fits` is keyed by (method, arm).

    `setup` is what a study was given and derived before its runs; pages report it, figures do not use it. Its keys are
    `grid` (the levels of the beta grid, Eq. 6-7), `derived` (Appendix C, by stage), `coverage` (of the preference
    data), `online_problems`, `shared_problems` (online problems that are also evaluation problems), `evaluation_seed`,
    `redraw` (stages that each replicate repeats); derived, coverage and problems are those of the first replicate.
    `qualities` has the quality.json of each replicate.
    """

    runs: pd.DataFrame
    gaps: pd.DataFrame
    fits: Mapping[tuple[str, str], Record]
    overoptimisation: pd.DataFrame
    scales: Record
    qualities: Sequence[Record]
    decision: Record = field(default_factory=dict)
    gates: Sequence[Record] = ()
    pressure: pd.DataFrame | None = None
    setup: Record = field(default_factory=dict)

    @cached_property
    def table1(self) -> pd.DataFrame:
        return table1(self.runs)

    @cached_property
    def trends(self) -> list[dict[str, Any]]:
        return trends(self.runs)

    @cached_property
    def differences(self) -> list[dict[str, Any]]:
        return arm_differences(self.runs)

    @cached_property
    def methods(self) -> list[str]:
        return list(self.runs["method"].unique())

    @cached_property
    def arms(self) -> list[str]:
        return list(self.runs["arm"].unique())

    @cached_property
    def panels(self) -> list[tuple[str, str]]:
        """Every (method, arm) of the study, in the order of the runs."""
        return list(dict.fromkeys(zip(self.runs["method"], self.runs["arm"], strict=True)))

    @property
    def first_panels(self) -> list[tuple[str, str]]:
        """Every method with its first arm, for quantities of the offline checkpoint, which are the same in all arms."""
        return [(m, next(arm for method, arm in self.panels if method == m)) for m in dict(self.panels)]

    @cached_property
    def betas(self) -> dict[str, float]:
        """The mean beta of every offline level over replicates, the smallest first."""
        means = self.runs.groupby("level")["beta"].mean().sort_values()
        return {str(level): float(beta) for level, beta in means.items()}

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The evaluations of every arm, and the root of the KL."""
        merged = self.runs[["arm", *RUN]].merge(self.gaps, on=RUN)
        return merged.assign(
            distance=np.sqrt(merged["kl"].clip(lower=0)),  # the estimate of a KL near 0 can be negative
        )

    def name(self, method: str, arm: str) -> str:
        """'paper', or 'dpo, paper' if the study has several methods."""
        return arm if len(self.methods) == 1 else f"{method}, {arm}"

    def of(self, table: pd.DataFrame, method: str, arm: str) -> pd.DataFrame:
        """The rows of one method and arm of `runs`, `curves` or `table1`."""
        return table[(table["method"] == method) & (table["arm"] == arm)]

    def levels(self, method: str, arm: str) -> list[dict[Hashable, Any]]:
        """The rows of Table 1 of one method and arm, the smallest beta first."""
        return self.of(self.table1, method, arm).to_dict("records")

    def trend(self, method: str, arm: str, column: str) -> Record:
        """The trend of one quantity with beta."""
        return next(t for t in self.trends if (t["method"], t["arm"], t["column"]) == (method, arm, column))


def read_results(given: ResultFlags) -> Results:
    """The results from a step's flags; `FindingsFlags` also give the setup and the statistics of Table 1."""
    laws = {path.stem: path for path in given.fits}
    panels = list(dict.fromkeys(zip(given.runs["method"], given.runs["arm"], strict=True)))
    if absent := [f"{method}-{arm}" for method, arm in panels if f"{method}-{arm}" not in laws]:
        raise InputError(f"--fits: there is no {absent[0]}.json, but --runs contains runs of this arm.")
    results = Results(
        runs=given.runs,
        gaps=given.gaps,
        fits={(method, arm): read_json(laws[f"{method}-{arm}"], FIT) for method, arm in panels},
        overoptimisation=given.overoptimisation,
        scales=given.scales,
        qualities=given.quality,
    )
    if isinstance(given, FindingsFlags):  # otherwise, the statistics of Table 1 are computed on first use
        online, evaluation = (part["prompt"] for part in given.problems)
        setup = {
            "grid": given.beta_grid["levels"],
            "derived": given.derived,
            "coverage": given.coverage,
            "online_problems": len(online),
            "shared_problems": int(online.isin(evaluation).sum()),
            "evaluation_seed": given.evaluation_seed,
            "redraw": given.redraw,
        }
        judged = {"decision": given.decision, "gates": given.gates["gates"], "pressure": given.pressure}
        tested = {"trends": given.trends["trends"], "differences": given.trends["arm_differences"]}
        vars(results).update(judged, setup=setup, **tested)
    return results
