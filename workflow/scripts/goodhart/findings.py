"""What a study found, in words and tables made from its results: every number with its n and its uncertainty.

Nothing here computes a statistic; it words those of `measurement`, `powerlaw`, `rivals`, `tradeoff` and
`overoptimisation`. The verdict on a trend is that of the permutation test that uses the seeds.
"""
# ruff: noqa: RUF001 - reports speak Greek

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from goodhart.measurement import FLAGS, TABLE1

SIGNIFICANCE = 0.05
_FEWEST_SEEDS = 3  # Appendix F, metric 2
_UNITS = {"augc": "SD × updates", "entropy_prompt_offline": "nats a token", "entropy_response_offline": "nats a token"}


@dataclass(frozen=True)
class Results:
    """The tables and records of a finished study: RUNS, `table1`, `trends`, fits by (method, arm), and the rest."""

    runs: pd.DataFrame
    gaps: pd.DataFrame
    table1: pd.DataFrame
    trends: Sequence[Mapping[str, Any]]
    fits: Mapping[tuple[str, str], Mapping[str, Any]]
    overoptimisation: pd.DataFrame
    scales: Mapping[str, Any]
    quality: Mapping[str, Any]
    betas: Sequence[Mapping[str, Any]]
    derived: Mapping[str, Any]
    coverage: Mapping[str, Any]
    evaluation_seed: int

    @cached_property
    def panels(self) -> list[tuple[str, str]]:
        """Every (method, arm) of the study, in the order of the runs."""
        return list(dict.fromkeys(zip(self.runs["method"], self.runs["arm"], strict=True)))

    def name(self, method: str, arm: str) -> str:
        """'paper', or 'dpo, paper' where there are several methods."""
        return arm if len(self.runs["method"].unique()) == 1 else f"{method}, {arm}"

    def levels(self, method: str, arm: str) -> pd.DataFrame:
        """The rows of Table 1 of one method and arm, the smallest beta first."""
        return self.table1[(self.table1["method"] == method) & (self.table1["arm"] == arm)]

    def trend(self, method: str, arm: str, column: str) -> Mapping[str, Any]:
        """The trend of one quantity with beta."""
        return next(t for t in self.trends if (t["method"], t["arm"], t["column"]) == (method, arm, column))


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, a true minus sign and no exponent below a million; '-' for none."""
    if value is None or pd.isna(value):
        return "-"
    text = f"{value:.{digits}g}"
    if "e" in text and 1 <= abs(value) < 1e6:
        text = f"{value:.0f}"
    return text.replace("-", "−")


def measured(mean: float | None, se: float | None, interval: Sequence[float | None] | None = None) -> str:
    """'mean ± standard error [interval]', as far as there is one."""
    text = number(mean)
    if se is not None and not pd.isna(se):
        text += f" ± {number(se, 2)}"
    if interval is not None and not any(end is None or pd.isna(end) for end in interval):
        text += f" [{number(interval[0])}, {number(interval[1])}]"
    return text


def probability(p: float | None) -> str:
    """'p = 0.333', 'p < 0.001', or 'no p' where nothing varies."""
    return "no p" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def coefficient(value: float | None) -> str:
    """A correlation with its sign."""
    return "-" if value is None else f"{value:+.2f}".replace("-", "−")


def cell(row: Mapping[str, Any] | pd.Series[Any], column: str, count: bool = True) -> str:
    """One quantity of a row of Table 1: mean ± standard error [bootstrap interval] (n)."""
    text = measured(row[column], row[f"{column}_se"], (row[f"{column}_low"], row[f"{column}_high"]))
    return f"{text} (n = {row[f'{column}_n']})" if count else text


def direction(trend: Mapping[str, Any]) -> str:
    """'rises with beta', 'falls with beta' or 'shows no order in beta ...', by the test that uses the seeds."""
    test = trend["within_seeds"]
    if test["p_value"] is None:
        return "does not vary with beta"
    if test["p_value"] >= SIGNIFICANCE:
        return f"shows no order in beta that {seeds(test['n'])} can tell from chance"
    return "rises with beta" if test["statistic"] > 0 else "falls with beta"


def seeds(n: int) -> str:
    return f"{n} seed" if n == 1 else f"{n} seeds"


def evidence(trend: Mapping[str, Any], unit: str = "") -> str:
    """The tests and the size of a trend, as a clause."""
    within, means, slope = trend["within_seeds"], trend["level_means"], trend["slope"]
    if within["p_value"] is None:
        return f"{seeds(within['n'])}, no variation"
    size = f"{measured(slope['mean'], slope['se'], slope['interval'])}{' ' + unit if unit else ''}"
    return (
        f"Spearman within seeds {coefficient(within['statistic'])}, {probability(within['p_value'])}, "
        f"{seeds(within['n'])}; of the {means['n']} level means {coefficient(means['statistic'])}, "
        f"{probability(means['p_value'])}; "
        f"change a factor of e in beta {size}, n = {slope['n']}"
    )


def conservatism(results: Results) -> Iterator[str]:
    """The question of the paper, arm by arm, in both forms of the gap."""
    fewest = int(results.table1["n"].min())
    if fewest < _FEWEST_SEEDS:
        yield f"A level has only {seeds(fewest)}: nothing below is more than an illustration."
    for method, arm in results.panels:
        levels = results.levels(method, arm)
        values = "; ".join(
            f"{cell(row, 'augc')} at {row['level']} (β = {row['beta']:.3g})" for _, row in levels.iterrows()
        )
        trend = results.trend(method, arm, "augc")
        yield (
            f"Arm {results.name(method, arm)}: AUGC, in SD × updates, is {values}. It {direction(trend)} "
            f"({evidence(trend)}). The paper reports that it rises, ρ = +1.00."
        )
        printed = results.trend(method, arm, "augc_paper")
        runs = results.runs[(results.runs["method"] == method) & (results.runs["arm"] == arm)]
        flagged = "; ".join(f"{title}: {int(runs[flag].sum())}" for flag, title in FLAGS.items())
        yield (
            f"With Eq. 2 as printed it {direction(printed)} ({evidence(printed)}). Eq. 2 has no origin to rely on: it "
            "explodes where a reward starts at 0, and starts at −2 where the proxy starts below 0, so that much "
            f"hacking can pass under it (of {len(runs)} runs, {flagged})."
        )


def second_use(results: Results) -> Iterator[str]:
    """What the ordering owes to Eq. 10's second use of beta: the other arms against the first."""
    for method in dict.fromkeys(results.runs["method"]):
        arms = [arm for m, arm in results.panels if m == method]
        if len(arms) == 1:
            yield "The study has one arm, so that it cannot tell the offline beta from the beta of Eq. 10."
            continue
        found = "; ".join(
            f"in arm {results.name(method, arm)} AUGC {direction(results.trend(method, arm, 'augc'))}" for arm in arms
        )
        yield (
            "Eq. 10 uses beta a second time, as the weight of the online penalty, so that an arm with each level's own "
            "beta changes two things at once; with one beta for all there, only the offline stage differs. "
            f"Here: {found}."
        )


def entropy(results: Results) -> Iterator[str]:
    """Proposition 5.1, whose statement and proof have opposite signs, against the measured sign."""
    yield (
        "Proposition 5.1 states that the entropy of the offline policy does not rise with beta; its proof (A.4) "
        "concludes that it does not fall. What is measured:"
    )
    names = {
        "entropy_response_offline": "over the tokens of sampled responses",
        "entropy_prompt_offline": "over the tokens of the prompts (Eq. 11 as printed)",
    }
    sides = {1: "as in the proof, against the statement", -1: "as stated, against the proof"}
    for method, arm in dict(reversed(results.panels)).items():
        for column, name in names.items():
            trend = results.trend(method, arm, column)
            test = trend["within_seeds"]
            decided = test["p_value"] is not None and test["p_value"] < SIGNIFICANCE
            side = f", {sides[1 if test['statistic'] > 0 else -1]}" if decided else ": neither sign is shown"
            unit = _UNITS[column]
            yield f"With {method}, entropy {name} {direction(trend)}{side} ({evidence(trend, unit)})."


# The chain of section 5 and what Table 1 says, each with the sign against beta that the paper reports.
CLAIMS = {
    "entropy_response_offline": ("Entropy of the offline policy", -1),
    "diversity_offline": ("Diversity of its responses", -1),
    "ood_distance_offline": ("Their distance from the rewards' data", -1),
    "uncertainty_mean": ("Ensemble uncertainty during the run", 1),
    "r_uq": ("Correlation of uncertainty and gap", 1),
    "onset": ("Onset of hacking", -1),
    "augc": ("Hacking damage, AUGC", 1),
}


def claim_rows(results: Results) -> list[dict[str, str]]:
    """What the paper says goes with beta, link by link, and what is measured."""
    rows = []
    for method, arm in results.panels:
        for column, (name, sign) in CLAIMS.items():
            trend = results.trend(method, arm, column)
            test = trend["within_seeds"]
            decided = test["p_value"] is not None and test["p_value"] < SIGNIFICANCE
            verdict = "as the paper" if decided and test["statistic"] * sign > 0 else "against it"
            rows.append(
                {
                    "arm": results.name(method, arm),
                    "link": name,
                    "the paper": "rises with beta" if sign > 0 else "falls with beta",
                    "here": direction(trend),
                    "verdict": verdict if decided else "undecided",
                    "evidence": evidence(trend),
                }
            )
    return rows


def trend_rows(results: Results) -> list[dict[str, str]]:
    """Every quantity of Table 1 against beta: the test within seeds, the level means, each seed, and the size."""
    rows = []
    for t in results.trends:
        within, slope = t["within_seeds"], t["slope"]
        rows.append(
            {
                "arm": results.name(t["method"], t["arm"]),
                "quantity": t["quantity"],
                "within seeds": _test(within, f"{within['n']} seeds"),
                "Spearman, level means": _test(t["level_means"], f"{t['level_means']['n']} levels"),
                "Spearman, all runs": _test(t["pooled"], f"{t['pooled']['n']} runs"),
                "Kendall, all runs": _test(t["kendall"]["pooled"], f"{t['kendall']['pooled']['n']} runs"),
                "Spearman, seed by seed": "; ".join(
                    f"{s['seed']}: {_test(s, str(s['n']))}" for s in t["per_seed"] if s["statistic"] is not None
                )
                or "-",
                "change a factor of e in beta": f"{measured(slope['mean'], slope['se'], slope['interval'])} "
                f"(n = {slope['n']})",
            }
        )
    return rows


def level_rows(results: Results) -> list[dict[str, str]]:
    """Table 1, a quantity a row and a level a column, with intervals."""
    rows = []
    for method, arm in results.panels:
        rows_of = {f"{row['level']} (β = {row['beta']:.3g})": row for _, row in results.levels(method, arm).iterrows()}
        for title, column in TABLE1.items():
            of = {name: cell(row, column) for name, row in rows_of.items()}
            rows.append({"arm": results.name(method, arm), "quantity": title, **of})
        for flag, title in FLAGS.items():
            flagged = {name: f"{row[flag]} of n = {row['n']} runs" for name, row in rows_of.items()}
            rows.append({"arm": results.name(method, arm), "quantity": f"{title} (Eq. 2 means little)", **flagged})
    return rows


def fit_rows(results: Results) -> list[dict[str, str]]:
    """The power law of every arm and its beta*."""
    rows = []
    for (method, arm), fit in results.fits.items():
        interval, star, height = fit["beta_star_interval"], fit["beta_star"], fit["augc_at_beta_star"]
        ends = None if interval is None else (interval["low"], interval["high"])
        rows.append(
            {
                "arm": results.name(method, arm),
                **{f"{k} [95 %]": measured(fit[k], None, (fit["parameter_intervals"] or {}).get(k)) for k in "abc"},
                "R²": number(fit["r_squared"], 4),
                "n": f"{fit['n']} runs",
                "exact by construction": "yes" if fit["exact_by_construction"] else "no",
                "β* (Eq. 15) [95 %]": measured(star["eq15"], None, ends),
                "AUGC at it": number(height["eq15"]),
                "β* (grid minimum)": number(star["grid_minimum"]),
                "AUGC at that": number(height["grid_minimum"]),
            }
        )
    return rows


def warnings(results: Results) -> Iterator[str]:
    """What the fits and the comparison of curves warn of, in sentences."""
    for (method, arm), fit in results.fits.items():
        found = [*fit["warnings"], *fit["rivals"]["warnings"]]
        text = " ".join(warning["message"] for warning in found)
        yield f"Arm {results.name(method, arm)}: {text or 'no warning.'}"


def rival_rows(results: Results) -> list[dict[str, str]]:
    """The curves of every arm, the best AICc first."""
    return [
        {
            "arm": results.name(method, arm),
            "curve": f"{curve['name']}: {curve['formula']}",
            "parameters": ", ".join(f"{k} = {number(v)}" for k, v in curve["parameters"].items()),
            "R²": number(curve["r_squared"]),
            "AICc": number(curve["aicc"], 4),
            "Δ": number(curve["delta"]),
            "weight": number(curve["weight"], 2),
            "n": f"{fit['rivals']['n']} runs",
        }
        for (method, arm), fit in results.fits.items()
        for curve in fit["rivals"]["curves"]
    ]


def tradeoff_rows(results: Results) -> list[dict[str, str]]:
    """Definition 6.1: which of the betas that were run is best for which lambda, and how many resamples agree."""
    rows = []
    for (method, arm), fit in results.fits.items():
        for step in (fit["tradeoff"] or {"path": []})["path"]:
            low, high = step["lambda_from"], step["lambda_to"]
            level = next(one for one in fit["tradeoff"]["levels"] if one["beta"] == step["beta"])
            row = next(r for _, r in results.levels(method, arm).iterrows() if r["beta"] == step["beta"])
            rows.append(
                {
                    "arm": results.name(method, arm),
                    "λ (AUGC a unit of win rate)": f"{number(low)} to {'∞' if high is None else number(high)}",
                    "β*": f"{step['beta']:.3g} ({row['level']})",
                    "AUGC": cell(row, "augc"),
                    "win rate": cell(row, "win_rate"),
                    "resamples that agree": _agreement(fit["tradeoff"]["support"], low, high, step["beta"]),
                    "n": f"{level['n']} runs",
                }
            )
    return rows


def distance_rows(results: Results) -> list[dict[str, str]]:
    """The fits of Gao et al. by arm and level, for proxy and true reward."""
    return [
        {
            "arm": results.name(row["method"], row["arm"]),
            "level": f"{row['level']} (β = {row['beta']:.3g})",
            "reward": row["reward"],
            "α [95 %]": measured(row["alpha"], None, (row["alpha_low"], row["alpha_high"])),
            "β of Gao et al. [95 %]": measured(row["bend"], None, (row["bend_low"], row["bend_high"])),
            "R²": number(row["r_squared"]),
            "peak at KL (nats)": number(row["peak_kl"]),
            "n": f"{row['n']} evaluations, {seeds(row['seeds'])}",
        }
        for _, row in results.overoptimisation.iterrows()
    ]


def beta_rows(results: Results) -> list[dict[str, str]]:
    """The beta grid (Eq. 6-7)."""
    return [
        {
            "level": row["level"],
            "β": number(row["beta"], 6),
            "rule": row["rule"],
            "median δ (nats)": number(row["median_delta"], 6),
            "n": f"{row['n']} pairs",
            "one by construction": "yes" if row["one_by_construction"] else "no",
        }
        for row in results.betas
    ]


def derived_rows(results: Results) -> list[dict[str, str]]:
    """Appendix C: every value in use, what was derived, and the formula."""
    return [
        {
            "stage": stage,
            "quantity": name,
            "value": number(value["value"], 5),
            "derived": number(value["derived"], 5),
            "overridden": "yes" if value["overridden"] else "",
            "formula": value["formula"],
        }
        for stage, entry in results.derived.items()
        for name, value in entry["values"].items()
    ]


def input_rows(results: Results) -> list[dict[str, str]]:
    """What the formulas of Appendix C were given, stage by stage."""
    rows = []
    for stage, entry in results.derived.items():
        given, counts = entry["inputs"], entry["inputs"]["token_counts"]
        shapes = "; ".join(f"{p['matrices']} of {p['in']} × {p['out']}" for p in given["projections"])
        rows.append(
            {
                "stage": stage,
                "h": f"{given['hidden_size']:,}",
                "P": f"{given['parameters']:,}",
                "adapted matrices": shapes,
                "n_trainable": f"{given['trainable_parameters']:,}",
                "n (training pairs)": f"{given['n']:,}",
                "V_GB": f"{given['memory_gb']:g}",
                "m": f"{given['multiplier']}",
                "T_total": f"{given['total_steps']:,}",
                "p75 of token counts": f"{number(counts['p75'], 6)} (n = {counts['size']})",
            }
        )
    return rows


def _test(found: Mapping[str, Any], n: str) -> str:
    if found["statistic"] is None:
        return f"- ({n})"
    return f"{coefficient(found['statistic'])}, {probability(found['p_value'])} ({n})"


def _agreement(support: Mapping[str, Any] | None, low: float, high: float | None, beta: float) -> str:
    """The range over lambda of the share of resamples that choose this beta."""
    if support is None:
        return "-"
    column = support["betas"].index(beta)
    inside = [
        share[column]
        for at, share in zip(support["lambda"], support["share"], strict=True)
        if at >= low and (high is None or at < high)
    ]
    return f"{min(inside):.0%} to {max(inside):.0%}" if inside else "-"
