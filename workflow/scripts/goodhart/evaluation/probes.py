"""The measures of a policy: rewards, entropy (Eq. 11), distance from the training data (Eq. 12), diversity, KL."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from safetensors.torch import load_file

from goodhart.data import judge
from goodhart.errors import InputError
from goodhart.evaluation.flags import EvaluationFlags
from goodhart.evaluation.responses import ProblemSet, Responses, respond
from goodhart.hyperparameters.appendix_c import sample_size, values
from goodhart.models.adapters import activate, attach_adapter
from goodhart.models.ensemble import RewardEnsemble, load_with_policy, uncertainty, win_rate
from goodhart.models.logprobs import (
    masked_mean,
    response_logits,
    response_logprobs,
    sequence_logprobs,
    token_entropies,
    token_logprobs,
)
from goodhart.models.tokens import Row, collate, encode_pairs, encode_prompts
from goodhart.runtime.batches import in_batches
from goodhart.runtime.finite import Watched
from goodhart.runtime.types import Frame, PeftModel, PreTrainedTokenizerBase, Record


def ood_distances(embeddings: torch.Tensor, centroid: torch.Tensor) -> torch.Tensor:
    """Eq. 12: cosine distance of each embedding from the centroid; (rows, hidden) and (hidden,) -> (rows,)."""
    return 1 - torch.nn.functional.cosine_similarity(embeddings, centroid.unsqueeze(0), dim=-1)


def diversity(embeddings: torch.Tensor) -> float:
    """Mean cosine distance over all pairs of embeddings (rows, hidden), using sum_ij u_i.u_j = |sum_i u_i|^2.

    The embedding of a response without tokens is zero and has distance 1 from every other embedding.
    """
    n = len(embeddings)
    if n < 2:
        return math.nan
    unit = torch.nn.functional.normalize(embeddings.double(), dim=-1)
    similarity = (unit.sum(0).square().sum() - unit.square().sum()) / (n * (n - 1))
    return 1 - similarity.item()


@torch.no_grad()
def prompt_entropy(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[list[int]], batch_size: int
) -> float:
    """Eq. 11 as printed: mean over prompts of the mean entropy over the tokens of the prompt, in nats.

    The sum begins with the second token, because the first token has no context.
    """

    def entropies(rows: Sequence[list[int]]) -> list[float]:
        batch = collate(
            [ids[:1] for ids in rows], [ids[1:] for ids in rows], pad=tokenizer.pad_token_id, device=model.device
        )
        return masked_mean(token_entropies(response_logits(model, batch)), batch.response_mask).tolist()

    return torch.tensor(in_batches(entropies, prompts, batch_size, "entropy of prompts")).mean().item()


@torch.no_grad()
def preference_accuracy(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, pairs: Frame, max_length: int, batch_size: int
) -> float:
    """Share of pairs in which the log-ratio of the active adapter to the reference is higher for the chosen response.

    `pairs` has the columns of `schemas.inputs.PREFERENCES` and `LOGPROBS`; a tie counts one half.
    """
    encoded = [pair for pair in encode_pairs(tokenizer, pairs, max_length) if pair]
    prompts, chosen, rejected = (pairs[name].tolist() for name in ("prompt", "chosen", "rejected"))
    watched = Watched("preference accuracy", prompt=prompts, chosen=chosen, rejected=rejected)
    gains = {}
    for side in ("chosen", "rejected"):
        rows = [(pair.prompt, getattr(pair, side)) for pair in encoded]
        now = response_logprobs(model, rows, tokenizer.pad_token_id, batch_size, "log-probs of held-out pairs")
        gain = torch.tensor(now, dtype=torch.double) - torch.tensor(pairs[f"{side}_logprob"].to_numpy())
        gains[side] = watched.add(f"{side}_gain", gain)
    return win_rate(gains["chosen"], gains["rejected"])


@torch.no_grad()
def log_ratios_by_token(
    model: PeftModel, rows: Sequence[Row], reference: str | None, pad: int, batch_size: int
) -> list[list[float]]:
    """Log-ratio of adapter `policy` to `reference` (None: the bare base) at each token of each response, in nats."""

    def compare(some: Sequence[Row]) -> list[list[float]]:
        batch = collate(*zip(*some, strict=True), pad=pad, device=model.device)
        found = []
        for adapter in ("policy", reference):
            activate(model, adapter)
            tokens = batch.ids[:, -batch.response_mask.shape[1] :]
            found.append(token_logprobs(response_logits(model, batch), tokens))
        ratios = (found[0] - found[1]).tolist()
        return [ratio[: len(response)] for ratio, (_, response) in zip(ratios, some, strict=True)]

    return in_batches(compare, rows, batch_size, "log-ratios by token")


BY_TOKEN = 64  # the first problems of an evaluation, whose responses are kept token by token


@dataclass(frozen=True)
class Evaluator:
    """A model with adapter `policy`, and everything that the evaluation of this adapter needs.

    Attributes:
        centroid: centroid of Eq. 12, (hidden,).
        batch_size: rows per forward pass without gradients.
        member_means: the members' mean rewards over held-out responses, (K,) or one number.
        held_out: reward models that no policy is trained against, if there are any.
        judge: the weights of the judge that labelled the preference pairs, if known.
    """

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    ensemble: RewardEnsemble
    centroid: torch.Tensor
    problems: ProblemSet
    batch_size: int
    member_means: torch.Tensor | float = 0.0
    held_out: RewardEnsemble | None = None
    judge: tuple[float, float] | None = None

    @classmethod
    def load(cls, given: EvaluationFlags, problems: Frame, batch_size: int, trainable: bool = False) -> "Evaluator":
        """Load all from a step's arguments; if `trainable`, also a frozen copy of the adapter, named `reference`."""
        exam = ProblemSet.of(given, problems, given.evaluation_seed)
        centroid = load_file(given.centroid).get("centroid")
        if centroid is None:
            raise InputError(f"{given.centroid} has no tensor 'centroid'; rerun evaluate_rewards.")
        policy, tokenizer = given.load_policy()
        model = attach_adapter(policy, given.adapter, "policy", trainable)
        if trainable:
            model = attach_adapter(model, given.adapter, "reference")
        ensemble = load_with_policy(
            model, given.policy, given.backbone, given.precision, given.members, values(given.derived_reward)
        )
        means = torch.tensor(given.quality["member_means"])
        held_out = ensemble.beside(given.held_out, "held-out") if given.held_out else None
        correct, filler = given.correct_weight, given.filler_weight
        weights = None if correct is None or filler is None else (correct, filler)
        return cls(model, tokenizer, ensemble, centroid, exam, batch_size, means, held_out, weights)

    @torch.no_grad()
    def evaluate(self, reference: str | None) -> tuple[Record, Record]:
        """Measure adapter `policy` against adapter `reference`, or against the bare base if `reference` is None.

        Returns:
            the measures (columns of `schemas.measurements.PROBE`), and one list per column of `RESPONSE` and `EXTRA` of
            that module, with one entry per problem. Afterwards, `policy` is the active adapter.
        """
        model, tokenizer, problems = self.model, self.tokenizer, self.problems.rows
        texts = problems["prompt"].tolist()
        activate(model, "policy")
        given = respond(model, tokenizer, self.problems)
        tokens, finished = given.rollout.responses, given.rollout.finished
        scores = self.ensemble.score(texts, given.texts, finished)
        watched = Watched("evaluation", prompt=texts, response=given.texts, tokens=tokens)
        proxy, spread = watched.add("reward", scores.rewards).mean(dim=1), uncertainty(scores.rewards)
        distances = watched.add("ood_distance", ood_distances(scores.embeddings, self.centroid))
        prompts = encode_prompts(tokenizer, texts)

        def compare(rows: Sequence[Row]) -> list[tuple[float, float, float]]:
            """Entropy of each response under the policy, and log-ratios of policy to reference and to the bare base."""
            batch = collate(*zip(*rows, strict=True), pad=tokenizer.pad_token_id, device=model.device)
            activate(model, "policy")
            logits = response_logits(model, batch)
            entropies = masked_mean(token_entropies(logits), batch.response_mask)
            logprobs = sequence_logprobs(model, batch, logits)
            del logits  # frees memory for the logits of the reference
            ratios = []
            for adapter in dict.fromkeys((reference, None)):
                activate(model, adapter)
                ratios.append((logprobs - sequence_logprobs(model, batch)).tolist())
            return list(zip(entropies.tolist(), ratios[0], ratios[-1], strict=True))

        rows = list(zip(prompts, tokens, strict=True))
        compared = torch.tensor(in_batches(compare, rows, self.batch_size, "comparison with the reference"))
        entropies, ratios, from_base = compared.T
        watched.add("entropy", entropies)
        watched.add("log_ratio", ratios)
        watched.add("log_ratio_reference", from_base)
        pad = tokenizer.pad_token_id
        by_token = log_ratios_by_token(model, rows[:BY_TOKEN], reference, pad, self.batch_size)
        activate(model, "policy")
        count, probe = len(prompts), sample_size(len(prompts))
        entropy = prompt_entropy(model, tokenizer, prompts[:probe], self.batch_size)
        watched.check("entropy of prompts", entropy)
        measures = {
            "n": count,
            "proxy": proxy.mean().item(),
            "proxy_se": (proxy.std(correction=1) / math.sqrt(count)).item(),
            "true": sum(given.strict) / count,
            "true_flexible": sum(given.flexible) / count,
            "uncertainty": spread.mean().item(),
            "uncertainty_centred": uncertainty(scores.rewards - self.member_means).mean().item(),
            "kl": ratios.mean().item(),
            "kl_reference": from_base.mean().item(),
            "entropy_prompt": entropy,
            "entropy_response": entropies[:probe].mean().item(),
            "ood_distance": distances.mean().item(),
            "diversity": diversity(scores.embeddings),
            "response_tokens": sum(map(len, tokens)) / count,
            "truncated": 1 - sum(finished) / count,
            "empty": sum(not text.strip() for text in given.texts) / count,
            "reward_truncated": scores.truncated.double().mean().item(),
        }
        responses = {
            "problem_id": problems["problem_id"].tolist(),
            **given.columns(),
            "rewards": scores.rewards.tolist(),
            "log_ratio": ratios.tolist(),
            "log_ratio_reference": from_base.tolist(),
            **self._known(given),
            "token_ids": [ids if row < BY_TOKEN else None for row, ids in enumerate(tokens)],
            "token_log_ratios": by_token + [None] * (count - len(by_token)),
        }
        measures |= {name: sum(responses[name]) / count for name in ("held_out", "judge") if name in responses}
        activate(model, "policy")  # the held-out reward models may share its base
        return measures, responses

    @torch.no_grad()
    def resample(self, seed: int) -> tuple[float, float]:
        """Mean ensemble reward and accuracy of adapter `policy`, which stays active, with another sampling seed."""
        activate(self.model, "policy")
        given = respond(self.model, self.tokenizer, replace(self.problems, seed=seed))
        prompts = self.problems.rows["prompt"].tolist()
        rewards = self.ensemble.score(prompts, given.texts, given.rollout.finished).rewards
        activate(self.model, "policy")
        return rewards.mean().item(), sum(given.strict) / len(given.strict)

    def _known(self, given: Responses) -> dict[str, list[float]]:
        """The rewards of the held-out reward models and the scores of the judge, where these are known."""
        known = {}
        if self.held_out is not None:
            scores = self.held_out.score(self.problems.rows["prompt"].tolist(), given.texts, given.rollout.finished)
            known["held_out"] = scores.rewards.mean(dim=1).tolist()
        if self.judge is not None:
            known["judge"] = judge.scores(given.texts, given.strict, *self.judge).tolist()
        return known
