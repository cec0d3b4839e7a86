"""Log-probabilities and entropies of responses under a causal model."""

from collections.abc import Callable, Sequence

import torch

from goodhart.models.decoder import decoder_of
from goodhart.models.tokens import Batch, collate_rows
from goodhart.runtime.batches import in_batches
from goodhart.runtime.types import PreTrainedModel


def response_logits(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Logits that predict each response token: (rows, response_width, vocabulary), in the model's dtype."""
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
    """log pi(y|x) of each row, summed over its response tokens, in nats: (rows,); `logits` where they are known."""
    width = batch.response_mask.shape[1]
    per_token = token_logprobs(response_logits(model, batch) if logits is None else logits, batch.ids[:, -width:])
    return (per_token * batch.response_mask).sum(-1)


def response_logprobs(
    model: PreTrainedModel,
    rows: Sequence[tuple[list[int], list[int]]],
    pad: int,
    size: int,
    what: str,
    report: bool = False,
) -> list[float]:
    """log pi(y|x) of each (prompt, response); `size` rows of like length share a pass, which changes no row's value."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))

    @torch.no_grad()
    def score(some: Sequence[int]) -> list[float]:
        return sequence_logprobs(model, collate_rows([rows[i] for i in some], pad, model.device)).tolist()

    found = dict(zip(order, in_batches(score, order, size, what, report), strict=True))
    return [found[i] for i in range(len(rows))]


def token_entropies(logits: torch.Tensor) -> torch.Tensor:
    """H = -sum_v p log p of each position's next-token distribution, in nats (Eq. 11's inner sum)."""

    def entropy(row: torch.Tensor) -> torch.Tensor:
        logprobs = torch.log_softmax(row.float(), dim=-1)
        # A token that cannot come has logit -inf and adds nothing, where 0 times infinity would be NaN.
        return -(logprobs.exp() * logprobs.clamp(min=torch.finfo(torch.float32).min)).sum(-1)

    return _by_row(entropy, logits)


def _by_row(function: Callable[[torch.Tensor], torch.Tensor], logits: torch.Tensor) -> torch.Tensor:
    """`function` of one row's logits after another's, where no gradients keep what it makes on the way.

    Of a whole batch it would hold a float32 copy and more, each as large as the logits: with a vocabulary of 152,000
    and responses of 400 tokens, 0.24 GB a row.
    """
    if logits.requires_grad or logits.dim() < 3:
        return function(logits)
    return torch.stack([function(row) for row in logits])


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of each row over its unmasked positions; 0 where a row has none."""
    return (values * mask).sum(-1) / mask.sum(-1).clamp(min=1)
