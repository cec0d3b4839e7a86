"""The tiny study completes through `snakemake --profile profiles/slurm`, and each job had what its rule asks for."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

from slurm_cluster import STUDY, Run, rule_of

from goodhart import resources

SUBMITTED = {  # the other steps take seconds, and run where Snakemake runs
    "pretrain_policy": 1,
    "sample_preferences": 1,
    "sample_reference": 1,
    "score_reference": 1,
    "train_reward": 2,
    "evaluate_rewards": 1,
    "train_offline": 2,
    "probe_offline": 2,
    "adapt_online": 3,
}


def test_the_study_completes(study: Run) -> None:
    root = study.house.folder / STUDY
    assert "(100%) done" in study.output
    assert len(json.loads((root / "checklist.json").read_text())["items"]) == 14
    assert len(list(root.glob("online/**/trajectory.parquet"))) == 3


def test_what_computes_is_submitted_and_the_rest_is_not(study: Run) -> None:
    assert Counter(map(rule_of, study.jobs)) == SUBMITTED
    assert {job["JobState"] for job in study.jobs} == {"COMPLETED"}


def test_a_job_that_asks_for_a_gpu_gets_one_and_no_other_does(study: Run) -> None:
    given = {job["JobId"]: (rule_of(job), job["GRES"]) for look in study.seen for job in look}
    assert {rule for rule, _ in given.values()} == set(SUBMITTED)
    for rule, gres in given.values():
        assert re.fullmatch(r"" if rule == "pretrain_policy" else r"gpu:1\(IDX:[01]\)", gres), (rule, gres)
    assert {job["TresPerJob"] for job in study.jobs if "TresPerJob" in job} == {"gres:gpu:1"}


def test_no_two_jobs_had_a_gpu_at_the_same_time(study: Run) -> None:
    together = [[job["GRES"] for job in look if job["GRES"]] for look in study.seen]
    assert max(map(len, together)) == 2, "both GPUs were in use at once"
    assert all(one != other for held in together for one, other in combinations(held, 2))


def test_a_job_sees_the_gpu_it_was_given(study: Run) -> None:
    logs = study.house.folder / "logs/tiny"
    said = {path.stem: path.read_text() for path in logs.rglob("*.log")}
    assert "adapt_online/dpo-p20-kl-p20-seed-0.log" in {str(path.relative_to(logs)) for path in logs.rglob("*.log")}
    assert not [name for name, text in said.items() if "no GPU is visible" in text]


def test_memory_and_time_are_those_of_the_models_size(study: Run) -> None:
    root, config = study.house.folder / STUDY, study.house.config(gpus=1)
    offline = {"policy": root / "policy", "derived": root / "derived/offline.json"}
    expected = {
        "pretrain_policy": resources.request("pretrain_policy", config, {}, 1),
        "train_offline": resources.request("train_offline", config, offline, 1),
        "sample_reference": resources.request("sample_reference", config, {"policy": root / "policy"}, 1),
    }
    for job in study.jobs:
        assert job["NumCPUs"] == "1"
        assert job["NumNodes"] == "1"
        if asked := expected.get(rule_of(job)):
            assert job["MinMemoryNode"] == f"{asked.mem_mb}M"
            assert job["TimeLimit"] == f"{asked.runtime // 60:02}:{asked.runtime % 60:02}:00"


def test_logs_survive(study: Run) -> None:
    logs = study.house.folder / "logs"
    (steps,) = re.findall(r"(\d+) of \1 steps \(100%\) done", study.output)
    assert len(list((logs / "tiny").rglob("*.log"))) == int(steps) - 1 == 31  # `all` says nothing
    for job in study.jobs:
        kept = Path(job["StdOut"])
        assert kept.parent.is_relative_to(logs / "slurm" / f"rule_{rule_of(job)}")
        assert f"rule {rule_of(job)}:" in kept.read_text()
