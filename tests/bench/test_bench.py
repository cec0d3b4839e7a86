"""Every comparison of `make bench` on sizes that say nothing of speed: both sides run, agree, and leave their rows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

import ensemble_scoring
import limits
import offline_dpo
import online_step
import random_policy
import write_performance
from alternating import COLUMNS, alternate, publish, record
from goodhart.errors import InputError
from goodhart.training.online.loop import OnlineRun
from house import ROOT, copy_house
from tiny_study import Study

pytestmark = pytest.mark.trains

SHAPE = {
    "model_type": "llama",
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
SMALL = {
    "replicates": [0],
    "levels": ["p20", "p80"],
    "arms": {"matched": "p20"},
    "task": {
        "source": "arithmetic",
        "online_problems": 60,
        "evaluation_problems": 32,
        "arithmetic": {"pretraining_examples": 1500, "preference_problems": 300},
    },
    "policy": {"pretraining": {"steps": 80}},
    "reward": {"members": 2, "epochs": 2},
    "offline": {"epochs": 1},
    "online": {"steps": 2, "evaluate_every": 2, "prompts_per_step": 16},
}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random")
    (folder / "shape.json").write_text(json.dumps(SHAPE))
    random_policy.main(["--architecture", str(folder / "shape.json"), "--output", str(folder)])
    return folder / "policy"


def test_sides_take_turns_and_warm_ups_do_not_count() -> None:
    turns: list[str] = []

    def side(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    measured = alternate(lambda: side("a"), lambda: side("b"), pairs=2, warmups=1)
    assert "".join(turns) == "ababab"
    assert measured == [(3.0, 4.0), (5.0, 6.0)]


@pytest.mark.parametrize("precision", ["float32", "nf4"])
def test_an_update_is_timed_against_both_trainers(policy: Path, tmp_path: Path, precision: str) -> None:
    line = f"--policy {policy} --case tiny --rows 8 --per-prompt 4 --max-new-tokens 6 --rank 4 --precision {precision}"
    line += f" --threads 1 --pairs 2 --steps 1 --target 1 --output {tmp_path / 'rows.parquet'}"
    online_step.main(line.split())
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert list(rows) == COLUMNS
    assert rows.groupby("peer")["pair"].apply(list).to_dict() == {"TRL GRPO": [1, 2], "TRL RLOO": [1, 2]}
    assert (rows[["ours", "theirs"]] > 0).all(axis=None)
    assert rows["check"].str.contains("log-probs of the same 8 responses equal to").all()


def test_log_probs_that_differ_end_the_comparison(
    policy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logprobs = OnlineRun._logprobs
    monkeypatch.setattr(OnlineRun, "_logprobs", lambda *args: logprobs(*args) * 1.001)
    line = f"--policy {policy} --case tiny --rows 4 --per-prompt 2 --max-new-tokens 6 --rank 4 --precision float32"
    line += f" --threads 1 --pairs 1 --steps 1 --target 1 --output {tmp_path / 'rows.parquet'}"
    with pytest.raises(InputError, match="log-probs of the same responses differ by"):
        online_step.main(line.split())
    assert not (tmp_path / "rows.parquet").exists()


def test_an_ensemble_is_held_against_models_of_their_own(policy: Path, tmp_path: Path) -> None:
    line = f"--backbone {policy} --case tiny --rows 6 --tokens 12 --members 2 --rank 4 --threads 1 --pairs 1"
    ensemble_scoring.main([*line.split(), "--output", str(tmp_path / "rows.parquet")])
    rows = pd.read_parquet(tmp_path / "rows.parquet").set_index("comparison")
    assert rows.loc["ensemble scoring", "check"].startswith("rewards of 6 rows by 2 members within")
    memory = rows.loc["ensemble memory"]
    assert memory["unit"] == "MiB"
    assert memory["theirs"] < memory["ours"] < 1.6 * memory["theirs"]  # on so small a backbone, LoRA weighs something


def test_offline_training_is_held_against_stock(tiny: Study, tmp_path: Path) -> None:
    line = f"--study {tiny.root} --level p20 --threads 1 --pairs 1 --output {tmp_path / 'rows.parquet'}"
    offline_dpo.main(line.split())
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert rows["comparison"].tolist() == ["offline DPO", "one reference pass"]
    assert rows["check"].str.contains("within").all()


def test_floors_lie_below_what_is_reached(policy: Path, tmp_path: Path) -> None:
    line = f"--policy {policy} --case tiny --rows 4 --max-new-tokens 5 --rank 4 --precision float32 --threads 1"
    limits.main([*line.split(), "--repeats", "1", "--output", str(tmp_path / "rows.parquet")])
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert len(rows) == 3
    assert (rows["operations"] > 0).all()
    assert (rows["floor"] < rows["reached"]).all()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workflow and the bench, with what the whole study and the scaling left behind."""
    house = copy_house(tmp_path_factory.mktemp("bench"))
    shutil.copytree(ROOT / "bench", house / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    (house / "small.yaml").write_text(yaml.safe_dump(SMALL))
    whole = "whole_study.py --config config/config.yaml small.yaml --cores 2 --pairs 1 --target 2"
    whole += " --output found/1.parquet --stages found/stages.parquet"
    scaling = "scaling.py --cores 2 --levels 2 --replicates 1 --members 2 --new-tokens 4 8 --repeats 1"
    scaling += " --output found/scaling.parquet"
    for line in (whole, scaling):
        script, *flags = line.split()
        done = subprocess.run([sys.executable, f"bench/{script}", *flags], cwd=house, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    return house


@pytest.mark.long
def test_the_whole_study_is_run_by_both_sides(bench: Path) -> None:
    (row,) = pd.read_parquet(bench / "found/1.parquet").to_dict("records")
    assert row["ours"] > 1
    assert row["theirs"] > 1
    assert row["check"].startswith("the same 3 runs with 6 evaluations; ")


@pytest.mark.long
def test_it_says_where_the_time_went(bench: Path) -> None:
    table = pd.read_parquet(bench / "found/stages.parquet").set_index("what")
    assert table.loc["adapt_online", "jobs"] == 3
    assert table.loc["server of imported libraries", "seconds"] > 0
    assert table.loc["Snakemake, before the first job", "seconds"] > 0
    assert 0 < table.loc["core utilisation", "share"] <= 1.05
    stages = table[table["kind"] == "stage"]
    assert stages["seconds"].sum() < 2 * table.loc["wall seconds", "seconds"]


@pytest.mark.long
def test_what_is_shared_and_what_grows_is_told_apart(bench: Path) -> None:
    table = pd.read_parquet(bench / "found/scaling.parquet")
    assert table.groupby(["axis", "kind"])["number"].apply(list).to_dict() == {
        ("levels", "growing"): [2],
        ("levels", "shared"): [2],
        ("members", "growing"): [2],
        ("members", "shared"): [2],
        ("new tokens", "growing"): [4, 8],
        ("replicates", "growing"): [1],
        ("replicates", "shared"): [1],
    }
    assert (table["seconds"] > 0).all()


@pytest.mark.long
def test_the_page_is_made_of_what_was_found(bench: Path, tmp_path: Path) -> None:
    found = tmp_path / "found"
    shutil.copytree(bench / "found", found)
    rows = record("an update", "tiny", "stock", [(1.0, 3.0), (2.0, 5.0), (1.0, 2.0)], "all the same", 2.5)
    publish(found / "2.parquet", rows)
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs/performance.md").read_text())
    line = f"--input {found} --page {page} --figure {tmp_path / 'figure.svg'}"
    write_performance.main(line.split())
    written = page.read_text()
    assert "| an update, tiny | stock | 1 s | 3 s | **2.50** (2.00 to 3.00) | 3 | 2.50, met |" in written
    assert "- an update, tiny, stock: all the same." in written
    assert (tmp_path / "figure.svg").read_text().count("<svg") == 1
    write_performance.main(line.split())
    assert page.read_text() == written
    page.write_text("nothing")
    with pytest.raises(InputError, match="has no place for machine"):
        write_performance.main(line.split())
