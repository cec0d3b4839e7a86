"""A gentle tiny study against values pinned when it was first right: a change of one is a change of the science.

Origin: tests/tiny_study.py with five steps of pretraining and a small online learning rate, torch 2.13.0, transformers
5.23.0, TRL 1.16.0, PEFT 0.21.2, one thread, float32 on an x86-64 CPU. Long training enlarges the last bits in which
processors differ until another policy comes out; so short a one keeps them small, and the tolerances (absolute, or a
hundredth of the value) are for those bits and not for another formula. After a deliberate change, write the values anew
with `python -m pytest tests/golden --golden-update` and say in the commit why they moved.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from goodhart.store.files import read_json, read_table
from goodhart.store.schemas.measurements import STEPS, TRAJECTORY
from tiny_study import CHAIN, Study

HERE = Path(__file__).parent
RUN = "replicate-1/online/dpo/p80/kl-p20"
GENTLE = {"--steps 700": "--steps 5", "learning_rate=0.03": "learning_rate=0.003"}
NEEDED = ("generate", "pretrain", "sample", "derive", "score", "train_reward", "evaluate")
NEEDED += ("train_offline/p80/replicate-1", "adapt_online/p80/kl-p20/replicate-1")
COLUMNS = {
    "trajectory": "proxy true uncertainty kl entropy_prompt entropy_response ood_distance diversity response_tokens "
    "uncertainty_centred kl_reference held_out judge",
    "steps": "loss policy_loss proxy uncertainty gradient_norm abs_log_ratio learning_rate response_tokens",
    "offline": "loss",
}


@pytest.fixture(scope="session")
def gentle(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = Study(tmp_path_factory.mktemp("gentle"), GENTLE)
    for name in CHAIN:
        if name.startswith(NEEDED):
            study.run(name, study.root)
    return study


def found(study: Study) -> dict[str, pd.DataFrame]:
    history = read_json(study / "replicate-1/offline/dpo/p80/metrics.json")["history"]
    return {
        "trajectory": read_table(study / f"{RUN}/trajectory.parquet", TRAJECTORY),
        "steps": read_table(study / f"{RUN}/steps.parquet", STEPS),
        "offline": pd.DataFrame({"loss": [row["loss"] for row in history]}),
    }


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_pinned_values(gentle: Study, name: str, request: pytest.FixtureRequest) -> None:
    values = found(gentle)[name][COLUMNS[name].split()]
    path = HERE / f"{name}.csv"
    if request.config.getoption("--golden-update"):
        values.to_csv(path, index=False, float_format="%.6g")
    pinned = pd.read_csv(path)
    assert len(values) == len(pinned)
    for column in values:
        assert values[column].to_numpy() == pytest.approx(pinned[column].to_numpy(), abs=1e-3, rel=1e-2), column
