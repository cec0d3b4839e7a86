"""Key-value caches for rows that are sampled together: one pass over the prompts, then one token per row and step."""

import torch
from torch.nn import functional as F
from transformers import DynamicCache

from goodhart.models.decoder import Attend, Decoder, decoder_of
from goodhart.models.tokens import Batch
from goodhart.runtime.types import PreTrainedModel


def cache_for(model: PreTrainedModel, batch: Batch, length: int) -> "StaticCache | GrowingCache":
    """A cache for `batch`, whose prompts are padded on the left; `length` is the longest possible text in tokens."""
    decoder = decoder_of(model)
    return GrowingCache(model, batch) if decoder is None else StaticCache(decoder, batch, length)


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
        group = (
            len(ids),
            self.decoder.kv_heads,
            -1,
            self.decoder.size,
        )  # the heads that share a kv head become rows of one query
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
