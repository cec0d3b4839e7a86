"""A step run again gives the same bytes; another seed gives others."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from goodhart.store.files import read_table
from goodhart.store.schemas.measurements import STEPS as UPDATES
from tiny_study import Study, placed

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
STEPS = [
    "generate_problems",
    "sample_preferences",
    "derive_hyperparameters/offline",
    "score_reference",
    "sample_reference",
    "train_reward/1",
    "train_reward/held-out-0",
    "evaluate_rewards",
    "train_offline/p80/replicate-1",
    "probe_offline/p80/replicate-1",
    "adapt_online/p80/kl-p20/replicate-1",
    "collect_runs",
    "decide",
    "tabulate_levels",
    "fit_power_law/paper",
    "fit_overoptimisation",
]


@pytest.mark.parametrize("step", STEPS)
def test_the_same_command_gives_the_same_bytes(tiny: Study, tmp_path: Path, step: str) -> None:
    """trajectory.parquet and adapter_model.safetensors among them, after everything else ran in this process."""
    tiny.run(step, tmp_path)
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert [file for file in files if (tmp_path / file).read_bytes() != (tiny / str(file)).read_bytes()] == []


def test_findings_have_the_same_bytes(tiny: Study, tmp_path: Path) -> None:
    for attempt in ("first", "again"):
        tiny.run("write_findings", tmp_path / attempt)
    for name in ("findings.html", "checklist.html", "checklist.json"):
        content = (tmp_path / "first" / name).read_bytes()
        assert content == (tmp_path / "again" / name).read_bytes()
        assert str(tiny.root).encode() not in content


def test_pretraining_gives_the_same_bytes(tiny: Study, tmp_path: Path) -> None:
    weights = []
    for attempt in ("first", "again"):
        arguments = tiny.arguments("pretrain_policy", tmp_path / attempt)
        arguments[arguments.index("--steps") + 1] = "20"
        importlib.import_module("pretrain_policy").main(arguments)
        weights.append((tmp_path / attempt / "replicate-0/policy/model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_process_of_its_own_gives_the_same_bytes_as_this_one(tiny: Study, tmp_path: Path) -> None:
    step = "adapt_online/p20/kl-p20"
    script = str(SCRIPTS / "adapt_online.py")
    subprocess.run([sys.executable, script, *tiny.arguments(step, tmp_path)], capture_output=True, check=True)
    for file in ("trajectory.parquet", "steps.parquet", "responses.parquet", "adapter/adapter_model.safetensors"):
        path = f"replicate-0/online/dpo/p20/kl-p20/{file}"
        assert (tmp_path / path).read_bytes() == (tiny / path).read_bytes()


@pytest.mark.parametrize(
    ("step", "flag", "file"),
    [
        ("generate_problems", "--seed", "data/problems.parquet"),
        ("sample_preferences", "--seed", "data/preferences.parquet"),
        ("sample_reference", "--seed", "reference/responses.parquet"),
        ("train_reward/1", "--seed", "reward/member-1/adapter/adapter_model.safetensors"),
        (
            "train_offline/p80/replicate-1",
            "--replicate",
            "replicate-1/offline/dpo/p80/adapter/adapter_model.safetensors",
        ),
        ("adapt_online/p80/kl-p20/replicate-1", "--replicate", "replicate-1/online/dpo/p80/kl-p20/steps.parquet"),
        (
            "adapt_online/p80/kl-p20/replicate-1",
            "--evaluation-seed",
            "replicate-1/online/dpo/p80/kl-p20/trajectory.parquet",
        ),
    ],
)
def test_another_seed_gives_something_else(tiny: Study, tmp_path: Path, step: str, flag: str, file: str) -> None:
    arguments = tiny.arguments(step, tmp_path)
    arguments[arguments.index(flag) + 1] = "77"
    importlib.import_module(step.partition("/")[0]).main(arguments)
    assert (tmp_path / placed(file)).read_bytes() != (tiny / file).read_bytes()


def test_the_evaluation_seed_decides_no_update(tiny: Study, tmp_path: Path) -> None:
    """What is watched does not change what happens: updates and adapter stay the same to the last bit."""
    run = "replicate-1/online/dpo/p80/kl-p20"
    arguments = tiny.arguments("adapt_online/p80/kl-p20/replicate-1", tmp_path)
    arguments[arguments.index("--evaluation-seed") + 1] = "77"
    arguments[arguments.index("--evaluate-every") + 1] = "1"
    importlib.import_module("adapt_online").main(arguments)
    weights = "adapter/adapter_model.safetensors"
    assert (tmp_path / run / weights).read_bytes() == (tiny / f"{run}/{weights}").read_bytes()
    updates = [read_table(folder / "steps.parquet", UPDATES) for folder in (tmp_path / run, tiny / run)]
    pd.testing.assert_frame_equal(*updates, check_exact=True)
