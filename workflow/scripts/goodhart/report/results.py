"""The results of a finished study: what findings, tables and figures are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from goodhart.errors import InputError
from goodhart.store.files import read_json


@dataclass(frozen=True)
class Results:
    """The tables and records of a finished study, as `measurement` and the scripts make them; fits by (method, arm)."""

    runs: pd.DataFrame
    gaps: pd.DataFrame
    table1: pd.DataFrame
    trends: Sequence[Mapping[str, Any]]
    differences: Sequence[Mapping[str, Any]]
    fits: Mapping[tuple[str, str], Mapping[str, Any]]
    overoptimisation: pd.DataFrame
    scales: Mapping[str, Any]
    quality: Mapping[str, Any]
    betas: Sequence[Mapping[str, Any]]
    derived: Mapping[str, Any]
    coverage: Mapping[str, Any]
    online_problems: int
    shared_problems: int  # online problems that are evaluation problems too
    evaluation_seed: int

    @cached_property
    def panels(self) -> list[tuple[str, str]]:
        """Every (method, arm) of the study, in the order of the runs."""
        return list(dict.fromkeys(zip(self.runs["method"], self.runs["arm"], strict=True)))

    @property
    def first_panels(self) -> list[tuple[str, str]]:
        """Every method with its first arm, for what belongs to the offline checkpoint and is the same in all arms."""
        return [(m, next(arm for method, arm in self.panels if method == m)) for m in dict(self.panels)]

    def name(self, method: str, arm: str) -> str:
        """'paper', or 'dpo, paper' where there are several methods."""
        return arm if len(self.runs["method"].unique()) == 1 else f"{method}, {arm}"

    def levels(self, method: str, arm: str) -> pd.DataFrame:
        """The rows of Table 1 of one method and arm, the smallest beta first."""
        return self.table1[(self.table1["method"] == method) & (self.table1["arm"] == arm)]

    def trend(self, method: str, arm: str, column: str) -> Mapping[str, Any]:
        """The trend of one quantity with beta."""
        return next(t for t in self.trends if (t["method"], t["arm"], t["column"]) == (method, arm, column))


# The keys of a fit, as fit_power_law.py writes it.
FIT = ["a", "b", "c", "r_squared", "n", "exact_by_construction", "parameter_intervals", "beta_star"]


FIT += ["beta_star_interval", "augc_at_beta_star", "resamples", "warnings", "rivals", "tradeoff"]


def read_fits(paths: Sequence[Path], runs: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """The fit of every (method, arm) of the runs, in their order, from files named <method>-<arm>.json."""
    files, fits = {path.stem: path for path in paths}, {}
    for method, arm in dict.fromkeys(zip(runs["method"], runs["arm"], strict=True)):
        if f"{method}-{arm}" not in files:
            raise InputError(f"--fits: there is no {method}-{arm}.json, yet there are such runs.")
        fits[method, arm] = read_json(files[f"{method}-{arm}"], FIT)
    return fits
