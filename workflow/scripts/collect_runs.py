r"""Collect a study: gaps of every evaluation (Eq. 2), one row per run (Appendix F), (beta, AUGC) points per arm.

A run that belongs to two arms is listed in --cells once for each arm, but its files are given only once.

    python workflow/scripts/collect_runs.py --trajectories trajectory.parquet --updates steps.parquet --probes \
        probe.parquet --quality quality.json --responses responses.parquet --cells paper/dpo/p20/p20/0 \
        --gaps gaps.parquet --runs runs.parquet --csv runs.csv --scales scales.json --augc augc/dpo-paper.csv
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from goodhart.cli import Output, flag, run
from goodhart.errors import InputError
from goodhart.runtime.types import Frame, Record
from goodhart.store.files import write_json, write_table, write_text
from goodhart.store.flags import StepFlags, record, table
from goodhart.store.schemas.inputs import RESPONSES
from goodhart.store.schemas.measurements import PROBE, STEPS, TRAJECTORY
from goodhart.store.schemas.summaries import GAPS, RUNS


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    trajectories: list[Frame] = table(TRAJECTORY)
    updates: list[Frame] = table(STEPS, help="updates of the same runs")
    probes: list[Frame] = table(PROBE, help="probes of their offline checkpoints")
    quality: Record = record("proxy_scale")
    responses: Frame = table(RESPONSES, help="the reference policy's responses")
    cells: list[str] = flag(help="the runs of every arm, each as ARM/METHOD/LEVEL/KL_LEVEL/SEED")
    gaps: Output
    runs: Output
    csv: Output
    scales: Output
    augc: list[Output] = flag(help="<method>-<arm>.csv, for the (beta, AUGC) points of an arm")


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    import pandas as pd

    from goodhart.analysis.runs import add_gaps, run_rows, scales, select_arms

    cells = read_cells(given.cells)
    named = set(cells["method"] + "-" + cells["arm"])
    if unknown := [path for path in given.augc if path.stem not in named]:
        raise InputError(f"--augc {unknown[0]}: there is no method and arm called {unknown[0].stem}.")
    probes, updates = (pd.concat(tables, ignore_index=True) for tables in (given.probes, given.updates))
    gaps, scale = add_gaps(given.trajectories, scales(given.quality, given.responses))
    runs = select_arms(run_rows(gaps, probes, updates, scale), cells)
    write_table(given.gaps, gaps, GAPS, given.origin)
    write_table(given.runs, runs, RUNS, given.origin)
    write_text(given.csv, runs.to_csv(index=False))
    write_json(given.scales, scale, given.origin)
    for path in given.augc:
        points = runs.loc[runs["method"] + "-" + runs["arm"] == path.stem, ["beta", "augc", "seed", "win_rate"]]
        write_text(path, points.sort_values(["beta", "seed"]).to_csv(index=False))


def read_cells(cells: Sequence[str]) -> Frame:
    """The runs of every arm: one row per cell, with the columns arm, method, level, kl_level and seed."""
    import pandas as pd

    if wrong := [cell for cell in cells if not re.fullmatch(r"([^/]+/){4}\d+", cell)]:
        raise InputError(f"--cells: {wrong[0]!r} is not ARM/METHOD/LEVEL/KL_LEVEL/SEED.")
    table = pd.DataFrame([cell.split("/") for cell in cells], columns=["arm", "method", "level", "kl_level", "seed"])
    return table.astype({"seed": int})


if __name__ == "__main__":
    run(main)
