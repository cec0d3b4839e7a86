"""Jobs cancelled, requeued or over their time limit: the workflow goes on, and its files have the same bytes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from slurm_cluster import STUDY, Job, Run, find_jobs, processes, scontrol, show_jobs

from house import wait_for

CANCELLED, REQUEUED, SLOW = "dpo_p20_0", "dpo_p80_0", "0"  # wildcards of two offline runs, and of a reward
HIT = ("offline/dpo/p20/seed-0", "offline/dpo/p80/seed-0", "reward/member-0")


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
        at_work(f"rule_train_reward_wildcards_{SLOW}", "workflow/scripts/train_reward.py", "--member", SLOW)
        for process in processes("workflow/scripts/train_reward.py", "--member", SLOW):
            os.kill(process, signal.SIGSTOP)  # it hangs, as on a file system that does not answer
        beta = str(STUDY / "beta/p20.json")
        job = at_work(f"rule_train_offline_wildcards_{CANCELLED}", "workflow/scripts/train_offline.py", beta)
        subprocess.run(["scancel", job["JobId"]], check=True)
        beta = str(STUDY / "beta/p80.json")
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
    folder, run = study.house.folder, "online/dpo/p20/kl-p20/seed-0"
    target = str(STUDY / run / "trajectory.parquet")
    running = study.house.start(target, gpus=1, more="online: {steps: 150}")
    try:
        wait_for(lambda: list(folder.glob(f"{STUDY}/checkpoints/online-*/lock")))
        time.sleep(3)
        subprocess.run(["scancel", find_jobs("rule_adapt_online_wildcards_dpo_p20_p20_0")[-1]["JobId"]], check=True)
    except BaseException:
        running.kill()
        raise
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 0, output[-3000:]
    (log,) = folder.glob("logs/tiny/adapt_online/dpo-p20-kl-p20-seed-0.log")
    assert re.search(r"going on after step \d+, from results/tiny/checkpoints/online-dpo-p20-kl-p20", log.read_text())
    assert not list(folder.glob(f"{STUDY}/checkpoints/*"))


def test_ctrl_c_cancels_what_was_submitted_and_nothing_need_be_unlocked(study: Run, hit: Run) -> None:
    """With two GPUs a job, which the limit of profiles/default would make one."""
    adapter = study.house.folder / STUDY / "reward/member-1/adapter"
    kept = study.house.contents("reward/member-1")
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
    assert study.house.contents("reward/member-1") == kept
