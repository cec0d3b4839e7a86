r"""Hold a study that was run against its memory plan: what every job took on the GPU, and what it was planned to take.

Reads what the workflow left of the study: results/<study>/memory.json, the `peak memory:` lines in logs/<study>/ and
the seconds in benchmarks/<study>/. A GPU's figure is what torch allocated, without CUDA's own part of the plan.

    python bench/compare_memory.py --study bench
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from goodhart.cli import parser, run
from goodhart.errors import InputError
from goodhart.store.files import read_json

PEAK = re.compile(r"peak memory: ([\d.]+) GiB of the process(?:, ([\d.]+) GiB of the GPU)?")
HALVED = "do not fit into memory, continuing with"
CONTEXT = "CUDA context and libraries"


class Job(NamedTuple):
    """One job of a stage; memory in GiB, `on_gpu` whether it is that of a GPU, `halved` whether a batch was."""

    name: str
    seconds: float
    measured: float
    planned: float
    on_gpu: bool
    halved: bool


def jobs(study: str, root: Path = Path()) -> list[Job]:
    """Every finished job of the planned stages, in the order of the workflow; of several processes, the largest."""
    logs = root / "logs" / study
    found = []
    for stage, plan in read_json(root / "results" / study / "memory.json", ["stages"])["stages"].items():
        for log in sorted([*logs.rglob(f"{stage}.log"), *logs.rglob(f"{stage}/*.log")]):
            text = log.read_text() if log.is_file() else ""
            peaks = [(float(gpu or 0), float(process), bool(gpu)) for process, gpu in PEAK.findall(text)]
            if peaks:
                gpu, process, on_gpu = max(peaks)
                name = log.relative_to(logs).with_suffix("")
                found.append(
                    Job(
                        str(name),
                        seconds(root / "benchmarks" / study / f"{name}.tsv"),
                        gpu if on_gpu else process,
                        plan["peak"] - (plan["held"].get(CONTEXT, 0) if on_gpu else 0),
                        on_gpu,
                        HALVED in text,
                    )
                )
    if not found:
        raise InputError(f"{logs} holds no log of a planned stage that ended; run the study first.")
    return found


def seconds(benchmark: Path) -> float:
    """The wall-clock time in a benchmark that Snakemake wrote."""
    try:
        with benchmark.open(newline="") as handle:
            return float(next(csv.DictReader(handle, delimiter="\t"))["s"])
    except (OSError, StopIteration, KeyError, ValueError) as error:
        raise InputError(f"{benchmark} is no benchmark of Snakemake; run its job again.") from error


def table(found: Sequence[Job]) -> str:
    """The comparison as Markdown, and what to know of it."""
    lines = ["| stage | seconds | measured, GiB | planned, GiB | planned / measured |", "|---|---:|---:|---:|---:|"]
    for job in found:
        ratio = f"{job.planned / job.measured:.2f}" if job.measured else ""
        lines.append(
            f"| {job.name}{' *' * job.halved} | {job.seconds:.0f} | {job.measured:.2f} | {job.planned:.2f} | {ratio} |"
        )
    if any(job.halved for job in found):
        lines += ["", "* Memory ran out and a batch was halved: less than what the plan counts lay there at the end."]
    if not all(job.on_gpu for job in found):
        lines += [
            "",
            "Without a GPU the measured figure is the peak of the whole process, Python and its libraries among it: "
            "not what the plan predicts. bench/measure_memory.py counts that on a CPU.",
        ]
    return "\n".join(lines)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--study", required=True, help="its name in results/, logs/ and benchmarks/")
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    print(table(jobs(parse_args(argv).study)))


if __name__ == "__main__":
    run(main)
