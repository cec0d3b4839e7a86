"""The `loop` engine: batches of rows through the model's forward pass, on any device, repeatable bit for bit."""

from collections.abc import Sequence

import torch

from goodhart.models.kv_cache import cache_for
from goodhart.models.tokens import Batch, collate
from goodhart.runtime.batches import in_batches
from goodhart.runtime.finite import NotFinite
from goodhart.runtime.seeds import mix
from goodhart.runtime.types import PreTrainedModel
from goodhart.sampling.endings import Ending
from goodhart.sampling.settings import Sampling

KEPT = 0.75  # rows that go on are copied together once no more than this share of them does


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
    """Tokens of each row, filled up with an end token; rows that have ended leave the cache a few at a time."""
    device, count = model.device, len(prompts)
    batch = collate(prompts, [[] for _ in prompts], ending.tokenizer.pad_token_id, device)
    batch = Batch(batch.ids[:, :-1], batch.mask[:, :-1], batch.response_mask)
    cache = cache_for(model, batch, batch.ids.shape[1] + max_new_tokens)
    rows = torch.arange(count, device=device)
    going = torch.ones_like(rows, dtype=torch.bool)
    logits = cache.begin()
    goes_on = torch.ones(logits.shape[-1], dtype=torch.bool, device=device)
    goes_on[list(ending.tokens)] = False
    tokens = torch.full((max_new_tokens, count), ending.tokens[0], device=device)
    drawn_at = torch.zeros(max_new_tokens, count, device=device)  # NaN where there was no distribution to draw from
    for step in range(max_new_tokens):
        # An exponential race, p / -log u: the token with the largest one is drawn with probability p. Numbers are drawn
        # for all rows, ended or not, so a row's draw never depends on its neighbours.
        noise = torch.rand(count, logits.shape[-1], generator=generator, device=generator.device).log_()
        race = logits.float().softmax(-1).div_(noise if len(rows) == count else noise[rows])
        drawn, nxt = race.min(-1)  # log u is negative
        drawn_at[step, rows] = drawn.where(going, 0.0)
        tokens[step, rows] = nxt.where(going, ending.tokens[0])
        going &= goes_on[nxt]
        if ending.stop:
            recent = tokens[max(0, step + 1 - ending.window) : step + 1, rows].T.tolist()
            going &= ~torch.tensor(ending.completed(recent), device=device)
        left = int(going.sum())
        if step + 1 == max_new_tokens or not left:
            break
        if left <= KEPT * len(rows):
            keep = going.nonzero().squeeze(-1)
            cache.keep(keep)
            rows, nxt, going = rows[keep], nxt[keep], going[keep]
        logits = cache.extend(nxt)
    lost = drawn_at.isnan().any(0)
    found = tokens.T.tolist()
    if lost.any():
        texts = ending.tokenizer.batch_decode([list(ids) for ids in prompts])
        raise NotFinite(
            f"the next-token distribution is not finite in {lost.sum()} of {len(prompts)} rows",
            [{"prompt": text, "tokens": row} for text, row in zip(texts, found, strict=True)],
            lost.nonzero().flatten().tolist(),
            "sampling",
        )
    return found
