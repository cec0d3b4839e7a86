"""The straight script on stock trainers, which the workflow is timed against, runs to its end on a tiny study."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytestmark = [pytest.mark.long, pytest.mark.trains]

ROOT = Path(__file__).parents[2]
TINY = """
replicates: [0]
evaluation: {floor_seeds: 2}
levels: [p20, p80]
arms: {matched: p20}
offline: {epochs: 1}
task:
  source: arithmetic
  online_problems: 40
  evaluation_problems: 12
  arithmetic: {terms: [3], pretraining_examples: 400, preference_problems: 160}
policy: {pretraining: {hidden_size: 32, head_dim: 16, mlp_size: 64, steps: 40}}
reward: {members: 2, epochs: 1}
online: {steps: 3, prompts_per_step: 8, evaluate_every: 2, override: {warmup_steps: 0}}
sampling: {max_new_tokens: 24}
"""
STAGES = ["imports", "make_problems", "pretrain", "make_preferences", "derive", "find_betas", "train_rewards"]
STAGES += ["evaluate_rewards", "train_offline", "probe", "adapt_online", "tabulate"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stock")
    (folder / "tiny.yaml").write_text(TINY)
    done = run("--config", ROOT / "config/config.yaml", folder / "tiny.yaml", "--output", folder / "results")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "results"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "bench/stock_study.py"), "--threads", "1", *map(str, arguments)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)


def test_every_cell_of_both_arms_is_evaluated_at_the_start_in_between_and_at_the_end(results: Path) -> None:
    trajectory = pd.read_parquet(results / "trajectory.parquet")
    steps = {cell: part["step"].tolist() for cell, part in trajectory.groupby(["level", "kl_level", "replicate"])}
    assert list(steps) == [("p20", "p20", 0), ("p80", "p20", 0), ("p80", "p80", 0)]
    assert list(steps.values()) == [[0, 2, 3]] * 3
    assert (trajectory["n"] == 12).all()
    assert np.isfinite(trajectory.select_dtypes("number")).all(axis=None)
    assert (trajectory["kl_beta"] < trajectory["beta"]).tolist() == [False] * 6 + [True] * 3


def test_the_policy_leaves_a_reference_that_stays(results: Path) -> None:
    trajectory = pd.read_parquet(results / "trajectory.parquet")
    assert (trajectory[trajectory["step"] == 0]["kl"] == 0).all()
    end = trajectory[trajectory["step"] == 3].set_index(["level", "kl_level"])["kl"]
    assert (end != 0).all()
    assert end["p80", "p20"] != end["p80", "p80"]  # the beta of the penalty counts


def test_an_online_run_starts_from_its_offline_checkpoint(results: Path) -> None:
    trajectory, probes = (pd.read_parquet(results / f"{name}.parquet") for name in ("trajectory", "probes"))
    assert probes["level"].tolist() == ["p20", "p80"]
    assert (probes["kl"] != 0).all()  # to the policy before DPO
    assert probes["kl"].tolist() == probes["kl_reference"].tolist()
    started = trajectory[trajectory["step"] == 0].merge(probes, on=["level", "replicate"], suffixes=("", "_offline"))
    for measure in ("proxy", "entropy_response", "ood_distance"):
        assert started[measure].tolist() == pytest.approx(started[f"{measure}_offline"].tolist(), rel=1e-4)


def test_runs_have_an_area_and_stages_their_seconds(results: Path) -> None:
    runs = pd.read_csv(results / "runs.csv")
    assert len(runs) == 3
    assert np.isfinite(runs["augc"]).all()
    assert (runs["augc"] >= 0).all()
    seconds = json.loads((results / "timings.json").read_text())
    assert list(seconds) == [*STAGES, "total"]
    assert all(value > 0 for value in seconds.values())
    assert seconds["total"] == pytest.approx(sum(seconds[stage] for stage in STAGES))
    (quality,) = json.loads((results / "quality.json").read_text())["replicates"]
    assert len(quality["member_accuracy"]) == 2
    assert len(quality["held_out"]["member_accuracy"]) == 1
    floor = pd.read_parquet(results / "floor.parquet")
    assert floor["number"].tolist() == [1, 2] * 2
    assert np.isfinite(floor.select_dtypes("number")).all(axis=None)


def test_what_it_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "named.yaml").write_text("policy: {model: gpt2}\n")
    done = run("--config", ROOT / "config/config.yaml", tmp_path / "named.yaml", "--output", tmp_path / "results")
    assert done.returncode == 1
    assert "embedded policy" in done.stderr
    assert not (tmp_path / "results").exists()
    (tmp_path / "partly.yaml").write_text("redraw: [rewards]\n")
    done = run("--config", ROOT / "config/config.yaml", tmp_path / "partly.yaml", "--output", tmp_path / "results")
    assert (done.returncode, "all stages or none" in done.stderr) == (1, True)
