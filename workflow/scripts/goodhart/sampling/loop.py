"""The `loop` engine: one forward pass per token for a batch of rows, reproducible bit for bit on any device.

A key-value cache processes the prompts in one pass, then one token per row and step.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch.nn import functional as F
from transformers import DynamicCache

from goodhart.models.decoder import Attend, Decoder, decoder_of
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
    draw_batch = partial(_draw_batch, model, how.max_new_tokens, ending, seed)
    return in_batches(draw_batch, list(enumerate(prompts)), how.batch_size, "sampling")


@torch.no_grad()
def _draw_batch(
    model: PreTrainedModel,
    max_new_tokens: int,
    ending: Ending,
    seed: int,
    numbered: Sequence[tuple[int, Sequence[int]]],
) -> list[list[int]]:
    """Tokens of each numbered prompt, padded with an end token; the cache drops finished rows several at a time."""
    numbers, prompts = zip(*numbered, strict=True)
    device, count = model.device, len(prompts)
    generator = torch.Generator(device=device).manual_seed(mix(seed, numbers[0]))
    batch = collate(prompts, [[] for _ in prompts], pad=ending.tokenizer.pad_token_id, device=device)
    batch = Batch(batch.ids[:, :-1], batch.mask[:, :-1], batch.response_mask)
    decoder = decoder_of(model)
    length = batch.ids.shape[1] + max_new_tokens  # of the longest possible text
    cache = StaticCache(decoder, batch, length) if decoder else GrowingCache(model, batch)
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


class StaticCache:
    """The cache of a `Decoder`, allocated at full length; each step fills the same column in all rows."""

    def __init__(self, decoder: Decoder, batch: Batch, length: int) -> None:
        self.decoder, self.batch, self.length = decoder, batch, length
        self.weights = [block.projections() for block in decoder.blocks]
        rows, self.filled = batch.ids.shape
        weight = decoder.model.model.norm.weight
        shape = (2, rows, decoder.kv_heads, length, decoder.size)
        self.keys_values = [weight.new_empty(shape) for _ in decoder.blocks]
        self.hidden = weight.new_zeros(rows, 1, 1, length)  # -inf on padding
        self.hidden[..., : self.filled].masked_fill_(~batch.mask.bool()[:, None, None], -torch.inf)
        self.places = batch.positions[:, -1]

    def begin(self) -> torch.Tensor:
        """Process the prompts; returns the logits of the first new token, (rows, vocabulary)."""
        rows, width = self.batch.ids.shape
        later = torch.full((width, width), -torch.inf).triu(1)
        # Padding attends to itself; otherwise its states would be NaN.
        mask = (self.hidden[..., :width] + later).masked_fill(torch.eye(width, dtype=torch.bool), 0.0)

        def attend(layer: int, *heads: torch.Tensor) -> torch.Tensor:
            q, k, v = (x.view(rows, width, *x.shape[1:]).transpose(1, 2) for x in heads)
            keys, values = self.keys_values[layer]
            keys[:, :, :width], values[:, :, :width] = k, v
            return self.decoder.attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(rows * width, -1)

        last = self._run(self.batch.ids.flatten(), self.batch.positions.flatten(), attend)
        return self.decoder.model.lm_head(last.view(rows, width, -1)[:, -1])

    def extend(self, ids: torch.Tensor) -> torch.Tensor:
        """Process one more token per row, (rows,); returns the logits of the next token, (rows, vocabulary)."""
        now, self.filled, self.places = self.filled, self.filled + 1, self.places + 1
        # The heads that share a kv head become rows of one query.
        group = len(ids), self.decoder.kv_heads, -1, self.decoder.size
        mask = self.hidden[..., : self.filled]

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            keys, values = self.keys_values[layer][..., : self.filled, :]
            keys[:, :, now], values[:, :, now] = k, v
            return F.scaled_dot_product_attention(q.reshape(group), keys, values, attn_mask=mask).flatten(1)

        return self.decoder.model.lm_head(self._run(ids, self.places, attend))

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these."""
        for layer, known in enumerate(self.keys_values):  # one layer at a time, to save memory
            self.keys_values[layer] = known[:, rows]
        self.hidden, self.places = self.hidden[rows], self.places[rows]

    def _run(self, ids: torch.Tensor, places: torch.Tensor, attend: Attend) -> torch.Tensor:
        return self.decoder.run(ids, places, self.length, self.weights, attend)[1]


class GrowingCache:
    """The same methods for any model and device, with transformers' own cache, which grows at each step."""

    def __init__(self, model: PreTrainedModel, batch: Batch) -> None:
        self.model, self.cache = model, DynamicCache()
        self.batch, self.mask, self.places = batch, batch.mask, batch.positions[:, -1]

    def begin(self) -> torch.Tensor:
        return self._logits(self.batch.ids, self.batch.positions)

    def extend(self, ids: torch.Tensor) -> torch.Tensor:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(ids), 1)], dim=1)
        self.places = self.places + 1
        return self._logits(ids.unsqueeze(-1), self.places.unsqueeze(-1))

    def keep(self, rows: torch.Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.mask, self.places = self.mask[rows], self.places[rows]

    def _logits(self, ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        output = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=places,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]
