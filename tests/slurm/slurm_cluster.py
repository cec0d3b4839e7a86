"""A real SLURM of one node with two GPUs that are none, and runs of the tiny study on it through profiles/slurm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from snakemake.utils import update_config

from house import ROOT, TINY

SANDBOX = Path(__file__).parent / "sandbox"
STUDY = Path("results/tiny")

Job = dict[str, str]  # what `scontrol show job` says of it


def missing() -> str:
    """Why there can be no SLURM here, if there cannot."""
    return subprocess.run([SANDBOX, "check"], capture_output=True, text=True, check=True).stdout.strip()


def scontrol(*args: str) -> str:
    return subprocess.run(["scontrol", *args], capture_output=True, text=True, check=True).stdout


def show_jobs() -> list[Job]:
    """Every job, running or ended; of one that runs, `GRES` says which GPUs it has, such as gpu:1(IDX:0)."""
    lines = scontrol("-d", "-o", "show", "jobs").splitlines()
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines if line.startswith("JobId=")]


def find_jobs(comment: str) -> list[Job]:
    """The jobs of a rule and its wildcards, by the comment that Snakemake gives them, oldest first."""
    return [job for job in show_jobs() if job["Comment"] == comment]


def rule_of(job: Job) -> str:
    return job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]


def processes(*words: str) -> list[int]:
    """Processes in whose command line all these words stand one by one, such as a script and its flags."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            said = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:  # it has just ended
            continue
        if set(words) <= set(said):
            found.append(int(entry.name))
    return found


class Watch:
    """Looks at all jobs once a second, as long as it is entered."""

    def __init__(self) -> None:
        self.seen: list[list[Job]] = []  # the jobs that ran, at each look
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self.over.wait(1):
            self.seen.append([job for job in show_jobs() if job["JobState"] == "RUNNING"])

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


class House(NamedTuple):
    """A copy of the workflow, on what is the cluster's file system."""

    folder: Path

    def config(self, gpus: int) -> dict[str, Any]:
        """The tiny study with one replicate, as Snakemake merges it."""
        merged = yaml.safe_load((ROOT / "config/config.yaml").read_text())
        for changes in (yaml.safe_load((ROOT / TINY).read_text()), {"replicates": [0], "gpus": gpus}):
            update_config(merged, changes)
        return merged

    def start(self, *args: str, gpus: int, more: str = "") -> subprocess.Popen[str]:
        """Start `snakemake --profile profiles/slurm`, here with frequent looks at its short jobs."""
        (self.folder / "cluster.yaml").write_text(f"replicates: [0]\ngpus: {gpus}\n{more}\n")
        often = "--slurm-init-seconds-before-status-checks 6 --latency-wait 5"
        line = f"-m snakemake --profile profiles/slurm {often}"
        return subprocess.Popen(
            [sys.executable, *line.split(), *args, "--configfile", TINY, "cluster.yaml"],
            cwd=self.folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def contents(self, *paths: str) -> dict[str, bytes]:
        """The bytes of every file under some paths of the study."""
        root = self.folder / STUDY
        files = sorted(file for path in paths for file in (root / path).rglob("*") if file.is_file())
        return {str(file.relative_to(root)): file.read_bytes() for file in files}


class Run(NamedTuple):
    """A finished run of the workflow: what it said, the jobs that SLURM knows of it, and which ran at each look."""

    house: House
    output: str
    jobs: list[Job]
    seen: list[list[Job]]
