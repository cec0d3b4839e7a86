"""The studies that ship: each passes the check, and asks for the runs that it should."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from goodhart import study

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())


def load(name: str) -> dict[str, Any]:
    """A study's configuration as Snakemake merges it."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    update_config(config, yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()))
    return config


def differences(one: Any, other: Any, key: str = "") -> set[str]:
    if not isinstance(one, dict):
        return set() if one == other else {key}
    return {d for name in one for d in differences(one[name], other.get(name), f"{key}.{name}".strip("."))}


@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "config").glob("*.yaml"))])
def test_every_study_passes_the_check(name: str) -> None:
    study.check(load(name), SCHEMA)


def test_the_protocol_is_the_paper_but_for_what_it_says() -> None:
    assert differences(load("paper"), load("protocol")) == {
        "study",
        "replicates",
        "redraw",
        "levels",
        "arms.matched",
        "decision.arm",
        "task.evaluation_problems",
        "task.dataset.online",
    }


def test_the_protocol_spans_two_orders_of_magnitude_evenly() -> None:
    betas = [study.parse_level(level)[1] for level in load("protocol")["levels"]]
    assert len(betas) == 8
    assert betas[-1] / betas[0] == pytest.approx(100)
    ratios = [b / a for a, b in pairwise(betas)]
    assert ratios == pytest.approx([100 ** (1 / 7)] * 7, rel=0.01)


@pytest.mark.parametrize(
    ("name", "jobs"),
    [
        # 3 levels, 1 replicate, 1 arm; 8 levels, 5 replicates with their own reward models, where the arm of one
        # penalty shares one level with the paper's
        ("paper", {"train_reward": 3, "train_offline": 3, "adapt_online": 3, "resolve_backbone": 1, "total": 37}),
        ("protocol", {"train_reward": 15, "train_offline": 40, "adapt_online": 75, "probe_offline": 40, "total": 205}),
        (
            "smollm2",
            {"train_reward": 9, "train_offline": 9, "adapt_online": 15, "resolve_policy": 1, "load_problems": 1},
        ),
    ],
)
def test_a_dry_run_plans_the_runs_of_the_study(name: str, jobs: dict[str, int], tmp_path: Path) -> None:
    for part in ("workflow", "config", "envs", "profiles"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", tmp_path)
    line = f"-m snakemake --cores 1 -n --configfile config/{name}.yaml"
    done = subprocess.run([sys.executable, *line.split()], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    planned = {job: int(count) for job, count in re.findall(r"^(\w+) +(\d+)$", done.stdout, flags=re.MULTILINE)}
    assert {job: planned.get(job) for job in jobs} == jobs
