"""The tables of the page of findings: rows of text by column, made from the results of a study."""
# ruff: noqa: RUF001 - reports speak Greek

from goodhart.analysis.levels import FLAGS, TABLE1
from goodhart.report.numbers import cell, coefficient, measured, number, plural, probability
from goodhart.report.results import Record, Results
from goodhart.report.verdicts import decided, direction, estimate, evidence

Row = dict[str, str]

# What the paper says goes with beta: the column of `TABLE1`, its name, the sign, and where it is measured or claimed.
CLAIMS = [
    ("entropy_prompt_offline", "Entropy of the offline policy (Eq. 11)", -1, "measured, Figure 6"),
    ("entropy_response_offline", "Entropy of its responses", -1, "claimed, section 1"),
    ("diversity_offline", "Diversity of its responses", -1, "claimed, Figure 2"),
    ("ood_distance_offline", "OOD distance of its responses (Eq. 12)", -1, "measured, Figure 6"),
    ("ood_distance_offline", "OOD distance of its responses (Eq. 12)", 1, "claimed, Figure 2 and section 9"),
    ("uncertainty_mean", "Ensemble uncertainty during the run", 1, "measured, Figure 6"),
    ("r_uq_paper", "Correlation of uncertainty and gap (Eq. 2)", 1, "in words, Table 1"),
    ("onset_paper", "Onset of hacking (Eq. 2)", -1, "in words, Table 1"),
    ("augc_paper", "Hacking damage, AUGC (Eq. 2)", 1, "measured, Figure 6"),
    ("augc", "Hacking damage, AUGC (SD)", 1, "measured from Eq. 2"),
]


def claim_rows(results: Results) -> list[Row]:
    """What the paper says of each quantity and beta, and what is measured; offline quantities once a method."""
    rows = []
    for method, arm in results.panels:
        for column, name, sign, source in CLAIMS:
            offline = column.endswith("_offline")
            if offline and (method, arm) not in results.first_panels:
                continue
            trend = results.trend(method, arm, column)
            agrees = (trend["within_seeds"]["statistic"] or 0) * sign > 0
            verdict = "agrees" if agrees else "contradicts"
            rows.append(
                {
                    "arm": "all" if offline else results.name(method, arm),
                    "quantity": name,
                    "the paper": f"{'rises' if sign > 0 else 'falls'} ({source})",
                    "here": direction(trend),
                    "verdict": verdict if decided(trend["within_seeds"]) else "inconclusive",
                    "evidence": evidence(trend),
                }
            )
    return rows


def trend_rows(results: Results) -> list[Row]:
    """Every quantity of Table 1 against beta: the test within seeds, the level means, each seed, and the size."""
    rows = []
    for t in results.trends:
        within, slope = t["within_seeds"], t["slope"]
        known = [s for s in t["per_seed"] if s["statistic"] is not None]
        seeds = [f"seed {s['seed']}: {_test(s, plural(s['n'], 'level'))}" for s in known]
        rows.append(
            {
                "arm": results.name(t["method"], t["arm"]),
                "quantity": t["quantity"],
                "within seeds": _test(within, plural(within["n"], "seed")),
                "Spearman, level means": _test(t["level_means"], plural(t["level_means"]["n"], "level")),
                "Spearman, all runs": _test(t["pooled"], plural(t["pooled"]["n"], "run")),
                "Kendall, all runs": _test(t["kendall"]["pooled"], plural(t["kendall"]["pooled"]["n"], "run")),
                "Spearman, seed by seed": "; ".join(seeds) or "-",
                "change per factor e in beta": "-" if slope is None else f"{estimate(slope)} (n = {slope['n']})",
            }
        )
    return rows


def level_rows(results: Results) -> list[Row]:
    """Table 1, a quantity a row and a level a column, with intervals; '-' for a level that an arm has not."""
    names = {row["level"]: f"{row['level']} (β = {row['beta']:.3g})" for _, row in results.table1.iterrows()}
    rows = []
    for method, arm in results.panels:
        of = {row["level"]: row for row in results.levels(method, arm)}
        cells = {title: {level: cell(row, column) for level, row in of.items()} for title, column in TABLE1.items()}
        for flag, title in FLAGS.items():
            cells[f"{title} (Eq. 2 unreliable)"] = {
                level: f"{row[flag]} of {plural(row['n'], 'run')}" for level, row in of.items()
            }
        for title, known in cells.items():
            columns = {name: known.get(level, "-") for level, name in names.items()}
            rows.append({"arm": results.name(method, arm), "quantity": title, **columns})
    return rows


def fit_rows(results: Results) -> list[Row]:
    """The power law of every arm and its beta*."""
    rows = []
    for (method, arm), fit in results.fits.items():
        star, height, interval = fit["beta_star"], fit["augc_at_beta_star"], fit["beta_star_interval"]
        refused = star["grid_minimum"] and fit["resamples"] and not interval["grid_minimum"]
        rows.append(
            {
                "arm": results.name(method, arm),
                **{f"{k} [95 %]": measured(fit[k], None, fit["parameter_intervals"][k]) for k in "abc"},
                "R²": number(fit["r_squared"], 4),
                "n": plural(fit["n"], "run"),
                "exact by construction": "yes" if fit["exact_by_construction"] else "no",
                "β* (Eq. 15) [95 %]": measured(star["eq15"], None, interval["eq15"]),
                "AUGC at β* (Eq. 15)": number(height["eq15"]),
                "β* (grid minimum) [95 %]": measured(star["grid_minimum"], None, interval["grid_minimum"])
                + (" (no interval)" if refused else ""),
                "AUGC at β* (grid minimum)": number(height["grid_minimum"]),
            }
        )
    return rows


def rival_rows(results: Results) -> list[Row]:
    """The curves of every arm, the best AICc first."""
    return [
        {
            "arm": results.name(method, arm),
            "curve": f"{curve['name']}: {curve['formula']}",
            "parameters": ", ".join(f"{k} = {number(v)}" for k, v in curve["parameters"].items()),
            "R²": number(curve["r_squared"]),
            "AICc": number(curve["aicc"], 4),
            "Δ": number(curve["delta"]),
            "weight": "> 0.999" if (curve["weight"] or 0) > 0.999 else number(curve["weight"], 2),
            "n": plural(fit["rivals"]["n"], "run"),
        }
        for (method, arm), fit in results.fits.items()
        for curve in fit["rivals"]["curves"]
    ]


def tradeoff_rows(results: Results) -> list[Row]:
    """Definition 6.1: which of the betas that were run is best for which lambda, and how many resamples agree."""
    rows = []
    for (method, arm), fit in results.fits.items():
        for step in (fit["tradeoff"] or {"path": []})["path"]:
            low, high = step["lambda_from"], step["lambda_to"]
            row = next(r for r in results.levels(method, arm) if r["beta"] == step["beta"])
            rows.append(
                {
                    "arm": results.name(method, arm),
                    "λ (AUGC a unit of win rate) [95 %]": f"from {number(low)} to "
                    f"{'∞' if high is None else measured(high, None, step['lambda_to_interval'])}",
                    "β*": f"{step['beta']:.3g} ({row['level']})",
                    "AUGC": cell(row, "augc"),
                    "win rate": cell(row, "win_rate"),
                }
            )
    return rows


def distance_rows(results: Results) -> list[Row]:
    """The fits of Gao et al. by arm and level, for proxy and true reward."""
    return [
        {
            "arm": results.name(row["method"], row["arm"]),
            "level": f"{row['level']} (β = {row['beta']:.3g})",
            "reward": row["reward"],
            "α [95 %]": measured(row["alpha"], None, (row["alpha_low"], row["alpha_high"])),
            "β of Gao et al. [95 %]": measured(row["bend"], None, (row["bend_low"], row["bend_high"])),
            "R²": number(row["r_squared"]),
            "peak at KL (nats) [95 %]": measured(row["peak_kl"], None, (row["peak_kl_low"], row["peak_kl_high"])),
            "n": f"{plural(row['n'], 'evaluation')}, {plural(row['seeds'], 'seed')}",
        }
        for _, row in results.overoptimisation.iterrows()
    ]


def beta_rows(results: Results) -> list[Row]:
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
        for row in results.setup.grid
    ]


def derived_rows(results: Results) -> list[Row]:
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
        for stage, entry in results.setup.derived.items()
        for name, value in entry["values"].items()
        if (stage, name) != ("online", "lora_dropout")  # the policy that is updated is the one that was sampled
    ]


def input_rows(results: Results) -> list[Row]:
    """What the formulas of Appendix C were given, stage by stage."""
    rows = []
    for stage, entry in results.setup.derived.items():
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
                "T_total": f"{given['total_steps']:,}",
                "p75 of token counts": f"{number(counts['p75'], 6)} (n = {counts['size']})",
            }
        )
    return rows


def _test(found: Record, n: str) -> str:
    p = "" if found["statistic"] is None else f", {probability(found['p_value'])}"
    return f"{coefficient(found['statistic'])}{p} ({n})"
