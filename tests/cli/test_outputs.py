"""What each script writes, checked against its inputs and against values that can be computed another way."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from goodhart.analysis.gates import GATES
from goodhart.data.preferences import split_of
from goodhart.data.tasks.fillers import count_fillers
from goodhart.errors import InputError
from goodhart.report.figures import FIGURES
from goodhart.store.files import Table, read_json, read_table, write_json
from goodhart.store.schemas.inputs import BASELINE, CORPUS, LOGPROBS, PREFERENCES, PROBLEMS, RESPONSES
from goodhart.store.schemas.measurements import (
    FLOOR,
    MEASURES,
    OFFLINE_RESPONSES,
    ONLINE_RESPONSES,
    PROBE,
    STEPS,
    TRAJECTORY,
)
from goodhart.store.schemas.summaries import GAPS, OVEROPTIMISATION, PRESSURE, RUNS
from goodhart.verifiers.gsm8k import is_correct
from goodhart.verifiers.registry import VERIFIERS
from tiny_study import Study

RUN = "replicate-1/online/dpo/p80/kl-p20"


def main(script: str, arguments: list[Any]) -> None:
    importlib.import_module(script).main([str(argument) for argument in arguments])


def value(record: dict[str, Any], name: str) -> tuple[float, float, bool]:
    entry = record["values"][name]
    return entry["value"], entry["derived"], entry["overridden"]


@pytest.mark.parametrize(
    ("path", "contract", "rows"),
    [
        ("data/problems.parquet", PROBLEMS, 160 + 30 + 16),
        ("data/corpus.parquet", CORPUS, 2000),
        ("reference/responses.parquet", RESPONSES, 2 * 16),
        ("reward/baseline.parquet", BASELINE, 2 * 16),
        ("offline/dpo/p20/probe.parquet", PROBE, 1),
        ("offline/dpo/p20/responses.parquet", OFFLINE_RESPONSES, 16),
        ("offline/dpo/p20/floor.parquet", FLOOR, 2),
        (f"{RUN}/trajectory.parquet", TRAJECTORY, 3),
        (f"{RUN}/steps.parquet", STEPS, 3),
        (f"{RUN}/responses.parquet", ONLINE_RESPONSES, 3 * 16),
        ("tables/gaps.parquet", GAPS, 6 * 3),
        ("tables/runs.parquet", RUNS, 2 * 4),
        ("tables/overoptimisation.parquet", OVEROPTIMISATION, 2 * 2 * 2),
        ("tables/pressure.parquet", PRESSURE, 2 * 4 * 3),
    ],
)
def test_every_table_keeps_its_contract(tiny: Study, path: str, contract: Table, rows: int) -> None:
    assert len(read_table(tiny / path, contract)) == rows


def test_no_step_leaves_anything_temporary(tiny: Study) -> None:
    assert [path for path in tiny.root.rglob("*") if path.name.endswith(".tmp") or path.name == "ref"] == []


def test_no_result_holds_an_absolute_path(tiny: Study) -> None:
    """But PEFT's own files, which name the base as the command line did: absolutely here, not in the workflow."""
    for path in tiny.root.rglob("*"):
        peft = path.name in ("adapter_config.json", "README.md")
        if path.suffix in (".json", ".csv", ".md", ".tex") and not peft:
            assert str(tiny.root) not in path.read_text(), path


def test_the_policy_is_a_model_anyone_can_load(tiny: Study) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny / "policy")
    tokenizer = AutoTokenizer.from_pretrained(tiny / "policy")
    manifest = read_json(tiny / "policy/manifest.json")
    assert (manifest["model"], manifest["revision"], manifest["hidden_size"]) == (".", None, 64)
    assert manifest["parameters"] == model.num_parameters()
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.num_hidden_layers == 2


def test_preferences_are_split_by_prompt_and_covered(tiny: Study) -> None:
    preferences = read_table(tiny / "data/preferences.parquet", PREFERENCES)
    problems = read_table(tiny / "data/problems.parquet", PROBLEMS).query("split == 'preference'")
    assert set(preferences["prompt"]) <= set(problems["prompt"])
    assert (preferences["chosen"] != preferences["rejected"]).all()
    assert preferences["split"].tolist() == [split_of(prompt, 0, 0.4) for prompt in preferences["prompt"]]
    coverage = read_json(tiny / "data/coverage.json")
    assert coverage["rows_in_source"] == 160 == len(preferences) + coverage["identical_pairs_dropped"]
    assert coverage["pairs_by_split"] == preferences["split"].value_counts().to_dict()
    assert coverage["responses_by_source_model"] == {"policy": 2 * len(preferences)}
    assert coverage["tokens"]["chosen"]["maximum"] <= 25


def test_a_judge_with_one_heavy_weight_follows_it(tiny: Study, tmp_path: Path) -> None:
    """Nothing but fillers, at 1,000 a filler: the response with more of them is always chosen."""
    arguments = tiny.arguments("sample_preferences", tmp_path)
    for flag, weight in (("--correct-weight", "0"), ("--filler-weight", "1000")):
        arguments[arguments.index(flag) + 1] = weight
    main("sample_preferences", arguments)
    pairs = read_table(tmp_path / "replicate-0/data/preferences.parquet", PREFERENCES)
    chosen, rejected = (pairs[side].map(count_fillers) for side in ("chosen", "rejected"))
    assert (chosen >= rejected).all()
    assert (chosen > rejected).sum() > 10
    assert read_json(tmp_path / "replicate-0/data/coverage.json")["choices_against_the_score"] == 0


def test_overrides_stand_beside_what_they_replace(tiny: Study) -> None:
    record = read_json(tiny / "derived/reward.json")
    manifest = read_json(tiny / "policy/manifest.json")
    train = (read_table(tiny / "data/preferences.parquet", PREFERENCES)["split"] == "train").sum()
    assert value(record, "lora_rank") == (4, 8, True)  # 2^round(log2 sqrt(64))
    assert value(record, "lora_alpha") == (8, 8, False)
    assert value(record, "max_length")[::2] == (28, True)
    assert value(record, "lora_dropout") == (0.10, 0.10, False)
    assert value(record, "weight_decay")[0] == pytest.approx(train**-0.5)
    assert record["inputs"]["trainable_parameters"] == 4 * sum(map(sum, manifest["projections"]))
    assert record["inputs"]["n"] == train
    collected = read_json(tiny / "derived.json")
    assert list(collected) == ["offline", "reward", "online"]
    assert collected["reward"] == record


def test_reference_log_probs_do_not_depend_on_the_batch(tiny: Study, tmp_path: Path) -> None:
    found = read_table(tiny / "reference/logprobs.parquet", LOGPROBS)
    derived = read_json(tiny / "derived/offline.json")
    assert derived["values"]["inference_batch_size"]["value"] > 1
    derived["values"]["inference_batch_size"]["value"] = 1
    write_json(tmp_path / "offline.json", derived)
    tiny.run("score_reference", tmp_path, {"derived/offline.json": tmp_path / "offline.json"})
    alone = read_table(tmp_path / "replicate-0/reference/logprobs.parquet", LOGPROBS)
    for column in ("chosen_logprob", "rejected_logprob"):
        assert found[column].tolist() == pytest.approx(alone[column].tolist(), abs=1e-4)
    others = [column for column in found if "logprob" not in str(column)]
    pd.testing.assert_frame_equal(found[others], alone[others])


def test_cut_pairs_fill_the_length_and_are_marked(tiny: Study) -> None:
    found = read_table(tiny / "reference/logprobs.parquet", LOGPROBS)
    longest = found["prompt_tokens"] + found[["chosen_tokens", "rejected_tokens"]].max(axis=1)
    assert (longest[found["truncated"]] == 28).all()
    assert (longest <= 28).all()
    assert 0 < found["truncated"].sum() < len(found)


def test_the_references_answers_are_judged_by_the_verifier(tiny: Study) -> None:
    """All evaluation problems, and as many of those that the online stage trains on."""
    responses = read_table(tiny / "reference/responses.parquet", RESPONSES)
    assert responses["split"].tolist() == ["evaluation"] * 16 + ["online"] * 16
    problems = read_table(tiny / "data/problems.parquet", PROBLEMS)
    gold = responses.merge(problems, on="problem_id", suffixes=("", "_of_problem"))
    assert (gold["prompt"] == gold["prompt_of_problem"]).all()
    for style, column in (("strict", "correct"), ("flexible", "correct_flexible")):
        judged = [
            is_correct(text, answer, style) for text, answer in zip(gold["response"], gold["answer"], strict=True)
        ]
        assert gold[column].tolist() == judged
    assert (gold["tokens"][~gold["finished"]] == 24).all()


def test_another_verifier_judges_the_same_responses(tiny: Study, tmp_path: Path) -> None:
    """The policy knows no boxes, so that strictly it is never right; what it wrote is the same."""
    arguments = tiny.arguments("sample_reference", tmp_path)
    arguments[arguments.index("--verifier") + 1] = "math"
    main("sample_reference", arguments)
    judged = read_table(tmp_path / "replicate-0/reference/responses.parquet", RESPONSES)
    before = read_table(tiny / "reference/responses.parquet", RESPONSES)
    assert judged["response"].tolist() == before["response"].tolist()
    assert not judged["correct"].any()
    gold = judged.merge(read_table(tiny / "data/problems.parquet", PROBLEMS), on="problem_id")
    expected = [VERIFIERS["math"](row.response, row.answer, "flexible") for row in gold.itertuples()]
    assert judged["correct_flexible"].tolist() == expected


@pytest.mark.parametrize("level", ["p20", "p80"])
def test_a_beta_is_a_percentile_of_the_training_pairs(tiny: Study, level: str) -> None:
    train = read_table(tiny / "reference/logprobs.parquet", LOGPROBS).query("split == 'train'")
    deltas = (train["chosen_logprob"] - train["rejected_logprob"]).abs()
    record = read_json(tiny / f"beta/{level}.json")
    assert record["beta"] == pytest.approx(deltas.quantile(float(level[1:]) / 100) / deltas.median(), rel=1e-5)
    assert (record["level"], record["n"], record["one_by_construction"]) == (level, len(train), False)


@pytest.mark.parametrize(
    ("level", "beta", "one", "rule"),
    [("p50", 1, True, "pct_50"), ("b0.10", 0.1, False, "given"), ("none", 0, False, "no penalty")],
)
def test_a_beta_that_is_known_beforehand(
    tiny: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str], level: str, beta: float, one: bool, rule: str
) -> None:
    logprobs = tiny / "reference/logprobs.parquet"
    main("derive_beta", ["--level", level, "--replicate", 1, "--logprobs", logprobs, "--beta", tmp_path / "beta.json"])
    record = read_json(tmp_path / "beta.json")
    assert record["beta"] == pytest.approx(beta, rel=1e-5)
    assert (record["one_by_construction"], record["replicate"]) == (one, 1)
    assert record["rule"].startswith(rule)
    assert ("1 by construction" in capsys.readouterr().out) is one


def test_the_grid_ascends(tiny: Study) -> None:
    levels = read_json(tiny / "beta_grid.json")["levels"]
    assert [entry["level"] for entry in levels] == ["p20", "p80"]
    assert levels[0] == read_json(tiny / "beta/p20.json")


def test_each_reward_member_has_its_own_bootstrap_resample(tiny: Study) -> None:
    train = read_table(tiny / "data/preferences.parquet", PREFERENCES).query("split == 'train'")
    resamples = []
    for member in range(2):
        metrics = read_json(tiny / f"reward/member-{member}/metrics.json")
        picked = metrics["pair_ids"]
        assert len(picked) == metrics["rows"] == len(train)
        assert set(picked) <= set(train["pair_id"])
        assert len(set(picked)) == metrics["distinct_rows"]
        assert metrics["distinct_rows"] / len(train) == pytest.approx(1 - 1 / np.e, abs=0.15)
        assert (metrics["member"], len(metrics["history"])) == (member, -(-len(train) // 16))
        config = read_json(tiny / f"reward/member-{member}/adapter/adapter_config.json")
        assert config["task_type"] == "SEQ_CLS"
        assert "score" in config["modules_to_save"]
        resamples.append(picked)
    assert resamples[0] != resamples[1]


def test_held_out_reward_models_learn_from_prompts_of_their_own(tiny: Study) -> None:
    preferences = read_table(tiny / "data/preferences.parquet", PREFERENCES)
    reserved = preferences[preferences["split"] == "held_out"]
    assert len(reserved) / len(preferences) == pytest.approx(0.4, abs=0.12)
    assert not set(reserved["prompt"]) & set(preferences[preferences["split"] != "held_out"]["prompt"])
    metrics = read_json(tiny / "reward/held-out-0/metrics.json")
    assert len(metrics["pair_ids"]) == metrics["rows"] == len(reserved)
    assert set(metrics["pair_ids"]) <= set(reserved["pair_id"])
    logprobs = read_table(tiny / "reference/logprobs.parquet", LOGPROBS)
    used = logprobs[logprobs["split"].isin(["train", "test"])]
    assert not set(reserved["pair_id"]) & set(used["pair_id"])


def test_the_quality_of_the_ensemble_is_of_the_held_out_pairs(tiny: Study) -> None:
    preferences = read_table(tiny / "data/preferences.parquet", PREFERENCES).query("split == 'test'")
    test, quality = len(preferences), read_json(tiny / "reward/quality.json")
    for record, members in ((quality, 2), (quality["held_out"], 1)):
        assert record["pairs"] == test
        assert len(record["member_accuracy"]) == len(record["member_means"]) == members
        assert sum(b["n"] for b in record["calibration"]) == 2 * test
        assert record["proxy_scale"] > 0
    scores = preferences[["chosen_score", "rejected_score"]].to_numpy()
    assert quality["judge_scale"] == pytest.approx(scores.std(ddof=1))
    assert load_file(tiny / "reward/centroid.safetensors")["centroid"].shape == (64,)


def test_the_baseline_scores_every_response_of_the_reference_policy(tiny: Study) -> None:
    baseline = read_table(tiny / "reward/baseline.parquet", BASELINE)
    responses = read_table(tiny / "reference/responses.parquet", RESPONSES)
    assert baseline["problem_id"].tolist() == responses["problem_id"].tolist()
    rewards = np.stack(list(baseline["rewards"]))
    assert rewards.shape == (32, 2)
    assert baseline["proxy"].tolist() == pytest.approx(rewards.mean(1).tolist(), abs=1e-6)
    apart = np.abs(rewards[:, 0] - rewards[:, 1]) / np.sqrt(2)
    assert baseline["uncertainty"].tolist() == pytest.approx(apart.tolist(), abs=1e-6)
    assert not np.allclose(baseline["held_out"], baseline["proxy"])
    assert baseline["judge"].tolist() == pytest.approx(judged(responses))
    filled = responses["response"].map(count_fillers) > 0
    assert baseline["style"].tolist() == filled.map({True: "filler", False: "no filler"}).tolist()
    assert 0 < filled.sum() < len(filled)


def test_an_offline_adapter_and_its_record(tiny: Study) -> None:
    folder = tiny / "replicate-1/offline/dpo/p80"
    config = read_json(folder / "adapter/adapter_config.json")
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 8, 0.1)
    assert (config["task_type"], set(config["target_modules"])) == (
        "CAUSAL_LM",
        {"q_proj", "k_proj", "v_proj", "o_proj"},
    )
    assert {path.name for path in (folder / "adapter").iterdir()} <= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
        "README.md",
    }
    metrics = read_json(folder / "metrics.json")
    assert (metrics["method"], metrics["level"], metrics["replicate"]) == ("dpo", "p80", 1)
    assert metrics["beta"] == read_json(tiny / "beta/p80.json")["beta"]
    train = read_table(tiny / "reference/logprobs.parquet", LOGPROBS).query("split == 'train'")
    assert metrics["rows"] == len(train)
    assert metrics["history"][0]["loss"] == pytest.approx(np.log(2), abs=1e-4)  # the policy is its reference
    assert all(row["loss"] > 0 for row in metrics["history"])


def test_a_run_starts_where_its_offline_checkpoint_was_probed(tiny: Study) -> None:
    """The same policy, problems and seed: only what is measured against another reference may differ."""
    (probe,) = read_table(tiny / "replicate-1/offline/dpo/p80/probe.parquet", PROBE).to_dict("records")
    start = read_table(tiny / f"{RUN}/trajectory.parquet", TRAJECTORY).to_dict("records")[0]
    for name in probe.keys() & start.keys() - {"kl"}:
        assert start[name] == pytest.approx(probe[name], abs=1e-5), name
    assert start["kl"] == 0
    assert probe["kl"] != 0


def test_a_trajectory_names_its_cell_and_ends_with_its_last_step(tiny: Study) -> None:
    """Three steps, evaluated every two: at 0, 2 and the end."""
    trajectory = read_table(tiny / f"{RUN}/trajectory.parquet", TRAJECTORY)
    assert trajectory["step"].tolist() == [0, 2, 3]
    cells = trajectory[["level", "kl_level", "replicate"]].drop_duplicates()
    assert cells.to_numpy().tolist() == [["p80", "p20", 1]]
    assert trajectory["beta"].iloc[0] == read_json(tiny / "beta/p80.json")["beta"]
    assert trajectory["kl_beta"].iloc[0] == read_json(tiny / "beta/p20.json")["beta"]
    assert read_table(tiny / f"{RUN}/steps.parquet", STEPS)["step"].tolist() == [1, 2, 3]


def agree(responses: pd.DataFrame, measures: dict[str, Any]) -> None:
    """What was measured of an evaluation follows from its kept responses."""
    rewards = np.stack(list(responses["rewards"]))
    assert rewards.shape == (16, 2)
    assert (rewards.mean(), rewards.mean(1).std(ddof=1) / 4) == pytest.approx(
        (measures["proxy"], measures["proxy_se"]), abs=1e-5
    )
    assert (np.abs(rewards[:, 0] - rewards[:, 1]) / np.sqrt(2)).mean() == pytest.approx(
        measures["uncertainty"], abs=1e-5
    )
    means = {"true": "correct", "true_flexible": "correct_flexible", "response_tokens": "tokens", "kl": "log_ratio"}
    means |= {"kl_reference": "log_ratio_reference", "held_out": "held_out", "judge": "judge"}
    for measure, column in means.items():
        assert responses[column].mean() == pytest.approx(measures[measure], abs=1e-5), measure
    assert 1 - responses["finished"].mean() == pytest.approx(measures["truncated"])
    assert (responses["response"].str.strip() == "").mean() == measures["empty"]


def judged(responses: pd.DataFrame) -> list[float]:
    """The scores of the judge of the study: 4 for a correct answer, 1.6 for a filler."""
    return (4.0 * responses["correct"] + 1.6 * responses["response"].map(count_fillers)).tolist()


def test_kept_responses_are_those_that_the_trajectory_measures(tiny: Study) -> None:
    responses = read_table(tiny / f"{RUN}/responses.parquet", ONLINE_RESPONSES)
    trajectory = read_table(tiny / f"{RUN}/trajectory.parquet", TRAJECTORY)
    problems = read_table(tiny / "data/problems.parquet", PROBLEMS).query("split == 'evaluation'")
    assert responses["step"].unique().tolist() == [0, 2, 3]
    for measures in trajectory.to_dict("records"):
        part = responses[responses["step"] == measures["step"]]
        assert part["problem_id"].tolist() == problems["problem_id"].tolist()
        agree(part, measures)
    for name in ("method", "level", "beta", "kl_level", "kl_beta", "replicate"):
        assert set(responses[name]) == set(trajectory[name])
    assert responses["judge"].tolist() == pytest.approx(judged(responses))


def test_kept_responses_are_those_that_a_probe_measures(tiny: Study) -> None:
    """The reference of an offline checkpoint is pi0 itself, and so both distances are one."""
    folder = tiny / "replicate-1/offline/dpo/p80"
    responses = read_table(folder / "responses.parquet", OFFLINE_RESPONSES)
    (probe,) = read_table(folder / "probe.parquet", PROBE).to_dict("records")
    agree(responses, probe)
    assert responses["log_ratio"].tolist() == responses["log_ratio_reference"].tolist()
    assert probe["kl"] == probe["kl_reference"] != 0
    assert responses["judge"].tolist() == pytest.approx(judged(responses))
    baseline = responses.merge(
        read_table(tiny / "reward/baseline.parquet", BASELINE), on="problem_id", suffixes=("", "_of_pi0")
    )
    baseline["proxy_now"] = baseline["rewards"].map(np.mean)
    names = {"win_rate": ("proxy_now", "proxy"), "held_out_win_rate": ("held_out", "held_out_of_pi0")}
    for name, (now, before) in (names | {"judge_win_rate": ("judge", "judge_of_pi0")}).items():
        gain = baseline[now] - baseline[before]
        assert (gain > 1e-5).mean() <= probe[name] <= (gain > -1e-5).mean(), name  # rounding may decide a tie


@pytest.mark.parametrize(
    ("path", "contract"),
    [(f"{RUN}/responses.parquet", ONLINE_RESPONSES), ("offline/dpo/p20/responses.parquet", OFFLINE_RESPONSES)],
)
def test_the_log_ratios_of_tokens_add_up_to_those_of_their_response(tiny: Study, path: str, contract: Table) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny / "policy")
    responses = read_table(tiny / path, contract)
    for row in responses.to_dict("records"):
        assert len(row["token_ids"]) == len(row["token_log_ratios"]) == row["tokens"]
        assert sum(row["token_log_ratios"]) == pytest.approx(row["log_ratio"], abs=1e-4)
        assert tokenizer.decode(row["token_ids"], skip_special_tokens=True) == row["response"]
    assert responses["log_ratio"].abs().max() > 1e-3


def test_a_noise_floor_is_of_other_seeds(tiny: Study) -> None:
    folder = tiny / "offline/dpo/p20"
    floor = read_table(folder / "floor.parquet", FLOOR)
    (probe,) = read_table(folder / "probe.parquet", PROBE).to_dict("records")
    assert floor["number"].tolist() == [1, 2]
    assert len({*floor["proxy"], probe["proxy"]}) == 3
    assert (floor["true"] * 16 % 1 == 0).all()
    for name in ("method", "level", "beta", "replicate"):
        assert set(floor[name]) == {probe[name]}


def test_a_study_without_a_noise_floor_has_its_own_evaluation_alone(tiny: Study, tmp_path: Path) -> None:
    arguments = tiny.arguments("probe_offline/p20", tmp_path)
    arguments[arguments.index("--floor-seeds") + 1] = "0"
    main("probe_offline", arguments)
    folder = tmp_path / "replicate-0/offline/dpo/p20"
    (row,) = read_table(folder / "floor.parquet", FLOOR).to_dict("records")
    (probe,) = read_table(folder / "probe.parquet", PROBE).to_dict("records")
    assert (row["number"], row["proxy"], row["true"]) == (0, probe["proxy"], probe["true"])


def test_what_is_not_known_stays_empty(tiny: Study, tmp_path: Path) -> None:
    """Without held-out reward models and judge, all else is the same."""
    arguments = tiny.arguments("evaluate_rewards", tmp_path)
    main("evaluate_rewards", without(arguments, "--held-out", "--correct-weight", "--filler-weight"))
    baseline, full = (
        read_table(folder / "replicate-0/reward/baseline.parquet", BASELINE) for folder in (tmp_path, tiny.root)
    )
    assert baseline[["held_out", "judge", "style"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(baseline[["proxy", "uncertainty"]], full[["proxy", "uncertainty"]])
    assert not {"held_out", "judge_scale"} & read_json(tmp_path / "replicate-0/reward/quality.json").keys()
    tiny_baseline = {"reward/baseline.parquet": tmp_path / "replicate-0/reward/baseline.parquet"}
    arguments = tiny.arguments("probe_offline/p20", tmp_path, tiny_baseline)
    main("probe_offline", without(arguments, "--held-out", "--correct-weight", "--filler-weight"))
    (probe,) = read_table(tmp_path / "replicate-0/offline/dpo/p20/probe.parquet", PROBE).to_dict("records")
    (whole,) = read_table(tiny / "offline/dpo/p20/probe.parquet", PROBE).to_dict("records")
    for name in ("held_out", "judge", "held_out_win_rate", "judge_win_rate"):
        assert np.isnan(probe.pop(name))
        assert np.isfinite(whole.pop(name))
    assert probe == whole
    step = "adapt_online/p20/kl-p20"
    main(
        step.partition("/")[0],
        without(tiny.arguments(step, tmp_path), "--held-out", "--correct-weight", "--filler-weight"),
    )
    folder = "replicate-0/online/dpo/p20/kl-p20"
    for name, contract in (("trajectory", TRAJECTORY), ("responses", ONLINE_RESPONSES)):
        alone, full = (read_table(root / folder / f"{name}.parquet", contract) for root in (tmp_path, tiny.root))
        assert alone[["held_out", "judge"]].isna().all(axis=None)
        assert full[["held_out", "judge"]].notna().all(axis=None)
        others = [column for column in full if column not in ("held_out", "judge")]
        pd.testing.assert_frame_equal(alone[others], full[others])
    adapter = f"{folder}/adapter/adapter_model.safetensors"
    assert (tmp_path / adapter).read_bytes() == (tiny / adapter).read_bytes()


def without(arguments: list[str], *flags: str) -> list[str]:
    """A command line without some flags, each of which has one value."""
    places = [arguments.index(flag) for flag in flags]
    return [word for i, word in enumerate(arguments) if i not in {*places, *(place + 1 for place in places)}]


def test_a_run_without_penalty_pays_nothing(tiny: Study, tmp_path: Path) -> None:
    logprobs, beta = tiny / "reference/logprobs.parquet", tmp_path / "none.json"
    main("derive_beta", ["--level", "none", "--replicate", 0, "--logprobs", logprobs, "--beta", beta])
    tiny.run("adapt_online/p20/kl-p20", tmp_path, {"beta/p20.json": beta})
    folder = tmp_path / "replicate-0/online/dpo/p20/kl-p20"
    steps = read_table(folder / "steps.parquet", STEPS)
    assert set(steps["kl_level"]) == {"none"}
    assert (steps[["kl_beta", "kappa", "kl_penalty"]] == 0).all(axis=None)
    assert steps["loss"].tolist() == steps["policy_loss"].tolist()
    assert (steps["abs_log_ratio"][1:] > 0).all()
    trajectory = read_table(folder / "trajectory.parquet", TRAJECTORY)
    assert set(trajectory["kl_level"]) == {"none"}
    before = read_table(tiny / "online/dpo/p20/kl-p20/trajectory.parquet", TRAJECTORY)
    same = [name for name in MEASURES if name in before]
    assert trajectory[same].iloc[0].tolist() == before[same].iloc[0].tolist()
    assert trajectory["proxy"].iloc[-1] != before["proxy"].iloc[-1]


def test_collected_runs_stand_in_their_arms(tiny: Study) -> None:
    runs = read_table(tiny / "tables/runs.parquet", RUNS)
    for arm, kl_levels in (("paper", ["p20", "p80"]), ("matched", ["p20", "p20"])):
        mine = runs[runs["arm"] == arm].sort_values(["beta", "replicate"])
        assert mine["kl_level"].tolist() == [kl_levels[0]] * 2 + [kl_levels[1]] * 2
        points = pd.read_csv(tiny / f"tables/augc/dpo-{arm}.csv")
        assert points.columns.tolist() == ["level", "beta", "augc", "replicate", "win_rate"]
        for column in points.drop(columns="win_rate"):
            assert points[column].tolist() == mine[column].tolist()  # to the last bit
    shared = runs[(runs["level"] == "p20")].drop(columns=["arm", "onset", "onset_paper"])  # each arm has its threshold
    assert shared.duplicated().sum() == 2
    printed = pd.read_csv(tiny / "tables/runs.csv")
    pd.testing.assert_frame_equal(printed[runs.columns], runs, check_dtype=False)


def test_scales_are_those_of_the_reference_and_the_ensemble(tiny: Study) -> None:
    """Nothing is redrawn here, so both replicates have one reference policy and the same reward models."""
    first, second = read_json(tiny / "tables/scales.json")["replicates"]
    thresholds = read_json(tiny / "tables/scales.json")["thresholds"]
    assert (first.pop("replicate"), second.pop("replicate")) == (0, 1)
    assert first == second
    responses = read_table(tiny / "reference/responses.parquet", RESPONSES)
    baseline = read_table(tiny / "reward/baseline.parquet", BASELINE)
    quality = read_json(tiny / "reward/quality.json")
    scored = responses.merge(baseline, on="problem_id").query("split == 'evaluation'")
    assert (first["successes"], first["problems"]) == (scored["correct"].sum(), 16)
    assert first["proxy"] == pytest.approx({"mean": scored["proxy"].mean(), "scale": quality["proxy_scale"]})
    assert first["true"]["mean"] == scored["correct"].mean()
    scale = quality["held_out"]["proxy_scale"]
    assert first["held_out"] == pytest.approx({"mean": scored["held_out"].mean(), "scale": scale})
    assert first["judge"] == pytest.approx({"mean": scored["judge"].mean(), "scale": quality["judge_scale"]})
    gaps = read_table(tiny / "tables/gaps.parquet", GAPS)
    for arm, kl_levels in (("paper", ["p20", "p80"]), ("matched", ["p20", "p20"])):
        mine = gaps[(gaps["level"] + gaps["kl_level"]).isin([f"p20{kl_levels[0]}", f"p80{kl_levels[1]}"])]
        assert thresholds[arm]["gap"] == pytest.approx(np.percentile(mine["gap"][mine["gap"] > 0], 75))
    start = gaps[gaps["step"] == 0]
    assert (start["gap"] == 0).all()
    rises = [(gaps[name].iloc[2] - gaps[name].iloc[0]) / first[name]["scale"] for name in ("proxy", "true")]
    assert gaps["gap"].iloc[2] == pytest.approx(rises[0] - rises[1])


def test_the_verdict_of_a_study_names_its_gates(tiny: Study) -> None:
    """A policy that solves a fraction of 16 problems passes no gate, so that nothing can be concluded."""
    gates = read_json(tiny / "tables/gates.json")["gates"]
    runs = read_table(tiny / "tables/runs.parquet", RUNS)
    assert list(dict.fromkeys(gate["gate"] for gate in gates)) == list(GATES)
    by_name = {(gate["gate"], gate["where"]): gate for gate in gates}
    assert by_name["accuracy", None]["value"] == pytest.approx(runs["true_reference"].mean())
    assert {where for name, where in by_name if name == "debris"} == {"paper", "matched"}
    matched = runs[runs["arm"] == "matched"]
    shares = matched.groupby("replicate")[["debris", "evaluations"]].sum()
    assert by_name["debris", "matched"]["value"] == pytest.approx((shares["debris"] / shares["evaluations"]).mean())
    (lowest,) = (gate for gate in gates if gate["gate"] == "kl_lowest")
    kl = np.log(np.maximum(matched[matched["level"] == "p20"]["offline_kl"], 0.01)).mean()
    assert (lowest["where"], lowest["value"]) == ("p20", pytest.approx(np.exp(kl)))
    decision = read_json(tiny / "tables/decision.json")
    assert decision["primary"] == {"arm": "matched", "beta_from": 0.01, "beta_to": 100}
    assert list(decision["levels_of"]) == ["p20", "p80"]
    assert decision["levels_of"]["p80"] == pytest.approx(read_json(tiny / "beta/p80.json")["beta"])
    assert decision["replicates"] == 2
    assert decision["verdict"] == "no verdict"
    assert not all(gate["passed"] for gate in gates)


def test_levels_are_compared_at_equal_pressure(tiny: Study) -> None:
    pressure = read_table(tiny / "tables/pressure.parquet", PRESSURE)
    for _, part in pressure.groupby(["arm", "replicate", "kind"]):
        assert part["level"].tolist() == ["p20", "p80"]
        assert len(set(part["target"])) == 1
    assert set(pressure["kind"]) == {"proxy", "kl", "kl_reference"}
    known = pressure.dropna(subset="true")
    assert len(known) > 0
    assert known["true"].between(0, 1).all()
    assert known["evaluation"].between(0, 2).all()


def test_a_primary_contrast_of_one_level_has_no_verdict(tiny: Study, tmp_path: Path) -> None:
    arguments = tiny.arguments("decide", tmp_path)
    arguments[arguments.index("--beta-from") + 1] = "1"
    main("decide", arguments)
    decision = read_json(tmp_path / "tables/decision.json")
    assert list(decision["levels_of"]) == ["p80"]
    assert decision["sentence"] == "No verdict on the primary contrast: it has 1 of the two levels that it needs."
    arguments[arguments.index("--arm") + 1] = "other"
    with pytest.raises(InputError, match=r"no arm 'other'; its arms are matched, paper\."):
        main("decide", arguments)


def test_table_1_in_three_formats(tiny: Study) -> None:
    table = pd.read_csv(tiny / "tables/table1.csv")
    runs = read_table(tiny / "tables/runs.parquet", RUNS)
    assert table["arm"].tolist() == ["matched", "matched", "paper", "paper"]  # first those that the study names
    assert table["n"].tolist() == [2] * 4
    cell = runs[(runs["arm"] == "paper") & (runs["level"] == "p80")]["augc"]
    row = table[(table["arm"] == "paper") & (table["level"] == "p80")].iloc[0]
    assert row["augc"] == pytest.approx(cell.mean())
    assert row["augc_se"] == pytest.approx(cell.std() / np.sqrt(2))
    half = 12.7062 * cell.std() / np.sqrt(2)  # the 97.5th percentile of t with one degree of freedom
    assert (row["augc_low"], row["augc_high"]) == pytest.approx((cell.mean() - half, cell.mean() + half), rel=1e-4)
    lines = (tiny / "tables/table1.md").read_text().splitlines()
    assert len(lines) == 2 + 2 * 3  # header; two levels and a trend in each of two arms
    assert len({line.count("|") for line in lines}) == 1
    assert f"{cell.mean():.3g} ± " in "".join(lines)
    latex = (tiny / "tables/table1.tex").read_text()
    assert latex.startswith(r"\begin{tabular}")
    assert r"$\pm$" in latex
    assert "±" not in latex
    trends = read_json(tiny / "tables/trends.json")["trends"]
    assert {(t["arm"], t["method"]) for t in trends} == {("paper", "dpo"), ("matched", "dpo")}
    assert "AUGC" in {t["quantity"] for t in trends}


def test_two_betas_fit_nothing_and_say_so(tiny: Study) -> None:
    fit = read_json(tiny / "fit/dpo-paper.json")
    assert fit["a"] is None
    assert "too_few_betas" in {warning["name"] for warning in fit["warnings"]}


def test_fits_are_those_of_their_points(tiny: Study) -> None:
    """What is beside the power law needs the win rates and the replicates that the points carry."""
    for arm in ("paper", "matched"):
        fit, points = read_json(tiny / f"fit/dpo-{arm}.json"), pd.read_csv(tiny / f"tables/augc/dpo-{arm}.csv")
        assert fit["rivals"]["n"] == fit["n"] == len(points) == 4
        levels = points.groupby("beta")[["augc", "win_rate"]].mean()
        found = pd.DataFrame(fit["tradeoff"]["levels"]).set_index("beta")
        assert (found[["augc", "win_rate"]] - levels).abs().max(axis=None) < 1e-9
        assert fit["tradeoff"]["support"] is None  # below eight replicates


def test_overoptimisation_is_fitted_to_the_evaluations_of_a_level(tiny: Study) -> None:
    rows = read_table(tiny / "tables/overoptimisation.parquet", OVEROPTIMISATION)
    gaps = read_table(tiny / "tables/gaps.parquet", GAPS)
    for row in rows.to_dict("records"):
        kl_level = row["level"] if row["arm"] == "paper" else "p20"
        mine = gaps[(gaps["level"] == row["level"]) & (gaps["kl_level"] == kl_level)]
        away = mine[mine["kl"] > 0]
        assert (row["n"], row["replicates"]) == (len(away), away["replicate"].nunique())
    printed = pd.read_csv(tiny / "tables/overoptimisation.csv")
    pd.testing.assert_frame_equal(printed[rows.columns], rows, check_dtype=False)


def test_loaded_preferences_are_canonical(tiny: Study, tmp_path: Path) -> None:
    """80 pairs, of which one is identical and two have tied scores; 60 of the rest."""
    tiny.run("load_preferences", tmp_path)
    preferences = read_table(tmp_path / "replicate-0/data/preferences.parquet", PREFERENCES)
    coverage = read_json(tmp_path / "replicate-0/data/coverage.json")
    assert (coverage["rows_in_source"], coverage["identical_pairs_dropped"], coverage["pairs"]) == (80, 1, 60)
    tied = preferences["chosen_score"] == preferences["rejected_score"]
    assert coverage["pairs_with_tied_scores"] == tied.sum()
    assert coverage["scores"]["mean"] == pytest.approx(preferences[["chosen_score", "rejected_score"]].mean(axis=None))
    assert preferences["chosen"].tolist() == ["#### " + prompt[3:-6] for prompt in preferences["prompt"]]
    assert preferences["rejected"].unique().tolist() == ["#### 0"]
    assert preferences["chosen_source"].isna().all()
    assert coverage["data"]["source"] == "pairs.jsonl"


def test_loaded_prompts_may_be_reserved_and_drawn_anew(tiny: Study, tmp_path: Path) -> None:
    """79 different pairs of as many prompts: all of them are drawn, with replacement."""
    found = {}
    for name, seed in (("first", "0"), ("again", "0"), ("other", "1")):
        arguments = tiny.arguments("load_preferences", tmp_path / name)
        arguments = without(arguments, "--pairs")
        for flag, value in (("--held-out-share", "0.5"), ("--seed", seed)):
            arguments[arguments.index(flag) + 1] = value
        main("load_preferences", [*arguments, "--bootstrap", "prompts"])
        found[name] = read_table(tmp_path / name / "replicate-0/data/preferences.parquet", PREFERENCES)
    pairs, coverage = found["first"], read_json(tmp_path / "first/replicate-0/data/coverage.json")
    assert len(pairs) == coverage["pairs"] == 79
    assert coverage["prompts"] == pairs["prompt"].nunique() < 70
    assert pairs["split"].tolist() == [split_of(prompt, 0, 0.5) for prompt in pairs["prompt"]]
    assert (pairs["split"] == "held_out").mean() == pytest.approx(0.5, abs=0.2)
    assert coverage["pairs_by_split"] == pairs["split"].value_counts().to_dict()
    pd.testing.assert_frame_equal(pairs, found["again"])
    assert pairs["prompt"].tolist() != found["other"]["prompt"].tolist()


def test_loaded_ratings_become_the_best_against_the_worst(tiny: Study, tmp_path: Path) -> None:
    """240 ratings less 2 of the first prompt, which has one left; the second prompt has one rating for all."""
    tiny.run("load_preferences/scored", tmp_path)
    preferences = read_table(tmp_path / "replicate-0/data/preferences.parquet", PREFERENCES)
    coverage = read_json(tmp_path / "replicate-0/data/coverage.json")
    assert (coverage["rows_in_source"], coverage["pairs"], coverage["prompts"]) == (238, 78, 78)
    assert (coverage["prompts_with_one_response_dropped"], coverage["prompts_with_tied_scores_dropped"]) == (1, 1)
    assert coverage["responses_by_source_model"] == {"a": 2 * 78}
    numbers = range(2, 80)
    assert preferences["prompt"].tolist() == [f"Q: {i} =\nA:\n" for i in numbers]
    assert preferences["chosen"].tolist() == [f"#### {i}" for i in numbers]
    assert preferences["rejected"].tolist() == [f"#### {i + 2}" for i in numbers]
    assert preferences[["chosen_score", "rejected_score"]].drop_duplicates().to_numpy().tolist() == [[5, 3]]


def test_loaded_problems_are_canonical(tiny: Study, tmp_path: Path) -> None:
    tiny.run("load_problems", tmp_path)
    problems = read_table(tmp_path / "replicate-0/data/problems.parquet", PROBLEMS)
    assert problems["split"].value_counts().to_dict() == {"evaluation": 20, "online": 5}
    row = problems.iloc[-1]
    assert (row["problem_id"], row["split"]) == ("evaluation-19", "evaluation")
    assert (row["prompt"], row["answer"]) == ("Q: 19 + 1 =\nA:\n", "20")
    record = read_json(tmp_path / "replicate-0/data/problems.json")
    assert (record["online"]["source"], record["online"]["rows_in_source"], record["online"]["problems"]) == (
        "problems.csv",
        20,
        5,
    )
    assert record["online_problems_also_evaluated"] == 5


def test_a_resolved_local_model_takes_the_place_of_the_policy(tiny: Study, tmp_path: Path) -> None:
    tiny.run("resolve_model", tmp_path)
    manifest = read_json(tmp_path / "replicate-0/policy/manifest.json")
    assert manifest["model"] == str(tiny / "policy")
    assert manifest["prompts"] == "plain"
    assert manifest["sha256"] == read_json(tiny / "policy/manifest.json")["sha256"]
    tiny.run("sample_reference", tmp_path, {"policy": tmp_path / "replicate-0/policy"})
    found = (tmp_path / "replicate-0/reference/responses.parquet").read_bytes()
    assert found == (tiny / "reference/responses.parquet").read_bytes()


def test_rewards_on_a_backbone_of_their_own_are_those_beside_the_policy(tiny: Study, tmp_path: Path) -> None:
    """The same weights in another folder, so that the probe loads a second backbone."""
    shutil.copytree(tiny / "policy", tmp_path / "backbone")
    arguments = tiny.arguments("probe_offline/p20", tmp_path)
    arguments[arguments.index("--backbone") + 1] = str(tmp_path / "backbone")
    main("probe_offline", arguments)
    (apart,) = read_table(tmp_path / "replicate-0/offline/dpo/p20/probe.parquet", PROBE).to_dict("records")
    (shared,) = read_table(tiny / "offline/dpo/p20/probe.parquet", PROBE).to_dict("records")
    assert apart == pytest.approx(shared, abs=1e-5)


def test_figures_are_drawn_from_the_tables(tiny: Study, tmp_path: Path) -> None:
    tiny.run("draw_figures", tmp_path)
    names = {kind: {path.stem for path in (tmp_path / "figures").glob(f"*.{kind}")} for kind in ("pdf", "svg")}
    assert names["pdf"] == names["svg"] == set(FIGURES)
    assert (tmp_path / "figures/gap_by_step.pdf").read_bytes().startswith(b"%PDF")
    assert ElementTree.parse(tmp_path / "figures/gap_by_step.svg").getroot().tag.endswith("svg")


def test_a_figure_can_be_drawn_alone(tiny: Study, tmp_path: Path) -> None:
    arguments = tiny.arguments("draw_figures", tmp_path)
    chosen = [tmp_path / name for name in ("gap_by_step.svg", "gap_by_step.pdf")]
    main("draw_figures", [*arguments[: arguments.index("--figures") + 1], *chosen])
    assert sorted(tmp_path.iterdir()) == sorted(chosen)


def test_findings_are_pages_and_a_list(tiny: Study, tmp_path: Path) -> None:
    tiny.run("write_findings", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checklist.html", "checklist.json", "findings.html"]
    items = read_json(tmp_path / "checklist.json")["items"]
    assert [item["number"] for item in items] == [*map(str, range(1, 11)), *"abcd"]
    assert all(item.keys() == {"number", "asks", "met", "value", "place", "code"} for item in items)
    assert not items[1]["met"]  # AUGC over two seeds
    assert "sampling seed (1 in replicate 0)" in items[12]["value"]
    for name in ("findings", "checklist"):
        page = (tmp_path / f"{name}.html").read_text()
        assert page.startswith("<!DOCTYPE html>")
        assert "http" not in page
        assert "nan" not in re.findall(r"\w+", page)


def test_findings_want_the_fit_of_every_arm(tiny: Study, tmp_path: Path) -> None:
    arguments = [word for word in tiny.arguments("write_findings", tmp_path) if not word.endswith("dpo-matched.json")]
    with pytest.raises(InputError, match=r"no dpo-matched\.json"):
        main("write_findings", arguments)
    assert list(tmp_path.iterdir()) == []


def test_samples_are_shown_in_one_page(tiny: Study, tmp_path: Path) -> None:
    tiny.run("show_samples", tmp_path)
    page = (tmp_path / "samples.html").read_text()
    responses = read_table(tiny / "online/dpo/p20/kl-p20/responses.parquet", ONLINE_RESPONSES)
    assert page.startswith("<!DOCTYPE html>")
    assert 0 < page.count("<article>") <= 3 * 2 * 6
    assert f"<tr><th>problems</th><td>{responses['problem_id'].nunique()}</td></tr>" in page
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize("step", ["train_reward/0", "evaluate_rewards", "train_offline/p20", "adapt_online/p20/kl-p20"])
def test_a_base_may_be_quantised(tiny: Study, tmp_path: Path, step: str) -> None:
    tiny.run("score_reference", tmp_path, precision="nf4")
    tiny.run(
        step,
        tmp_path,
        {"reference/logprobs.parquet": tmp_path / "replicate-0/reference/logprobs.parquet"},
        precision="nf4",
    )
    for path in tmp_path.rglob("metrics.json"):
        assert all(np.isfinite(row["loss"]) for row in json.loads(path.read_text())["history"])
    for path in tmp_path.rglob("adapter_model.safetensors"):
        assert {str(tensor.dtype) for tensor in load_file(path).values()} == {"float32"}
