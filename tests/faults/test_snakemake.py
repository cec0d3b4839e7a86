"""Snakemake itself stopped or killed, and two of them in one folder: nothing is lost but the interrupted step."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from stopping import results

from house import TINY, run_snakemake, start_snakemake, wait_for

pytestmark = pytest.mark.long

RUN = "replicate-1/online/dpo/p80/kl-p20"
TARGET = f"results/tiny/{RUN}/trajectory.parquet"
CONFIGS = (TINY, "long.yaml")


@pytest.fixture(scope="module")
def folder(house: Path, study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished study with one longer online run, a checkpoint after every step."""
    copy = tmp_path_factory.mktemp("faults") / "house"
    shutil.copytree(house, copy)
    (copy / "long.yaml").write_text("online: {steps: 40}\ncheckpoint_minutes: 0\n")
    done = run_snakemake(copy, TARGET, configs=CONFIGS)
    assert done.returncode == 0, done.stdout[-3000:]
    assert not list(copy.glob("results/tiny/checkpoints/*"))
    return copy


@pytest.fixture
def whole(folder: Path) -> dict[str, bytes]:
    """The files of that run, which then are gone."""
    found = results(folder / "results/tiny" / RUN)
    shutil.rmtree(folder / "results/tiny" / RUN)
    return found


def begun(folder: Path) -> Path:
    """Wait until the run has a few checkpoints; its log."""
    saved = "results/tiny/checkpoints/replicate-1-online-*/*/step-????????"
    wait_for(lambda: [path for path in folder.glob(saved) if int(path.name.removeprefix("step-")) >= 5])
    (log,) = folder.glob("logs/tiny/replicate-1/adapt_online/dpo-p80-kl-p20.log")
    return log


def test_ctrl_c_saves_the_last_whole_step_and_a_rerun_goes_on(folder: Path, whole: dict[str, bytes]) -> None:
    running = start_snakemake(folder, "--cores", "1", TARGET, configs=CONFIGS)
    log = begun(folder)
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode != 0
    said = wait_for(
        lambda: re.search(r"adapt_online\.py: stopped by SIGINT; a rerun resumes from here", log.read_text())
    )
    assert said
    assert not (folder / TARGET).exists()
    done = run_snakemake(folder, TARGET, configs=CONFIGS)
    assert done.returncode == 0, done.stdout[-3000:]
    saved = "results/tiny/checkpoints/replicate-1-online-dpo-p80-kl-p20-adapter/"
    assert re.search(rf"resuming after step \d+, from {saved}", log.read_text())
    assert results(folder / "results/tiny" / RUN) == whole
    assert not list(folder.glob("results/tiny/checkpoints/*"))


def test_snakemake_is_killed_while_a_second_one_knocks(folder: Path, whole: dict[str, bytes]) -> None:
    """The second is refused and does no harm. The first is killed, and its job lives on: unlocked and run again, the
    new job waits for that one or goes on from its checkpoint, and never works beside it."""
    running = start_snakemake(folder, "--cores", "1", TARGET, configs=CONFIGS)
    begun(folder)
    (lock,) = folder.glob("results/tiny/checkpoints/replicate-1-online-*/lock")
    job = int(re.search(r"process (\d+) ", lock.read_text())[1])  # type: ignore[index]
    os.kill(job, signal.SIGSTOP)  # or it would be done before the second has begun
    second = run_snakemake(folder, TARGET, configs=CONFIGS)
    assert second.returncode == 1
    assert "Directory cannot be locked" in second.stdout
    assert "--unlock" in second.stdout
    running.kill()
    running.communicate()
    again = run_snakemake(folder, TARGET, configs=CONFIGS)
    assert (again.returncode, "Directory cannot be locked" in again.stdout) == (1, True)
    os.kill(job, signal.SIGCONT)
    assert run_snakemake(folder, "--unlock", configs=CONFIGS).returncode == 0
    done = run_snakemake(folder, TARGET, configs=CONFIGS)
    assert done.returncode == 0, done.stdout[-3000:]
    assert results(folder / "results/tiny" / RUN) == whole
    assert not list(folder.glob("results/tiny/checkpoints/*"))
