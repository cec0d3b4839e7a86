"""What is measured of a policy: rewards, entropy (Eq. 11), distance from the reward's data (Eq. 12), diversity."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from goodhart.evaluation.responses import ProblemSet, respond
from goodhart.hyperparameters.appendix_c import sample_size
from goodhart.models.adapters import activate
from goodhart.models.ensemble import RewardEnsemble, uncertainty
from goodhart.models.logprobs import masked_mean, response_logits, response_logprobs, sequence_logprobs, token_entropies
from goodhart.models.tokens import collate, collate_rows, encode_pairs, encode_prompts
from goodhart.runtime.batches import in_batches
from goodhart.runtime.finite import Watched
from goodhart.runtime.types import Frame, PeftModel, PreTrainedTokenizerBase


def ood_distances(embeddings: torch.Tensor, centroid: torch.Tensor) -> torch.Tensor:
    """Eq. 12: cosine distance of each row (rows, hidden) from the centroid (hidden,)."""
    return 1 - torch.nn.functional.cosine_similarity(embeddings, centroid.unsqueeze(0), dim=-1)


def diversity(embeddings: torch.Tensor) -> float:
    """Mean cosine distance over all pairs of rows, without forming the pairs: sum_ij u_i.u_j = |sum_i u_i|^2.

    A row of zeros, the embedding of a response without a token, is at distance 1 from every other.
    """
    n = len(embeddings)
    if n < 2:
        return math.nan
    unit = torch.nn.functional.normalize(embeddings.double(), dim=-1)
    similarity = (unit.sum(0).square().sum() - unit.square().sum()) / (n * (n - 1))
    return 1 - similarity.item()


def win_rate(rewards: torch.Tensor, baseline: torch.Tensor) -> float:
    """Share of rows whose reward beats the baseline's on the same prompt; a tie counts one half."""
    return ((rewards > baseline).double() + 0.5 * (rewards == baseline).double()).mean().item()


@torch.no_grad()
def evaluate(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    ensemble: RewardEnsemble,
    centroid: torch.Tensor,
    problems: ProblemSet,
    reference: str | None,
    batch_size: int,
) -> tuple[dict[str, Any], list[dict[str, Any]], torch.Tensor]:
    """Measure adapter `policy` of `model` against adapter `reference` (None: the bare base), `batch_size` rows a pass.

    Returns:
        the measures (columns of `records.PROBE`), one row a problem (columns of `records.SAMPLES`), and the ensemble's
        mean reward of each problem.
    """
    activate(model, "policy")
    given = respond(model, tokenizer, problems)
    scores = ensemble.score(problems.prompts, given.texts, given.rollout.finished)
    watched = Watched("evaluation", prompt=problems.prompts, response=given.texts, tokens=given.rollout.responses)
    proxy, doubt = watched.add("reward", scores.rewards).mean(dim=1), uncertainty(scores.rewards)
    distances = watched.add("ood_distance", ood_distances(scores.embeddings, centroid))
    prompts = encode_prompts(tokenizer, problems.prompts)

    def compare(rows: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, float]]:
        """Entropy of each response under the policy, and the log-ratio of policy and reference."""
        batch = collate_rows(rows, tokenizer.pad_token_id, model.device)
        activate(model, "policy")
        logits = response_logits(model, batch)
        entropies = masked_mean(token_entropies(logits), batch.response_mask)
        logprobs = sequence_logprobs(model, batch, logits)
        del logits  # or the reference's would be held beside them
        activate(model, reference)
        return list(zip(entropies.tolist(), (logprobs - sequence_logprobs(model, batch)).tolist(), strict=True))

    pairs = list(zip(prompts, given.rollout.responses, strict=True))
    entropies, ratios = torch.tensor(in_batches(compare, pairs, batch_size, "comparison with the reference")).T
    watched.add("entropy", entropies)
    watched.add("log_ratio", ratios)
    activate(model, "policy")
    probe = sample_size(len(prompts))
    asked = prompt_entropy(model, tokenizer, prompts[:probe], batch_size)
    watched.check("entropy of prompts", asked)
    lengths = [len(tokens) for tokens in given.rollout.responses]
    count = len(prompts)
    measures = {
        "n": count,
        "proxy": proxy.mean().item(),
        "proxy_se": (proxy.std(correction=1) / math.sqrt(count)).item(),
        "true": sum(given.strict) / count,
        "true_flexible": sum(given.flexible) / count,
        "uncertainty": doubt.mean().item(),
        "kl": ratios.mean().item(),
        "entropy_prompt": asked,
        "entropy_response": entropies[:probe].mean().item(),
        "ood_distance": distances.mean().item(),
        "diversity": diversity(scores.embeddings),
        "response_tokens": sum(lengths) / count,
        "truncated": 1 - sum(given.rollout.finished) / count,
        "empty": sum(not text.strip() for text in given.texts) / count,
        "reward_truncated": scores.truncated.double().mean().item(),
    }
    samples = [
        {
            "prompt": problems.prompts[i],
            "answer": problems.answers[i],
            "response": given.texts[i],
            "proxy": proxy[i].item(),
            "uncertainty": doubt[i].item(),
            "correct": given.strict[i],
            "correct_flexible": given.flexible[i],
            "finished": given.rollout.finished[i],
            "tokens": lengths[i],
        }
        for i in range(count)
    ]
    return measures, samples, proxy


@torch.no_grad()
def prompt_entropy(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[list[int]], batch_size: int
) -> float:
    """Eq. 11 as printed: mean over prompts of the mean entropy over the prompt's own tokens, in nats.

    The first token, which nothing precedes, is the context of the second and has no term of its own.
    """

    def entropies(rows: Sequence[list[int]]) -> list[float]:
        batch = collate([ids[:1] for ids in rows], [ids[1:] for ids in rows], tokenizer.pad_token_id, model.device)
        return masked_mean(token_entropies(response_logits(model, batch)), batch.response_mask).tolist()

    return torch.tensor(in_batches(entropies, prompts, batch_size, "entropy of prompts")).mean().item()


@torch.no_grad()
def preference_accuracy(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, pairs: Frame, max_length: int, batch_size: int
) -> float:
    """Share of pairs whose chosen response gained more log-probability over the reference than the rejected one.

    `pairs` has the columns of `tables.PREFERENCES` and `tables.LOGPROBS`; a tie counts one half.
    """
    encoded = [pair for pair in encode_pairs(tokenizer, pairs, max_length) if pair]
    gains = {}
    known = pairs[["prompt", "chosen", "rejected"]].to_dict("list")
    watched = Watched("preference accuracy", **{str(name): column for name, column in known.items()})
    for side in ("chosen", "rejected"):
        rows = [(pair.prompt, getattr(pair, side)) for pair in encoded]
        what = "log-probs of held-out pairs"
        now = response_logprobs(model, rows, tokenizer.pad_token_id, batch_size, what)
        gain = torch.tensor(now, dtype=torch.double) - torch.tensor(pairs[f"{side}_logprob"].to_numpy())
        gains[side] = watched.add(f"{side}_gain", gain)
    return win_rate(gains["chosen"], gains["rejected"])
