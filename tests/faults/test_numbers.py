"""NaN and infinity, made to appear for real: scripts stop, say where and keep the batch; empty responses go on."""

from __future__ import annotations

import importlib
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from goodhart.errors import InputError
from goodhart.models.adapters import lora_config, save_adapter
from goodhart.models.loading import load_policy
from goodhart.models.manifest import stamp_adapter, stamp_model
from goodhart.runtime.finite import NotFinite
from goodhart.store.files import read_json, read_table, write_json, write_table
from goodhart.store.schemas.inputs import LOGPROBS, PREFERENCES, PROBLEMS
from goodhart.store.schemas.measurements import PROBE, STEPS, TRAJECTORY
from goodhart.store.schemas.summaries import RUNS
from goodhart.training.online.loop import prompt_rows
from tiny_study import Study

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
RUN, OFFLINE = "replicate-0/online/dpo/p20/kl-p20", "replicate-0/offline/dpo/p20"
ADAPT, TRAIN, PROBING = "adapt_online/p20/kl-p20", "train_offline/p20", "probe_offline/p20"
REWARD = "train_reward/0"
MARK = " @"  # a word that no tokeniser of the study knows


@pytest.fixture(scope="module")
def tiny(tiny: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The tiny study as if of someone else: its files say nothing of their origin, and may be changed."""
    root = tmp_path_factory.mktemp("unsealed") / "study"
    shutil.copytree(tiny.root, root)
    for path in root.rglob("*.json"):
        content = json.loads(path.read_text())
        if "seal" in content:
            path.write_text(json.dumps({k: v for k, v in content.items() if k not in ("seal", "origin", "files")}))
    for path in root.rglob("*.parquet"):
        pq.write_table(pq.read_table(path), path)
    study = Study(root)
    save_file(load_file(study / "reward/centroid.safetensors"), study / "reward/centroid.safetensors")
    return study


def stop(study: Study, name: str, outputs: Path, instead: dict[str, Path] | None = None) -> tuple[str, dict[str, Any]]:
    """The sentence with which a step stops and what it keeps, which is the only file it may leave."""
    with pytest.raises(NotFinite) as caught:
        study.run(name, outputs, instead)
    return str(caught.value), kept_alone(outputs, str(caught.value))


def kept_alone(outputs: Path, sentence: str) -> dict[str, Any]:
    (path,) = (path for path in outputs.rglob("*") if path.is_file())
    assert len(sentence.splitlines()) == 1
    assert f"; the batch is in {path}: look at its rows, or train with a lower learning rate." in sentence
    record = json.loads(path.read_text(), parse_constant=no_json)
    assert record["what"] in sentence
    return record


def no_json(name: str) -> NoReturn:
    raise AssertionError(f"{name} is not JSON")


def edited(study: Study, folder: Path, file: str, **values: float) -> dict[str, Path]:
    """A file of Appendix C with other values in use."""
    record = read_json(study / file)
    for name, value in values.items():
        record["values"][name]["value"] = value
    write_json(folder / Path(file).name, record)
    return {file: folder / Path(file).name}


def with_weight(source: Path, folder: Path, name: str, value: float) -> Path:
    """A copy of an adapter or a model, in which one number is another."""
    shutil.copytree(source, folder)
    (path,) = folder.glob("*.safetensors")
    weights = load_file(path)
    key = next(key for key in weights if key.endswith(name))
    weights[key].flatten()[0] = value
    save_file(weights, path, metadata={"format": "pt"})
    return folder


# What is read.


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("script", ["evaluate_rewards", PROBING, ADAPT])
def test_a_reward_that_holds_such_a_number_is_refused(tiny: Study, tmp_path: Path, script: str, value: float) -> None:
    member = with_weight(tiny / "reward/member-1/adapter", tmp_path / "member", "score.weight", value)
    with pytest.raises(InputError) as caught:
        tiny.run(script, tmp_path / "out", {"reward/member-1/adapter": member})
    assert str(caught.value).startswith(f"{member} has weights that are not finite (1 of 17 matrices, the first ")
    assert list((tmp_path / "out").rglob("*")) == []


def test_an_offline_adapter_that_holds_such_a_number_is_refused(tiny: Study, tmp_path: Path) -> None:
    adapter = with_weight(tiny / f"{OFFLINE}/adapter", tmp_path / "adapter", "lora_B.weight", -math.inf)
    with pytest.raises(InputError, match="has weights that are not finite"):
        tiny.run(ADAPT, tmp_path / "out", {f"{OFFLINE}/adapter": adapter})
    assert list((tmp_path / "out").rglob("*")) == []


@pytest.mark.parametrize("value", [math.nan, -math.inf])
@pytest.mark.parametrize("script", ["derive_beta/p20", TRAIN])
def test_log_probs_that_are_no_numbers_are_refused_on_reading(
    tiny: Study, tmp_path: Path, script: str, value: float
) -> None:
    """Of a response that the reference cannot give, DPO's loss and gradient would be 0: such a pair teaches nothing."""
    table = pq.read_table(tiny / "reference/logprobs.parquet").to_pydict()
    table["chosen_logprob"][3] = value
    pq.write_table(pa.table(table, schema=LOGPROBS.schema), tmp_path / "logprobs.parquet")
    with pytest.raises(InputError, match=r"logprobs\.parquet: column chosen_logprob .* holds NaN or infinity"):
        tiny.run(script, tmp_path / "out", {"reference/logprobs.parquet": tmp_path / "logprobs.parquet"})
    assert list((tmp_path / "out").rglob("*")) == []


# Training.


def unbearable(study: Study, folder: Path) -> tuple[dict[str, Path], pd.Series]:
    """Log-probs of one pair that are numbers, but whose difference is infinite in float32; and that pair."""
    table = read_table(study / "reference/logprobs.parquet", LOGPROBS)
    row = table.index[table["split"] == "train"][20]
    table.loc[row, ["chosen_logprob", "rejected_logprob"]] = 3e38, -3e38
    write_table(folder / "logprobs.parquet", table, LOGPROBS)
    pairs = read_table(study / "data/preferences.parquet", PREFERENCES).set_index("pair_id")
    return {"reference/logprobs.parquet": folder / "logprobs.parquet"}, pairs.loc[table.loc[row, "pair_id"]]


def test_a_pair_whose_loss_is_infinite_stops_the_update_it_is_in(tiny: Study, tmp_path: Path) -> None:
    """It is the 21st of the training pairs; the step follows from the seed's order of them."""
    instead, pair = unbearable(tiny, tmp_path)
    sentence, record = stop(tiny, TRAIN, tmp_path / "out", instead)
    count = read_json(tiny / f"{OFFLINE}/metrics.json")["rows"]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    step = order.index(20) // 16 + 1
    assert sentence.startswith(f"update {step}: loss is inf; the batch is in {tmp_path / 'out' / OFFLINE}/stopped.json")
    assert (record["where"], record["step"], record["seed"]) == ("update", step, 0)
    assert record["offending"] == [order.index(20) % 16]
    assert len(record["rows"]) == min(16, count - 16 * (step - 1))
    for i, row in enumerate(record["rows"]):
        assert (row["loss"] == "inf") == (i in record["offending"])
    assert [row["chosen_tokens"] for row in record["rows"]] != [row["rejected_tokens"] for row in record["rows"]]
    worst = record["rows"][record["offending"][0]]
    assert worst["chosen"].startswith(pair["prompt"] + pair["chosen"][:8])
    assert worst["ref_chosen_logps"] == pytest.approx(3e38)


@pytest.mark.parametrize(
    ("name", "stage", "folder"), [(TRAIN, "offline", OFFLINE), (REWARD, "reward", "replicate-0/reward/member-0")]
)
def test_a_learning_rate_that_breaks_the_weights_stops_at_the_next_update(
    tiny: Study, tmp_path: Path, name: str, stage: str, folder: str
) -> None:
    instead = edited(tiny, tmp_path, f"derived/{stage}.json", learning_rate=1e30, warmup_steps=0)
    sentence, record = stop(tiny, name, tmp_path / "out", instead)
    assert sentence.startswith("update 2: loss is nan; ")
    assert f"{folder}/stopped.json" in sentence
    assert record["offending"] == list(range(len(record["rows"]))) != []
    assert {row["loss"] for row in record["rows"]} == {"nan"}


def test_a_gradient_that_overflows_under_a_finite_loss_stops_before_the_update(tiny: Study, tmp_path: Path) -> None:
    """A beta of 1e30 makes numbers whose squares no float32 holds."""
    write_json(tmp_path / "p20.json", {**read_json(tiny / "beta/p20.json"), "beta": 1e30})
    sentence, record = stop(tiny, TRAIN, tmp_path / "out", {"beta/p20.json": tmp_path / "p20.json"})
    assert sentence.startswith("update 1: gradient norm is inf; ")
    assert all(isinstance(row["loss"], float) for row in record["rows"])
    assert {record["rows"][i]["gradient_norm"] for i in record["offending"]} == {"inf"}


def test_pretraining_stops_too(tiny: Study, tmp_path: Path) -> None:
    hasty = Study(tiny.root, {"--learning-rate 0.005": "--learning-rate 1e30"})
    sentence, record = stop(hasty, "pretrain_policy", tmp_path)
    assert sentence.startswith(
        f"update 2: gradient norm is nan; the batch is in {tmp_path}/replicate-0/policy.stopped.json"
    )
    assert len(record["rows"]) == 32
    assert record["rows"][0]["prompt"] != record["rows"][0]["tokens"] != []


def launch(study: Study, name: str, outputs: Path, instead: dict[str, Path], *before: str) -> tuple[int, str]:
    """Exit code and stderr of a step as a process of its own, or as several; it may not take two minutes."""
    script = str(SCRIPTS / f"{name.partition('/')[0]}.py")
    line = [sys.executable, *before, script, *study.arguments(name, outputs, instead)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stderr


def test_a_user_reads_the_sentence_and_gets_exit_code_1(tiny: Study, tmp_path: Path) -> None:
    instead, _ = unbearable(tiny, tmp_path)
    code, said = launch(tiny, TRAIN, tmp_path / "out", instead)
    sentence = said.splitlines()[-1]
    assert code == 1
    assert "Traceback" not in said
    assert sentence.startswith("train_offline.py: error: update ")
    assert kept_alone(tmp_path / "out", sentence)["offending"]


def test_one_process_of_two_that_meets_the_number_ends_both(tiny: Study, tmp_path: Path) -> None:
    instead, _ = unbearable(tiny, tmp_path)
    two = "-m accelerate.commands.accelerate_cli launch --multi_gpu --num_processes 2 --num_machines 1"
    two += " --mixed_precision no --dynamo_backend no --main_process_port 0"
    code, said = launch(tiny, TRAIN, tmp_path / "out", instead, *two.split())
    (sentence,) = (line for line in said.splitlines() if line.startswith("train_offline.py: error: "))
    assert code == 1
    record = kept_alone(tmp_path / "out", sentence)
    assert len(record["rows"]) == 8
    assert 3e38 in [pytest.approx(row["ref_chosen_logps"]) for row in record["rows"]]


# Online.


@pytest.fixture
def poisoned(tiny: Study, tmp_path: Path) -> dict[str, Path]:
    """A reward backbone that has NaN for the embedding of `MARK`, and the members on it: rewards of their own."""
    backbone = tmp_path / "backbone"
    shutil.copytree(tiny / "policy", backbone)
    tokenizer = json.loads((backbone / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"][MARK] = len(tokenizer["model"]["vocab"])
    (backbone / "tokenizer.json").write_text(json.dumps(tokenizer))
    weights = load_file(backbone / "model.safetensors")
    table = weights["model.embed_tokens.weight"]
    weights["model.embed_tokens.weight"] = torch.cat([table, torch.full_like(table[:1], math.nan)])
    save_file(weights, backbone / "model.safetensors", metadata={"format": "pt"})
    config = {**read_json(backbone / "config.json"), "vocab_size": len(table) + 1}
    (backbone / "config.json").write_text(json.dumps(config))
    stamp_model(backbone, backbone, "plain")
    instead = {}
    for name in ("member-0", "member-1", "held-out-0"):
        instead[f"reward/{name}/adapter"] = tmp_path / name
        shutil.copytree(tiny / f"reward/{name}/adapter", tmp_path / name)
        stamp_adapter(tmp_path / name, backbone)
    return {"backbone": backbone, **instead}


def marked(study: Study, folder: Path, split: str, number: int) -> dict[str, Path]:
    """The problems, one of them with `MARK` in its prompt."""
    problems = read_table(study / "data/problems.parquet", PROBLEMS)
    row = problems.index[problems["split"] == split][number]
    problems.loc[row, "prompt"] = problems.loc[row, "prompt"].replace("Q:", f"Q:{MARK}")
    write_table(folder / "problems.parquet", problems, PROBLEMS)
    return {"data/problems.parquet": folder / "problems.parquet"}


@pytest.fixture
def apart(tiny: Study) -> Study:
    """The study with a backbone beside the policy in every command line that has both."""
    return Study(tiny.root, {"--backbone @replicate-0/policy": "--backbone @replicate-0/backbone"})


def test_a_reward_that_breaks_in_mid_run_stops_the_update_of_its_prompt(
    apart: Study, tmp_path: Path, poisoned: dict[str, Path]
) -> None:
    number = prompt_rows(30, 8, step=1, seed=0)[3]
    instead = poisoned | marked(apart, tmp_path, "online", number)
    sentence, record = stop(apart, ADAPT, tmp_path / "out", instead)
    path = tmp_path / "out" / RUN / "stopped.json"
    assert sentence.startswith(f"online update 2: reward is not finite in 1 of 8 rows; the batch is in {path}")
    assert (record["where"], record["step"], record["seed"]) == ("online update", 2, 0)
    marked_rows = [i for i, row in enumerate(record["rows"]) if MARK in row["prompt"]]  # sorted by length, as sampled
    assert len(record["rows"]) == 8
    assert len(marked_rows) == 1
    assert record["offending"] == [i for i, row in enumerate(record["rows"]) if row["reward"] == ["nan", "nan"]]
    assert record["offending"] == marked_rows
    assert all(row["tokens"] and isinstance(row["response"], str) for row in record["rows"])


def test_a_proxy_that_is_no_number_is_not_written_into_the_trajectory(
    apart: Study, tmp_path: Path, poisoned: dict[str, Path]
) -> None:
    instead = poisoned | marked(apart, tmp_path, "evaluation", 5)
    sentence, record = stop(apart, ADAPT, tmp_path / "online", instead)
    assert sentence.startswith("evaluation after update 0: reward is not finite in 1 of 16 rows; ")
    assert record["offending"] == [5]
    sentence, record = stop(apart, PROBING, tmp_path / "probe", instead)
    assert sentence.startswith("evaluation: reward is not finite in 1 of 16 rows; ")
    assert f"{OFFLINE}/probe.stopped.json" in sentence
    assert record["offending"] == [5]


def test_rewards_of_held_out_pairs_are_numbers_or_nothing(
    apart: Study, tmp_path: Path, poisoned: dict[str, Path]
) -> None:
    preferences = read_table(apart / "data/preferences.parquet", PREFERENCES)
    held_out = preferences[preferences["split"] == "test"]
    place = int(held_out["rejected"].str.len().argmin())  # a longer one might be cut before the mark
    preferences.loc[held_out.index[place], "rejected"] += MARK
    write_table(tmp_path / "preferences.parquet", preferences, PREFERENCES)
    instead = poisoned | {"data/preferences.parquet": tmp_path / "preferences.parquet"}
    sentence, record = stop(apart, "evaluate_rewards", tmp_path / "out", instead)
    assert sentence.startswith("ensemble scoring: reward is not finite in 1 of ")
    assert "reward/quality.stopped.json" in sentence
    assert record["offending"] == [place]
    assert record["rows"][place]["response"].endswith(MARK)


def test_a_learning_rate_that_breaks_the_policy_stops_the_run(tiny: Study, tmp_path: Path) -> None:
    """After two updates an evaluation is due; what it samples from is no distribution."""
    instead = edited(tiny, tmp_path, "derived/online.json", learning_rate=1e30, warmup_steps=0)
    sentence, record = stop(tiny, ADAPT, tmp_path / "out", instead)
    what = "the next-token distribution is not finite in 8 of 8 rows"
    assert sentence.startswith(f"online update 2: {what}; ")
    assert (record["step"], record["offending"]) == (2, list(range(8)))
    assert all(row["prompt"].startswith("Q:") for row in record["rows"])


@pytest.mark.parametrize("name", ["sample_reference", "sample_preferences", "score_reference"])
def test_a_policy_that_computes_no_numbers_is_found_out(tiny: Study, tmp_path: Path, name: str) -> None:
    policy = with_weight(tiny / "policy", tmp_path / "policy", "model.norm.weight", math.nan)
    sentence, record = stop(tiny, name, tmp_path / "out", {"policy": policy})
    said = (
        "reference log-probs: logprob is" if name == "score_reference" else "sampling: the next-token distribution is"
    )
    assert sentence.startswith(f"{said} not finite in {len(record['rows'])} of {len(record['rows'])} rows; ")
    assert ".stopped.json" in sentence


# What is counted and goes on.


@pytest.fixture(scope="module")
def silent(tiny: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A policy that says nothing, with an adapter that changes nothing; the reward models keep their backbone.

    It learned to end at once; its logits, a hundred times as large, leave nothing else to chance.
    """
    from peft import get_peft_model

    folder = tmp_path_factory.mktemp("silent")
    corpus = pd.read_parquet(tiny / "data/corpus.parquet").assign(response="")
    corpus.to_parquet(folder / "corpus.parquet")
    quick = Study(tiny.root, {"--steps 700": "--steps 100"})
    quick.run("pretrain_policy", folder, {"data/corpus.parquet": folder / "corpus.parquet"})
    policy = folder / "replicate-0/policy"
    weights = load_file(policy / "model.safetensors")
    weights["model.norm.weight"] *= 100
    save_file(weights, policy / "model.safetensors", metadata={"format": "pt"})
    stamp_model(policy, policy, "plain")
    model = get_peft_model(load_policy(policy, "float32"), lora_config(4, 8, 0.0, "CAUSAL_LM"))
    save_adapter(model, "default", folder / "adapter")
    stamp_adapter(folder / "adapter", policy)
    return {"policy": policy, f"{OFFLINE}/adapter": folder / "adapter", "backbone": tiny / "policy"}


def deaf(study: Study, folder: Path) -> dict[str, Path]:
    """Members whose heads are zero, so that no reward differs from another."""
    instead = {}
    for k in range(2):
        instead[f"reward/member-{k}/adapter"] = folder / f"deaf-{k}"
        shutil.copytree(study / f"reward/member-{k}/adapter", folder / f"deaf-{k}")
        path = folder / f"deaf-{k}" / "adapter_model.safetensors"
        weights = load_file(path)
        heads = {key: values.zero_() for key, values in weights.items() if key.endswith("score.weight")}
        save_file(weights | heads, path, metadata={"format": "pt"})
    return instead


def finite(table: pd.DataFrame) -> bool:
    return bool(table.select_dtypes("number").map(math.isfinite).all(axis=None))


@pytest.mark.parametrize("rewards", ["deaf", "hearing"])
def test_a_policy_that_says_nothing_goes_through(
    apart: Study, tmp_path: Path, silent: dict[str, Path], rewards: str
) -> None:
    """Empty responses to different prompts may have different rewards; where they have one, no update prefers any."""
    instead = silent | (deaf(apart, tmp_path) if rewards == "deaf" else {})
    out = tmp_path / "out"
    apart.run(ADAPT, out, instead)
    trajectory = read_table(out / RUN / "trajectory.parquet", TRAJECTORY)
    steps = read_table(out / RUN / "steps.parquet", STEPS)
    assert finite(trajectory)
    assert finite(steps)
    first = slice(None) if rewards == "deaf" else slice(1)  # an update may teach it to speak
    assert (trajectory["empty"][first] == 1).all()
    assert (trajectory["truncated"][first] == 0).all()
    assert (steps["empty"][first] == 1).all()
    assert steps["zero_variance"].tolist() == [rewards == "deaf"] * 3
    assert not (out / RUN / "stopped.json").exists()
    if rewards == "deaf":
        assert (steps["policy_loss"] == 0).all()
        assert trajectory["entropy_response"].max() < 0.01
        row = tabulated(apart, out)
        assert (row["zero_variance_batches"], row["empty_end"], row["truncated_end"]) == (3, 1, 0)
        assert row["true_at_start_is_zero"]


def tabulated(study: Study, out: Path) -> pd.Series:
    """The row of a run in the table that collect_runs makes of it alone, Table 1 of which can be made too."""
    line = f"--trajectories {out / RUN}/trajectory.parquet --updates {out / RUN}/steps.parquet"
    line += f" --responses {out / RUN}/responses.parquet --floors {study / OFFLINE}/floor.parquet --replicates 0"
    line += f" --probes {study / OFFLINE}/probe.parquet --quality {study / 'reward/quality.json'}"
    line += f" --baselines {study / 'reward/baseline.parquet'} --reference {study / 'reference/responses.parquet'}"
    line += f" --cells paper/dpo/p20/p20/0 --gaps {out}/gaps.parquet"
    line += f" --runs {out}/runs.parquet --csv {out}/runs.csv --scales {out}/scales.json --augc {out}/dpo-paper.csv"
    importlib.import_module("collect_runs").main(line.split())
    line = (
        f"--runs {out}/runs.parquet --csv {out}/t.csv --markdown {out}/t.md --latex {out}/t.tex --trends {out}/t.json"
    )
    importlib.import_module("tabulate_levels").main(line.split())
    return read_table(out / "runs.parquet", RUNS).iloc[0]


def test_an_examination_of_silence_has_numbers(apart: Study, tmp_path: Path, silent: dict[str, Path]) -> None:
    (tmp_path / "out" / OFFLINE).mkdir(parents=True)
    (tmp_path / "out" / OFFLINE / "probe.stopped.json").write_text("{}")  # what an earlier attempt left
    apart.run(PROBING, tmp_path / "out", silent)
    probe = read_table(tmp_path / "out" / OFFLINE / "probe.parquet", PROBE)
    assert finite(probe)
    assert (probe["empty"][0], probe["true"][0], probe["response_tokens"][0]) == (1, 0, 1)
    assert sorted(path.name for path in (tmp_path / "out" / OFFLINE).iterdir()) == [
        "floor.parquet",
        "probe.parquet",
        "responses.parquet",
    ]
