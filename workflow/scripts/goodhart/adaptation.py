"""Online adaptation: policy gradient on the ensemble's mean reward, with an adaptive squared penalty (Eq. 8-10).

    L = -mean[A * log pi(y|x)] + kappa * mean[(log pi(y|x) - log pi_ref(y|x))^2],    log-probs summed over the sequence

The reference is the frozen offline adapter on the policy's own base. The true reward is never used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from goodhart.encoding import Batch, collate, decode
from goodhart.ensemble import RewardEnsemble, uncertainty
from goodhart.logprobs import sequence_logprobs
from goodhart.models import activate, merged, save_adapter
from goodhart.rollout import sample
from goodhart.sampling import Sampling, mix

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

EPSILON = torch.finfo(torch.float32).eps
DEGENERATE = 1e-6  # a batch whose rewards spread less than this carries no preference


class Loss(NamedTuple):
    """Eq. 8 and its two terms, each a scalar."""

    total: torch.Tensor
    policy: torch.Tensor
    penalty: torch.Tensor


def advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Eq. 9 over the whole batch (ddof = 0); all zero where the rewards do not differ. (rows,) -> (rows,)."""
    deviation = rewards.std(correction=0)
    if deviation < DEGENERATE:
        return torch.zeros_like(rewards)
    return (rewards - rewards.mean()) / (deviation + EPSILON)


def kl_coefficient(beta: float, log_ratios: torch.Tensor, percentile: float) -> float:
    """Eq. 10: kappa = beta / (Q_p(|log pi - log pi_ref|) + eps), constant with respect to the parameters."""
    return beta / (torch.quantile(log_ratios.detach().abs().float(), percentile / 100).item() + EPSILON)


def online_loss(logprobs: torch.Tensor, reference: torch.Tensor, advantage: torch.Tensor, kappa: float) -> Loss:
    """Eq. 8 on sequence log-probs (rows,), in nats."""
    policy = -(advantage * logprobs).mean()
    penalty = kappa * (logprobs - reference).square().mean()
    return Loss(policy + penalty, policy, penalty)


@dataclass(frozen=True)
class Settings:
    """What decides an online run, beside the seed."""

    prompts_per_step: int
    sampling: Sampling
    beta: float
    kl_percentile: float
    learning_rate: float
    clip_norm: float
    weight_decay: float
    warmup_steps: int
    micro_batch: int


def prompt_rows(count: int, per_step: int, step: int, seed: int) -> list[int]:
    """The prompts of update `step` (from 0): pass after pass over `count` of them, each in an order of its own."""
    first, last = step * per_step, (step + 1) * per_step
    rows: list[int] = []
    for epoch in range(first // count, (last - 1) // count + 1):
        order = np.random.default_rng([seed, epoch]).permutation(count)
        rows += order[max(0, first - epoch * count) : last - epoch * count].tolist()
    return rows


class OnlineRun:
    """A policy adapter trained online; `policy` and `reference` are adapters on one base, as the rewards may be."""

    def __init__(
        self,
        model: PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        ensemble: RewardEnsemble,
        settings: Settings,
        prompts: Sequence[str],
        prompt_ids: Sequence[list[int]],
        seed: int,
    ) -> None:
        self.model, self.tokenizer, self.ensemble, self.settings = model, tokenizer, ensemble, settings
        self.prompts, self.prompt_ids = prompts, prompt_ids
        self.seed = seed
        self.done = 0
        activate(model, "policy", trainable=True)
        self.parameters = [p for name, p in model.named_parameters() if ".policy." in name]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: min(1.0, (step + 1) / max(1, settings.warmup_steps))
        )

    def step(self) -> dict[str, Any]:
        """One update on a fresh batch of prompts; returns what happened, in the columns of `records.STEPS`."""
        rows = prompt_rows(len(self.prompts), self.settings.prompts_per_step, self.done, self.seed)
        self.done += 1
        ids = [self.prompt_ids[i] for i in rows]
        activate(self.model, "policy")
        with merged(self.model):
            rollout = sample(self.model, self.tokenizer, ids, self.settings.sampling, mix(self.seed, self.done))
        texts = decode(self.tokenizer, rollout.responses, self.settings.sampling.stop)
        scores = self.ensemble.score([self.prompts[i] for i in rows], texts, rollout.finished)
        rewards = scores.rewards.mean(dim=1)
        advantage = advantages(rewards)

        batches = self._micro_batches(ids, rollout.responses)
        with torch.no_grad():
            reference = torch.cat(self._logprobs("reference", batches))
            log_ratios = torch.cat(self._logprobs("policy", batches)) - reference
        kappa = kl_coefficient(self.settings.beta, log_ratios, self.settings.kl_percentile)

        activate(self.model, "policy", trainable=True)
        terms = []
        start = 0
        for batch in batches:
            part = slice(start, start + len(batch.ids))
            start += len(batch.ids)
            loss = online_loss(
                sequence_logprobs(self.model, batch), reference[part], advantage[part].to(reference.device), kappa
            )
            share = len(batch.ids) / len(rows)
            (loss.total * share).backward()
            terms.append([term.item() * share for term in loss])
        gradient_norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm).item()
        rate = self.schedule.get_last_lr()[0]
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)

        total, policy, penalty = (sum(term) for term in zip(*terms, strict=True))
        return {
            "loss": total,
            "policy_loss": policy,
            "kl_penalty": penalty,
            "kappa": kappa,
            "proxy": rewards.mean().item(),
            "proxy_sd": rewards.std(correction=0).item(),
            "uncertainty": uncertainty(scores.rewards).mean().item(),
            "kl": log_ratios.mean().item(),
            "abs_log_ratio": log_ratios.abs().mean().item(),
            "gradient_norm": gradient_norm,
            "learning_rate": rate,
            "response_tokens": sum(map(len, rollout.responses)) / len(rows),
            "truncated": 1 - sum(rollout.finished) / len(rows),
            "reward_truncated": scores.truncated.double().mean().item(),
            "zero_variance": bool(rewards.std(correction=0) < DEGENERATE),
        }

    def save(self, folder: Path) -> None:
        """Save the policy adapter, and nothing of the other adapters on its base."""
        save_adapter(self.model, "policy", folder)

    def _micro_batches(self, prompts: list[list[int]], responses: list[list[int]]) -> list[Batch]:
        size = self.settings.micro_batch
        pad, place = self.tokenizer.pad_token_id, self.model.device
        return [
            collate(prompts[i : i + size], responses[i : i + size], pad, place) for i in range(0, len(prompts), size)
        ]

    def _logprobs(self, adapter: str, batches: list[Batch]) -> list[torch.Tensor]:
        activate(self.model, adapter)
        return [sequence_logprobs(self.model, batch) for batch in batches]
