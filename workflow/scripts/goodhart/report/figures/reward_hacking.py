"""Reward hacking over the online run: both rewards by step and by KL, the Goodhart gap; and the reward ensemble."""
# ruff: noqa: RUF001 - figures contain Greek letters

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from goodhart.analysis.overoptimisation import reward_at
from goodhart.report import panels as p
from goodhart.report.results import Results

_REWARDS = {"proxy_rise": "Proxy reward\n(SD since pi0)", "true": "True reward\n(accuracy)"}
_GAPS = {"gap": "Goodhart gap\n(SD)", "gap_paper": "Gap as printed\n(Eq. 2, no unit)"}
_STEPS = "Online step (updates)"


def rewards_by_step(results: Results) -> Figure:
    """Proxy and true reward over the online run."""
    figure, panels = p.panels(results, _REWARDS, _STEPS, height=1.75)
    for ax, quantity, method, arm in panels:
        p.draw_lines(ax, results, results.of(results.curves, method, arm), quantity)
    return p.legend(figure, results)


def rewards_by_kl(results: Results) -> Figure:
    """Proxy and true reward against the distance from the offline checkpoint, with the fit of Gao et al. (2022)."""
    figure, panels = p.panels(results, _REWARDS, "√KL to the offline checkpoint (√nats)", height=1.75)
    fits = {(f["method"], f["arm"], f["level"], f["reward"]): f for _, f in results.overoptimisation.iterrows()}
    scale = np.mean([reference["true"]["scale"] for reference in results.scales["replicates"]])
    units = {"proxy_rise": ("proxy", 1.0), "true": ("true", scale)}
    for ax, y, method, arm in panels:
        reward, unit = units[y]
        for level, part in results.of(results.curves, method, arm).groupby("level"):
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
    for ax, quantity, method, arm in panels:
        form = quantity.removeprefix("gap")
        p.draw_lines(ax, results, results.of(results.curves, method, arm), quantity)
        ax.axhline(0, color=p.INK, lw=0.5)
        if (threshold := results.scales["thresholds"][arm][quantity]) is not None:
            ax.axhline(threshold, color=p.INK, lw=0.9, ls="--")
        if results.curves[quantity].abs().max() > 100:  # Eq. 2 divides by rewards that may be almost 0
            ax.set_yscale("symlog", linthresh=1)
            ax.locator_params(axis="y", numticks=6)
        _onsets(ax, results, results.of(results.runs, method, arm), f"onset{form}")
    extra = {
        "hacking threshold": Line2D([], [], color=p.INK, lw=0.9, ls="--"),
        "mean onset": Line2D([], [], color=p.INK, lw=0.9, ls=":", marker="v"),
    }
    return p.legend(figure, results, extra)


def calibration(results: Results) -> Figure:
    """Calibration: how often a response is preferred, by the probability that the ensemble assigns to it."""
    figure, axes = p.subplots(1, 1, 3)
    ax = axes[0, 0]
    ax.plot([0, 1], [0, 1], color="0.75", lw=0.8, zorder=1)
    for quality in results.qualities:
        bins = pd.DataFrame(quality["calibration"])
        error = np.sqrt(bins["observed"] * (1 - bins["observed"]) / bins["n"])
        ax.errorbar(bins["predicted"], bins["observed"], error, fmt="none", ecolor=p.INK, elinewidth=0.8, alpha=0.6)
        size = 90 * bins["n"] / bins["n"].max()
        ax.scatter(bins["predicted"], bins["observed"], s=size, color=p.INK, lw=0, zorder=3, alpha=0.6)
    ax.set(
        xlim=(-0.03, 1.03),
        ylim=(-0.03, 1.03),
        aspect="equal",
        xlabel="Predicted probability of being preferred",
        ylabel="Share that was preferred",
    )
    accuracies = ", ".join(f"{quality['ensemble_accuracy']:.3f}" for quality in results.qualities)
    pairs = sum(quality["pairs"] for quality in results.qualities)
    ax.set_title(f"{pairs} held-out pairs, by replicate;\naccuracy of the ensemble {accuracies}")
    return figure


def _onsets(ax: Axes, results: Results, runs: pd.DataFrame, column: str) -> None:
    """Draw a marker at the mean onset of each level, stacked by level, and the number of replicates with an onset."""
    height = min(0.09, 0.7 / len(results.betas))
    inside = ax.get_xaxis_transform()  # x in steps, y as a fraction of the axis
    for rank, (level, colour) in enumerate(p.colours(results).items()):
        onsets = runs.loc[runs["level"] == level, column]
        if n := onsets.count():
            at = (onsets.mean(), 0.06 + height * rank)
            ax.axvline(at[0], color=colour, lw=0.9, ls=":")
            ax.plot(*at, "v", color=colour, transform=inside)
            ax.annotate(
                f"{n}/{len(onsets)}",
                at,
                (5, 0),
                xycoords=inside,
                textcoords="offset points",
                va="center",
                fontsize=6,
                color=colour,
            )
