"""A copy of the workflow in a folder of its own, and Snakemake in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TINY = "tests/workflow/tiny.yaml"
PARTS = ("Snakefile", "workflow", "config", "envs", "profiles", TINY, "tests/tiny.yaml")


def copy_house(folder: Path) -> Path:
    """Copy what Snakemake needs of this repository, free to be edited."""
    for part in PARTS:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder


def start_snakemake(house: Path, *args: str, configs: tuple[str, ...] = (TINY,)) -> subprocess.Popen[str]:
    """Start Snakemake as the leader of a process group, as a shell does; its two streams are one."""
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *args, "--configfile", *configs],
        cwd=house,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_snakemake(house: Path, *args: str, configs: tuple[str, ...] = (TINY,)) -> subprocess.CompletedProcess[str]:
    """Run Snakemake to its end, with two cores."""
    running = start_snakemake(house, "--cores", "2", *args, configs=configs)
    output, _ = running.communicate(timeout=900)
    return subprocess.CompletedProcess(running.args, running.returncode, output)


def wait_for(happens: Callable[[], Any], seconds: float = 120) -> Any:
    """What `happens` returns, once that is something."""
    end = time.monotonic() + seconds
    while not (found := happens()):
        assert time.monotonic() < end, f"waited {seconds:g} s for what did not happen"
        time.sleep(0.1)
    return found
