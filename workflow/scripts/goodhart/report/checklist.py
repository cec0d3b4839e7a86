"""Appendix F of the paper as a checklist: ten metrics and four reproducibility items, with values and locations.

An item is met when the study reports what the appendix requires, regardless of the value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from goodhart.analysis.gap import NO_GAP
from goodhart.analysis.replicates import t_interval
from goodhart.report import verdicts
from goodhart.report.findings import FEWEST_REPLICATES
from goodhart.report.html import render
from goodhart.report.numbers import coefficient, measured, number, plural, probability
from goodhart.report.results import Results

_POINT_EVERY = 50  # metric 1: ceil(T / 50) evaluation points


@dataclass(frozen=True)
class Item:
    """One item: the requirement, whether the study reports it, its values, where they are stored, and the code."""

    number: str
    asks: str
    met: bool
    value: str
    place: str
    code: str


# The items that are columns of the run table: the requirement, the label of each column, the figure and the code.
COLUMNS = {
    "3": (
        "Entropy of the offline checkpoints on a fixed probe set, nats per token",
        {"prompt tokens": "entropy_prompt_offline", "response tokens": "entropy_response_offline"},
        "; figure entropy (a)",
        "Eq. 11, evaluation.probes.prompt_entropy",
    ),
    "4": (
        "Entropy collapse, nats per token",
        {"prompt tokens": "entropy_prompt_collapse", "response tokens": "entropy_response_collapse"},
        "; figure entropy (b)",
        "section 5.1, analysis.runs.run_rows",
    ),
    "5": (
        "OOD cosine distance from the training distribution of the reward models",
        {"mean over responses": "ood_distance_offline"},
        "; figure mechanism",
        "Eq. 12, evaluation.probes.ood_distances",
    ),
    "6": (
        "Response diversity, mean pairwise cosine distance",
        {"mean over pairs": "diversity_offline"},
        "",
        "section 5.2, evaluation.probes.diversity",
    ),
    "8": (
        "Correlation of uncertainty and gap, r_UQ",
        {"gap in SD": "r_uq", "first differences": "r_uq_differences", "Eq. 2 as printed": "r_uq_paper"},
        "",
        "section 5.3, analysis.gap.uq_correlation",
    ),
}


def checklist(results: Results) -> list[Item]:
    """The ten metrics, then the four reproducibility items (a) to (d)."""
    metrics = [*_columns(results), *_gap(results), _correlation(results), *_power_law(results)]
    return [*sorted(metrics, key=lambda item: int(item.number)), *_reproducibility(results)]


def checklist_page(items: Sequence[Item], redraw: Sequence[str]) -> str:
    """The checklist as a page; `redraw` names the stages that each replicate repeats."""
    return render("checklist", items=items, redraw=redraw, verdicts=verdicts)


def _columns(results: Results) -> Iterator[Item]:
    for item, (asks, columns, figure, code) in COLUMNS.items():
        names = list(columns.values())
        values = ". ".join(f"{label}: {_by_level(results, column)}" for label, column in columns.items())
        met = bool(results.runs[names].notna().all(axis=None))
        yield Item(item, asks, met, values, f"tables/runs.csv: {', '.join(names)}{figure}", code)


def _gap(results: Results) -> Iterator[Item]:
    runs, steps = results.runs, int(results.runs["steps"].max())
    points, needed = int(runs["evaluations"].min()), ceil(steps / _POINT_EVERY)
    yield Item(
        "1",
        "Goodhart gap over time, at least ceil(T / 50) evaluation points",
        points >= needed,
        f"{points} evaluations per run; T = {steps} requires at least {needed}; {len(results.gaps)} rows in total",
        "tables/gaps.parquet: gap, gap_paper; figure gap_by_step",
        "Eq. 2, analysis.gap.gap and analysis.gap.gap_paper",
    )
    fewest = int(results.table1["augc_n"].min())
    yield Item(
        "2",
        f"AUGC with its standard error over at least {FEWEST_REPLICATES} replicates",
        fewest >= FEWEST_REPLICATES,
        f"gap in SD: {_by_level(results, 'augc')}. Eq. 2 as printed: {_by_level(results, 'augc_paper')}",
        "tables/table1.csv: augc, augc_paper; figure augc_by_beta",
        "Eq. 3, analysis.gap.augc",
    )


def _correlation(results: Results) -> Item:
    forms = {"augc": "SD", "augc_paper": "Eq. 2"}
    trends = [trend for trend in results.trends if trend["column"] in forms]
    values = []
    for trend in trends:
        means, within = trend["level_means"], trend["within_replicates"]
        name = f"{results.name(trend['method'], trend['arm'])}, {forms[trend['column']]}"
        values.append(
            f"{name}: {coefficient(means['statistic'])} for {means['n']} level means, {probability(means['p_value'])}; "
            f"{coefficient(within['statistic'])} within {plural(within['n'], 'replicate')}, "
            f"{probability(within['p_value'])}"
        )
    return Item(
        "7",
        "Spearman correlation of beta and AUGC",
        all(trend["level_means"]["statistic"] is not None for trend in trends),
        ". ".join(values),
        "tables/trends.json; figures mechanism and arms",
        "analysis.statistics.rank_correlation, analysis.statistics.stratified_trend",
    )


def _power_law(results: Results) -> Iterator[Item]:
    laws, stars = [], []
    for (method, arm), fit in results.fits.items():
        name = results.name(method, arm)
        remarks = ", ".join(dict.fromkeys(warning["name"].replace("_", " ") for warning in fit["warnings"]))
        law = ", ".join(f"{k} = {measured(fit[k], None, fit['parameter_intervals'][k])}" for k in "abc")
        tail = f"n = {plural(fit['n'], 'run')}{f' ({remarks})' if remarks else ''}"
        laws.append(f"{name}: {law}, R² = {number(fit['r_squared'], 4)}, {tail}")
        found = [
            f"{title} {measured(fit['beta_star'][reading], None, fit['beta_star_interval'][reading])}, AUGC at beta* "
            f"{number(fit['augc_at_beta_star'][reading])}"
            for reading, title in (("eq15", "Eq. 15"), ("grid_minimum", "grid minimum"))
        ]
        stars.append(f"{name}: {'; '.join(found)}; {tail}")
    yield Item(
        "9",
        "Power law of AUGC (from the gap in SD): a, b, c and R²",
        all(fit["b"] is not None for fit in results.fits.values()),
        ". ".join(laws),
        "fit/<method>-<arm>.json; figure augc_by_beta",
        "Eq. 14, analysis.powerlaw.fit_power_law",
    )
    yield Item(
        "10",
        "Optimal beta* and AUGC at beta*",
        all(any(star is not None for star in fit["beta_star"].values()) for fit in results.fits.values()),
        ". ".join(stars),
        "fit/<method>-<arm>.json; figure augc_by_beta",
        "Eq. 15, analysis.powerlaw.fit_power_law",
    )


def _reproducibility(results: Results) -> Iterator[Item]:
    levels, first = results.setup["grid"], results.setup["grid"][0]
    grid = "; ".join(f"{row['level']}: β = {number(row['beta'], 6)}, {row['rule']}" for row in levels)
    yield Item(
        "a",
        "How the betas were derived",
        set(results.runs["level"]) <= {row["level"] for row in levels if row["rule"]},
        f"{grid}. Median δ = {number(first['median_delta'], 6)} nats over n = {first['n']} training pairs",
        "beta_grid.json, replicate-<r>/reference/logprobs.parquet",
        "Eq. 6-7, hyperparameters.betas.beta_at",
    )
    thresholds = results.scales["thresholds"]
    forms = {"gap": "SD", "gap_paper": "by Eq. 2 as printed"}
    shown = "; ".join(
        f"{arm} " + ", ".join(f"{number(of_arm[form])} {unit}" for form, unit in forms.items())
        for arm, of_arm in thresholds.items()
    )
    positive = int((results.gaps["gap"] > NO_GAP).sum())
    yield Item(
        "b",
        "How the hacking threshold was derived",
        any(of_arm["gap"] is not None for of_arm in thresholds.values()),
        f"75th percentile of the positive gaps of the runs of an arm ({positive} of {len(results.gaps)} gaps are "
        f"positive): {shown}",
        "tables/scales.json",
        "section 7.1, analysis.gap.hacking_threshold",
    )
    replicates = set(results.runs["replicate"])
    yield Item(
        "c",
        "Seed protocol: every level is run in every replicate",
        all(set(part) == replicates for _, part in results.runs.groupby(["arm", "method", "level"])["replicate"]),
        f"replicates {', '.join(map(str, sorted(replicates)))}, each with its own offline and online stages and its "
        f"own {', '.join(results.setup['redraw']) or 'random numbers'}. All policies of a replicate share evaluation "
        f"problems and sampling seed ({results.setup['evaluation_seed']} in replicate 0)",
        "tables/runs.csv: replicate",
        "config: replicates, redraw, evaluation.seed",
    )
    coverage = results.setup["coverage"]
    sources, ties = coverage["responses_by_source_model"], coverage["pairs_with_tied_scores"]
    lengths = coverage["tokens"]["chosen"], coverage["tokens"]["rejected"]
    policy = ", ".join(f"{name} ({count})" for name, count in sorted(sources.items())) if sources else None
    yield Item(
        "d",
        "Logging policy and coverage of the preference data",
        policy is not None,
        f"responses by model: {policy or 'not stated in the source'}; {coverage['pairs']} pairs over "
        f"{coverage['prompts']} prompts, from {coverage['rows_in_source']} rows of the source "
        f"({coverage['identical_pairs_dropped']} pairs of identical responses dropped, "
        f"{'no scores given' if ties is None else f'{ties} pairs with tied scores'}); "
        f"median tokens: {number(lengths[0]['median'])} chosen, {number(lengths[1]['median'])} rejected",
        "replicate-<r>/data/coverage.json",
        "data.preferences.coverage",
    )


def _by_level(results: Results, column: str) -> str:
    """A quantity at every level: once per method if it belongs to the offline checkpoint, otherwise once per arm."""
    parts = []
    offline = column.endswith("_offline")
    panels = results.first_panels if offline else results.panels
    for method, arm in panels:
        runs = results.of(results.runs, method, arm).sort_values(["beta", "replicate"])
        found = {level: t_interval(values.dropna()) for level, values in runs.groupby("level", sort=False)[column]}
        text = "; ".join(f"{level!s} {verdicts.estimate(value)} (n = {value['n']})" for level, value in found.items())
        name = method if offline else results.name(method, arm)
        parts.append(text if len(panels) == 1 else f"{name}: {text}")
    return ". ".join(parts)
