"""Reward hacking over the online run: both rewards by step and by KL, and the Goodhart gap."""
# ruff: noqa: RUF001 - figures contain Greek letters

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import SymmetricalLogLocator

from goodhart.analysis.overoptimisation import reward_at
from goodhart.report import panels as p
from goodhart.report.results import Results

_REWARDS = {"standardised": "Proxy reward (SD from\nthe held-out mean)", "true": "True reward\n(accuracy)"}
_GAPS = {"gap": "Goodhart gap\n(SD)", "gap_paper": "Gap as printed\n(Eq. 2, no unit)"}
_STEPS = "Online step (updates)"


def rewards_by_step(results: Results) -> Figure:
    """Proxy and true reward over the online run."""
    figure, panels = p.panels(results, _REWARDS, _STEPS, height=1.75)
    for panel in panels:
        p.draw_lines(panel.ax, results, panel.curves, panel.quantity)
    return p.legend(figure, results)


def rewards_by_kl(results: Results) -> Figure:
    """Proxy and true reward against the distance from the offline checkpoint, with the fit of Gao et al. (2022)."""
    figure, panels = p.panels(results, _REWARDS, "√KL to the offline checkpoint (√nats)", height=1.75)
    fits = {(f["method"], f["arm"], f["level"], f["reward"]): f for _, f in results.overoptimisation.iterrows()}
    units = {"standardised": ("proxy", 1.0), "true": ("true", results.scales["true"])}
    for ax, y, method, arm, _, curves in panels:
        reward, unit = units[y]
        for level, part in curves.groupby("level"):
            colour = p.colours(results)[str(level)]
            p.draw_path(ax, part, "distance", y, colour)
            fit = fits[method, arm, str(level), reward]
            if pd.notna(fit["alpha"]):
                distance = np.linspace(0, part["distance"].max(), 200)
                start = part.loc[part["step"] == part["step"].min(), y].mean()
                fitted = start + unit * reward_at(distance, fit["alpha"], fit["bend"])
                ax.plot(distance, fitted, "--", color=colour, lw=1, zorder=4)
    return p.legend(figure, results, {"R(d) = d (α − β log d)": Line2D([], [], color=p.INK, lw=1, ls="--")})


def gap_by_step(results: Results) -> Figure:
    """Both forms of the Goodhart gap over the run, with the hacking threshold and the mean onset (Figure 3)."""
    figure, panels = p.panels(results, _GAPS, _STEPS, height=1.95)
    for panel in panels:
        ax, form = panel.ax, panel.quantity.removeprefix("gap")
        p.draw_lines(ax, results, panel.curves, panel.quantity)
        ax.axhline(0, color=p.INK, lw=0.5)
        if (threshold := results.scales[f"threshold{form}"]) is not None:
            ax.axhline(threshold, color=p.INK, lw=0.9, ls="--")
        if results.curves[panel.quantity].abs().max() > 100:  # Eq. 2 divides by rewards that may be almost 0
            ax.set_yscale("symlog", linthresh=1)
            locator = SymmetricalLogLocator(base=10, linthresh=1)
            locator.set_params(numticks=6)
            ax.yaxis.set_major_locator(locator)
        _onsets(panel, results, f"onset{form}")
    extra = {
        "hacking threshold": Line2D([], [], color=p.INK, lw=0.9, ls="--"),
        "mean onset": Line2D([], [], color=p.INK, lw=0.9, ls=":", marker="v"),
    }
    return p.legend(figure, results, extra)


def _onsets(panel: p.Panel, results: Results, column: str) -> None:
    """Draw a marker at the mean onset of each level, stacked by level, with the number of seeds that have an onset."""
    ax, height = panel.ax, min(0.09, 0.7 / len(results.betas))
    inside = ax.get_xaxis_transform()  # x in steps, y as a fraction of the axis
    for rank, (level, colour) in enumerate(p.colours(results).items()):
        onsets = panel.runs.loc[panel.runs["level"] == level, column]
        if n := onsets.count():
            at = (onsets.mean(), 0.06 + height * rank)
            ax.axvline(at[0], color=colour, lw=0.9, ls=":")
            ax.plot(*at, "v", color=colour, transform=inside)
            look: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 6, "color": colour}
            ax.annotate(f"{n}/{len(onsets)}", at, (5, 0), xycoords=inside, **look)
