"""Online adaptation: policy gradient on the mean reward of the ensemble, with an adaptive squared penalty (Eq. 8-10).

    L = -mean[A * log pi(y|x)] + kappa * mean[(log pi(y|x) - log pi_ref(y|x))^2],    log-probs summed over the sequence

The reference is the offline adapter, frozen, on the base of the policy. The true reward is never used here.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from goodhart.models.adapters import activate, activation_checkpointing, merged
from goodhart.models.ensemble import RewardEnsemble, uncertainty
from goodhart.models.logprobs import sequence_logprobs
from goodhart.models.tokens import collate, decode, encode_prompts
from goodhart.runtime import distributed
from goodhart.runtime.batches import in_batches, within_memory
from goodhart.runtime.finite import Watched, label_step
from goodhart.runtime.progress import progress
from goodhart.runtime.seeds import mix
from goodhart.runtime.signals import defer_signals
from goodhart.runtime.types import PeftModel, PreTrainedTokenizerBase
from goodhart.sampling.engines import sample
from goodhart.training.checkpoints import Checkpoints
from goodhart.training.online import objectives
from goodhart.training.online.loss import DEGENERATE, advantages, kl_coefficient, online_loss
from goodhart.training.settings import Settings

Rows = list[dict[str, Any]]


def prompt_rows(count: int, per_step: int, step: int, seed: int) -> list[int]:
    """The prompts of update `step` (from 0): updates go through all `count` prompts in a new order in every pass."""
    first, last = step * per_step, (step + 1) * per_step
    passes = range(first // count, (last - 1) // count + 1)
    orders = np.concatenate([np.random.default_rng([seed, number]).permutation(count) for number in passes])
    return orders[first - passes.start * count : last - passes.start * count].tolist()


class OnlineRun:
    """Online training of the adapter `policy`; `reference`, and perhaps the reward models, are adapters on its base."""

    def __init__(
        self,
        model: PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        ensemble: RewardEnsemble,
        settings: Settings,
        prompts: Sequence[str],
        seed: int,
    ) -> None:
        self.model, self.tokenizer, self.ensemble, self.settings = model, tokenizer, ensemble, settings
        self.prompts, self.prompt_ids = prompts, encode_prompts(tokenizer, prompts)
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
        """The number of updates so far."""
        return len(self.updates)

    def step(self) -> dict[str, Any]:
        """One update on the next batch of prompts; returns its record (`STEPS`), which it appends to `updates`.

        An interruption before the optimizer's step leaves the run unchanged; step and record are one section.
        """
        rows = prompt_rows(len(self.prompts), self.settings.prompts_per_step, self.done, self.seed)
        ids = [self.prompt_ids[i] for i in rows]
        activate(self.model, "policy")
        with merged(self.model), label_step("online update", self.done + 1):
            rollout = sample(self.model, self.tokenizer, ids, self.settings.sampling, mix(self.seed, self.done + 1))
        # Sorted by length, so that a micro-batch has rows of like length.
        order = sorted(range(len(rows)), key=lambda i: len(ids[i]) + len(rollout.responses[i]))
        pairs = [(ids[i], rollout.responses[i]) for i in order]
        finished = [rollout.finished[i] for i in order]
        prompts = [self.prompts[rows[i]] for i in order]
        tokens = [response for _, response in pairs]
        texts = decode(self.tokenizer, tokens, self.settings.sampling.stop)
        watched = Watched("online update", self.done + 1, prompt=prompts, response=texts, tokens=tokens)
        scores = self.ensemble.score(prompts, texts, finished)
        rewards = objectives.mean(watched.add("reward", scores.rewards))
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
        """All that later updates depend on; random numbers follow from seed and step, and have no state."""
        return {
            "policy": [parameter.detach().cpu() for parameter in self.parameters],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "micro_batch": self.micro_batch,
            "updates": self.updates,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a `state` of the same run."""
        for parameter, saved in zip(self.parameters, state["policy"], strict=True):
            parameter.data.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.micro_batch, self.updates = state["micro_batch"], state["updates"]

    @torch.no_grad()
    def _logprobs(self, adapter: str, pairs: Sequence[tuple[list[int], list[int]]]) -> torch.Tensor:
        """log pi(y|x) of each (prompt, response) under one adapter: (rows,) float32 on the CPU."""
        activate(self.model, adapter)
        logprobs = in_batches(
            lambda rows: self._sequence_logprobs(rows).tolist(), pairs, self.micro_batch, f"log-probs of the {adapter}"
        )
        return torch.tensor(logprobs)

    def _backward(
        self,
        pairs: Sequence[tuple[list[int], list[int]]],
        reference: torch.Tensor,
        advantage: torch.Tensor,
        watched: Watched,
    ) -> tuple[torch.Tensor, float, list[list[float]]]:
        """Gradients of Eq. 8 over the whole batch, a micro-batch at a time.

        kappa needs the log-probs of all rows. If the batch is one micro-batch, they come from the pass that computes
        the gradients. Otherwise, and in the first update, they come from a separate pass without gradients, just as
        those of the reference, and the pass with gradients contributes its gradients but not its values: in the first
        update policy and reference are equal and kappa is beta / eps, so that rounding differences between the two
        kinds of passes, times kappa, would dominate the update. On a GPU the differences are larger, and the passes
        are always separate.

        Returns:
            log pi(y|x) of each row (rows,), kappa, and the contribution of each micro-batch to the terms of Eq. 8.
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

            return policy, kappa, distributed.spread(backward, range(0, len(pairs), size))

        smallest = self.micro_batch if distributed.count() > 1 else 1  # no process can restart without the others
        with activation_checkpointing(self.model) if self.settings.recompute else nullcontext():
            result, self.micro_batch = within_memory(attempt, self.micro_batch, "online update", smallest)
        distributed.sum_gradients(self.parameters)
        return result

    def _sequence_logprobs(self, pairs: Sequence[tuple[list[int], list[int]]]) -> torch.Tensor:
        batch = collate(*zip(*pairs, strict=True), pad=self.tokenizer.pad_token_id, device=self.model.device)
        return sequence_logprobs(self.model, batch)


def adapt(
    loop: OnlineRun,
    evaluate: Callable[[], tuple[dict[str, Any], dict[str, Any]]],
    checkpoints: Checkpoints,
    description: str,
) -> tuple[Rows, Rows]:
    """Make all updates of a run, with an evaluation before the first, at its interval and after the last.

    The run resumes from the newest checkpoint; a signal saves the state after the last whole update.

    Args:
        evaluate: returns measures of the current policy, and columns with one entry per response.

    Returns:
        the measures and the responses of every evaluation, each with its `step`.
    """
    steps = loop.settings.steps
    trajectory: Rows = []
    responses: Rows = []

    def state() -> tuple[int, dict[str, Any]]:
        return loop.done, {"loop": loop.state(), "trajectory": trajectory, "responses": responses}

    if saved := checkpoints.restore():
        loop.restore(saved["loop"])
        trajectory, responses = saved["trajectory"], saved["responses"]
    with checkpoints.autosave(state) as save_if_due:
        for step in progress(range(loop.done, steps + 1), description):
            if step > loop.done:
                loop.step()
            due = step % loop.settings.evaluate_every == 0 or step == steps
            if due and step not in (row["step"] for row in trajectory):
                with label_step("evaluation after update", step):
                    measures, columns = evaluate()
                with defer_signals():
                    trajectory.append({"step": step, **measures})
                    responses.append({"step": step, **columns})
            save_if_due()
    return trajectory, responses
