"""The `loop` engine: batches of rows through the model's forward pass, on any device, repeatable bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache

from goodhart.batches import in_batches
from goodhart.encoding import collate
from goodhart.inspection import NotFinite
from goodhart.sampling import Ending, Sampling, mix

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def draw(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], how: Sampling, ending: Ending, seed: int
) -> list[list[int]]:
    """Tokens of one row a prompt; what follows a row's end is filling.

    `batch_size` prompts run together. The random numbers of a row follow from `seed`, its batch and its place in it
    alone, so that two policies given one seed are compared on common random numbers throughout.
    """

    def draw_batch(rows: Sequence[tuple[int, Sequence[int]]]) -> list[list[int]]:
        numbers, ids = zip(*rows, strict=True)
        generator = torch.Generator(device=model.device).manual_seed(mix(seed, numbers[0]))
        return _draw_batch(model, ids, how.max_new_tokens, ending, generator)

    return in_batches(draw_batch, list(enumerate(prompts)), how.batch_size, "sampling")


@torch.no_grad()
def _draw_batch(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    ending: Ending,
    generator: torch.Generator,
) -> list[list[int]]:
    """Tokens of each row, filled up with an end token; a row leaves the key-value cache as soon as it has ended."""
    device = model.device
    batch = collate(prompts, [[] for _ in prompts], ending.tokenizer.pad_token_id, device)
    ids, mask = batch.ids[:, :-1], batch.mask[:, :-1]
    positions = mask.sum(-1) - 1
    rows = torch.arange(len(prompts), device=device)
    ends = torch.tensor(ending.tokens, device=device)
    tokens = torch.full((max_new_tokens, len(prompts)), ending.tokens[0], device=device)
    lost = torch.zeros(len(prompts), dtype=torch.bool, device=device)
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
        weights = output.logits[:, -1].float().softmax(-1).div_(noise)
        nxt = weights.argmax(-1)
        lost[rows] |= weights.gather(-1, nxt.unsqueeze(-1)).squeeze(-1).isnan()  # which argmax takes for the largest
        tokens[step, rows] = nxt
        going = torch.isin(nxt, ends, invert=True)
        if ending.stop:
            recent = tokens[max(0, step + 1 - ending.window) : step + 1, rows].T.tolist()
            going &= ~torch.tensor(ending.completed(recent), device=device)
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
    drawn = tokens.T.tolist()
    if lost.any():
        texts = ending.tokenizer.batch_decode([list(ids) for ids in prompts])
        raise NotFinite(
            f"the next-token distribution is not finite in {lost.sum()} of {len(prompts)} rows",
            [{"prompt": text, "tokens": row} for text, row in zip(texts, drawn, strict=True)],
            lost.nonzero().flatten().tolist(),
            "sampling",
        )
    return drawn
