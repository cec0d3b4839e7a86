"""TRL's trainers, stopped at the first loss, gradient or weight that is not finite.

Left alone, transformers leaves such a loss out of what it logs (`logging_nan_inf_filter`) and updates with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from goodhart.runtime import distributed
from goodhart.runtime.finite import NotFinite

if TYPE_CHECKING:
    from transformers import Trainer
else:
    Trainer = object


class Guarded(Trainer):
    """A mixin for transformers' Trainer on batches of TRL's preference collators, chosen above rejected.

    Loss and gradient norm are looked at before the optimizer's step, so that no weight has changed by then; the weights
    once after the last step, which nothing else would look at.
    """

    _of = -1  # the update, from 0, that the micro-batches are of
    _batches: tuple[dict[str, Any], ...] = ()

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        if self._of != self.state.global_step:
            self._of, self._batches = self.state.global_step, ()
        self._batches += (dict(inputs),)
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not math.isfinite(loss):
            self._stop(f"loss is {float(loss)}", self._batches[-1:])
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if not math.isfinite(norm):
            self._stop(f"gradient norm is {float(norm)}", self._batches)
        return norm

    def train(self, *args: Any, **kwargs: Any) -> Any:
        output = super().train(*args, **kwargs)
        trained = [weights for weights in self.model.parameters() if weights.requires_grad]
        broken = sum(not weights.isfinite().all() for weights in trained)
        if broken:
            self._stop(f"{broken} of {len(trained)} trained weight matrices are not finite after it", self._batches)
        return output

    def _stop(self, what: str, batches: Iterable[Mapping[str, Any]]) -> None:
        rows = [self._row(pair) for batch in batches for pair in _pairs(batch)]
        judged = ("loss", "gradient_norm")
        offending = [i for i, row in enumerate(rows) if not all(math.isfinite(row.get(name, 0)) for name in judged)]
        raise NotFinite(what, rows, offending, "update", self._of + 1)

    def _row(self, pair: Mapping[str, Any]) -> dict[str, Any]:
        """Texts and token ids of a pair, what else its batch says of it, and its own loss and gradient norm."""
        row: dict[str, Any] = {}
        sides = zip(("chosen", "rejected"), pair["input_ids"], pair["attention_mask"], strict=True)
        for side, ids, mask in sides:
            tokens = ids[mask.bool()].tolist()
            row |= {side: self.processing_class.decode(tokens), f"{side}_tokens": tokens}
        row |= {name: values.item() for name, values in pair.items() if values.numel() == 1}
        if distributed.count() == 1:  # the trainers' losses gather from all processes, and the others are elsewhere
            self.model.zero_grad()
            loss = self.compute_loss(self.model, self._prepare_inputs(dict(pair)))
            loss.backward()
            gradients = [weights.grad for weights in self.model.parameters() if weights.grad is not None]
            row |= {"loss": loss.item(), "gradient_norm": torch.nn.utils.get_total_norm(gradients).item()}
        return row


def _pairs(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A batch of (2 n, ...) or (n,) tensors as n batches of one pair."""
    count = len(batch["input_ids"]) // 2
    rows = [(i, {name: values for name, values in batch.items() if torch.is_tensor(values)}) for i in range(count)]
    return [
        {name: values[[i, count + i]] if len(values) == 2 * count else values[[i]] for name, values in tensors.items()}
        for i, tensors in rows
    ]
