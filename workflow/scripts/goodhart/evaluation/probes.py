"""The measures of a policy: rewards, entropy (Eq. 11), distance from the training data (Eq. 12), diversity, KL."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file

from goodhart.errors import InputError
from goodhart.evaluation.flags import EvaluationFlags
from goodhart.evaluation.responses import ProblemSet, respond
from goodhart.hyperparameters.appendix_c import sample_size, values
from goodhart.models.adapters import activate, attach_adapter
from goodhart.models.ensemble import RewardEnsemble, load_with_policy, uncertainty, win_rate
from goodhart.models.logprobs import masked_mean, response_logits, response_logprobs, sequence_logprobs, token_entropies
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


@dataclass(frozen=True)
class Evaluator:
    """A model with adapter `policy`, and everything that the evaluation of this adapter needs.

    Attributes:
        centroid: centroid of Eq. 12, (hidden,).
        batch_size: rows per forward pass without gradients.
    """

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    ensemble: RewardEnsemble
    centroid: torch.Tensor
    problems: ProblemSet
    batch_size: int

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
        return cls(model, tokenizer, ensemble, centroid, exam, batch_size)

    @torch.no_grad()
    def evaluate(self, reference: str | None) -> tuple[Record, list[Any], torch.Tensor]:
        """Measure adapter `policy` against adapter `reference`, or against the bare base if `reference` is None.

        Returns:
            the measures (columns of `schemas.measurements.PROBE`), one row per problem (columns of `SAMPLES`), and the
            mean reward of the ensemble for each problem, (problems,). Afterwards, `policy` is the active adapter.
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

        def compare(rows: Sequence[Row]) -> list[tuple[float, float]]:
            """Entropy of each response under the policy, and its log-ratio of policy to reference."""
            batch = collate(*zip(*rows, strict=True), pad=tokenizer.pad_token_id, device=model.device)
            activate(model, "policy")
            logits = response_logits(model, batch)
            entropies = masked_mean(token_entropies(logits), batch.response_mask)
            logprobs = sequence_logprobs(model, batch, logits)
            del logits  # frees memory for the logits of the reference
            activate(model, reference)
            return list(zip(entropies.tolist(), (logprobs - sequence_logprobs(model, batch)).tolist(), strict=True))

        rows = list(zip(prompts, tokens, strict=True))
        entropies, ratios = torch.tensor(in_batches(compare, rows, self.batch_size, "comparison with the reference")).T
        watched.add("entropy", entropies)
        watched.add("log_ratio", ratios)
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
            "kl": ratios.mean().item(),
            "entropy_prompt": entropy,
            "entropy_response": entropies[:probe].mean().item(),
            "ood_distance": distances.mean().item(),
            "diversity": diversity(scores.embeddings),
            "response_tokens": sum(map(len, tokens)) / count,
            "truncated": 1 - sum(finished) / count,
            "empty": sum(not text.strip() for text in given.texts) / count,
            "reward_truncated": scores.truncated.double().mean().item(),
        }
        samples = problems.assign(**given.columns(), proxy=proxy.tolist(), uncertainty=spread.tolist())
        return measures, samples.to_dict("records"), proxy
