"""The tiny study against values pinned when it was first right: a change of one is a change of the science.

Origin: the session-wide tiny study (tests/tiny_study.py), torch 2.13.0, transformers 5.23.0, TRL 1.16.0, PEFT 0.21.2,
one thread, float32 on an x86-64 CPU. The tolerances (absolute, or a tenth of the value if that is more) allow for the
last bits of another CPU's arithmetic, which 700 steps of pretraining enlarge and which may turn single sampled tokens;
not for another formula. After a deliberate change, write the values anew with
`python -m pytest tests/golden --golden-update` and say in the commit why they moved.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from goodhart.artifacts import read_json, read_table
from goodhart.records import STEPS, TRAJECTORY
from tiny_study import Study

HERE = Path(__file__).parent
RUN = "online/p80/kl-p20/seed-1"
TOLERANCES = {
    # accuracies over 16 problems: one of them may fall the other way
    "trajectory": {"proxy": 0.08, "true": 0.07, "uncertainty": 0.05, "kl": 0.08, "entropy_prompt": 0.02}
    | {"entropy_response": 0.05, "ood_distance": 0.03, "diversity": 0.03, "response_tokens": 1.0},
    "steps": {"loss": 0.5, "policy_loss": 0.5, "proxy": 0.08, "uncertainty": 0.05, "gradient_norm": 1.0}
    | {"abs_log_ratio": 0.05, "learning_rate": 1e-9, "response_tokens": 1.0},
    "offline": {"loss": 0.01},
}


def found(tiny: Study) -> dict[str, pd.DataFrame]:
    history = read_json(tiny / "offline/p80/seed-1/metrics.json")["history"]
    return {
        "trajectory": read_table(tiny / f"{RUN}/trajectory.parquet", TRAJECTORY),
        "steps": read_table(tiny / f"{RUN}/steps.parquet", STEPS),
        "offline": pd.DataFrame({"loss": [row["loss"] for row in history]}),
    }


@pytest.mark.parametrize("name", sorted(TOLERANCES))
def test_pinned_values(tiny: Study, name: str, request: pytest.FixtureRequest) -> None:
    columns = list(TOLERANCES[name])
    values = found(tiny)[name][columns]
    path = HERE / f"{name}.csv"
    if request.config.getoption("--golden-update"):
        values.to_csv(path, index=False, float_format="%.6g")
    pinned = pd.read_csv(path)
    assert len(values) == len(pinned)
    for column, tolerance in TOLERANCES[name].items():
        assert values[column].to_numpy() == pytest.approx(pinned[column].to_numpy(), abs=tolerance, rel=0.1), column
