"""What the tests of a cluster share: the cluster, and the tiny study run on it. Without SLURM they skip and say why."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import SANDBOX, House, Run, Watch, missing, show_jobs

from house import copy_house


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running SLURM, which stops when the tests end, however they end."""
    if reason := missing():  # where GOODHART_REQUIRE_SLURM is set, as in CI, that is a failure
        (pytest.fail if os.environ.get("GOODHART_REQUIRE_SLURM") else pytest.skip)(f"no SLURM: {reason}")
    folder = tmp_path_factory.mktemp("slurm")
    try:
        subprocess.run([SANDBOX, "start", folder, str(os.getpid())], check=True, timeout=90)
        yield folder
    finally:
        subprocess.run([SANDBOX, "stop", folder], check=True, timeout=90)


@pytest.fixture(scope="session")
def house(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(copy_house(tmp_path_factory.mktemp("house")))


@pytest.fixture(scope="session")
def study(house: House) -> Run:
    """The tiny study with one replicate, whose jobs ask for a GPU each."""
    with Watch() as watch:
        running = house.start(gpus=1)
        output, _ = running.communicate(timeout=900)
    logs = [f"{path}:\n{path.read_text()[-1500:]}" for path in house.folder.glob("logs/**/*.log")]
    assert running.returncode == 0, "\n".join([output[-3000:], *logs])
    return Run(house, output, show_jobs(), watch.seen)
