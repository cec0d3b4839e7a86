r"""Bring docs/performance.md up to date: its tables between the marks, and its figure, from what the comparisons wrote.

    python bench/write_performance.py --input results/bench-comparisons --page docs/performance.md \
        --figure docs/images/performance.svg
"""

from __future__ import annotations

import argparse
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from alternating import COLUMNS
from goodhart.cli import parser, run
from goodhart.errors import InputError

LIBRARIES = ("torch", "transformers", "trl", "peft", "snakemake")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--input", type=Path, required=True, help="folder of Parquet files")
    args.add_argument("--page", type=Path, required=True)
    args.add_argument("--figure", type=Path, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    tables = {path.stem: pd.read_parquet(path) for path in sorted(args.input.glob("*.parquet"))}
    compared = [table for table in tables.values() if list(table) == COLUMNS]
    if not compared:
        raise InputError(f"{args.input} holds no comparison; run `make bench`.")
    ratios = summarise(pd.concat(compared, ignore_index=True))
    parts = {"machine": machine(), "comparisons": comparisons(ratios), "checks": checks(ratios)}
    if "stages" in tables:
        parts["stages"] = stages(tables["stages"])
    if limits := [table for name, table in tables.items() if name.startswith("limits")]:
        parts["limits"] = floors(pd.concat(limits, ignore_index=True))
    if "scaling" in tables:
        parts["scaling"] = exponents(tables["scaling"])
    page = args.page.read_text()
    for name, text in parts.items():
        marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not marks.search(page):
            raise InputError(f"{args.page} has no place for {name}: lines '<!-- {name} -->' and '<!-- end -->'.")
        page = marks.sub(lambda found, text=text: f"{found[1]}\n{text}\n\n{found[2]}", page)
    args.page.write_text(page)
    draw(ratios, args.figure)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a comparison: medians of both sides; minimum, median and maximum of the ratio theirs / ours."""
    rows = rows.assign(ratio=rows["theirs"] / rows["ours"])
    key = ["comparison", "case", "peer", "unit", "target", "check"]
    groups = rows.groupby(key, sort=False, dropna=False)
    return groups.agg(
        ours=("ours", "median"),
        theirs=("theirs", "median"),
        low=("ratio", "min"),
        ratio=("ratio", "median"),
        high=("ratio", "max"),
        pairs=("ratio", "size"),
    ).reset_index()


def machine() -> str:
    """Where and with what the figures were taken."""
    cpu = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpu.read_text()) if cpu.exists() else [platform.processor()]
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {len(names)} cores of {names[0]}, {platform.system()}; "
        f"Python {platform.python_version()}, {libraries}."
    )


def comparisons(ratios: pd.DataFrame) -> str:
    rows = [
        [
            f"{row.comparison}, {row.case}",
            row.peer,
            f"{row.ours:.3g} {row.unit}",
            f"{row.theirs:.3g} {row.unit}",
            f"**{row.ratio:.2f}**" + (f" ({row.low:.2f} to {row.high:.2f})" if row.pairs > 1 else ""),
            row.pairs,
            "" if np.isnan(row.target) else f"{row.target:.2f}, {'met' if row.ratio >= row.target else 'not met'}",
        ]
        for row in ratios.itertuples()
    ]
    return markdown(["what", "against", "ours", "theirs", "theirs / ours", "pairs", "target"], rows)


def checks(ratios: pd.DataFrame) -> str:
    return "\n".join(f"- {row.comparison}, {row.case}, {row.peer}: {row.check}." for row in ratios.itertuples())


def stages(table: pd.DataFrame) -> str:
    rows = [
        [row.what, row.jobs, "" if np.isnan(row.seconds) else f"{row.seconds:.1f}", _percent(row.share)]
        for row in table.itertuples()
        if np.isnan(row.seconds) or row.seconds >= 0.5
    ]
    return markdown(["of the pocket study", "jobs", "seconds", "share of the busy core-seconds"], rows)


def floors(table: pd.DataFrame) -> str:
    rows = [
        [
            f"{row.loop}, {row.case}",
            row.threads,
            f"{row.operations / 1e9:.2f}",
            f"{row.rate / 1e9:.0f}",
            f"{row.bytes / 1e9:.3f}",
            f"{row.bandwidth / 1e9:.1f}",
            f"{1e3 * row.floor:.1f}",
            f"{1e3 * row.reached:.1f}",
            _percent(row.floor / row.reached),
        ]
        for row in table.itertuples()
    ]
    head = [
        "loop",
        "threads",
        "10^9 operations",
        "10^9 a second",
        "GB read",
        "GB a second",
        "floor, ms",
        "ms",
        "reached",
    ]
    return markdown(head, rows)


def exponents(table: pd.DataFrame) -> str:
    """Slope of log time over log number."""
    rows = []
    for (axis, kind), part in table.groupby(["axis", "kind"], sort=False):
        numbers, seconds = part["number"].to_numpy(float), part["seconds"].to_numpy(float)
        slope = np.polyfit(np.log(numbers), np.log(seconds), 1)[0] if len(part) > 1 else np.nan
        times = ", ".join(f"{s:.3g}" for s in seconds)
        rows.append([axis, kind, ", ".join(f"{n:g}" for n in numbers), times, f"{slope:.2f}"])
    return markdown(["number of", "stages", "numbers", "job seconds", "exponent"], rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def draw(ratios: pd.DataFrame, path: Path) -> None:
    """Ratios as points with their ranges on a log axis; a tick where the target lies."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "goodhart"
    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(style="whitegrid", context="paper")
    shown = ratios.iloc[::-1]
    places = np.arange(len(shown))
    figure, axes = plt.subplots(figsize=(7.0, 0.5 + 0.32 * len(shown)), layout="constrained")
    spread = [shown["ratio"] - shown["low"], shown["high"] - shown["ratio"]]
    axes.errorbar(shown["ratio"], places, xerr=spread, fmt="o", capsize=3, label="median, and range over pairs")
    axes.scatter(shown["target"], places, marker="|", s=150, color="C3", label="target")
    axes.axvline(1, color="0.4", linewidth=1)
    axes.set_xscale("log")
    ticks = [0.5, 1, 2, 3, 5, 10]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(places, [f"{r.comparison}, {r.case}\nagainst {r.peer}" for r in shown.itertuples()], fontsize=7)
    axes.set_xlabel("theirs / ours (above 1: ours takes less)")
    axes.legend(loc="lower right", fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share:.1f} %"


if __name__ == "__main__":
    run(main)
