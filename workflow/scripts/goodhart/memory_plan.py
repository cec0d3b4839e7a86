"""How much memory each stage of a study takes at its peak, before any of them is run.

A stage holds some things throughout (`held`) and passes through moments that need more beside them (`moments`), one
after the other; its peak is what it holds and the largest of its moments. docs/memory.md has the whole account.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from goodhart.derivations import values
from goodhart.memory_items import (
    Architecture,
    Numbers,
    Training,
    activations,
    forward,
    generation,
    kept_layer,
    logits,
    lora_bytes,
    merged_copies,
    scoring,
    tiles,
    trained,
    unpacking,
    update,
)
from goodhart.models import LARGE

GIB = 2**30
CUDA = 0.75 * GIB  # assumed: the context, the kernels of the libraries and the work space of cuBLAS


@dataclass(frozen=True)
class Study:
    """What a plan is made for: the models, the batches and the lengths (in tokens) of a study."""

    policy: Architecture
    backbone: Architecture
    shared: bool  # whether the rewards live on the policy's own base
    members: int
    numbers: Numbers
    offline: Training
    reward: Training
    online: Training
    batch_size: int  # rows sampled together
    prompt_tokens: int
    max_new_tokens: int
    prompts_per_step: int
    probe_prompts: int  # prompts of the entropy probe, which go through the model at once; 0: not counted


@dataclass(frozen=True)
class Stage:
    """One stage: what it holds throughout, and its moments in order; each an item and its bytes."""

    name: str
    held: Mapping[str, float]
    moments: Mapping[str, Mapping[str, float]]

    @property
    def peak_moment(self) -> str:
        return max(self.moments, key=lambda moment: sum(self.moments[moment].values()))

    @property
    def items(self) -> dict[str, float]:
        """Everything that lies in memory at the peak."""
        return {**self.held, **self.moments[self.peak_moment]}

    @property
    def peak(self) -> float:
        return sum(self.items.values())

    @property
    def largest(self) -> str:
        return max(self.items, key=lambda item: self.items[item])


def plan(study: Study) -> list[Stage]:
    """Every stage that holds a model, in the order of the workflow."""
    s, numbers = study, study.numbers
    context = {"CUDA context and libraries": CUDA} if numbers.device == "cuda" else {}
    policy = {**context, **numbers.weights(s.policy.linear, s.policy.other + s.policy.head)}
    backbone = {**context, **numbers.weights(s.backbone.linear, s.backbone.other)}
    members = {f"{s.members} reward adapters": s.members * lora_bytes(s.backbone, s.reward.lora_rank)}
    rewards = members if s.shared else {f"backbone: {k}": v for k, v in backbone.items() if k not in context} | members
    one = lora_bytes(s.policy, s.offline.lora_rank)
    merge = merged_copies(s.policy, numbers)
    total = s.prompt_tokens + s.max_new_tokens
    scored = min(total, s.reward.max_length)

    drawn = generation(s.policy, numbers, s.batch_size, s.prompt_tokens, s.max_new_tokens)
    responses = s.online.scoring_batch * s.max_new_tokens
    examination = {
        **{f"sampling, {moment}": {**items, **merge} for moment, items in drawn.items()},
        "scoring": scoring(s.backbone, numbers, s.reward.scoring_batch, scored, s.max_new_tokens),
        "forward pass": forward(s.policy, numbers, s.online.scoring_batch, total),
        "log-probs and entropy": logits(s.policy, numbers, responses, "entropy"),
    }
    if s.probe_prompts:
        tokens = s.probe_prompts * s.prompt_tokens
        examination["entropy of the prompts"] = {
            **logits(s.policy, numbers, tokens, "entropy"),
            "logits of the last responses": responses * s.policy.vocabulary * numbers.compute,  # not let go by then
        }
    length = s.offline.max_length  # at least half of it is taken for the response
    pair_tokens = s.offline.scoring_batch * max(length - s.prompt_tokens, length // 2)
    pairs = {
        "forward pass over pairs": forward(s.policy, numbers, s.offline.scoring_batch, s.offline.max_length),
        "log-probs of pairs": logits(s.policy, numbers, pair_tokens, "log-probs"),
    }
    return [
        Stage("score_reference", policy, pairs),
        Stage("sample_reference", policy, drawn),
        Stage(
            "train_reward",
            {**backbone, "score head": 4 * 4 * s.backbone.hidden, **trained(s.backbone, s.reward.lora_rank)},
            update(s.backbone, numbers, s.reward),
        ),
        Stage("evaluate_rewards", {**backbone, **members}, {"scoring": examination["scoring"]}),
        Stage(
            "train_offline",
            {**policy, **trained(s.policy, s.offline.lora_rank)},
            update(s.policy, numbers, s.offline, tiles(s.policy, numbers, s.offline)),
        ),
        Stage("probe_offline", {**policy, "policy adapter": one, **rewards}, {**examination, **pairs}),
        Stage(
            "adapt_online",
            {**policy, **trained(s.policy, s.offline.lora_rank), "reference adapter": one, **rewards},
            {**examination, "update": online_update(s, total)},
        ),
    ]


def online_update(study: Study, length: int) -> dict[str, float]:
    """The update of Eq. 8 on one batch: nothing is recomputed, there is no dropout and no autocast."""
    model, numbers, rows = study.policy, study.numbers, min(study.online.batch_size, study.prompts_per_step)
    layer = kept_layer(model, numbers, rows, length, study.offline.lora_rank, dropout=0, autocast=False)
    return {
        **activations(model, numbers, rows * length, layer),
        **logits(model, numbers, rows * study.max_new_tokens, "gradient"),
        **unpacking(model, numbers),
    }


def probe_size(problems: int) -> int:
    """Prompts of the entropy probe: ceil(sqrt(n)) of n problems (goodhart.probes)."""
    return math.isqrt(problems - 1) + 1 if problems else 0


def training(derived: Mapping[str, Any], batch_size: int) -> Training:
    """What decides memory of a stage of derived.json; `batch_size` are the rows of its scoring where it says none."""
    used = values(derived)
    scored = derived["values"].get("inference_batch_size", {"value": batch_size})
    return Training(
        batch_size=used["batch_size"],
        max_length=used["max_length"],
        lora_rank=used["lora_rank"],
        lora_dropout=used["lora_dropout"],
        scoring_batch=int(scored["value"]),
        recompute=derived["inputs"]["parameters"] > LARGE,
    )


def record(stages: Sequence[Stage], memory_gb: float) -> dict[str, Any]:
    """The plan as it is written: every stage with all of its moments, in GiB."""
    return {
        "memory_gib": memory_gb,
        "stages": {
            stage.name: {
                "peak": stage.peak / GIB,
                "fits": stage.peak <= memory_gb * GIB,
                "peak_moment": stage.peak_moment,
                "largest_item": stage.largest,
                "held": _gib(stage.held),
                "moments": {moment: _gib(items) for moment, items in stage.moments.items()},
            }
            for stage in stages
        },
    }


def table(stages: Sequence[Stage], memory_gb: float) -> str:
    """The plan as Markdown: a row a stage, and below it every item at the peak."""
    lines = ["| stage | peak, GiB | fits | at its peak in | largest item |", "|---|---:|---|---|---|"]
    for stage in stages:
        fits = "yes" if stage.peak <= memory_gb * GIB else "**no**"
        size = stage.items[stage.largest] / GIB
        lines.append(
            f"| {stage.name} | {stage.peak / GIB:.2f} | {fits} | {stage.peak_moment} | {stage.largest} ({size:.2f}) |"
        )
    lines += ["", f"Of {memory_gb:g} GiB. What lies in memory at the peak, in GiB:", ""]
    for stage in stages:
        items = ", ".join(f"{item} {size:.2f}" for item, size in _gib(stage.items).items())
        lines.append(f"- {stage.name}: {items}")
    return "\n".join(lines) + "\n"


def _gib(items: Mapping[str, float]) -> dict[str, float]:
    return {item: size / GIB for item, size in items.items()}
