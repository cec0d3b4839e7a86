"""What figures share: the style, the colour of each level, panels, and how replicates, means and legends are drawn.

Thick lines and large markers are means over replicates, bands and bars are one standard error each way (absent for one
replicate), thin lines and dashes are single replicates. A figure is saved without a date, so the same tables give the
same bytes.
"""
# ruff: noqa: RUF001 - figures contain Greek letters

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist, setp
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from goodhart.analysis.replicates import t_interval
from goodhart.report import numbers
from goodhart.report.results import Record, Results

INK = "0.25"
MARKERS = "oDs^vP"  # one per arm
STYLE: Any = {
    **sns.axes_style("ticks"),
    **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize", "legend.title_fontsize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.7),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 3),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures look the same on every machine
    "lines.markersize": 5,
    "pdf.fonttype": 42,
    "svg.hashsalt": "goodhart",
}
_COLUMN, _PAGE = 3.3, 6.75  # inches, one and two columns of print: a font size here is the size on paper


def colours(results: Results) -> dict[str, str]:
    """The colour of every offline level: dark to light as beta grows, so that levels differ in greyscale too."""
    shades = mpl.colormaps["plasma"](np.linspace(0.03, 0.8, max(len(results.betas), 2)))
    return {level: mpl.colors.to_hex(shade) for level, shade in zip(results.betas, shades, strict=False)}


def subplots(rows: int, columns: int, height: float, **share: Any) -> tuple[Figure, npt.NDArray[Any]]:
    """A figure of panels `height` inches high, as wide as one or two columns of print, wider from four panels on."""
    width = _COLUMN if columns == 1 else max(_PAGE, 1.69 * columns)
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05, rect=(0, 0, 0.98, 1))
    figure = Figure(figsize=(width, height * rows + 0.4), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False, **share)
    for ax in axes.flat:
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))  # fixed, as ticks by size would move the layout
    return figure, axes


def panels(
    results: Results, quantities: Mapping[str, str], x: str, height: float, **share: Any
) -> tuple[Figure, list[tuple[Axes, str, str, str]]]:
    """One column of panels per arm, one block of rows per method, one row per quantity (name: axis label).

    Returns the figure, and the axes, quantity, method and arm of each panel.
    """
    rows = len(quantities)
    share = {"sharex": True, "sharey": "row"} | share
    figure, axes = subplots(rows * len(results.methods), len(results.arms), height, **share)
    found = []
    for (i, method), (j, arm) in product(enumerate(results.methods), enumerate(results.arms)):
        for ax, (quantity, label) in zip(axes[rows * i :, j], quantities.items(), strict=False):
            ax.set_ylabel("" if j else label)
            found.append((ax, quantity, method, arm))
        axes[rows * i, j].set_title(heading(results, method, arm))
    setp(axes[-1], xlabel=x)
    return figure, found


def save(figure: Figure, path: Path, kind: str, origin: Record | None = None) -> None:
    """Write a figure as "svg" or "pdf", with its origin in the metadata and without a date."""
    date, remark = {"svg": ("Date", "Description"), "pdf": ("CreationDate", "Keywords")}[kind]
    with mpl.rc_context(STYLE):
        figure.savefig(path, format=kind, metadata={date: None, remark: json.dumps(origin)})


def heading(results: Results, method: str, arm: str) -> str:
    """'Arm: paper (n = 3 replicates)', with the method if the study has several."""
    n = sorted(set(results.of(results.runs, method, arm).groupby("level")["replicate"].nunique()))
    replicates = f"{n[0]}" if len(n) == 1 else f"{n[0]}-{n[-1]}"
    name = f"{method}, arm: {arm}" if len(results.methods) > 1 else f"Arm: {arm}"
    return f"{name} (n = {replicates} {'replicate' if replicates == '1' else 'replicates'})"


def draw_lines(ax: Axes, results: Results, curves: pd.DataFrame, y: str) -> None:
    """Draw a quantity over steps: the replicates, mean and standard error of each level."""
    common: dict[str, Any] = {
        "data": curves,
        "x": "step",
        "y": y,
        "hue": "level",
        "hue_order": list(results.betas),
        "palette": colours(results),
        "legend": False,
        "ax": ax,
    }
    labels = {"xlabel": ax.get_xlabel(), "ylabel": ax.get_ylabel()}
    sns.lineplot(**common, units="replicate", estimator=None, linewidth=0.5, alpha=0.45)
    sns.lineplot(**common, errorbar="se", linewidth=1.6, err_kws={"alpha": 0.2, "linewidth": 0})
    ax.set(**labels)


def draw_path(ax: Axes, curves: pd.DataFrame, x: str, y: str, colour: str) -> None:
    """Draw two quantities of a level against each other over the run, with standard errors of both."""
    for _, run in curves.sort_values("step").groupby("replicate"):
        ax.plot(run[x], run[y], color=colour, lw=0.5, alpha=0.45)
    at = curves.groupby("step")[[x, y]].agg(["mean", "sem"])
    ax.errorbar(
        at[x, "mean"],
        at[y, "mean"],
        xerr=at[x, "sem"],
        yerr=at[y, "sem"],
        elinewidth=0.7,
        color=colour,
        lw=1.6,
        zorder=3,
    )


def draw_means(ax: Axes, results: Results, runs: pd.DataFrame, y: str, at: Mapping[str, float], arm: int = 0) -> None:
    """Draw a quantity of each level at its x position in `at`: one dash per replicate, and mean with standard error."""
    for level, values in runs.dropna(subset=[y]).groupby("level")[y]:
        colour, x = colours(results)[str(level)], at[str(level)]
        found = t_interval(values)
        ax.plot([x] * len(values), values, "_", ms=9, color=colour, alpha=0.6, mew=0.8)
        ax.errorbar(
            x,
            found["mean"],
            found["se"],
            fmt=MARKERS[arm % len(MARKERS)],
            mfc="white" if arm else colour,
            color=colour,
            elinewidth=1.2,
            zorder=3,
        )


def draw_replicates(ax: Axes, runs: pd.DataFrame, y: str) -> None:
    """Draw one thin line per replicate through a quantity of its levels, over beta."""
    for _, run in runs.sort_values("beta").groupby("replicate"):
        ax.plot(run["beta"], run[y], color="0.75", lw=0.5, zorder=1)


def beta_axis(ax: Axes, low: float, high: float) -> None:
    """Beta on a logarithmic x axis with plain numbers."""
    ax.set(xscale="log", xlim=(low, high))
    ax.xaxis.set(
        major_locator=LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)),
        major_formatter=StrMethodFormatter("{x:g}"),
        minor_formatter=NullFormatter(),
    )


def level_axes(axes: npt.NDArray[Any], results: Results) -> None:
    """Label the x axes of the last row with the levels as categories, each with its beta below."""
    n, labels = len(results.betas), [f"{level}\n{beta:.3g}" for level, beta in results.betas.items()]
    setp(axes[-1], xticks=range(n), xticklabels=labels, xlim=(-0.6, n - 0.4), xlabel="Offline level and its β")


def places(results: Results, arm: int) -> dict[str, float]:
    """The x position of an arm's marker at each level."""
    n = len(results.arms)
    return {level: i + 0.5 * (arm - (n - 1) / 2) / n for i, level in enumerate(results.betas)}


def legend(figure: Figure, results: Results, extra: Mapping[str, Artist] | None = None, arms: bool = False) -> Figure:
    """Add a legend below the figure: level colours, the markers of the arms if `arms`, and the handles in `extra`."""
    levels: dict[str, Artist] = {
        f"{level} (β = {results.betas[level]:.3g})": Line2D([], [], color=colour, lw=2.5)
        for level, colour in colours(results).items()
    }
    others: dict[str, Artist] = {
        f"arm {arm}": Line2D([], [], color=INK, ls="", marker=MARKERS[k % len(MARKERS)], mfc="white" if k else INK)
        for k, arm in enumerate(results.arms if arms else [])
    } | dict(extra or {})
    widest = 0.6 + 0.055 * max(len(name) for name in (*levels, *others))  # approximate inches
    columns = max(1, min(max(len(levels), len(others)), int(figure.get_figwidth() / widest)))
    rows = []  # a row holds either levels or others; matplotlib fills a legend by column
    for group in (list(levels.items()), list(others.items())):
        blank = [("", Line2D([], [], alpha=0))] * (-len(group) % columns)
        rows += [(group + blank)[i : i + columns] for i in range(0, len(group), columns)]
    names, handles = zip(*(row[c] for c in range(columns) for row in rows), strict=True)
    figure.set_figheight(figure.get_figheight() + 0.17 * len(rows))
    figure.legend(handles, names, loc="outside lower center", ncols=columns)
    return figure


def correlations(trend: Record) -> list[str]:
    """The rank correlations with beta, of the level means and within replicates, each with its p."""
    tests = {"means": trend["level_means"], "replicates": trend["within_replicates"]}
    shown = {name: numbers.correlation(found).replace("p =", "p") for name, found in tests.items()}
    return [f"{name} ρ {'undefined' if text == '-' else text}" for name, text in shown.items()]
