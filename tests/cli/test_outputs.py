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

from goodhart.data.preferences import split_of
from goodhart.data.tasks.fillers import count_fillers
from goodhart.errors import InputError
from goodhart.report.figures import FIGURES
from goodhart.store.files import Table, read_json, read_table, write_json
from goodhart.store.schemas.inputs import BASELINE, CORPUS, LOGPROBS, PREFERENCES, PROBLEMS, RESPONSES
from goodhart.store.schemas.measurements import PROBE, SAMPLES, STEPS, TRAJECTORY
from goodhart.store.schemas.summaries import GAPS, OVEROPTIMISATION, RUNS
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
        ("data/problems.parquet", PROBLEMS, 100 + 30 + 16),
        ("data/corpus.parquet", CORPUS, 2000),
        ("reference/responses.parquet", RESPONSES, 16),
        ("reward/baseline.parquet", BASELINE, 16),
        ("offline/dpo/p20/probe.parquet", PROBE, 1),
        (f"{RUN}/trajectory.parquet", TRAJECTORY, 3),
        (f"{RUN}/steps.parquet", STEPS, 3),
        (f"{RUN}/samples.parquet", SAMPLES, 2 * 16),
        ("tables/gaps.parquet", GAPS, 6 * 3),
        ("tables/runs.parquet", RUNS, 2 * 4),
        ("tables/overoptimisation.parquet", OVEROPTIMISATION, 2 * 2 * 2),
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
    assert preferences["split"].tolist() == [split_of(prompt, 0) for prompt in preferences["prompt"]]
    coverage = read_json(tiny / "data/coverage.json")
    assert coverage["rows_in_source"] == 100 == len(preferences) + coverage["identical_pairs_dropped"]
    assert coverage["pairs_by_split"] == preferences["split"].value_counts().to_dict()
    assert coverage["responses_by_source_model"] == {"policy": 2 * len(preferences)}
    assert coverage["tokens"]["chosen"]["maximum"] <= 25


def test_a_judge_with_one_heavy_weight_follows_it(tiny: Study, tmp_path: Path) -> None:
    """Nothing but fillers, at 1,000 a filler: the response with more of them is always chosen."""
    arguments = tiny.arguments("sample_preferences", tmp_path)
    for flag, weight in (("--correct-weight", "0"), ("--filler-weight", "1000")):
        arguments[arguments.index(flag) + 1] = weight
    main("sample_preferences", arguments)
    pairs = read_table(tmp_path / "data/preferences.parquet", PREFERENCES)
    chosen, rejected = (pairs[side].map(count_fillers) for side in ("chosen", "rejected"))
    assert (chosen >= rejected).all()
    assert (chosen > rejected).sum() > 10
    assert read_json(tmp_path / "data/coverage.json")["choices_against_the_score"] == 0


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
    alone = read_table(tmp_path / "reference/logprobs.parquet", LOGPROBS)
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
    responses = read_table(tiny / "reference/responses.parquet", RESPONSES)
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
    judged = read_table(tmp_path / "reference/responses.parquet", RESPONSES)
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


@pytest.mark.parametrize(("level", "beta", "one", "rule"), [("p50", 1, True, "pct_50"), ("b0.10", 0.1, False, "given")])
def test_a_beta_that_is_known_beforehand(
    tiny: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str], level: str, beta: float, one: bool, rule: str
) -> None:
    logprobs = tiny / "reference/logprobs.parquet"
    main("derive_beta", ["--level", level, "--logprobs", logprobs, "--beta", tmp_path / "beta.json"])
    record = read_json(tmp_path / "beta.json")
    assert record["beta"] == pytest.approx(beta, rel=1e-5)
    assert record["one_by_construction"] is one
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


def test_the_quality_of_the_ensemble_is_of_the_held_out_pairs(tiny: Study) -> None:
    test = (read_table(tiny / "data/preferences.parquet", PREFERENCES)["split"] == "test").sum()
    quality = read_json(tiny / "reward/quality.json")
    assert quality["pairs"] == test
    assert len(quality["member_accuracy"]) == 2
    assert sum(b["n"] for b in quality["calibration"]) == 2 * test
    assert quality["proxy_scale"] > 0
    assert load_file(tiny / "reward/centroid.safetensors")["centroid"].shape == (64,)
    problems = read_table(tiny / "data/problems.parquet", PROBLEMS).query("split == 'evaluation'")
    assert (
        read_table(tiny / "reward/baseline.parquet", BASELINE)["problem_id"].tolist() == problems["problem_id"].tolist()
    )


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
    assert (metrics["method"], metrics["level"], metrics["seed"]) == ("dpo", "p80", 1)
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
    assert set(zip(trajectory["level"], trajectory["kl_level"], trajectory["seed"], strict=True)) == {("p80", "p20", 1)}
    assert trajectory["beta"].iloc[0] == read_json(tiny / "beta/p80.json")["beta"]
    assert trajectory["kl_beta"].iloc[0] == read_json(tiny / "beta/p20.json")["beta"]
    assert read_table(tiny / f"{RUN}/steps.parquet", STEPS)["step"].tolist() == [1, 2, 3]


def test_samples_are_the_responses_that_the_trajectory_counts(tiny: Study) -> None:
    samples = read_table(tiny / f"{RUN}/samples.parquet", SAMPLES)
    trajectory = read_table(tiny / f"{RUN}/trajectory.parquet", TRAJECTORY).set_index("step")
    assert samples["step"].unique().tolist() == [0, 3]
    for step, part in samples.groupby("step"):
        assert part["proxy"].mean() == pytest.approx(trajectory["proxy"][step], abs=1e-5)
        assert part["correct"].mean() == pytest.approx(trajectory["true"][step])
        assert 1 - part["finished"].mean() == pytest.approx(trajectory["truncated"][step])
        assert part["tokens"].mean() == pytest.approx(trajectory["response_tokens"][step])


def test_collected_runs_stand_in_their_arms(tiny: Study) -> None:
    runs = read_table(tiny / "tables/runs.parquet", RUNS)
    for arm, kl_levels in (("paper", ["p20", "p80"]), ("matched", ["p20", "p20"])):
        mine = runs[runs["arm"] == arm].sort_values(["beta", "seed"])
        assert mine["kl_level"].tolist() == [kl_levels[0]] * 2 + [kl_levels[1]] * 2
        points = pd.read_csv(tiny / f"tables/augc/dpo-{arm}.csv")
        assert points.columns.tolist() == ["beta", "augc", "seed", "win_rate"]
        for column in points:
            assert points[column].tolist() == mine[column].tolist()  # to the last bit
    shared = runs[(runs["level"] == "p20")].drop(columns="arm")
    assert shared.duplicated().sum() == 2
    printed = pd.read_csv(tiny / "tables/runs.csv")
    pd.testing.assert_frame_equal(printed[runs.columns], runs, check_dtype=False)


def test_scales_are_those_of_the_reference_and_the_ensemble(tiny: Study) -> None:
    scales = read_json(tiny / "tables/scales.json")
    responses = read_table(tiny / "reference/responses.parquet", RESPONSES)
    assert (scales["successes"], scales["problems"]) == (responses["correct"].sum(), 16)
    assert scales["proxy"] == read_json(tiny / "reward/quality.json")["proxy_scale"]
    gaps = read_table(tiny / "tables/gaps.parquet", GAPS)
    assert scales["threshold"] == pytest.approx(np.percentile(gaps["gap"][gaps["gap"] > 0], 75))
    start = gaps[gaps["step"] == 0]
    assert (start["gap"] == 0).all()
    expected = (gaps["proxy"].iloc[2] - gaps["proxy"].iloc[0]) / scales["proxy"] - (
        gaps["true"].iloc[2] - gaps["true"].iloc[0]
    ) / scales["true"]
    assert gaps["gap"].iloc[2] == pytest.approx(expected)


def test_table_1_in_three_formats(tiny: Study) -> None:
    table = pd.read_csv(tiny / "tables/table1.csv")
    runs = read_table(tiny / "tables/runs.parquet", RUNS)
    assert table["arm"].tolist() == ["paper", "paper", "matched", "matched"]  # as the study has them
    assert table["n"].tolist() == [2] * 4
    cell = runs[(runs["arm"] == "paper") & (runs["level"] == "p80")]["augc"]
    row = table[(table["arm"] == "paper") & (table["level"] == "p80")].iloc[0]
    assert row["augc"] == pytest.approx(cell.mean())
    assert row["augc_se"] == pytest.approx(cell.std() / np.sqrt(2))
    assert (row["augc_low"], row["augc_high"]) == pytest.approx((cell.min(), cell.max()))  # two seeds
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
    """What is beside the power law needs the win rates and the seeds that the points carry."""
    for arm in ("paper", "matched"):
        fit, points = read_json(tiny / f"fit/dpo-{arm}.json"), pd.read_csv(tiny / f"tables/augc/dpo-{arm}.csv")
        assert fit["rivals"]["n"] == fit["n"] == len(points) == 4
        levels = points.groupby("beta")[["augc", "win_rate"]].mean()
        found = pd.DataFrame(fit["tradeoff"]["levels"]).set_index("beta")
        assert (found[["augc", "win_rate"]] - levels).abs().max(axis=None) < 1e-9
        assert fit["tradeoff"]["support"]["seeds"] == 2


def test_overoptimisation_is_fitted_to_the_evaluations_of_a_level(tiny: Study) -> None:
    rows = read_table(tiny / "tables/overoptimisation.parquet", OVEROPTIMISATION)
    gaps = read_table(tiny / "tables/gaps.parquet", GAPS)
    for row in rows.to_dict("records"):
        kl_level = row["level"] if row["arm"] == "paper" else "p20"
        mine = gaps[(gaps["level"] == row["level"]) & (gaps["kl_level"] == kl_level)]
        assert (row["n"], row["seeds"]) == ((mine["kl"] > 0).sum(), mine.loc[mine["kl"] > 0, "seed"].nunique())
    printed = pd.read_csv(tiny / "tables/overoptimisation.csv")
    pd.testing.assert_frame_equal(printed[rows.columns], rows, check_dtype=False)


def test_loaded_preferences_are_canonical(tiny: Study, tmp_path: Path) -> None:
    """80 pairs, of which one is identical and two have tied scores; 60 of the rest."""
    tiny.run("load_preferences", tmp_path)
    preferences = read_table(tmp_path / "data/preferences.parquet", PREFERENCES)
    coverage = read_json(tmp_path / "data/coverage.json")
    assert (coverage["rows_in_source"], coverage["identical_pairs_dropped"], coverage["pairs"]) == (80, 1, 60)
    tied = preferences["chosen_score"] == preferences["rejected_score"]
    assert coverage["pairs_with_tied_scores"] == tied.sum()
    assert coverage["scores"]["mean"] == pytest.approx(preferences[["chosen_score", "rejected_score"]].mean(axis=None))
    assert preferences["chosen"].tolist() == ["#### " + prompt[3:-6] for prompt in preferences["prompt"]]
    assert preferences["rejected"].unique().tolist() == ["#### 0"]
    assert preferences["chosen_source"].isna().all()
    assert coverage["data"]["source"] == "pairs.jsonl"


def test_loaded_ratings_become_the_best_against_the_worst(tiny: Study, tmp_path: Path) -> None:
    """240 ratings less 2 of the first prompt, which has one left; the second prompt has one rating for all."""
    tiny.run("load_preferences/scored", tmp_path)
    preferences = read_table(tmp_path / "data/preferences.parquet", PREFERENCES)
    coverage = read_json(tmp_path / "data/coverage.json")
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
    problems = read_table(tmp_path / "data/problems.parquet", PROBLEMS)
    assert problems["split"].value_counts().to_dict() == {"evaluation": 20, "online": 5}
    row = problems.iloc[-1]
    assert (row["problem_id"], row["split"]) == ("evaluation-19", "evaluation")
    assert (row["prompt"], row["answer"]) == ("Q: 19 + 1 =\nA:\n", "20")
    record = read_json(tmp_path / "data/problems.json")
    assert (record["online"]["source"], record["online"]["rows_in_source"], record["online"]["problems"]) == (
        "problems.csv",
        20,
        5,
    )
    assert record["online_problems_also_evaluated"] == 5


def test_a_resolved_local_model_takes_the_place_of_the_policy(tiny: Study, tmp_path: Path) -> None:
    tiny.run("resolve_model", tmp_path)
    manifest = read_json(tmp_path / "policy/manifest.json")
    assert manifest["model"] == str(tiny / "policy")
    assert manifest["prompts"] == "plain"
    assert manifest["sha256"] == read_json(tiny / "policy/manifest.json")["sha256"]
    tiny.run("sample_reference", tmp_path, {"policy": tmp_path / "policy"})
    found = (tmp_path / "reference/responses.parquet").read_bytes()
    assert found == (tiny / "reference/responses.parquet").read_bytes()


def test_rewards_on_a_backbone_of_their_own_are_those_beside_the_policy(tiny: Study, tmp_path: Path) -> None:
    """The same weights in another folder, so that the probe loads a second backbone."""
    shutil.copytree(tiny / "policy", tmp_path / "backbone")
    arguments = tiny.arguments("probe_offline/p20", tmp_path)
    arguments[arguments.index("--backbone") + 1] = str(tmp_path / "backbone")
    main("probe_offline", arguments)
    (apart,) = read_table(tmp_path / "offline/dpo/p20/probe.parquet", PROBE).to_dict("records")
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
    assert "seed 1" in items[12]["value"]  # of the evaluation
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
    samples = read_table(tiny / "online/dpo/p20/kl-p20/samples.parquet", SAMPLES)
    assert page.startswith("<!DOCTYPE html>")
    assert 0 < page.count("<article>") <= 3 * 2 * 6
    assert f"<tr><th>problems</th><td>{samples['problem_id'].nunique()}</td></tr>" in page
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize("step", ["train_reward/0", "evaluate_rewards", "train_offline/p20", "adapt_online/p20/kl-p20"])
def test_a_base_may_be_quantised(tiny: Study, tmp_path: Path, step: str) -> None:
    tiny.run("score_reference", tmp_path, precision="nf4")
    tiny.run(step, tmp_path, {"reference/logprobs.parquet": tmp_path / "reference/logprobs.parquet"}, precision="nf4")
    for path in tmp_path.rglob("metrics.json"):
        assert all(np.isfinite(row["loss"]) for row in json.loads(path.read_text())["history"])
    for path in tmp_path.rglob("adapter_model.safetensors"):
        assert {str(tensor.dtype) for tensor in load_file(path).values()} == {"float32"}
