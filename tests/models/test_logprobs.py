"""Log-probabilities against one forward pass a token, and entropies whose value is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from goodhart.models.loading import load_policy
from goodhart.models.logprobs import masked_mean, response_logits, sequence_logprobs, token_entropies, token_logprobs
from goodhart.models.tokens import collate
from tiny_study import Study

PROMPTS = [[5, 9, 12], [7], [20, 21, 22, 23, 8]]
RESPONSES = [[3, 4, 1], [30, 31, 32, 33, 1], [1]]


@pytest.fixture(scope="module", params=["float32", "nf4"])
def policy(tiny: Study, request: pytest.FixtureRequest) -> PreTrainedModel:
    return load_policy(tiny / "policy", request.param)


@torch.no_grad()
def one_by_one(model: PreTrainedModel, prompt: list[int], response: list[int]) -> float:
    """log pi(y|x) from the definition: a pass over each prefix, without padding, cache or positions."""
    total = 0.0
    for i, token in enumerate(response):
        logits = model(input_ids=torch.tensor([[*prompt, *response[:i]]])).logits[0, -1]
        total += torch.log_softmax(logits.double(), -1)[token].item()
    return total


def test_a_sequence_is_the_sum_over_its_response_tokens(policy: PreTrainedModel) -> None:
    found = sequence_logprobs(policy, collate(PROMPTS, RESPONSES, pad=0)).tolist()
    expected = [one_by_one(policy, p, r) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("rows", [[0], [2, 0], [0, 1, 2, 1]])
def test_neighbours_and_padding_do_not_matter(policy: PreTrainedModel, rows: list[int]) -> None:
    batch = collate([PROMPTS[i] for i in rows], [RESPONSES[i] for i in rows], pad=0)
    alone = [sequence_logprobs(policy, collate([PROMPTS[i]], [RESPONSES[i]], pad=0)).item() for i in rows]
    assert sequence_logprobs(policy, batch).tolist() == pytest.approx(alone, abs=1e-5)
    wide = collate([[4] * 12, *(PROMPTS[i] for i in rows)], [[6] * 15, *(RESPONSES[i] for i in rows)], pad=1)
    assert sequence_logprobs(policy, wide)[1:].tolist() == pytest.approx(alone, abs=1e-5)


def test_positions_are_counted_from_the_start_of_each_row() -> None:
    """Qwen's positions are relative, so padding cannot shift them; GPT-2's are absolute."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=1, n_head=2)).eval()
    found = sequence_logprobs(model, collate(PROMPTS, RESPONSES, pad=0))
    expected = [one_by_one(model, p, r) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)


def test_an_empty_response_has_probability_one(policy: PreTrainedModel) -> None:
    assert sequence_logprobs(policy, collate(PROMPTS[:2], [[], [3]], pad=0))[0] == 0


def test_known_logits_are_not_computed_again(policy: PreTrainedModel) -> None:
    batch = collate(PROMPTS, RESPONSES, pad=0)
    logits = response_logits(policy, batch)
    assert logits.shape == (3, 5, policy.config.vocab_size)
    assert torch.equal(sequence_logprobs(policy, batch, logits), sequence_logprobs(policy, batch))


def test_token_logprobs_by_hand() -> None:
    """Odds of 1 : 3 : 4."""
    logits = torch.tensor([1.0, 3.0, 4.0]).log().expand(2, 3, 3)
    found = token_logprobs(logits, torch.tensor([[0, 1, 2], [2, 2, 0]]))
    assert found.exp().flatten().tolist() == pytest.approx([1 / 8, 3 / 8, 4 / 8, 4 / 8, 4 / 8, 1 / 8])


def test_token_logprobs_of_bfloat16_logits_are_float32() -> None:
    assert token_logprobs(torch.randn(2, 5).bfloat16(), torch.tensor([0, 1])).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_one_by_one_are_the_batch_bit_for_bit(dtype: torch.dtype) -> None:
    """With gradients the batch is computed at once, without them a row at a time."""
    torch.manual_seed(0)
    logits, tokens = 5 * torch.randn(4, 7, 301, dtype=dtype), torch.randint(301, (4, 7))
    with_gradients = logits.clone().requires_grad_()
    assert torch.equal(token_logprobs(logits, tokens), token_logprobs(with_gradients, tokens))
    assert torch.equal(token_entropies(logits), token_entropies(with_gradients))


class Largest(TorchDispatchMode):
    """The size of the largest tensor that an operation makes, views aside."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and not made._is_view():
            self.size = max(self.size, made.numel())
        return made


@pytest.mark.parametrize("function", [token_entropies, lambda logits: token_logprobs(logits, logits.argmax(-1))])
def test_without_gradients_nothing_as_large_as_the_logits_is_made(function: Any) -> None:
    logits = torch.randn(8, 16, 500).bfloat16()
    with Largest() as largest:
        function(logits)
    assert largest.size <= logits.numel() / 8


def test_entropies_that_are_known() -> None:
    uniform, certain, coin = torch.zeros(50), torch.zeros(50), torch.full((50,), -1e4)
    certain[7], coin[:2] = 1e4, 3.0
    found = token_entropies(torch.stack([uniform, certain, coin]))
    assert found.tolist() == pytest.approx([math.log(50), 0, math.log(2)], abs=1e-6)


def test_a_token_that_cannot_come_adds_nothing_to_the_entropy() -> None:
    logits = torch.tensor([[0.0, 0.0, -math.inf]], requires_grad=True)
    for given in (logits, logits.detach()):
        assert token_entropies(given).item() == pytest.approx(math.log(2))


def test_entropy_of_unequal_odds() -> None:
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert token_entropies(torch.tensor([[1.0, 3.0]]).log()).item() == pytest.approx(expected)


def test_a_masked_mean_skips_padding_and_is_0_where_there_is_nothing() -> None:
    values = torch.tensor([[1.0, 2.0, 9.0], [5.0, 5.0, 5.0]])
    assert masked_mean(values, torch.tensor([[1, 1, 0], [0, 0, 0]])).tolist() == [1.5, 0]
