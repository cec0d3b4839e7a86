"""The `loop` engine: one forward pass per token for a batch of rows, reproducible bit for bit on any device."""

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

KEPT = 0.75  # finished rows are dropped from the cache when at most this share of its rows is unfinished


def draw(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], how: Sampling, ending: Ending, seed: int
) -> list[list[int]]:
    """One row of tokens per prompt, sampled `batch_size` rows at a time; tokens after the end are arbitrary.

    The random numbers of a row depend only on `seed`, the batch and the place in the batch, so that two policies with
    the same seed are compared with common random numbers.
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
    """Tokens of each row, padded with an end token; finished rows are dropped from the cache several at a time."""
    device, count = model.device, len(prompts)
    batch = collate(prompts, [[] for _ in prompts], pad=ending.tokenizer.pad_token_id, device=device)
    batch = Batch(batch.ids[:, :-1], batch.mask[:, :-1], batch.response_mask)
    cache = cache_for(model, batch, batch.ids.shape[1] + max_new_tokens)
    rows = torch.arange(count, device=device)
    unfinished = torch.ones_like(rows, dtype=torch.bool)
    logits = cache.begin()
    continues = torch.ones(logits.shape[-1], dtype=torch.bool, device=device)
    continues[list(ending.tokens)] = False
    tokens = torch.full((max_new_tokens, count), ending.tokens[0], device=device)
    drawn = torch.zeros(max_new_tokens, count, device=device)  # NaN where the distribution is NaN
    for step in range(max_new_tokens):
        # An exponential race: a token has the largest p / -log u with probability p. We draw random numbers for all
        # rows, finished or not, so that the numbers of a row never depend on other rows.
        noise = torch.rand(count, logits.shape[-1], generator=generator, device=generator.device).log_()
        race = logits.float().softmax(-1).div_(noise if len(rows) == count else noise[rows])
        value, next_ids = race.min(-1)  # the largest p / -log u is the minimum of p / log u
        drawn[step, rows] = value.where(unfinished, 0.0)
        tokens[step, rows] = next_ids.where(unfinished, ending.tokens[0])
        unfinished &= continues[next_ids]
        if ending.stop:
            recent = tokens[max(0, step + 1 - ending.window) : step + 1, rows].T.tolist()
            unfinished &= ~torch.tensor(ending.completed(recent), device=device)
        remaining = int(unfinished.sum())
        if step + 1 == max_new_tokens or not remaining:
            break
        if remaining <= KEPT * len(rows):
            keep = unfinished.nonzero().squeeze(-1)
            cache.keep(keep)
            rows, next_ids, unfinished = rows[keep], next_ids[keep], unfinished[keep]
        logits = cache.extend(next_ids)
    broken, sampled = drawn.isnan().any(0), tokens.T.tolist()
    if broken.any():
        raise NotFinite(
            f"the next-token distribution is not finite in {broken.sum()} of {len(prompts)} rows",
            [
                {"prompt": ending.tokenizer.decode(list(ids)), "tokens": row}
                for ids, row in zip(prompts, sampled, strict=True)
            ],
            broken.nonzero().flatten().tolist(),
            "sampling",
        )
    return sampled
