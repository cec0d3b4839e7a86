r"""The whole pocket study, by the workflow and by bench/stock_study.py, and where the workflow's time goes.

Both start from nothing and end with their tables. Of the workflow's runs it also reads what Snakemake's `benchmark:`
files say of each stage, how busy the cores were, and how long imports took: Python prints that into the logs where
PYTHONPROFILEIMPORTTIME is set, as it is here. Nothing else should run meanwhile. Run it in the repository's folder; the
results stay in results/bench for the other comparisons, and an earlier results/bench is removed.

    python bench/whole_study.py --config config/config.yaml --cores 2 --pairs 1 --target 2 \
        --output results/bench-comparisons/whole_study.parquet --stages results/bench-comparisons/stages.parquet
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd
import psutil

from alternating import alternate, publish, record
from compare_memory import seconds as read_seconds
from goodhart.cli import parser, run
from goodhart.errors import InputError
from goodhart.store.files import read_json

STUDY = "bench"
STOCK = Path("results/bench-stock")
IMPORT = re.compile(r"^import time:\s+(\d+) \|", re.MULTILINE)  # microseconds that a module took by itself


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--config", type=Path, nargs="+", required=True, help="config files; a later one overrides")
    args.add_argument("--cores", type=int, required=True, help="of the workflow; the script takes what torch takes")
    args.add_argument("--pairs", type=int, required=True)
    args.add_argument("--target", type=float, required=True)
    args.add_argument("--output", type=Path, required=True)
    args.add_argument("--stages", type=Path, required=True, help="where the time of the last run went")
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    last: dict[str, Any] = {}

    def ours() -> float:
        last.update(workflow(args.config, args.cores))
        return last["wall"]

    def theirs() -> float:
        return stock(args.config)

    measured = alternate(ours, theirs, args.pairs, warmups=0)
    stages = where_it_went(last, args.cores)
    publish(args.stages, stages)
    print(stages.to_string(index=False), file=sys.stderr)
    publish(
        args.output,
        record("whole study", "pocket", "a script of stock parts", measured, same_science(), args.target),
    )


def workflow(config: Sequence[Path], cores: int) -> dict[str, Any]:
    """Run the workflow from nothing: seconds in all and before the first job, busy core-seconds, imports by process."""
    clear(STUDY)
    line = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--config", f"study={STUDY}", "--quiet", "all"]
    line += ["--configfile", *map(str, config)]
    before, start = _busy(), time.time()
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(line, env=environment, stdout=said, stderr=said) as process,
    ):
        server = None
        while process.poll() is None:
            time.sleep(0.1)
            if server is None and (path := Path(f".snakemake/warm-{process.pid}.log")).exists():
                server = path.open()  # it is removed when Snakemake has ended
        said.seek(0)
        errors = said.read()
    wall, busy = time.time() - start, _busy() - before
    if process.returncode:
        raise InputError(f"the workflow failed; see logs/{STUDY}. Its last words: {IMPORT.sub('', errors)[-500:]}")
    imports = {str(path): _imports(path.read_text()) for path in Path(f"logs/{STUDY}").rglob("*.log")}
    first = min(path.stat().st_mtime - read_seconds(path) for path in Path(f"benchmarks/{STUDY}").rglob("*.tsv"))
    return {
        "wall": wall,
        "busy": busy,
        "before": first - start,
        "imports": imports | {"Snakemake": _imports(errors), "server": _imports(server.read() if server else "")},
    }


def clear(study: str) -> None:
    """Remove all that an earlier run of a study left."""
    for part in ("results", "logs", "benchmarks"):
        shutil.rmtree(Path(part) / study, ignore_errors=True)


def job_seconds(study: str) -> dict[str, list[float]]:
    """Seconds of every job by its stage, from Snakemake's benchmark files."""
    found: dict[str, list[float]] = {}
    root = Path("benchmarks") / study
    for path in root.rglob("*.tsv"):
        parts = [part for part in path.relative_to(root).parts if not part.startswith("replicate-")]
        found.setdefault(parts[0].removesuffix(".tsv"), []).append(read_seconds(path))
    return found


def stock(config: Sequence[Path]) -> float:
    """Run the script of stock parts from nothing; seconds."""
    shutil.rmtree(STOCK, ignore_errors=True)
    line = [sys.executable, "bench/stock_study.py", "--config", *map(str, config), "--output", str(STOCK)]
    start = time.perf_counter()
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{line[1]} failed: {done.stderr[-500:]}")
    return time.perf_counter() - start


def where_it_went(last: dict[str, Any], cores: int) -> pd.DataFrame:
    """Stages with jobs, seconds and share of the busy core-seconds; then start-up, and how busy the cores were."""
    found = job_seconds(STUDY)
    rows = [("stage", name, len(jobs), sum(jobs)) for name, jobs in sorted(found.items(), key=lambda x: -sum(x[1]))]
    imported = last["imports"]
    jobs = sum(seconds for name, seconds in imported.items() if name not in ("Snakemake", "server"))
    rows += [
        ("start-up", "Snakemake, before the first job", 1, last["before"]),
        ("start-up", "server of imported libraries", 1, imported["server"]),
        ("start-up", "imports in the jobs", len(imported) - 2, jobs),
    ]
    table = pd.DataFrame(rows, columns=["kind", "what", "jobs", "seconds"])
    table["share"] = table["seconds"] / last["busy"]
    start_up = table.loc[table["kind"] == "start-up", "share"].sum()
    whole = [
        ("whole", "wall seconds", 1, last["wall"], float("nan")),
        ("whole", "busy core-seconds", 1, last["busy"], 1.0),
        ("whole", "core utilisation", 1, float("nan"), last["busy"] / (cores * last["wall"])),
        ("whole", "start-up", 1, float("nan"), start_up),
    ]
    return pd.concat([table, pd.DataFrame(whole, columns=table.columns)], ignore_index=True)


def same_science() -> str:
    """Hold what both sides wrote against each other: the same runs, evaluated at the same updates."""
    ours = pd.read_parquet(f"results/{STUDY}/tables/gaps.parquet")
    theirs = pd.read_parquet(STOCK / "trajectory.parquet")
    key = ["method", "level", "kl_level", "replicate", "step"]
    if sorted(map(tuple, ours[key].to_numpy())) != sorted(map(tuple, theirs[key].to_numpy())):
        raise InputError("the two sides did not evaluate the same cells at the same updates.")
    found = sorted(Path(f"results/{STUDY}").glob("replicate-*/reward/quality.json"))
    accuracy = mean([read_json(path, ["ensemble_accuracy"])["ensemble_accuracy"] for path in found])
    theirs_of = json.loads((STOCK / "quality.json").read_text())["replicates"]
    other = mean([quality["ensemble_accuracy"] for quality in theirs_of])
    drops = [
        part.groupby("step")["true"].mean().iloc[[0, -1]].round(2).tolist()
        for part in (table[table["level"] == table.loc[table["beta"].idxmin(), "level"]] for table in (ours, theirs))
    ]
    return (
        f"the same {len(ours.groupby(key[:4]))} runs with {len(ours)} evaluations; "
        f"held-out accuracy of the reward models {accuracy:.2f} against {other:.2f}; "
        f"accuracy at the lowest level from {drops[0][0]} to {drops[0][1]} against {drops[1][0]} to {drops[1][1]}"
    )


def _busy() -> float:
    """Core-seconds that all processors of this machine have worked."""
    times = psutil.cpu_times()
    return times.user + getattr(times, "nice", 0.0) + times.system


def _imports(log: str) -> float:
    return sum(map(int, IMPORT.findall(log))) / 1e6


if __name__ == "__main__":
    run(main)
