"""Every job has GPUs of its own: leased by a lock that goes with the process, out of those it may see."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from goodhart.launch import gpus

LAUNCH = Path(gpus.__file__)
SAY = "import os, sys; print(os.environ.get('CUDA_VISIBLE_DEVICES'), sys.argv[1:]); sys.stdout.flush(); "


def start(folder: Path, devices: str, gpus: int, code: str, **environment: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(SAY + code)
    return subprocess.Popen(
        [sys.executable, str(LAUNCH), "--gpus", str(gpus), str(script), "--flag", "a b"],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": devices, "TMPDIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_jobs_that_run_together_have_a_gpu_each_and_a_free_one_is_taken_again(tmp_path: Path) -> None:
    jobs = []
    for _ in range(2):
        job = start(tmp_path, "3,GPU-77", 1, "import time; time.sleep(60)")
        assert job.stdout is not None
        jobs.append((job, job.stdout.readline()))
    assert [said for _, said in jobs] == ["3 ['--flag', 'a b']\n", "GPU-77 ['--flag', 'a b']\n"]
    jobs[0][0].kill()  # whatever ends a job frees its device
    jobs[0][0].wait()
    third = start(tmp_path, "3,GPU-77", 1, "")
    assert third.communicate(timeout=30)[0].startswith("3 ")
    jobs[1][0].kill()
    for job, _ in jobs:
        job.communicate()


def test_jobs_of_a_cluster_that_calls_the_gpu_of_each_of_them_0_do_not_wait_for_each_other(tmp_path: Path) -> None:
    jobs = [start(tmp_path, "0", 1, "import time; time.sleep(60)", SLURM_JOB_ID=number) for number in ("7", "8")]
    try:
        for job in jobs:
            assert job.stdout is not None
            assert job.stdout.readline().startswith("0 ")
    finally:
        for job in jobs:
            job.kill()
            job.communicate()


def test_a_job_waits_until_a_gpu_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = start(tmp_path, "0", 1, "import time; time.sleep(60)")
    assert holder.stdout is not None
    holder.stdout.readline()
    monkeypatch.setattr(gpus, "WAIT", 0.1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gpus.lease, ["0"], 1, tmp_path)
        time.sleep(0.5)
        assert not waiting.done()
        holder.kill()
        assert waiting.result(timeout=30) == ["0"]
    holder.communicate()


def test_more_gpus_than_there_are_is_one_sentence(tmp_path: Path) -> None:
    job = start(tmp_path, "0,1", 3, "")
    _, said = job.communicate(timeout=30)
    assert job.returncode == 1
    assert said == "gpus.py: error: requested 3 GPUs, 2 visible; lower gpus in the config.\n"


def test_without_any_gpu_the_script_runs_on_the_cpu(tmp_path: Path) -> None:
    job = start(tmp_path, "", 1, "")
    assert job.communicate(timeout=30)[0] == " ['--flag', 'a b']\n"
    assert job.returncode == 0


def test_several_gpus_are_several_processes(tmp_path: Path) -> None:
    job = start(tmp_path, "4,5", 2, "print(os.environ['RANK'], os.environ['WORLD_SIZE'], flush=True)")
    said = job.communicate(timeout=120)[0]
    assert sorted(line for line in said.splitlines() if line[0] in "01") == ["0 2", "1 2"]
    assert said.count("4,5 ['--flag', 'a b']") == 2
