"""The proposed mechanism: entropy, and the other links of the chain from beta to AUGC."""
# ruff: noqa: RUF001 - figures contain Greek letters

from itertools import product

from matplotlib.artist import setp
from matplotlib.figure import Figure

from goodhart.report import panels as p
from goodhart.report.results import Results


def entropy(results: Results) -> Figure:
    """Entropy of the offline checkpoints, and its collapse over the online run (Figure 4)."""
    figure, axes = p.subplots(2 * len(results.methods), 2, 1.75, sharex=True)
    centre = {level: float(k) for k, level in enumerate(results.betas)}
    for (i, method), (j, kind) in product(enumerate(results.methods), enumerate(("prompt", "response"))):
        runs = results.runs[results.runs["method"] == method]
        name = f"{method}: " if len(results.methods) > 1 else ""
        top, bottom = axes[2 * i : 2 * i + 2, j]
        p.draw_means(top, results, runs.drop_duplicates(["level", "replicate"]), f"entropy_{kind}_offline", centre)
        for k, arm in enumerate(results.arms):
            mine = runs[runs["arm"] == arm]
            p.draw_means(bottom, results, mine, f"entropy_{kind}_collapse", p.places(results, k), arm=k)
        bottom.axhline(0, color=p.INK, lw=0.5)
        top.set(title=f"{name}(a) checkpoint, {kind} tokens", ylabel="" if j else "Entropy (nats per token)")
        bottom.set(
            title=f"{name}(b) collapse, {kind} tokens",
            ylabel="" if j else "ΔH = offline − online\n(nats per token)",
        )
    p.level_axes(axes, results)
    return p.legend(figure, results, arms=True)


def mechanism(results: Results) -> Figure:
    """AUGC and the links of the proposed chain against beta, with rank correlations and permutation p (Figure 6)."""
    quantities = {
        "augc": "AUGC\n(SD × updates)",
        "entropy_response_offline": "Checkpoint entropy\n(nats per token)",
        "ood_distance_offline": "OOD distance\n(cosine)",
        "uncertainty_mean": "Uncertainty\n(reward units)",
    }
    low, high = min(results.betas.values()) / 1.5, max(results.betas.values()) * 1.5
    rows = list(product(results.methods, results.arms))
    figure, axes = p.subplots(len(rows), 4, 1.75, sharex=True)
    for row, (method, arm) in zip(axes, rows, strict=True):
        runs = results.of(results.runs, method, arm)
        for ax, (column, name) in zip(row, quantities.items(), strict=True):
            p.beta_axis(ax, low, high)
            p.draw_replicates(ax, runs, column)
            p.draw_means(ax, results, runs, column, results.betas)
            top = [name] if ax in axes[0] else []
            ax.set_title("\n".join([*top, *p.correlations(results.trend(method, arm, column))]), fontsize=7)
        row[0].set_ylabel(p.heading(results, method, arm).replace(" (", "\n("))
    setp(axes[-1], xlabel="Offline β")
    return p.legend(figure, results)
