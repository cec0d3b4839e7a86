"""A tiny study: every step of the workflow, run once a session through the scripts' own command lines.

In a command line, `@path` is a file or folder that an earlier step made, `>path` one that this step makes; both are
relative to the folder of the study, and a test may send the outputs elsewhere or put another file in an input's place.
"""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

_SAMPLING = "--verifier gsm8k --max-new-tokens 24 --batch-size 16 --engine auto"
_POLICY = "--policy @policy --precision float32 --threads 1"
_BACKBONE = "--backbone @policy --precision float32 --threads 1"
_KEEP = "--checkpoint-minutes 5 --checkpoints >checkpoints"
_MEMBERS = "--members @reward/member-0/adapter @reward/member-1/adapter"
_OVERRIDES = "--override max_length=28 --override batch_size=16 --override learning_rate=5e-3 --override lora_rank=4"
_SEEDS = (0, 1)
_CELLS = {"paper": (("p20", "p20"), ("p80", "p80")), "matched": (("p20", "p20"), ("p80", "p20"))}  # level, KL level
_RUNS = [(level, kl, seed) for level, kl in (("p20", "p20"), ("p80", "p80"), ("p80", "p20")) for seed in _SEEDS]
_CHECKPOINTS = [f"{level}/seed-{seed}" for level in ("p20", "p80") for seed in _SEEDS]
_ARMS = " ".join(
    f"--arm {arm} " + " ".join(f"dpo/{level}/{kl}/{seed}" for level, kl in cells for seed in _SEEDS)
    for arm, cells in _CELLS.items()
)


def _derive(stage: str, length: str) -> str:
    return (
        f"--model @policy --preferences @data/preferences.parquet --memory-gb 1 {length} --seed 0"
        f" {_OVERRIDES}"
        f" --output >derived/{stage}.json"
    )


def _offline(checkpoint: str) -> str:
    level, _, seed = checkpoint.partition("/seed-")
    return (
        f"--method dpo --beta @beta/{level}.json --preferences @data/preferences.parquet"
        f" --logprobs @reference/logprobs.parquet {_POLICY} --derived @derived/offline.json --epochs 1 --seed {seed}"
        f" {_KEEP}/{checkpoint} --output >offline/{checkpoint}/adapter --metrics >offline/{checkpoint}/metrics.json"
    )


def _probe(checkpoint: str) -> str:
    return (
        f"--adapter @offline/{checkpoint}/adapter --metrics @offline/{checkpoint}/metrics.json {_POLICY}"
        f" --backbone @policy {_MEMBERS} --centroid @reward/centroid.safetensors --baseline @reward/baseline.parquet"
        " --preferences @data/preferences.parquet --logprobs @reference/logprobs.parquet"
        " --derived-offline @derived/offline.json --derived-reward @derived/reward.json"
        f" --problems @data/problems.parquet {_SAMPLING} --evaluation-seed 1"
        f" --output >offline/{checkpoint}/probe.parquet"
    )


def _online(level: str, kl_level: str, seed: int) -> str:
    offline, run = f"offline/{level}/seed-{seed}", f"online/{level}/kl-{kl_level}/seed-{seed}"
    return (
        f"--adapter @{offline}/adapter --metrics @{offline}/metrics.json --kl-beta @beta/{kl_level}.json"
        f" {_POLICY} --backbone @policy {_MEMBERS} --centroid @reward/centroid.safetensors"
        " --problems @data/problems.parquet --derived-online @derived/online.json"
        f" --derived-reward @derived/reward.json {_SAMPLING} --steps 3 --prompts-per-step 8 --kl-percentile 90"
        f" --evaluate-every 2 --evaluation-seed 1 --seed {seed} {_KEEP}/{run} --trajectory >{run}/trajectory.parquet"
        f" --updates >{run}/steps.parquet --samples >{run}/samples.parquet --output >{run}/adapter"
    )


# Command lines by step, in the order of the workflow; the script's name is what stands before a slash.
CHAIN: dict[str, str] = {
    "generate_problems": "--terms 2 3 --pretraining-examples 2000 --preference-problems 100 --online-problems 30"
    " --evaluation-problems 16 --seed 0 --problems >data/problems.parquet --corpus >data/corpus.parquet",
    "pretrain_policy": "--corpus @data/corpus.parquet --hidden-size 64 --layers 2 --heads 2 --kv-heads 1 --head-dim 32"
    " --mlp-size 64 --steps 700 --batch-size 32 --learning-rate 5e-3 --seed 0 --threads 1"
    f" {_KEEP}/policy --output >policy",
    "sample_preferences": f"--problems @data/problems.parquet {_POLICY} {_SAMPLING} --correct-weight 4"
    " --filler-weight 1.6 --seed 0 --output >data/preferences.parquet --coverage >data/coverage.json",
    "derive_hyperparameters/offline": _derive("offline", "--epochs 1"),
    "derive_hyperparameters/reward": _derive("reward", "--epochs 1"),
    "derive_hyperparameters/online": _derive("online", "--steps 3").replace("learning_rate=5e-3", "learning_rate=3e-2"),
    "collect_derived": "--stages offline=@derived/offline.json reward=@derived/reward.json"
    " online=@derived/online.json --output >derived.json",
    "score_reference": f"--preferences @data/preferences.parquet {_POLICY} --derived @derived/offline.json"
    " --output >reference/logprobs.parquet",
    "sample_reference": f"--problems @data/problems.parquet {_POLICY} {_SAMPLING} --seed 1"
    " --output >reference/responses.parquet",
    "derive_beta/p20": "--level p20 --logprobs @reference/logprobs.parquet --output >beta/p20.json",
    "derive_beta/p80": "--level p80 --logprobs @reference/logprobs.parquet --output >beta/p80.json",
    "collect_beta_grid": "--betas @beta/p80.json @beta/p20.json --output >beta_grid.json",
    **{
        f"train_reward/{k}": f"--member {k} --preferences @data/preferences.parquet {_BACKBONE}"
        f" --derived @derived/reward.json --epochs 1 --seed 0 {_KEEP}/reward-{k} --output >reward/member-{k}/adapter"
        f" --metrics >reward/member-{k}/metrics.json"
        for k in range(2)
    },
    "evaluate_rewards": f"{_MEMBERS} --preferences @data/preferences.parquet {_BACKBONE}"
    " --derived @derived/reward.json --responses @reference/responses.parquet --seed 1"
    " --quality >reward/quality.json --centroid >reward/centroid.safetensors --baseline >reward/baseline.parquet",
    **{f"train_offline/{checkpoint}": _offline(checkpoint) for checkpoint in _CHECKPOINTS},
    **{f"probe_offline/{checkpoint}": _probe(checkpoint) for checkpoint in _CHECKPOINTS},
    **{f"adapt_online/{level}/kl-{kl}/seed-{seed}": _online(level, kl, seed) for level, kl, seed in _RUNS},
    "collect_runs": f"--runs {' '.join(f'@online/{level}/kl-{kl}/seed-{seed}' for level, kl, seed in _RUNS)}"
    f" --probes {' '.join(f'@offline/{checkpoint}/probe.parquet' for checkpoint in _CHECKPOINTS)}"
    f" --quality @reward/quality.json --responses @reference/responses.parquet {_ARMS} --gaps >tables/gaps.parquet"
    " --table >tables/runs.parquet --csv >tables/runs.csv --scales >tables/scales.json"
    " --augc >tables/augc/dpo-paper.csv >tables/augc/dpo-matched.csv",
    "tabulate_levels": "--runs @tables/runs.parquet --csv >tables/table1.csv --markdown >tables/table1.md"
    " --latex >tables/table1.tex --trends >tables/trends.json",
    "fit_overoptimisation": "--gaps @tables/gaps.parquet --runs @tables/runs.parquet --scales @tables/scales.json"
    " --table >tables/overoptimisation.parquet --csv >tables/overoptimisation.csv",
    **{f"fit_power_law/{arm}": f"--augc @tables/augc/dpo-{arm}.csv --output >fit/dpo-{arm}.json" for arm in _CELLS},
    "write_provenance": "--artefacts pretrain_policy=@policy train_offline=@offline/p20/seed-0/adapter"
    " train_reward=@reward/member-0/adapter collect_runs=@tables/runs.parquet collect_runs=@tables/runs.csv"
    " evaluate_rewards=@reward/centroid.safetensors --derived @derived.json --output >provenance.json",
}

# Steps that no other step of the tiny study needs; a test runs them where it wants to.
LEAVES: dict[str, str] = {
    "draw_figures": "--gaps @tables/gaps.parquet --runs @tables/runs.parquet --scales @tables/scales.json"
    " --fits @fit/dpo-paper.json @fit/dpo-matched.json --overoptimisation @tables/overoptimisation.parquet"
    " --quality @reward/quality.json --output >figures/gap_by_step.svg >figures/gap_by_step.pdf",
    "write_findings": "--runs @tables/runs.parquet --gaps @tables/gaps.parquet --trends @tables/trends.json"
    " --fits @fit/dpo-paper.json @fit/dpo-matched.json --overoptimisation @tables/overoptimisation.parquet"
    " --scales @tables/scales.json --quality @reward/quality.json --beta-grid @beta_grid.json --derived @derived.json"
    " --coverage @data/coverage.json --problems @data/problems.parquet --evaluation-seed 1"
    " --findings >findings.html --checklist >checklist.html"
    " --items >checklist.json",
    "plan_memory": "--policy @policy --backbone @policy --derived @derived.json --precision float32 --device cpu"
    " --memory-gb 1 --members 2 --max-new-tokens 24 --batch-size 16 --engine auto --prompt-tokens 16"
    " --prompts-per-step 8 --json >memory.json --markdown >memory.md",
    "show_samples": "--samples @online/p20/kl-p20/seed-0/samples.parquet --examples 2 --seed 0 --output >samples.html",
    "resolve_model": "--model @policy --class policy --prompts plain --output >resolved",
    "load_preferences": "--source @source/pairs.jsonl --form pairs --prompt-column question --chosen-column good"
    " --rejected-column bad --chosen-score-column score.good --rejected-score-column score.bad --pairs 60 --seed 0"
    " --policy @policy --output >preferences.parquet --coverage >coverage.json",
    "load_preferences/scored": "--source @source/ratings.csv --form scored --prompt-column question"
    " --response-column text --score-column rating --response-source-column model --seed 0 --policy @policy"
    " --output >preferences.parquet --coverage >coverage.json",
    "load_problems": "--online @source/problems.csv --evaluation @source/problems.parquet --prompt-column question"
    " --answer-column answer --template 'Q: {question} =\nA:\n' --online-problems 5 --seed 0"
    " --output >problems.parquet --record >problems.json",
}


STEPS = CHAIN | LEAVES


def write_sources(folder: Path) -> None:
    """Data as a user might bring it: 80 pairs, the first three of which are odd, as many ratings, and 20 problems."""
    folder.mkdir()
    pairs = [
        {"question": f"Q: {i} =\nA:\n", "good": f"#### {i}", "bad": "#### 0", "score": {"good": 2.0, "bad": 1.0}}
        for i in range(80)
    ]
    pairs[1]["score"] = pairs[2]["score"] = {"good": 1.0, "bad": 1.0}  # and pair 0 is "#### 0" twice
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    ratings = [
        (f"Q: {i} =\nA:\n", f"#### {i + error}", 5 - error, "ab"[error % 2]) for i in range(80) for error in range(3)
    ]
    ratings = ratings[2:]  # one response to the first question
    ratings[1:4] = [(*rating[:2], 4, rating[3]) for rating in ratings[1:4]]  # and one rating for all to the second
    pd.DataFrame(ratings, columns=["question", "text", "rating", "model"]).to_csv(folder / "ratings.csv", index=False)
    problems = pd.DataFrame({"question": [f"{i} + 1" for i in range(20)], "answer": range(1, 21)})
    problems.to_csv(folder / "problems.csv", index=False)
    problems.astype({"answer": str}).to_parquet(folder / "problems.parquet")


class Study:
    """A finished tiny study: `study / "policy"` is a path in it, `study.run` repeats a step of it elsewhere.

    `changes` replaces parts of every command line, for a study with other settings.
    """

    def __init__(self, root: Path, changes: Mapping[str, str] | None = None) -> None:
        self.root, self.changes = root, changes or {}
        self.seconds: dict[str, float] = {}  # that each step took

    def __truediv__(self, path: str) -> Path:
        return self.root / path

    def arguments(self, name: str, outputs: Path, instead: Mapping[str, Path] | None = None) -> list[str]:
        """The command line of one step, with its outputs under `outputs` and some inputs replaced."""
        line = STEPS[name].replace(">", "+")
        for old, new in self.changes.items():
            line = line.replace(old, new)
        return [self._path(word, outputs, instead or {}) for word in shlex.split(line)]

    def run(
        self, name: str, outputs: Path, instead: Mapping[str, Path] | None = None, precision: str = "float32"
    ) -> None:
        arguments = self.arguments(name, outputs, instead)
        importlib.import_module(name.partition("/")[0]).main([precision if a == "float32" else a for a in arguments])

    def _path(self, word: str, outputs: Path, instead: Mapping[str, Path]) -> str:
        before, mark, path = word.rpartition("@")
        if mark:
            return f"{before}{instead.get(path, self.root / path)}"
        return str(outputs / word[1:]) if word.startswith("+") else word


@contextmanager
def sharpened(model: Any) -> Iterator[None]:
    """The model with its logits multiplied by 1e5: what is drawn from it is then the most likely token."""

    hook = model.lm_head.register_forward_hook(lambda _module, _inputs, logits: logits * 1e5)
    try:
        yield
    finally:
        hook.remove()


def first_token_p_value(model: Any, prompt: list[list[int]], responses: list[list[int]]) -> float:
    """How likely first tokens as far from the softmax as these are, by chi-square; `prompt` is one row of token ids."""
    import torch
    from scipy import stats

    counts = torch.bincount(torch.tensor(responses).flatten(), minlength=model.config.vocab_size).numpy()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(prompt)).logits[0, -1]
    expected = (torch.softmax(logits.double(), -1) * len(responses)).numpy()
    common = expected > 5
    assert sum(common) > 3
    counts[common.argmax()] += counts[~common].sum()  # rare tokens share a cell with a common one
    expected[common.argmax()] += expected[~common].sum()
    return float(stats.chisquare(counts[common], expected[common]).pvalue)
