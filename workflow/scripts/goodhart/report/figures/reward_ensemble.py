"""The reward ensemble on held-out preference pairs."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from goodhart.report import panels as p
from goodhart.report.results import Results


def calibration(results: Results) -> Figure:
    """Calibration: how often a response is preferred, by the probability that the ensemble assigns to it."""
    bins, quality = pd.DataFrame(results.quality["calibration"]), results.quality
    figure, axes = p.subplots(1, 1, 3)
    ax = axes[0, 0]
    error = np.sqrt(bins["observed"] * (1 - bins["observed"]) / bins["n"])
    ax.plot([0, 1], [0, 1], color="0.75", lw=0.8, zorder=1)
    ax.errorbar(bins["predicted"], bins["observed"], error, fmt="none", ecolor=p.INK, elinewidth=0.8)
    ax.scatter(bins["predicted"], bins["observed"], s=90 * bins["n"] / bins["n"].max(), color=p.INK, lw=0, zorder=3)
    for _, b in bins.iterrows():
        ax.annotate(f"{b['n']:.0f}", (b["predicted"], b["observed"]), (7, -4), textcoords="offset points", fontsize=6)
    ax.set(
        xlim=(-0.03, 1.03),
        ylim=(-0.03, 1.03),
        aspect="equal",
        xlabel="Predicted probability of being preferred",
        ylabel="Share that was preferred",
    )
    members = ", ".join(f"{value:.3f}" for value in quality["member_accuracy"])
    ax.set_title(f"{quality['pairs']} pairs, accuracy {quality['ensemble_accuracy']:.3f}\n(members {members})")
    return figure
