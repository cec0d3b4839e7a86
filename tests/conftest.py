"""What the tests share: a finished tiny study, made once a session by the scripts themselves."""

from __future__ import annotations

import os
import time

import pytest

from tiny_study import CHAIN, Study, write_sources

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may need the network


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
