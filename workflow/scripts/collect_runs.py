r"""Collect a study: gaps of every evaluation (Eq. 2), one row a run (Appendix F), and (beta, AUGC) points an arm.

An arm is named with its cells: `--arm NAME METHOD/LEVEL/KL_LEVEL/SEED ...`; a run in two arms is read once.

    python workflow/scripts/collect_runs.py --runs online/dpo/p20/kl-p20/seed-0 --probes \
        offline/dpo/p20/seed-0/probe.parquet --quality quality.json --responses responses.parquet \
        --arm paper dpo/p20/p20/0 --gaps gaps.parquet --table runs.parquet --csv runs.csv --scales scales.json \
        --augc augc/dpo-paper.csv
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from goodhart.cli import Output, parser, run
from goodhart.errors import InputError
from goodhart.store.files import read_json, read_table, write_json, write_table, write_text
from goodhart.store.provenance import origin
from goodhart.store.schemas.inputs import RESPONSES
from goodhart.store.schemas.measurements import PROBE, STEPS, TRAJECTORY
from goodhart.store.schemas.summaries import GAPS, RUNS


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--runs", type=Path, nargs="+", required=True, help="folders of online runs")
    args.add_argument("--probes", type=Path, nargs="+", required=True, help="probes of their offline checkpoints")
    args.add_argument("--quality", type=Path, required=True)
    args.add_argument("--responses", type=Path, required=True, help="the reference policy's responses")
    args.add_argument("--arm", nargs="+", action="append", required=True, metavar="NAME CELL")
    args.add_argument("--gaps", type=Output, required=True)
    args.add_argument("--table", type=Output, required=True)
    args.add_argument("--csv", type=Output, required=True)
    args.add_argument("--scales", type=Output, required=True)
    args.add_argument("--augc", type=Output, nargs="+", required=True, help="<method>-<arm>.csv, points of an arm")
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    quality = read_json(args.quality, ["proxy_scale"])
    responses = read_table(args.responses, RESPONSES)
    trajectories = [read_table(folder / "trajectory.parquet", TRAJECTORY) for folder in args.runs]
    arms = {name: [_cell(text) for text in cells] for name, *cells in args.arm}
    for path in args.augc:
        if path.stem not in {f"{cell[0]}-{arm}" for arm, cells in arms.items() for cell in cells}:
            raise InputError(f"--augc {path}: no run belongs to a method and arm called {path.stem}.")
    made = origin(args, __file__)
    import pandas as pd

    from goodhart.analysis.runs import add_gaps, run_rows, scales, select_arms

    probes = pd.concat([read_table(path, PROBE) for path in args.probes], ignore_index=True)
    updates = pd.concat([read_table(folder / "steps.parquet", STEPS) for folder in args.runs], ignore_index=True)
    gaps, scale = add_gaps(trajectories, scales(quality, responses))
    runs = select_arms(run_rows(gaps, probes, updates, scale), arms)
    write_table(args.gaps, gaps, GAPS, made)
    write_table(args.table, runs, RUNS, made)
    write_text(args.csv, runs.to_csv(index=False))
    write_json(args.scales, asdict(scale), made)
    for path in args.augc:
        points = runs.loc[runs["method"] + "-" + runs["arm"] == path.stem, ["beta", "augc", "seed", "win_rate"]]
        write_text(path, points.sort_values(["beta", "seed"]).to_csv(index=False))


def _cell(text: str) -> tuple[str, str, str, int]:
    parts = text.split("/")
    if len(parts) != 4 or not parts[3].isdigit():
        raise InputError(f"--arm: {text!r} is not METHOD/LEVEL/KL_LEVEL/SEED.")
    return parts[0], parts[1], parts[2], int(parts[3])


if __name__ == "__main__":
    run(main)
