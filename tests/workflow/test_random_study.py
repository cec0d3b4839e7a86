"""A policy and a reward backbone of their own, of random weights in 4 bits, go through the whole workflow.

The same study at the size of the paper's models is what `make bench-gpu` measures.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from compare_memory import jobs

pytestmark = [pytest.mark.long, pytest.mark.trains]

ROOT = Path(__file__).parents[2]
TINY = {
    "model_type": "qwen3",
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workflow with the random study in it, run to its end."""
    folder = tmp_path_factory.mktemp("house")
    for part in ("workflow", "config", "envs", "profiles"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    for name, tied in (("policy", False), ("reward", True)):
        (folder / f"{name}.json").write_text(json.dumps({**TINY, "tie_word_embeddings": tied}))
    line = "--policy policy.json --reward reward.json --memory-gb 1 --length 64 --max-new-tokens 12 --pairs 60"
    line += " --prompts-per-step 8 --gpus 0 --output input"
    run(folder, str(ROOT / "bench/random_study.py"), *line.split())
    run(folder, "-m", "snakemake", "--cores", "2", "all", "memory", "--configfile", "input/config.yaml")
    return folder


def run(folder: Path, *command: str) -> None:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    logs = [f"{path}:\n{path.read_text()[-1500:]}" for path in folder.glob("logs/**/*.log")] if done.returncode else []
    assert done.returncode == 0, "\n".join([done.stdout[-2000:], done.stderr[-3000:], *logs])


def test_every_stage_ran_in_4_bits_and_its_results_hang_together(house: Path) -> None:
    results = house / "results/bench"
    trajectory = pd.read_parquet(results / "replicate-0/online/dpo/p50/kl-p50/trajectory.parquet")
    assert trajectory["step"].tolist() == [0, 2]
    assert trajectory["response_tokens"].tolist() == [12, 12]  # random weights never end a response
    assert trajectory["truncated"].tolist() == [1, 1]
    assert trajectory["kl"][0] == pytest.approx(0, abs=1e-5)
    assert trajectory["kl"][1] != 0
    updates = pd.read_parquet(results / "replicate-0/online/dpo/p50/kl-p50/steps.parquet")
    assert (updates["gradient_norm"] > 0).all()
    assert updates["kl_penalty"][0] == 0  # before the first update policy and reference are one
    assert len(json.loads((results / "replicate-0/reward/quality.json").read_text())["member_accuracy"]) == 3
    assert (results / "figures/gap_by_step.svg").is_file()


def test_policy_and_rewards_have_a_base_each(house: Path) -> None:
    results = house / "results/bench"
    bases = [
        json.loads((results / f"replicate-0/{name}/manifest.json").read_text())
        for name in ("policy", "reward/backbone")
    ]
    assert bases[0]["parameters"] - bases[1]["parameters"] == 512 * 64  # the untied head of the policy
    derived = json.loads((results / "replicate-0/derived.json").read_text())
    assert derived["offline"]["inputs"]["parameters"] == bases[0]["parameters"]
    assert derived["reward"]["inputs"]["parameters"] == bases[1]["parameters"]


def test_every_stage_says_what_memory_it_took_and_is_held_against_the_plan(house: Path) -> None:
    planned = json.loads((house / "results/bench/memory.json").read_text())["stages"]
    found = jobs("bench", house)
    assert {job.name.split("/")[1] for job in found} == set(planned)
    rewards = [job.name for job in found if "train_reward" in job.name]
    assert rewards == [f"replicate-0/train_reward/member-{k}" for k in range(3)]
    assert all(job.planned == planned[job.name.split("/")[1]]["peak"] for job in found if not job.on_gpu)
    assert all(0 < job.measured < 8 for job in found)
    assert all(job.seconds > 0 for job in found)
