"""Log-probabilities and entropies of responses under a causal model."""

from collections.abc import Callable, Sequence

import torch

from goodhart.models.decoder import decoder_of
from goodhart.models.tokens import Batch, Row, batches_by_length, collate
from goodhart.runtime.types import PreTrainedModel


def response_logits(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Logits that predict each response token: (rows, response_width, vocabulary), in the dtype of the model."""
    width = batch.response_mask.shape[1]
    if (decoder := decoder_of(model)) is not None:
        return decoder.model.lm_head(decoder.states(batch)[1][:, -width - 1 : -1])
    output = model(
        input_ids=batch.ids,
        attention_mask=batch.mask,
        position_ids=batch.positions,
        use_cache=False,
        logits_to_keep=width + 1,
    )
    return output.logits[:, -width - 1 : -1]


def token_logprobs(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """log p(token) at each position, in float32; logits (…, vocabulary), tokens (…)."""
    chosen = logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).float()
    return chosen - _by_row(lambda row: torch.logsumexp(row.float(), dim=-1), logits)


def sequence_logprobs(model: PreTrainedModel, batch: Batch, logits: torch.Tensor | None = None) -> torch.Tensor:
    """log pi(y|x) of each row, summed over its response tokens, in nats: (rows,).

    `logits` is the output of `response_logits`, if already computed.
    """
    width = batch.response_mask.shape[1]
    per_token = token_logprobs(response_logits(model, batch) if logits is None else logits, batch.ids[:, -width:])
    return (per_token * batch.response_mask).sum(-1)


def response_logprobs(
    model: PreTrainedModel, rows: Sequence[Row], pad: int, size: int, what: str, report: bool = False
) -> list[float]:
    """log pi(y|x) of each (prompt, response), in nats, with `size` rows of similar length per forward pass."""

    @torch.no_grad()
    def score(some: Sequence[Row]) -> list[float]:
        return sequence_logprobs(model, collate(*zip(*some, strict=True), pad=pad, device=model.device)).tolist()

    return batches_by_length(score, rows, size, what, report)


def token_entropies(logits: torch.Tensor) -> torch.Tensor:
    """H = -sum_v p log p of the next-token distribution at each position, in nats (the inner sum of Eq. 11)."""

    def entropy(row: torch.Tensor) -> torch.Tensor:
        logprobs = torch.log_softmax(row.float(), dim=-1)
        # A token of probability 0 has log-probability -inf and contributes 0; 0 times infinity would be NaN.
        return -(logprobs.exp() * logprobs.clamp(min=torch.finfo(torch.float32).min)).sum(-1)

    return _by_row(entropy, logits)


def _by_row(function: Callable[[torch.Tensor], torch.Tensor], logits: torch.Tensor) -> torch.Tensor:
    """Apply `function` to one row of logits at a time to save memory, or to all rows if gradients are computed.

    On a whole batch, `function` needs one or more float32 copies of the logits: 0.24 GB per row for a vocabulary of
    152,000 and responses of 400 tokens. With gradients, these copies are stored in any case.
    """
    if logits.requires_grad or logits.dim() < 3:
        return function(logits)
    return torch.stack([function(row) for row in logits])


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of each row over its unmasked positions; 0 for a row without unmasked positions."""
    return (values * mask).sum(-1) / mask.sum(-1).clamp(min=1)
