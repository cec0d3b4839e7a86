"""The tiny study through `snakemake --profile profiles/slurm`: each job has what its rule asks for, and whatever is
cancelled, requeued or over its time limit goes on and ends with the same bytes.

One file, as there is one cluster: pytest-xdist gives a file to one worker.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from slurm_cluster import SANDBOX, STUDY, Job, Run, find_jobs, missing, processes, rule_of, scontrol, show_jobs

from goodhart.launch import resources
from house import wait_for

pytestmark = pytest.mark.long

SUBMITTED = {  # the other steps take seconds, and run where Snakemake runs
    "pretrain_policy": 1,
    "sample_preferences": 1,
    "sample_reference": 1,
    "score_reference": 1,
    "train_reward": 2,
    "train_held_out": 1,
    "evaluate_rewards": 1,
    "train_offline": 2,
    "probe_offline": 2,
    "adapt_online": 3,
}


def test_a_sandbox_whose_processes_were_killed_is_in_nobodys_way(tmp_path: Path) -> None:
    if reason := missing():
        (pytest.fail if os.environ.get("GOODHART_REQUIRE_SLURM") else pytest.skip)(f"no SLURM: {reason}")
    subprocess.run([SANDBOX, "start", tmp_path], check=True, timeout=90)
    assert "has one already" in missing()
    for daemon in ("slurmd", "slurmctld", "munged"):
        os.kill(int((tmp_path / f"{daemon}.pid").read_text()), signal.SIGKILL)
    wait_for(lambda: not missing())  # its links are still there when the next one starts


def test_the_study_completes(study: Run) -> None:
    root = study.house.folder / STUDY
    assert "(100%) done" in study.output
    assert len(json.loads((root / "checklist.json").read_text())["items"]) == 14
    assert len(list(root.glob("replicate-0/online/**/trajectory.parquet"))) == 3


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
    assert "replicate-0/adapt_online/dpo-p20-kl-p20.log" in {
        str(path.relative_to(logs)) for path in logs.rglob("*.log")
    }
    assert not [name for name, text in said.items() if "no GPU is visible" in text]


def test_memory_and_time_are_those_of_the_models_size(study: Run) -> None:
    root, config = study.house.folder / STUDY / "replicate-0", study.house.config(gpus=1)
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
    assert len(list((logs / "tiny").rglob("*.log"))) == int(steps) - 1 == 33  # `all` says nothing
    for job in study.jobs:
        kept = Path(job["StdOut"])
        assert kept.parent.is_relative_to(logs / "slurm" / f"rule_{rule_of(job)}")
        assert f"rule {rule_of(job)}:" in kept.read_text()


# What goes wrong.

CANCELLED, REQUEUED, SLOW = "0_dpo_p20", "0_dpo_p80", "0_0"  # wildcards of two offline runs, and of a reward
HIT = tuple(f"replicate-0/{path}" for path in ("offline/dpo/p20", "offline/dpo/p80", "reward/member-0"))


def at_work(comment: str, *words: str) -> Job:
    """The job, as soon as the script that it runs is at work."""
    wait_for(lambda: processes(*words))
    return find_jobs(comment)[-1]


@pytest.fixture(scope="module")
def hit(study: Run) -> Run:
    """Three trainings made anew while all this happens to them, on CPUs."""
    house = study.house
    before = house.contents(*HIT)
    adapters = [str(STUDY / run / "adapter") for run in HIT]
    for run in HIT:
        shutil.rmtree(house.folder / STUDY / run / "adapter")
        (house.folder / STUDY / run / "metrics.json").unlink()
    # A minute for the first attempt at a reward, and twenty more for each of the others.
    running = house.start(*adapters, "--set-resources", "train_reward:runtime=20*attempt-19", gpus=0)
    try:
        at_work(f"rule_train_reward_wildcards_{SLOW}", "workflow/scripts/train_reward.py", "--member=0")
        for process in processes("workflow/scripts/train_reward.py", "--member=0"):
            os.kill(process, signal.SIGSTOP)  # it hangs, as on a file system that does not answer
        beta = str(STUDY / "replicate-0/beta/p20.json")
        job = at_work(f"rule_train_offline_wildcards_{CANCELLED}", "workflow/scripts/train_offline.py", beta)
        subprocess.run(["scancel", job["JobId"]], check=True)
        beta = str(STUDY / "replicate-0/beta/p80.json")
        job = at_work(f"rule_train_offline_wildcards_{REQUEUED}", "workflow/scripts/train_offline.py", beta)
        scontrol("requeue", job["JobId"])
    except BaseException:
        running.kill()
        raise
    output, _ = running.communicate(timeout=600)
    assert running.returncode == 0, output[-3000:]
    assert before, "there was something to compare with"
    assert house.contents(*HIT) == before
    known = {job["JobId"] for job in study.jobs}
    return Run(house, output, [job for job in show_jobs() if job["JobId"] not in known], [])


def of(run: Run, comment: str) -> list[Job]:
    return [job for job in run.jobs if job["Comment"] == comment]


def test_a_cancelled_job_is_submitted_again_with_more(hit: Run) -> None:
    first, second = of(hit, f"rule_train_offline_wildcards_{CANCELLED}")
    assert (first["JobState"], second["JobState"]) == ("CANCELLED", "COMPLETED")
    assert f"SLURM-job '{first['JobId']}' failed, SLURM status is: 'CANCELLED'" in hit.output
    assert int(second["MinMemoryNode"][:-1]) == 2 * int(first["MinMemoryNode"][:-1])
    assert (first["TimeLimit"], second["TimeLimit"]) == ("00:20:00", "00:40:00")


def test_a_requeued_job_runs_again_by_itself(hit: Run) -> None:
    (job,) = of(hit, f"rule_train_offline_wildcards_{REQUEUED}")
    assert (job["JobState"], job["Restarts"], job["Requeue"]) == ("COMPLETED", "1", "1")


def test_a_job_over_its_time_limit_is_submitted_again_with_more(hit: Run) -> None:
    first, second = of(hit, f"rule_train_reward_wildcards_{SLOW}")
    assert (first["JobState"], second["JobState"]) == ("TIMEOUT", "COMPLETED")
    assert (first["TimeLimit"], second["TimeLimit"]) == ("00:01:00", "00:21:00")
    assert f"SLURM-job '{first['JobId']}' failed, SLURM status is: 'TIMEOUT'" in hit.output


def test_a_study_without_gpus_asks_for_none(hit: Run) -> None:
    assert hit.jobs
    assert not [job for job in hit.jobs if "gpu" in job["TRES"] or "TresPerJob" in job]


def test_a_cancelled_run_goes_on_after_its_last_whole_step(study: Run, hit: Run) -> None:
    """No checkpoint is due for five minutes: the one that the second attempt finds was saved on SLURM's SIGTERM."""
    folder, run = study.house.folder, "replicate-0/online/dpo/p20/kl-p20"
    target = str(STUDY / run / "trajectory.parquet")
    running = study.house.start(target, gpus=1, more="online: {steps: 150}")
    try:
        wait_for(lambda: list(folder.glob(f"{STUDY}/checkpoints/replicate-0-online-*/lock")))
        time.sleep(3)
        subprocess.run(["scancel", find_jobs("rule_adapt_online_wildcards_0_dpo_p20_p20")[-1]["JobId"]], check=True)
    except BaseException:
        running.kill()
        raise
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 0, output[-3000:]
    (log,) = folder.glob("logs/tiny/replicate-0/adapt_online/dpo-p20-kl-p20.log")
    saved = "results/tiny/checkpoints/replicate-0-online-dpo-p20-kl-p20"
    assert re.search(rf"resuming after step \d+, from {saved}", log.read_text())
    assert not list(folder.glob(f"{STUDY}/checkpoints/*"))


def test_ctrl_c_cancels_what_was_submitted_and_nothing_need_be_unlocked(study: Run, hit: Run) -> None:
    """With two GPUs a job, which the limit of profiles/default would make one."""
    adapter = study.house.folder / STUDY / "replicate-0/reward/member-1/adapter"
    kept = study.house.contents("replicate-0/reward/member-1")
    aside = adapter.with_name("aside")
    adapter.rename(aside)
    known = {job["JobId"] for job in show_jobs()}
    running = study.house.start(str(adapter.relative_to(study.house.folder)), gpus=2)
    try:
        wait_for(lambda: [job for job in show_jobs() if job["JobId"] not in known and job["JobState"] == "RUNNING"])
        (job,) = [job for job in show_jobs() if job["JobId"] not in known]
    finally:
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=60)
    assert (job["TresPerJob"], job["GRES"]) == ("gres:gpu:2", "gpu:2(IDX:0-1)")
    assert running.returncode == 1
    (job,) = wait_for(lambda: [job for job in show_jobs() if job["JobId"] not in known])
    assert wait_for(lambda: find_jobs(job["Comment"])[-1]["JobState"] == "CANCELLED"), output
    assert not list((study.house.folder / ".snakemake/locks").glob("*"))
    assert not adapter.exists()
    aside.rename(adapter)
    assert study.house.contents("replicate-0/reward/member-1") == kept
