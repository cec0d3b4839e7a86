r"""Collect a study: gaps of every evaluation (Eq. 2), one row per run (Appendix F), (beta, AUGC) points per arm.

A run that belongs to two arms has a cell in each arm, but its files are given only once. --quality, --baselines and
--responses-reference name one file for each replicate, in the order of --replicates; replicates may share a file.

    python workflow/scripts/collect_runs.py --trajectories trajectory.parquet --responses responses.parquet --updates \
        steps.parquet --probes probe.parquet --floors floor.parquet --replicates 0 --quality quality.json --baselines \
        baseline.parquet --reference reference/responses.parquet --cells paper/dpo/p20/p20/0 \
        --gaps gaps.parquet --runs runs.parquet --csv runs.csv --scales scales.json --augc augc/dpo-paper.csv
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from goodhart.cli import Output, flag, run
from goodhart.errors import InputError
from goodhart.runtime.types import Frame, Record
from goodhart.store.files import write_json, write_table, write_text
from goodhart.store.flags import StepFlags, record, table
from goodhart.store.schemas.inputs import BASELINE, RESPONSES
from goodhart.store.schemas.measurements import FLOOR, PROBE, SCORED_RESPONSES, STEPS, TRAJECTORY
from goodhart.store.schemas.summaries import GAPS, RUNS

POINTS = ["level", "beta", "augc", "replicate", "win_rate"]


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    trajectories: list[Frame] = table(TRAJECTORY)
    responses: list[Frame] = table(SCORED_RESPONSES, help="of the same runs, in the same order")
    updates: list[Frame] = table(STEPS, help="of the same runs")
    probes: list[Frame] = table(PROBE, help="of their offline checkpoints")
    floors: list[Frame] = table(FLOOR, help="of the same checkpoints")
    replicates: list[int]
    quality: list[Record] = record("proxy_scale", help="of each replicate")
    baselines: list[Frame] = table(BASELINE, help="of each replicate")
    reference: list[Frame] = table(RESPONSES, help="the reference policy's responses, of each replicate")
    cells: list[str] = flag(help="ARM/METHOD/LEVEL/KL_LEVEL/REPLICATE: the runs of every arm")
    gaps: Output
    runs: Output
    csv: Output
    scales: Output
    augc: list[Output] = flag(help="<method>-<arm>.csv, for the (beta, AUGC) points of an arm")


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    made = given.origin
    import pandas as pd

    from goodhart.analysis.reference import Reference
    from goodhart.analysis.runs import add_gaps, add_onsets, alignment, run_rows, select_arms

    cells = read_cells(given.cells)
    for path in given.augc:
        if path.stem not in set(cells["method"] + "-" + cells["arm"]):
            raise InputError(f"--augc {path}: no run belongs to a method and arm called {path.stem}.")
    check_runs(given)
    one_each = zip(given.replicates, given.quality, given.baselines, given.reference, strict=True)
    references = {files[0]: Reference.of(*files) for files in one_each}
    probes, floors, updates = (pd.concat(tables) for tables in (given.probes, given.floors, given.updates))
    gaps = add_gaps(given.trajectories, given.responses, references)
    runs = select_arms(run_rows(gaps, probes, floors, updates, references), cells)
    runs, thresholds = add_onsets(runs, gaps)
    write_table(given.gaps, gaps, GAPS, made)
    write_table(given.runs, runs, RUNS, made)
    write_text(given.csv, runs.to_csv(index=False))
    scales = {"replicates": [reference.record() for reference in references.values()], "thresholds": thresholds}
    write_json(given.scales, scales, made)
    quality = runs.assign(win_rate=alignment(runs)[1])
    for path in given.augc:
        points = quality.loc[runs["method"] + "-" + runs["arm"] == path.stem, POINTS]
        write_text(path, points.sort_values(["beta", "replicate"]).to_csv(index=False))


def check_runs(given: Arguments) -> None:
    """Raise `InputError` unless the responses are those of the trajectories, run by run."""
    from goodhart.analysis.runs import RUN

    names = [
        ["/".join(map(str, table[RUN].iloc[0])) for table in tables] for tables in (given.trajectories, given.responses)
    ]
    for number, (mine, other) in enumerate(zip_longest(*names), 1):
        if mine != other:
            raise InputError(
                f"number {number} of --trajectories is of run {mine}, and that of --responses of run {other}; name the "
                "same runs in the same order."
            )


def read_cells(cells: Sequence[str]) -> Frame:
    """The runs of every arm: one row per cell, with the columns arm, method, level, kl_level and replicate."""
    import pandas as pd

    for cell in cells:
        if not re.fullmatch(r"([^/]+/){4}\d+", cell):
            raise InputError(f"--cells: {cell!r} is not ARM/METHOD/LEVEL/KL_LEVEL/REPLICATE.")
    columns = ["arm", "method", "level", "kl_level", "replicate"]
    return pd.DataFrame([cell.split("/") for cell in cells], columns=columns).astype({"replicate": int})


if __name__ == "__main__":
    run(main)
