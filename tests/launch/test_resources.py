"""What a job asks a cluster for follows from the models' sizes, and docs/cluster.md says what that is for the paper."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from goodhart.launch import resources
from goodhart.launch.resources import MIB, Work, request
from goodhart.memory.sizes import GIB, LIBRARIES, Batch, Model, host_memory

ROOT = Path(__file__).parents[2]
HEADING = "| job | memory, GiB | time, h | main share of the time |"
INPUTS = {  # the inputs of each rule that say how large its jobs are
    "sample_reference": {"policy": "policy"},
    "score_reference": {"policy": "policy", "derived": "offline.json"},
    "train_reward": {"backbone": "backbone", "derived": "reward.json"},
    "evaluate_rewards": {"backbone": "backbone", "derived": "reward.json"},
    "train_offline": {"policy": "policy", "derived": "offline.json"},
    "probe_offline": {
        "policy": "policy",
        "backbone": "backbone",
        "derived_offline": "offline.json",
        "derived_reward": "reward.json",
    },
    "adapt_online": {
        "policy": "policy",
        "backbone": "backbone",
        "derived_online": "online.json",
        "derived_reward": "reward.json",
    },
}


def load(name: str, **changes: Any) -> dict[str, Any]:
    """A study's configuration as Snakemake merges it."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    update_config(config, yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()))
    return config | changes


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folders and derived values of the paper's study, as far as requests go by them."""
    folder = tmp_path_factory.mktemp("paper")
    derived = json.loads((ROOT / "bench/paper-derived.json").read_text())
    for stage, record in derived.items():
        (folder / f"{stage}.json").write_text(json.dumps(record))
    for stage, model in (("offline", "policy"), ("reward", "backbone")):
        sizes = derived[stage]["inputs"]
        shapes = [[p["in"], p["out"]] for p in sizes["projections"] for _ in range(p["matrices"])]
        manifest = {"parameters": sizes["parameters"], "hidden_size": sizes["hidden_size"], "projections": shapes}
        (folder / model).mkdir()
        (folder / model / "manifest.json").write_text(json.dumps(manifest))
    return folder


def ask(rule: str, config: dict[str, Any], folder: Path, attempt: int = 1) -> resources.Request:
    return request(rule, config, {name: folder / path for name, path in INPUTS[rule].items()}, attempt)


def test_the_table_of_the_documentation_is_what_the_papers_jobs_ask_for(paper: Path) -> None:
    page = (ROOT / "docs/cluster.md").read_text()
    rows = page.partition(HEADING)[2].partition("\n\n")[0].splitlines()[2:]
    said = {(cells := [cell.strip() for cell in row.split("|")])[1]: (cells[2], cells[3]) for row in rows}
    config = load("paper")
    asked = {rule: ask(rule, config, paper) for rule in INPUTS}
    assert said == {rule: (f"{wants.mem_mb / 1024:.0f}", f"{wants.runtime / 60:.1f}") for rule, wants in asked.items()}


def test_each_attempt_asks_for_more(paper: Path) -> None:
    first, third = (ask("train_offline", load("paper"), paper, attempt) for attempt in (1, 3))
    assert third == (3 * first.mem_mb, 3 * first.runtime)


def test_hand_computed_training_of_the_policy(paper: Path) -> None:
    """48,908 pairs of two responses of 1,024 tokens, 6 FLOP a weight and token, on a GPU of 1e14 FLOP a second."""
    wants = ask("train_offline", load("paper"), paper)
    seconds = 600 + 48908 * 2 * 1024 * 6 * 14768307200 / 1e14
    assert wants.runtime == -(-seconds // 60)
    assert wants.mem_mb == -(-(3 * GIB + 2 * 14768307200) // MIB)


def test_hand_computed_sampling(paper: Path) -> None:
    """1,319 problems of 512 tokens, where the config names no number and 1,500 are assumed, and as many online ones."""
    seconds = 600 + 2 * 1500 * 512 * 2 * 14768307200 / 1e13
    assert ask("sample_reference", load("paper"), paper).runtime == -(-seconds // 60)


def test_twice_the_gpus_take_half_the_time_and_load_the_weights_twice(paper: Path) -> None:
    one, two = (ask("train_offline", load("paper", gpus=gpus), paper) for gpus in (1, 2))
    assert two.mem_mb == pytest.approx(2 * one.mem_mb, abs=1)
    assert two.runtime - 10 == pytest.approx((one.runtime - 10) / 2, abs=1)


def test_a_shared_backbone_is_loaded_once(paper: Path) -> None:
    inputs = {name: paper / path for name, path in INPUTS["adapt_online"].items()}
    apart = request("adapt_online", load("paper"), inputs, 1)
    shared = request("adapt_online", load("paper"), {**inputs, "backbone": paper / "policy"}, 1)
    assert apart.mem_mb - shared.mem_mb == pytest.approx(2 * 1720574976 / MIB, abs=1)


def test_a_cpu_asks_for_no_more_than_the_memory_that_batches_are_made_for(paper: Path) -> None:
    config = load("paper", gpus=0)
    assert ask("train_offline", config, paper).mem_mb == -(-(LIBRARIES + 80 * GIB) // MIB)
    pocket = host_memory(load("config"), [Model(parameters=1e5, hidden=64, layers=2)], [])
    assert 8 * 1e5 < pocket - LIBRARIES < 2 * GIB, "and the embedded policy for far less"


def test_a_file_that_is_not_there_yet_is_named_as_the_rule_names_it(paper: Path) -> None:
    """Or Snakemake would take the error for one of the workflow, and not for a file that is to come."""
    with pytest.raises(FileNotFoundError) as caught:
        request("sample_reference", load("paper"), {"policy": paper / "absent"}, 1)
    assert caught.value.filename == str(paper / "absent")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"values": {"batch_size": 3}}', '{"inputs": null, "values": {}}'])
def test_a_record_that_a_job_will_refuse_does_not_stop_the_workflow(paper: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "offline.json").write_text(text)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy/manifest.json").write_text("{}")
    wants = ask("train_offline", load("paper"), tmp_path)
    assert wants == (LIBRARIES // MIB, resources.SHORTEST)


def test_every_submitted_rule_has_work() -> None:
    """A rule whose jobs are submitted and whose work is unknown would ask for the least there is."""
    batch = Batch(pairs=100, batch_size=1, inference_batch_size=1, max_length=10)
    submitted = set()
    for page in (ROOT / "workflow/rules").glob("*.smk"):
        for rule in page.read_text().split("rule ")[1:]:
            if "runtime=time_limit" in rule:
                assert "mem_mb=host_memory" in rule
                submitted.add(rule.partition(":")[0])
            if rule.startswith(("model_step as ", "train_reward as ")):  # which ask for both
                submitted.add(rule.split()[2])
    assert submitted == {*INPUTS, "model_step", "pretrain_policy", "sample_preferences", "train_held_out"}
    submitted.remove("model_step")
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())  # an embedded task: every rule has work
    for rule in submitted:
        assert resources.work(rule, config, batch) != Work(), rule


def test_evaluations_of_the_noise_floor_and_held_out_reward_models_take_their_time() -> None:
    """The pocket study: 512 problems of 32 tokens, sampled five times; prompts of up to 256 tokens, read by 3 and 1."""
    batch = Batch(pairs=0, batch_size=1, inference_batch_size=1, max_length=10)
    probe, reference, rewards = (
        resources.work(rule, load("config"), batch)
        for rule in ("probe_offline", "sample_reference", "evaluate_rewards")
    )
    assert (probe.sampled, probe.scored) == (5 * 512 * 32, (3 * 5 + 1) * 512 * 288)
    assert reference.sampled == 2 * 512 * 32  # and as many online problems
    assert rewards.scored == 4 * 2 * 512 * 288


def test_it_imports_nothing_heavy() -> None:
    """Each job on a cluster reads the rules twice before it starts."""
    code = "import sys, goodhart.launch.resources; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow/scripts")}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pandas"} & set(said.stdout.split())
