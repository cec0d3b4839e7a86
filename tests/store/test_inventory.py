"""The record of a whole study: every file in it, where it comes from, and what changed is not recorded."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from goodhart.errors import InputError
from goodhart.store.checksums import digest
from goodhart.store.files import read_json
from goodhart.store.inventory import git, inventory, machine, software
from goodhart.store.provenance import Origin
from tiny_study import Study

MADE = [
    ("pretrain_policy", "replicate-0/policy"),
    ("train_offline", "replicate-0/offline/dpo/p20/adapter"),
    ("train_offline", "replicate-1/offline/dpo/p80/adapter"),
    ("evaluate_rewards", "replicate-0/reward/centroid.safetensors"),
    ("collect_runs", "tables/runs.csv"),
    ("collect_runs", "tables/runs.parquet"),
    ("collect_runs", "tables/scales.json"),
    ("fit_power_law", "fit/dpo-paper.json"),
]


def of(folder: Path) -> dict:
    return inventory(folder, [(step, folder / path) for step, path in MADE])


def test_every_file_has_its_size_hash_and_origin(tiny: Study) -> None:
    found = of(tiny.root)
    rows = {row["path"]: row for row in found["artefacts"]}
    weights = {"policy/model.safetensors", "offline/dpo/p20/adapter/adapter_model.safetensors"}
    assert rows.keys() >= {f"replicate-0/{path}" for path in weights}
    for path, row in rows.items():
        content = (tiny / path).read_bytes()
        assert (row["bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert found["origins"][row["origin"]]["script"] == row["step"]
    trained = [origin for origin in found["origins"].values() if origin["script"] == "train_offline"]
    assert sorted(origin["arguments"]["replicate"] for origin in trained) == [0, 1]
    assert rows["tables/runs.csv"]["origin"] == rows["tables/scales.json"]["origin"]
    assert rows["tables/runs.csv"]["origin"] == digest(Origin.read(tiny / "tables/runs.parquet"))


def test_origins_name_each_other(tiny: Study) -> None:
    """The chain from the adapter back to the problems, by hashes alone."""
    adapter = Origin.read(tiny / "offline/dpo/p20/adapter")
    assert adapter is not None
    pairs = tiny / "data/preferences.parquet"
    assert adapter["inputs"]["preferences"] == {"sha256": hashlib.sha256(pairs.read_bytes()).hexdigest()}
    sampled = Origin.read(pairs)
    assert sampled is not None
    problems = (tiny / "data/problems.parquet").read_bytes()
    assert sampled["inputs"]["problems"] == {"sha256": hashlib.sha256(problems).hexdigest()}
    assert sampled["inputs"]["policy"] == adapter["inputs"]["policy"] == of(tiny.root)["models"]["replicate-0/policy"]


@pytest.mark.parametrize("step", ["write_findings", "show_samples", "draw_figures"])
def test_pages_and_figures_hold_their_origin(tiny: Study, tmp_path: Path, step: str) -> None:
    tiny.run(step, tmp_path)
    drawn = [path for path in tmp_path.rglob("*") if path.suffix in (".html", ".svg")]
    assert drawn
    for path in drawn:
        found = Origin.read(path)
        assert found is not None
        assert found["script"] == step


def test_the_summary_says_what_the_origins_do(tiny: Study) -> None:
    found = of(tiny.root)
    assert found["seeds"]["train_offline"] == [{"replicate": 0}, {"replicate": 1}]
    assert found["threads"]["pretrain_policy"] == [1]
    assert found["code"].keys() == {step for step, _ in MADE}
    assert all(len(prints) == 1 for prints in found["code"].values())


@pytest.mark.parametrize("name", ["tables/runs.parquet", "fit/dpo-paper.json", "replicate-0/policy/model.safetensors"])
def test_a_file_that_was_changed_is_not_recorded(tiny: Study, tmp_path: Path, name: str) -> None:
    for _, path in MADE:
        source, copy = tiny / path, tmp_path / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    of(tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[-20] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} was changed or damaged"):
        of(tmp_path)


def test_the_script_writes_the_record_of_a_study(tiny: Study, tmp_path: Path) -> None:
    """In the study's own folder, and the same bytes in a copy of it elsewhere."""
    written = []
    for place in ("one", "two"):
        shutil.copytree(tiny.root, tmp_path / place)
        Study(tmp_path / place).run("write_provenance", tmp_path / place)
        written.append((tmp_path / place / "provenance.json").read_text().replace(f'"study": "{place}"', '"study": ""'))
    assert str(tmp_path) not in written[0]
    strip = [json.loads(text) for text in written]
    assert [content.pop("seal") for content in strip]
    assert strip[0] == strip[1]
    found = read_json(tmp_path / "one/provenance.json")
    assert found["derived"]["offline"]["lora_rank"] == 4
    assert found["software"]["torch"].startswith("2.")
    assert found["models"]["replicate-0/policy"]["sha256"] == read_json(tiny / "policy/manifest.json")["sha256"]


def test_artefacts_lie_in_the_folder_of_the_record(tiny: Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder of --provenance"):
        tiny.run("write_provenance", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_git_says_the_commit_and_whether_the_tree_was_dirty(tmp_path: Path) -> None:
    assert git(tmp_path / "code.py") is None

    def run(*command: str) -> str:
        named = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(["git", *named, *command], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    run("init", "-q")
    (tmp_path / "code.py").write_text("1\n")
    assert git(tmp_path / "code.py") is None  # a file that is not in the repository it lies in
    run("add", "code.py")
    run("commit", "-qm", "one")
    commit = run("rev-parse", "HEAD")
    (tmp_path / "untracked").touch()
    assert git(tmp_path / "code.py") == {"commit": commit, "dirty": False}
    (tmp_path / "code.py").write_text("2\n")
    assert git(tmp_path / "code.py") == {"commit": commit, "dirty": True}


def test_the_machine_and_its_software_are_named() -> None:
    assert {"python", "torch", "transformers", "trl", "peft", "pandas", "snakemake"} <= software().keys()
    found = machine()
    assert found["processor"]
    assert found["platform"]
