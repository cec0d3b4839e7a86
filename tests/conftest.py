"""What the tests share: a finished tiny study, made once a session by the scripts themselves."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from house import TINY, copy_house, run_snakemake
from tiny_study import CHAIN, Study, write_sources

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may need the network


TRAINED = {"tiny", "gentle", "study"}  # fixtures behind which a study is trained
SLOWEST = ("chaos", "slurm", "bench", "workflow", "resume", "random_study", "stock_study", "snakemake", "bad_inputs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what rests on a trained study, which is run again on an imitated processor; how SLURM treats its jobs rests
    on no number. The slowest files come first, lest one of several processes be left alone with them at the end."""
    places = {f"test_{name}.py": place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if used & TRAINED and "cluster" not in used:
            item.add_marker("trains")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden-update", action="store_true", help="write the pinned values of tests/golden anew")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = Study(tmp_path_factory.mktemp("study"))
    write_sources(study / "source")
    for name in CHAIN:
        start = time.monotonic()
        study.run(name, study.root)
        study.seconds[name] = time.monotonic() - start
    return study


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workflow, free to be edited by who puts it back as it was."""
    return copy_house(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="session")
def snakemake(house: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *args, config=TINY: run_snakemake(house, *args, configs=(config,))


@pytest.fixture(scope="session")
def study(house: Path, snakemake: Callable[..., subprocess.CompletedProcess[str]]) -> Path:
    """The results of the tiny study, made there by Snakemake."""
    done = snakemake()
    logs = [f"{path}:\n{path.read_text()[-1500:]}" for path in house.glob("logs/**/*.log")] if done.returncode else []
    assert done.returncode == 0, "\n".join([done.stdout[-3000:], *logs])
    return house / "results" / "tiny"
