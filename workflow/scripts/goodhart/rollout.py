"""Batched sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import DynamicCache

from goodhart.encoding import collate

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Rollout:
    """Sampled responses: token ids with the end token where one was reached, and whether it was."""

    responses: list[list[int]]
    finished: list[bool]


def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    end: int,
    pad: int,
    seed: int,
) -> Rollout:
    """Sample one response a prompt from the model's own distribution: temperature 1, no top-k, no top-p.

    The policy gradient is that of the distribution sampled from, so there is nothing to tune here. `batch_size`
    prompts run together. The random numbers of a row follow from `seed`, its batch and its place in it alone, so that
    two policies given one seed are compared on common random numbers throughout.
    """
    responses: list[list[int]] = []
    finished: list[bool] = []
    for start in range(0, len(prompts), batch_size):
        generator = torch.Generator(device=model.device).manual_seed(mix(seed, start))
        rows = _sample_batch(model, prompts[start : start + batch_size], max_new_tokens, end, pad, generator)
        for row in rows:
            finished.append(end in row)
            responses.append(row[: row.index(end) + 1] if finished[-1] else row)
    return Rollout(responses, finished)


def mix(*numbers: int) -> int:
    """One seed from several numbers, unlike those of their neighbours."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@torch.no_grad()
def _sample_batch(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    end: int,
    pad: int,
    generator: torch.Generator,
) -> list[list[int]]:
    """Tokens of each row, filled up with `end`; a key-value cache, which a row leaves as soon as it has ended."""
    device = model.device
    batch = collate(prompts, [[] for _ in prompts], pad, device)
    ids, mask = batch.ids[:, :-1], batch.mask[:, :-1]
    positions = mask.sum(-1) - 1
    rows = torch.arange(len(prompts), device=device)
    tokens = torch.full((max_new_tokens, len(prompts)), end, device=device)
    cache = DynamicCache()
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    for step in range(max_new_tokens):
        # Gumbel-max: the noise is drawn for all rows, ended or not, so a row's draw never depends on its neighbours.
        noise = torch.rand(len(prompts), output.logits.shape[-1], generator=generator, device=generator.device)
        noise = noise.to(device).clamp_(min=1e-20).log_().neg_()[rows]
        nxt = output.logits[:, -1].float().softmax(-1).div_(noise).argmax(-1)
        tokens[step, rows] = nxt
        going = nxt != end
        if step + 1 == max_new_tokens or not going.any():
            break
        if not going.all():
            keep = going.nonzero().squeeze(-1)
            cache.batch_select_indices(keep)
            rows, nxt, mask, positions = rows[keep], nxt[keep], mask[keep], positions[keep]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        positions = positions + 1
        output = model(
            input_ids=nxt.unsqueeze(-1),
            attention_mask=mask,
            position_ids=positions.unsqueeze(-1),
            past_key_values=cache,
            use_cache=True,
        )
    return tokens.T.tolist()
