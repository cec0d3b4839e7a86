"""Online adaptation: policy gradient on the ensemble's mean reward, with an adaptive squared penalty (Eq. 8-10).

    L = -mean[A * log pi(y|x)] + kappa * mean[(log pi(y|x) - log pi_ref(y|x))^2],    log-probs summed over the sequence

The reference is the frozen offline adapter on the policy's own base. The true reward is never used here.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from goodhart.models.adapters import activate, activation_checkpointing, merged
from goodhart.models.ensemble import RewardEnsemble, uncertainty
from goodhart.models.logprobs import sequence_logprobs
from goodhart.models.tokens import collate, decode
from goodhart.runtime import distributed
from goodhart.runtime.batches import in_batches, within_memory
from goodhart.runtime.distributed import spread, sum_gradients
from goodhart.runtime.finite import Watched, label_step
from goodhart.runtime.seeds import mix
from goodhart.runtime.signals import defer_signals
from goodhart.runtime.types import PeftModel, PreTrainedTokenizerBase
from goodhart.sampling.engines import sample
from goodhart.sampling.settings import Sampling
from goodhart.training.online.loss import DEGENERATE, advantages, kl_coefficient, online_loss
from goodhart.training.settings import Online


@dataclass(frozen=True, kw_only=True)
class Settings(Online):
    """All that decides an online run beside the seed: the study's settings, the beta, and Appendix C's values."""

    sampling: Sampling
    beta: float
    learning_rate: float
    clip_norm: float
    weight_decay: float
    warmup_steps: int
    batch_size: int  # rows of a micro-batch
    recompute: bool  # activations, in the backward pass


DERIVED = ("learning_rate", "clip_norm", "weight_decay", "warmup_steps", "batch_size")  # of `Settings`


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
        self.updates: list[dict[str, Any]] = []
        self.micro_batch = settings.batch_size
        activate(model, "policy", trainable=True)
        self.parameters = [p for name, p in model.named_parameters() if ".policy." in name]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: min(1.0, (step + 1) / max(1, settings.warmup_steps))
        )

    @property
    def done(self) -> int:
        """Updates made."""
        return len(self.updates)

    def step(self) -> dict[str, Any]:
        """One update on a fresh batch of prompts; adds to `updates`, and returns, what happened (`records.STEPS`).

        Until the update itself, a run that is stopped here is as it was; update and record are made together.
        """
        rows = prompt_rows(len(self.prompts), self.settings.prompts_per_step, self.done, self.seed)
        ids = [self.prompt_ids[i] for i in rows]
        activate(self.model, "policy")
        with merged(self.model), label_step("online update", self.done + 1):
            rollout = sample(self.model, self.tokenizer, ids, self.settings.sampling, mix(self.seed, self.done + 1))
        # Rows of like length share a micro-batch, in all that follows.
        order = sorted(range(len(rows)), key=lambda i: len(ids[i]) + len(rollout.responses[i]))
        pairs = [(ids[i], rollout.responses[i]) for i in order]
        finished = [rollout.finished[i] for i in order]
        prompts = [self.prompts[rows[i]] for i in order]
        tokens = [response for _, response in pairs]
        texts = decode(self.tokenizer, tokens, self.settings.sampling.stop)
        watched = Watched("online update", self.done + 1, prompt=prompts, response=texts, tokens=tokens)
        scores = self.ensemble.score(prompts, texts, finished)
        rewards = watched.add("reward", scores.rewards).mean(dim=1)
        advantage = watched.add("advantage", advantages(rewards))
        reference = watched.add("reference_logprob", self._logprobs("reference", pairs))
        policy, kappa, terms = self._backward(pairs, reference, advantage, watched)
        log_ratios = policy - reference
        total, policy_loss, penalty = (sum(term) for term in zip(*terms, strict=True))
        watched.check("loss", total)
        gradient_norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm).item()
        watched.check("gradient norm", gradient_norm)
        record = {
            "step": self.done + 1,
            "loss": total,
            "policy_loss": policy_loss,
            "kl_penalty": penalty,
            "kappa": kappa,
            "proxy": rewards.mean().item(),
            "proxy_sd": rewards.std(correction=0).item(),
            "uncertainty": uncertainty(scores.rewards).mean().item(),
            "kl": log_ratios.mean().item(),
            "abs_log_ratio": log_ratios.abs().mean().item(),
            "gradient_norm": gradient_norm,
            "learning_rate": self.schedule.get_last_lr()[0],
            "response_tokens": sum(map(len, tokens)) / len(rows),
            "truncated": 1 - sum(finished) / len(rows),
            "empty": sum(not text.strip() for text in texts) / len(rows),
            "reward_truncated": scores.truncated.double().mean().item(),
            "zero_variance": bool(rewards.std(correction=0) < DEGENERATE),
        }
        with defer_signals():
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.updates.append(record)
        return record

    def state(self) -> dict[str, Any]:
        """All that the updates to come depend on; random numbers follow from seed and step, and have no state."""
        return {
            "policy": [parameter.detach().cpu() for parameter in self.parameters],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "micro_batch": self.micro_batch,
            "updates": self.updates,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state` of the same run."""
        with torch.no_grad():
            for parameter, saved in zip(self.parameters, state["policy"], strict=True):
                parameter.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.micro_batch, self.updates = state["micro_batch"], state["updates"]

    @torch.no_grad()
    def _logprobs(self, adapter: str, pairs: Sequence[tuple[list[int], list[int]]]) -> torch.Tensor:
        """log pi(y|x) of each (prompt, response) under one adapter: (rows,) float32 on the CPU."""
        activate(self.model, adapter)
        return torch.tensor(
            in_batches(
                lambda rows: self._sequence_logprobs(rows).tolist(),
                pairs,
                self.micro_batch,
                f"log-probs of the {adapter}",
            )
        )

    def _backward(
        self,
        pairs: Sequence[tuple[list[int], list[int]]],
        reference: torch.Tensor,
        advantage: torch.Tensor,
        watched: Watched,
    ) -> tuple[torch.Tensor, float, list[list[float]]]:
        """Gradients of Eq. 8 over the whole batch, a micro-batch at a time.

        kappa needs the log-probs of all rows. Where they are of one micro-batch, the pass that has their gradients
        yields them. Else, and before the first update, a pass like the reference's does, and the other one adds its
        gradients alone, not its values: policy and reference are the same then and kappa is beta / eps, and the last
        bits in which two kinds of passes may differ, times that, would be the whole update. A GPU may differ by more,
        and makes the two passes always.

        Returns:
            log pi(y|x) of each row (rows,), kappa, and each micro-batch's share in the terms of Eq. 8.
        """

        def attempt(size: int) -> tuple[torch.Tensor, float, list[list[float]]]:
            self.optimizer.zero_grad(set_to_none=True)
            at_once = size >= len(pairs) and self.done > 0 and self.model.device.type == "cpu"
            known = torch.empty(0) if at_once else self._logprobs("policy", pairs)
            activate(self.model, "policy", trainable=True)
            whole = self._sequence_logprobs(pairs) if at_once else None
            policy = known if whole is None else whole.detach()
            watched.add("policy_logprob", policy)
            kappa = kl_coefficient(self.settings.beta, policy - reference, self.settings.kl_percentile)

            def backward(start: int) -> list[float]:
                part = slice(start, start + size)
                logprobs = self._sequence_logprobs(pairs[part]) if whole is None else whole
                values, fixed, gain = (rows[part].to(logprobs.device) for rows in (policy, reference, advantage))
                loss = online_loss(values + (logprobs - logprobs.detach()), fixed, gain, kappa)
                share = len(logprobs) / len(pairs)
                (loss.total * share).backward()
                return [term.item() * share for term in loss]

            return policy, kappa, spread(backward, range(0, len(pairs), size))

        smallest = self.micro_batch if distributed.count() > 1 else 1  # one process alone cannot start over
        with activation_checkpointing(self.model) if self.settings.recompute else nullcontext():
            made, self.micro_batch = within_memory(attempt, self.micro_batch, "online update", smallest)
        sum_gradients(self.parameters)
        return made

    def _sequence_logprobs(self, pairs: Sequence[tuple[list[int], list[int]]]) -> torch.Tensor:
        batch = collate(*zip(*pairs, strict=True), pad=self.tokenizer.pad_token_id, device=self.model.device)
        return sequence_logprobs(self.model, batch)
