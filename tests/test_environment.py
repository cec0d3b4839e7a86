"""One list of packages: pyproject.toml. The lock and the conda environment say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())


def name(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def test_every_package_is_pinned_and_the_lock_agrees() -> None:
    extras = [package for group in PROJECT["optional-dependencies"].values() for package in group]
    locked = {name(package): version for package, version in LOCK.items()}
    for package in [*PROJECT["dependencies"], *extras]:
        assert re.fullmatch(r"[\w.-]+==[\w.]+", package), package
        wanted, version = package.split("==")
        if wanted == "vllm":  # brings CUDA, and is no part of the environment that the lock describes
            continue
        assert locked[name(wanted)] == version


def test_the_conda_environment_holds_what_jobs_need() -> None:
    conda = yaml.safe_load((ROOT / "envs/goodhart.yaml").read_text())
    (pip,) = [part["pip"] for part in conda["dependencies"] if isinstance(part, dict)]
    assert pip == [package for package in PROJECT["dependencies"] if not package.startswith("snakemake==")]
    assert "python =3.11" in conda["dependencies"]
    assert PROJECT["requires-python"] == ">=3.11,<3.12"


def test_torch_is_the_release_the_notes_are_about() -> None:
    assert LOCK["torch"] == "2.13.0"
