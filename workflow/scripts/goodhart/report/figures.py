"""The figures of a study: a function of `FIGURES` takes its tables and returns one figure.

A figure has a column of panels an arm and a block of rows a method; `goodhart.panels` says what means, seeds and
standard errors look like, and `draw` puts its style around the figure.
"""
# ruff: noqa: RUF001 - figures speak Greek

from __future__ import annotations

from collections.abc import Callable, Mapping
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import SymmetricalLogLocator

from goodhart.analysis.curves import rival_at
from goodhart.analysis.overoptimisation import reward_at
from goodhart.analysis.powerlaw import curve
from goodhart.analysis.runs import trends
from goodhart.analysis.statistics import mean_and_se
from goodhart.report import panels as p
from goodhart.report.panels import INK, Panel, Tables

_REWARDS = {"standardised": "Proxy reward (SD from\nthe held-out mean)", "true": "True reward\n(accuracy)"}
_GAPS = {"gap": "Goodhart gap\n(SD)", "gap_paper": "Gap as printed\n(Eq. 2, no unit)"}
_AUGC = "AUGC (SD × updates)"
_STEPS = "Online step (updates)"


def draw(name: str, tables: Tables) -> Figure:
    """The figure of that name in `FIGURES`."""
    with mpl.rc_context(p.STYLE):
        figure = FIGURES[name](tables)
        for _ in range(2):  # the second pass makes room for the legend of the first
            figure.draw_without_rendering()
        figure.set_layout_engine("none")  # so that a file is the same whichever is saved first
    return figure


def rewards_by_step(tables: Tables) -> Figure:
    """Proxy and true reward over the online run."""
    figure, panels = p.panels(tables, _REWARDS, _STEPS, height=1.75)
    for panel in panels:
        for ax, y in zip(panel.axes, _REWARDS, strict=True):
            p.draw_lines(ax, panel.curves, y, tables.colours)
    p.legend(figure, tables)
    return figure


def rewards_by_kl(tables: Tables) -> Figure:
    """Proxy and true reward against the distance from the offline checkpoint, with the fit of Gao et al. (2022)."""
    figure, panels = p.panels(tables, _REWARDS, "√KL to the offline checkpoint (√nats)", height=1.75)
    fits = {(f["method"], f["arm"], f["level"], f["reward"]): f for _, f in tables.overoptimisation.iterrows()}
    units = {"standardised": ("proxy", 1.0), "true": ("true", tables.scales["true"])}
    for panel in panels:
        for ax, y in zip(panel.axes, _REWARDS, strict=True):
            reward, unit = units[y]
            for level, part in panel.curves.groupby("level"):
                p.draw_path(ax, part, "distance", y, tables.colours[str(level)])
                fit = fits[panel.method, panel.arm, str(level), reward]
                if pd.notna(fit["alpha"]):
                    distance = np.linspace(0, part["distance"].max(), 200)
                    start = part.loc[part["step"] == part["step"].min(), y].mean()
                    fitted = start + unit * reward_at(distance, fit["alpha"], fit["bend"])
                    ax.plot(distance, fitted, "--", color=tables.colours[str(level)], lw=1, zorder=4)
    p.legend(figure, tables, {"R(d) = d (α − β log d)": Line2D([], [], color=INK, lw=1, ls="--")})
    return figure


def gap_by_step(tables: Tables) -> Figure:
    """Both forms of the Goodhart gap over the run, with the hacking threshold and the mean onset (Figure 3)."""
    figure, panels = p.panels(tables, _GAPS, _STEPS, height=1.95)
    for panel in panels:
        for ax, y, threshold in zip(panel.axes, _GAPS, ("threshold", "threshold_paper"), strict=True):
            p.draw_lines(ax, panel.curves, y, tables.colours)
            ax.axhline(0, color=INK, lw=0.5)
            if tables.scales[threshold] is not None:
                ax.axhline(tables.scales[threshold], color=INK, lw=0.9, ls="--")
            if tables.curves[y].abs().max() > 100:  # Eq. 2 divides by rewards that may be next to nothing
                ax.set_yscale("symlog", linthresh=1)
                locator = SymmetricalLogLocator(base=10, linthresh=1)
                locator.set_params(numticks=6)
                ax.yaxis.set_major_locator(locator)
        for ax, onset in zip(panel.axes, ("onset", "onset_paper"), strict=True):
            _onsets(ax, panel, tables, onset)
    extra = {
        "hacking threshold": Line2D([], [], color=INK, lw=0.9, ls="--"),
        "mean onset": Line2D([], [], color=INK, lw=0.9, ls=":", marker="v"),
    }
    p.legend(figure, tables, extra)
    return figure


def augc_by_beta(tables: Tables) -> Figure:
    """AUGC against beta, with the power law and beta* where the data determine them (Figure 5, Eq. 14-15)."""
    betas, fitted = list(tables.betas.values()), any(fit["a"] for fit in tables.fits.values())
    low, high = (0.1 * betas[0], 2 * betas[-1]) if fitted else (betas[0] / 2, 2 * betas[-1])  # Appendix E's grid
    figure, panels = p.panels(tables, {"augc": _AUGC}, "Offline β", height=2.6)
    blue, orange = sns.color_palette("colorblind", 2)
    drawn: dict[str, Artist] = {}  # what the legend has to explain
    for panel in panels:
        ax, fit = panel.axes[0], tables.fits[panel.method, panel.arm]
        letters = int(13 * figure.get_figwidth() / len(tables.arms))
        ax.set_title(f"{ax.get_title()}\n{_in_words(fit, letters)}")
        p.beta_axis(ax, low, high)
        p.draw_seeds(ax, panel.runs, "augc")
        p.draw_means(ax, panel.runs, "augc", tables.betas, tables.colours)
        if fit["a"]:
            grid = np.linspace(low, high, 1000)
            drawn["power law (Eq. 14)"] = ax.plot(grid, curve(dict(fit), grid), "--", color=INK, lw=1)[0]
        inside = np.geomspace(betas[0], betas[-1], 200)  # a rival is drawn between the betas only
        for name, dashes in (("linear", ":"), ("exponential", "-."), ("power law without c", (0, (6, 1, 1, 1, 1, 1)))):
            found = next((r["parameters"] for r in fit["rivals"]["curves"] if r["name"] == name), None)
            if found is not None:
                drawn[name] = ax.plot(inside, rival_at(name, found, inside), ls=dashes, color="0.45", lw=0.8)[0]
        heights, intervals = fit["augc_at_beta_star"], fit["beta_star_interval"]
        stars = {k: v if intervals[k] or not fit["resamples"] else None for k, v in fit["beta_star"].items()}
        look: dict[str, Any] = {"marker": "*", "ms": 9, "color": INK, "ls": "", "zorder": 4}
        if stars["grid_minimum"] is not None:
            star = ax.plot(stars["grid_minimum"], heights["grid_minimum"], **look, mfc="white")[0]
            drawn["β* on Appendix E's grid"] = star
        if stars["eq15"] is not None:
            drawn["β* of Eq. 15"] = ax.plot(stars["eq15"], heights["eq15"], **look)[0]
            drawn["safe zone"] = ax.axvspan(low, stars["eq15"], color=blue, alpha=0.12, lw=0)
            drawn["danger zone"] = ax.axvspan(stars["eq15"], high, color=orange, alpha=0.12, lw=0)
        for reading, interval in intervals.items():
            if interval:
                drawn["95 % interval"] = ax.plot(interval, [heights[reading]] * 2, color=INK, lw=1)[0]
    for panel in panels:
        panel.axes[0].set_ylim(bottom=0)
    p.legend(figure, tables, drawn)
    return figure


def beta_by_lambda(tables: Tables) -> Figure:
    """The best of the betas that were run for each weight of the win rate, and how sure that is (Definition 6.1)."""
    figure, axes = p.subplots(len(tables.methods), len(tables.arms), 2.2, sharey=True)
    for i, method in enumerate(tables.methods):
        for ax, arm in zip(axes[i], tables.arms, strict=True):
            tradeoff = tables.fits[method, arm]["tradeoff"]
            ax.set_title(p.heading(tables, method, arm))
            if tradeoff is None:
                ax.text(0.5, 0.5, "no win rate", transform=ax.transAxes, ha="center")
                continue
            place = {beta: k for k, beta in enumerate(tables.betas.values())}
            turns = [step["lambda_to"] for step in tradeoff["path"] if step["lambda_to"]]
            support = tradeoff["support"]
            grid = support["lambda"] if support else np.geomspace(min([0.1, *turns]) / 10, 10 * max([10, *turns]), 81)
            if support:  # one band a level, from the bottom up
                edges = np.cumsum(np.array(support["share"]), axis=1) * len(place) - 0.5
                below = np.full(len(grid), -0.5)
                for top, beta in zip(edges.T, support["betas"], strict=True):
                    colour = list(tables.colours.values())[place[beta]]
                    ax.fill_between(grid, below, top, color=colour, alpha=0.35, lw=0, step="mid")
                    below = top
            best = [next(s for s in reversed(tradeoff["path"]) if s["lambda_from"] <= at)["beta"] for at in grid]
            ax.step(grid, [place[beta] for beta in best], where="mid", color="black", lw=1.6)
            ax.set_xscale("log")
            ax.set_xlim(grid[0], grid[-1])
            ax.set_ylim(-0.5, len(place) - 0.5)
            ax.set_xlabel("λ (SD × updates a unit of win rate)")
            ax.set_yticks(range(len(place)), [f"{level} ({beta:.3g})" for level, beta in tables.betas.items()])
        axes[i, 0].set_ylabel("β* of Definition 6.1")
    p.legend(figure, tables, {"best for the means": Line2D([], [], color="black", lw=1.6)})
    return figure


def entropy(tables: Tables) -> Figure:
    """Entropy of the offline checkpoints, and what the online run takes from it (Figure 4)."""
    figure, axes = p.subplots(2 * len(tables.methods), 2, 1.75, sharex=True)
    for i, method in enumerate(tables.methods):
        runs = tables.runs[tables.runs["method"] == method]
        name = f"{method}: " if len(tables.methods) > 1 else ""
        for j, (kind, tokens) in enumerate({"prompt": "prompt tokens", "response": "response tokens"}.items()):
            top, bottom = axes[2 * i : 2 * i + 2, j]
            once = runs.drop_duplicates(["level", "seed"])
            centre = {level: float(k) for k, level in enumerate(tables.betas)}
            p.draw_means(top, once, f"entropy_{kind}_offline", centre, tables.colours)
            for k, arm in enumerate(tables.arms):
                mine = runs[runs["arm"] == arm]
                p.draw_means(bottom, mine, f"entropy_{kind}_collapse", p.places(tables, k), tables.colours, arm=k)
            bottom.axhline(0, color=INK, lw=0.5)
            top.set_title(f"{name}(a) checkpoint, {tokens}")
            bottom.set_title(f"{name}(b) collapse, {tokens}")
            top.set_ylabel("Entropy (nats a token)" if j == 0 else "")
            bottom.set_ylabel("ΔH = offline − online\n(nats a token)" if j == 0 else "")
    for ax in axes[-1]:
        p.level_axis(ax, tables)
    p.legend(figure, tables, arms=True)
    return figure


def mechanism(tables: Tables) -> Figure:
    """AUGC and the links of the proposed chain against beta, with rank correlations and exact p (Figure 6)."""
    quantities = {
        "augc": "AUGC\n(SD × updates)",
        "entropy_response_offline": "Checkpoint entropy\n(nats a token)",
        "ood_distance_offline": "OOD distance\n(cosine)",
        "uncertainty_mean": "Uncertainty\n(reward units)",
    }
    low, high = min(tables.betas.values()) / 1.5, max(tables.betas.values()) * 1.5
    found = {(t["method"], t["arm"], t["column"]): t for t in trends(tables.runs)}
    keys = [(method, arm) for method in tables.methods for arm in tables.arms]
    figure, axes = p.subplots(len(keys), 4, 1.75, sharex=True)
    for i, (row, (method, arm)) in enumerate(zip(axes, keys, strict=True)):
        runs = tables.runs[(tables.runs["method"] == method) & (tables.runs["arm"] == arm)]
        for ax, (column, name) in zip(row, quantities.items(), strict=True):
            p.beta_axis(ax, low, high)
            p.draw_seeds(ax, runs, column)
            p.draw_means(ax, runs, column, tables.betas, tables.colours)
            top = [] if i else [name]
            ax.set_title("\n".join([*top, *_trend(found[method, arm, column])]), fontsize=7)
        row[0].set_ylabel(p.heading(tables, method, arm).replace(" (", "\n("))
    for ax in axes[-1]:
        ax.set_xlabel("Offline β")
    p.legend(figure, tables)
    return figure


def arms(tables: Tables) -> Figure:
    """AUGC of the arms side by side, paired by seed: what Eq. 10's second use of beta does to the ordering."""
    figure, axes = p.subplots(len(tables.methods), 2, 2.4, sharex=True)
    found = {(t["method"], t["arm"]): t for t in trends(tables.runs) if t["column"] == "augc"}
    at = [p.places(tables, k) for k in range(len(tables.arms))]
    for method, (left, right) in zip(tables.methods, axes, strict=True):
        runs = tables.runs[tables.runs["method"] == method]
        table = runs.pivot_table(index=["level", "seed"], columns="arm", values="augc").reset_index()
        for _, pair in table.iterrows():
            left.plot([place[pair["level"]] for place in at], pair[tables.arms], color="0.75", lw=0.5, zorder=1)
        for k, arm in enumerate(tables.arms):
            p.draw_means(left, table, arm, at[k], tables.colours, arm=k)
            if k:
                change = table.assign(change=table[arm] - table[tables.arms[0]])
                p.draw_means(right, change, "change", at[k], tables.colours, arm=k)
        right.axhline(0, color=INK, lw=0.5)
        name = f"{method}\n" if len(tables.methods) > 1 else ""
        lines = [f"{arm}: {'; '.join(_trend(found[method, arm]))}" for arm in tables.arms]
        left.set_title(name + "\n".join(lines), fontsize=7)
        left.set_ylabel(_AUGC)
        right.set_ylabel("Change of AUGC\n(SD × updates)")
        right.set_title(f"Other arm minus {tables.arms[0]}, same level and seed")
        if len(tables.arms) == 1:
            right.set_yticks([])
            right.text(0.5, 0.6, "one arm: nothing to compare", transform=right.transAxes, ha="center")
    for ax in axes[-1]:
        p.level_axis(ax, tables)
    p.legend(figure, tables, arms=True)
    return figure


def calibration(tables: Tables) -> Figure:
    """How often a response is the preferred one, by the probability that the ensemble gives it."""
    bins, quality = pd.DataFrame(tables.quality["calibration"]), tables.quality
    figure, axes = p.subplots(1, 1, 3)
    ax = axes[0, 0]
    error = np.sqrt(bins["observed"] * (1 - bins["observed"]) / bins["n"])
    ax.plot([0, 1], [0, 1], color="0.75", lw=0.8, zorder=1)
    ax.errorbar(bins["predicted"], bins["observed"], error, fmt="none", ecolor=INK, elinewidth=0.8)
    ax.scatter(bins["predicted"], bins["observed"], s=90 * bins["n"] / bins["n"].max(), color=INK, lw=0, zorder=3)
    for _, b in bins.iterrows():
        ax.annotate(f"{b['n']:.0f}", (b["predicted"], b["observed"]), (7, -4), textcoords="offset points", fontsize=6)
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    ax.set(xlabel="Predicted probability of being preferred", ylabel="Share that was preferred")
    members = ", ".join(f"{value:.3f}" for value in quality["member_accuracy"])
    ax.set_title(f"{quality['pairs']} pairs, accuracy {quality['ensemble_accuracy']:.3f}\n(members {members})")
    return figure


FIGURES: dict[str, Callable[[Tables], Figure]] = {
    function.__name__: function
    for function in (
        *(rewards_by_step, rewards_by_kl, gap_by_step, augc_by_beta, beta_by_lambda),
        *(entropy, mechanism, arms, calibration),
    )
}


def _onsets(ax: Axes, panel: Panel, tables: Tables, column: str) -> None:
    """A mark a level at its mean onset, the marks one above another, and how many of its seeds have an onset."""
    for rank, (level, colour) in enumerate(tables.colours.items()):
        onsets = panel.runs.loc[panel.runs["level"] == level, column]
        found = mean_and_se(onsets.dropna().to_numpy(dtype=float))
        if found["n"]:
            at = (found["mean"], 0.06 + min(0.09, 0.7 / len(tables.colours)) * rank)
            ax.axvline(found["mean"], color=colour, lw=0.9, ls=":")
            ax.plot(*at, "v", color=colour, transform=ax.get_xaxis_transform())
            where: dict[str, Any] = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points"}
            ax.annotate(f"{found['n']}/{len(onsets)}", at, (5, 0), va="center", fontsize=6, color=colour, **where)


def _in_words(fit: Mapping[str, Any], letters: int) -> str:
    """The fitted law and the names of its warnings, in lines of so many letters."""
    law = "no power law"
    if fit["a"]:
        c = f" + {fit['c']:.3g}" if fit["c"] > 1e-6 * fit["a"] else ""
        law = rf"AUGC = {fit['a']:.3g} $\beta^{{{fit['b']:.3g}}}${c}, $R^2$ = {fit['r_squared']:.3f}"
    names = ", ".join(warning["name"].replace("_", " ") for warning in fit["warnings"])
    return f"{law}\n{fill(names, letters)}"


def _trend(found: Mapping[str, Any]) -> list[str]:
    """Rank correlation with beta and its p, of the level means and within seeds."""
    parts = []
    for name, key in (("means", "level_means"), ("seeds", "within_seeds")):
        rho, value = found[key]["statistic"], found[key]["p_value"]
        chance = "" if rho is None else "p < 0.001" if value < 0.0005 else f"p {value:.3f}"
        parts.append(f"{name} ρ undefined" if rho is None else f"{name} ρ {rho:+.2f}, {chance}".replace("-", "−"))
    return parts
