"""Hacking damage against offline conservatism: AUGC by beta for each arm, and the best beta by lambda."""
# ruff: noqa: RUF001 - figures contain Greek letters

from textwrap import fill
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from goodhart.analysis.curves import rival_at
from goodhart.analysis.powerlaw import curve
from goodhart.report import panels as p
from goodhart.report.results import Record, Results

_AUGC = "AUGC (SD × updates)"
_RIVALS: dict[str, Any] = {"linear": ":", "exponential": "-.", "power law without c": (0, (6, 1, 1, 1, 1, 1))}


def augc_by_beta(results: Results) -> Figure:
    """AUGC against beta, with the power law and beta* where the data determine them (Figure 5, Eq. 14-15)."""
    betas, fitted = list(results.betas.values()), any(fit["a"] for fit in results.fits.values())
    low, high = (0.1 * betas[0], 2 * betas[-1]) if fitted else (betas[0] / 2, 2 * betas[-1])  # Appendix E's grid
    figure, panels = p.panels(results, {"augc": _AUGC}, "Offline β", height=2.6)
    drawn: dict[str, Artist] = {}  # handles for the legend
    for ax, _, method, arm in panels:
        fit, runs = results.fits[method, arm], results.of(results.runs, method, arm)
        letters = int(13 * figure.get_figwidth() / len(results.arms))
        ax.set_title(f"{ax.get_title()}\n{_in_words(fit, letters)}")
        p.beta_axis(ax, low, high)
        p.draw_replicates(ax, runs, "augc")
        p.draw_means(ax, results, runs, "augc", results.betas)
        if fit["a"]:
            grid = np.linspace(low, high, 1000)
            drawn["power law (Eq. 14)"] = ax.plot(grid, curve(dict(fit), grid), "--", color=p.INK, lw=1)[0]
        inside = np.geomspace(betas[0], betas[-1], 200)  # alternative curves are drawn only between the betas
        rivals = {rival["name"]: rival["parameters"] for rival in fit["rivals"]["curves"]}
        for name in [name for name in _RIVALS if name in rivals]:
            heights = rival_at(name, rivals[name], inside)
            drawn[name] = ax.plot(inside, heights, ls=_RIVALS[name], color="0.45", lw=0.8)[0]
        drawn |= _mark_beta_star(ax, fit, low, high)
    for ax in figure.axes:
        ax.set_ylim(bottom=0)
    return p.legend(figure, results, drawn)


def _mark_beta_star(ax: Axes, fit: Record, low: float, high: float) -> dict[str, Artist]:
    """Draw both readings of beta*, except those whose interval was refused; return the handles for the legend."""
    heights, intervals = fit["augc_at_beta_star"], fit["beta_star_interval"]
    drawn: dict[str, Artist] = {}
    stars = {k: v if intervals[k] or not fit["resamples"] else None for k, v in fit["beta_star"].items()}
    look: dict[str, Any] = {"marker": "*", "ms": 9, "color": p.INK, "ls": "", "zorder": 4}
    if (star := stars["grid_minimum"]) is not None:
        drawn["β* on Appendix E's grid"] = ax.plot(star, heights["grid_minimum"], **look, mfc="white")[0]
    if (star := stars["eq15"]) is not None:
        blue, orange = sns.color_palette("colorblind", 2)
        drawn["β* of Eq. 15"] = ax.plot(star, heights["eq15"], **look)[0]
        drawn["safe zone"] = ax.axvspan(low, star, color=blue, alpha=0.12, lw=0)
        drawn["danger zone"] = ax.axvspan(star, high, color=orange, alpha=0.12, lw=0)
    for reading, interval in intervals.items():
        if interval:
            drawn["95 % interval"] = ax.plot(interval, [heights[reading]] * 2, color=p.INK, lw=1)[0]
    return drawn


def beta_by_lambda(results: Results) -> Figure:
    """The best beta among those run, for each weight of the win rate, with its uncertainty (Definition 6.1)."""
    x, y = "λ (SD × updates per unit of win rate)", "β* of Definition 6.1"
    figure, panels = p.panels(results, {"beta": y}, x, height=2.2, sharex=False, sharey=True)
    levels = np.log(list(results.betas.values()))

    def place(beta: float) -> int:  # means over the replicates of an arm and of the study differ by rounding
        return int(np.argmin(np.abs(levels - np.log(beta))))

    for ax, _, method, arm in panels:
        tradeoff = results.fits[method, arm]["tradeoff"]
        if tradeoff is None:
            ax.text(0.5, 0.5, "no win rate", transform=ax.transAxes, ha="center")
            continue
        turns = [step["lambda_to"] for step in tradeoff["path"] if step["lambda_to"]]
        grid = np.geomspace(min([0.1, *turns]) / 10, 10 * max([10, *turns]), 81)
        if support := tradeoff["support"]:  # one band per level, from the bottom up
            grid = support["lambda"]
            edges = np.cumsum(np.insert(support["share"], 0, 0, axis=1), axis=1) * len(levels) - 0.5
            for below, above, beta in zip(edges.T, edges.T[1:], support["betas"], strict=False):
                colour = list(p.colours(results).values())[place(beta)]
                ax.fill_between(grid, below, above, color=colour, alpha=0.35, lw=0, step="mid")
        best = [next(s for s in reversed(tradeoff["path"]) if s["lambda_from"] <= at)["beta"] for at in grid]
        ax.step(grid, [place(beta) for beta in best], where="mid", color="black", lw=1.6)
        ax.set(xscale="log", xlim=(grid[0], grid[-1]), ylim=(-0.5, len(levels) - 0.5))
        ax.set_yticks(range(len(levels)), [f"{level} ({beta:.3g})" for level, beta in results.betas.items()])
    return p.legend(figure, results, {"best β of the level means": Line2D([], [], color="black", lw=1.6)})


def arms(results: Results) -> Figure:
    """AUGC of the arms side by side, paired by replicate: the effect of the second use of beta (Eq. 10)."""
    figure, axes = p.subplots(len(results.methods), 2, 2.4, sharex=True)
    at = [p.places(results, k) for k in range(len(results.arms))]
    for method, (left, right) in zip(results.methods, axes, strict=True):
        runs = results.runs[results.runs["method"] == method]
        cells = ["level", "replicate"]
        table = runs.pivot_table(index=cells, columns="arm", values="augc").reset_index()
        online = runs.pivot(index=cells, columns="arm", values="kl_level").reset_index()
        for _, pair in table.iterrows():
            left.plot([place[pair["level"]] for place in at], pair[results.arms], color="0.75", lw=0.5, zorder=1)
        for k, arm in enumerate(results.arms):
            p.draw_means(left, results, table, arm, at[k], arm=k)
            if k:
                shared = online[arm] == online[results.arms[0]]  # a run of both arms has no difference
                change = table.assign(change=(table[arm] - table[results.arms[0]]).mask(shared))
                p.draw_means(right, results, change, "change", at[k], arm=k)
        right.axhline(0, color=p.INK, lw=0.5)
        name = f"{method}\n" if len(results.methods) > 1 else ""
        lines = [f"{arm}: {'; '.join(p.correlations(results.trend(method, arm, 'augc')))}" for arm in results.arms]
        left.set_title(name + "\n".join(lines), fontsize=7)
        left.set_ylabel(_AUGC)
        right.set(
            title=f"Other arm minus {results.arms[0]}, same level and replicate",
            ylabel="Change of AUGC\n(SD × updates)",
        )
        if len(results.arms) == 1:
            right.set_yticks([])
            right.text(0.5, 0.6, "one arm: nothing to compare", transform=right.transAxes, ha="center")
    p.level_axes(axes, results)
    return p.legend(figure, results, arms=True)


def _in_words(fit: Record, letters: int) -> str:
    """The fitted law and the names of its warnings, which are wrapped at `letters` characters."""
    law = "no power law"
    if fit["a"]:
        c = f" + {fit['c']:.3g}" if fit["c"] > 1e-6 * fit["a"] else ""
        law = rf"AUGC = {fit['a']:.3g} $\beta^{{{fit['b']:.3g}}}${c}, $R^2$ = {fit['r_squared']:.3f}"
    names = ", ".join(warning["name"].replace("_", " ") for warning in fit["warnings"])
    return f"{law}\n{fill(names, letters)}"
