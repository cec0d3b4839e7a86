"""Two processes under `accelerate launch` are one: the same updates, the same results, written once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from goodhart.store.files import read_json, write_json
from tiny_study import Study

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
LAUNCH = (
    "-m accelerate.commands.accelerate_cli launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
)
LAUNCH += " --dynamo_backend no --main_process_port 0"


def launch(tiny: Study, name: str, outputs: Path, instead: Mapping[str, Path]) -> None:
    """Run a step of the tiny study in two processes on the CPU."""
    script = SCRIPTS / f"{name.partition('/')[0]}.py"
    line = [sys.executable, *LAUNCH.split(), str(script), *tiny.arguments(name, outputs, instead)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def without_dropout(tiny: Study, folder: Path, stage: str) -> dict[str, Path]:
    """Each process draws its own dropout masks, so that only a stage without them can be compared."""
    derived = read_json(tiny / f"derived/{stage}.json")
    derived["values"]["lora_dropout"]["value"] = 0.0
    path = folder / f"{stage}.json"
    write_json(path, derived)
    return {f"derived/{stage}.json": path}


@pytest.mark.parametrize(
    ("name", "stage", "output"),
    [
        ("train_offline/p80", "offline", "replicate-0/offline/dpo/p80"),
        pytest.param("train_reward/0", "reward", "replicate-0/reward/member-0", marks=pytest.mark.long),
    ],
)
def test_two_processes_have_the_loss_curve_of_one(
    tiny: Study, tmp_path: Path, name: str, stage: str, output: str
) -> None:
    instead = without_dropout(tiny, tmp_path, stage)
    tiny.run(name, tmp_path / "one", instead)
    launch(tiny, name, tmp_path / "two", instead)
    records = [json.loads((tmp_path / n / output / "metrics.json").read_text()) for n in ("one", "two")]
    assert [(r["micro_batch"], r["accumulation"]) for r in records] == [(16, 1), (8, 1)]
    curves = [[row["loss"] for row in record["history"]] for record in records]
    # A last update of fewer rows than the others is filled up with the first ones by accelerate.
    whole = records[0]["rows"] // 16
    assert len(curves[0]) == len(curves[1]) == -(-records[0]["rows"] // 16)
    assert curves[1][:whole] == pytest.approx(curves[0][:whole], abs=1e-5)
    assert max(curves[0][:whole]) - min(curves[0][:whole]) > 1e-3  # what training changes is far above that tolerance
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_online_run_in_two_processes_is_the_same_run(tiny: Study, tmp_path: Path) -> None:
    """Without dropout everything is shared: samples, rewards, penalty, and gradients summed over the processes."""
    run = "replicate-0/online/dpo/p80/kl-p20"
    launch(tiny, "adapt_online/p80/kl-p20", tmp_path, {})
    for table in ("steps", "trajectory", "responses"):
        one, two = (pd.read_parquet(root / run / f"{table}.parquet") for root in (tiny.root, tmp_path))
        pd.testing.assert_frame_equal(one, two, rtol=1e-3, atol=1e-4)
    assert not list(tmp_path.rglob("*.tmp"))
