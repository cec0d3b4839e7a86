"""The peak memory of each stage of a study, estimated before any stage runs.

A stage holds some items throughout (`held`) and passes through phases that each need additional memory (`moments`).
Its peak is the sum of `held` and the largest moment. docs/memory.md explains all items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from goodhart.hyperparameters.appendix_c import values
from goodhart.memory.items import (
    Architecture,
    Numbers,
    Training,
    cached_token,
    forward,
    generation,
    logits,
    lora_bytes,
    merged_copies,
    paged_generation,
    score_head,
    scoring,
    tiles,
    trained,
    update,
)
from goodhart.memory.sizes import GIB
from goodhart.models.loading import LARGE
from goodhart.sampling.continuous import PREFILL

CUDA = 0.75 * GIB  # an assumption for the context, library kernels and cuBLAS workspace


@dataclass(frozen=True)
class Study:
    """The input of a plan: the models, the batches and the lengths (in tokens) of a study."""

    policy: Architecture
    backbone: Architecture
    shared: bool  # whether the reward models share the policy's base
    members: int
    numbers: Numbers
    offline: Training
    reward: Training
    online: Training
    engine: str  # of sampling: loop, continuous or vllm
    batch_size: int  # rows sampled together
    prompt_tokens: int
    max_new_tokens: int
    prompts_per_step: int


@dataclass(frozen=True)
class Stage:
    """One stage: the items held throughout, and the items of each moment in order; values are bytes."""

    name: str
    held: Mapping[str, float]
    moments: Mapping[str, Mapping[str, float]]

    @property
    def peak_moment(self) -> str:
        return max(self.moments, key=lambda moment: sum(self.moments[moment].values()))

    @property
    def items(self) -> dict[str, float]:
        """All items in memory at the peak."""
        return {**self.held, **self.moments[self.peak_moment]}

    @property
    def peak(self) -> float:
        return sum(self.items.values())

    @property
    def largest(self) -> str:
        return max(self.items, key=lambda item: self.items[item])


def plan(study: Study) -> list[Stage]:
    """Every stage that loads a model, in the order of the workflow."""
    s, numbers = study, study.numbers
    context = {"CUDA context and libraries": CUDA} if numbers.device == "cuda" else {}
    policy = {**context, **numbers.weights(s.policy.linear, s.policy.other + s.policy.head)}
    backbone = {**context, **numbers.weights(s.backbone.linear, s.backbone.other)}
    members = {f"{s.members} reward adapters": s.members * lora_bytes(s.backbone, s.reward.lora_rank)}
    rewards = members if s.shared else {f"backbone: {k}": v for k, v in backbone.items() if k not in context} | members
    one = lora_bytes(s.policy, s.offline.lora_rank)
    total = s.prompt_tokens + s.max_new_tokens

    server, drawn = sampling(s)
    policy_rows, reward_rows = s.online.inference_batch_size, s.reward.inference_batch_size
    examination = {
        **{f"sampling, {moment}": items | merged_copies(s.policy, numbers) for moment, items in drawn.items()},
        "scoring": scoring(s.backbone, numbers, reward_rows, min(total, s.reward.max_length)),
        "forward pass": forward(s.policy, numbers, policy_rows, total),
        "log-probs and entropy": logits(s.policy, numbers, policy_rows, s.max_new_tokens, "entropy"),
        "entropy of the prompts": logits(s.policy, numbers, policy_rows, s.prompt_tokens, "entropy"),
    }
    pair_rows, length = s.offline.inference_batch_size, s.offline.max_length
    response = max(length - s.prompt_tokens, length // 2)  # assumes that the response has at least half of the tokens
    pairs = {
        "forward pass over pairs": forward(s.policy, numbers, pair_rows, length),
        "log-probs of pairs": logits(s.policy, numbers, pair_rows, response, "log-probs"),
    }
    updated = min(s.online.batch_size, s.prompts_per_step)
    head = logits(s.policy, numbers, updated, s.max_new_tokens, "gradient")
    trained_online = replace(s.online, lora_rank=s.offline.lora_rank)  # the offline adapter
    online = update(s.policy, numbers, trained_online, head, (updated, total))
    return [
        Stage("score_reference", policy, pairs),
        Stage("sample_reference", {**policy, **server}, drawn),
        Stage(
            "train_reward",
            {**backbone, "score head": 4 * 4 * s.backbone.hidden, **trained(s.backbone, s.reward.lora_rank)},
            update(s.backbone, numbers, s.reward, score_head(s.backbone, numbers, s.reward)),
        ),
        Stage(
            "evaluate_rewards",
            {**backbone, **members},
            {"scoring": scoring(s.backbone, numbers, reward_rows, s.reward.max_length)},
        ),
        Stage(
            "train_offline",
            {**policy, **trained(s.policy, s.offline.lora_rank)},
            update(s.policy, numbers, s.offline, tiles(s.policy, numbers, s.offline)),
        ),
        Stage("probe_offline", {**policy, "policy adapter": one, **rewards, **server}, {**examination, **pairs}),
        Stage(
            "adapt_online",
            {**policy, **trained(s.policy, s.offline.lora_rank), "reference adapter": one, **rewards, **server},
            {**examination, **{f"update, {moment}": items for moment, items in online.items()}},
        ),
    ]


def sampling(study: Study) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """What the engine of the study holds throughout a stage that samples, and the moments of sampling.

    `vllm` holds its base weights, and the smallest cache that fits all rows, from its first call on.
    """
    s = study
    shape = (s.policy, s.numbers, s.batch_size, s.prompt_tokens, s.max_new_tokens)
    if s.engine != "vllm":
        return {}, generation(*shape) if s.engine == "loop" else paged_generation(*shape, PREFILL)
    base = sum(s.numbers.weights(s.policy.linear, s.policy.other + s.policy.head).values())
    cache = s.batch_size * (s.prompt_tokens + s.max_new_tokens) * cached_token(s.policy, s.numbers)
    return {"vLLM's own base": base, "vLLM's key-value cache": cache}, {"vLLM server": {}}


def training(derived: Mapping[str, Any]) -> Training:
    """The values in a stage's derived.json that determine its memory."""
    used = values(derived)
    return Training.of(
        derived,
        lora_rank=used["lora_rank"],
        lora_dropout=used["lora_dropout"],
        recompute=derived["inputs"]["parameters"] > LARGE,
    )


def record(stages: Sequence[Stage], memory_gb: float) -> dict[str, Any]:
    """The plan as a JSON-ready record: every stage with all its moments, in GiB."""
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
    """The plan as Markdown: a table with one row per stage, then a list of the items at each peak."""
    lines = ["| stage | peak, GiB | fits | phase of the peak | largest item |", "|---|---:|---|---|---|"]
    for stage in stages:
        fits = "yes" if stage.peak <= memory_gb * GIB else "**no**"
        size = stage.items[stage.largest] / GIB
        lines.append(
            f"| {stage.name} | {stage.peak / GIB:.2f} | {fits} | {stage.peak_moment} | {stage.largest} ({size:.2f}) |"
        )
    lines += ["", f"The device has {memory_gb:g} GiB. Memory at the peak of each stage, in GiB:", ""]
    for stage in stages:
        items = ", ".join(f"{item} {size:.2f}" for item, size in _gib(stage.items).items())
        lines.append(f"- {stage.name}: {items}")
    return "\n".join(lines) + "\n"


def _gib(items: Mapping[str, float]) -> dict[str, float]:
    return {item: size / GIB for item, size in items.items()}
