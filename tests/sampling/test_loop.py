"""Sampling against Hugging Face's greedy decoding, against the distribution it claims, and row by row."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from goodhart.models.loading import load_policy, load_tokenizer
from goodhart.models.tokens import encode_prompts
from goodhart.runtime.seeds import mix
from goodhart.sampling.engines import Rollout, sample
from goodhart.sampling.settings import Sampling
from tiny_study import Study, first_token_p_value, sharpened

SUMS = ("Q: 1 + 2 =", "Q: 4 - 1 - 7 =", "Q: 9 =", "Q:", "Q: 5 - 5 + 5 =", "Q: 0 + 0 =")
QUESTIONS = [f"{question}\nA:\n" for question in SUMS]


@pytest.fixture(scope="module")
def policy(tiny: Study) -> PreTrainedModel:
    return load_policy(tiny / "policy", "float32")


@pytest.fixture(scope="module")
def tokenizer(tiny: Study) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny / "policy")


def draw(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: list[str],
    seed: int = 0,
    tokens: int = 24,
    batch_size: int = 20_000,
) -> Rollout:
    how = Sampling(tokens, batch_size, "loop", ())
    return sample(policy, tokenizer, encode_prompts(tokenizer, questions), how, seed)


def test_a_sharp_policy_is_decoded_greedily(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Token for token as Hugging Face does, with rows of several lengths that end at several steps."""
    with sharpened(policy):
        found = draw(policy, tokenizer, QUESTIONS)
    padded = tokenizer(QUESTIONS, return_tensors="pt", padding=True)
    inputs = {name: padded[name] for name in ("input_ids", "attention_mask")}
    whole = policy.generate(**inputs, do_sample=False, max_new_tokens=24, pad_token_id=tokenizer.pad_token_id)
    for row, response in zip(whole[:, inputs["input_ids"].shape[1] :].tolist(), found.responses, strict=True):
        assert response == row[: len(response)]
        assert set(row[len(response) :]) <= {tokenizer.pad_token_id}
    assert len({len(response) for response in found.responses}) > 1


@pytest.mark.parametrize("question", [1, 3])
def test_tokens_come_as_often_as_the_softmax_says(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, question: int
) -> None:
    rows, prompt = 20_000, QUESTIONS[question]
    found = draw(policy, tokenizer, [prompt] * rows, tokens=1)
    assert first_token_p_value(policy, encode_prompts(tokenizer, [prompt]), found.responses) > 1e-6


def test_a_response_ends_at_its_end_token_or_at_the_limit(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    found = draw(policy, tokenizer, QUESTIONS * 20, tokens=8)
    end = tokenizer.eos_token_id
    for response, finished in zip(found.responses, found.finished, strict=True):
        assert finished == (response[-1] == end)
        assert end not in response[:-1]
        assert finished or len(response) == 8
    assert 0 < sum(found.finished) < len(found.finished)


def test_a_response_that_ends_with_the_last_token_is_finished(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    drawn = ((seed, draw(policy, tokenizer, QUESTIONS[:1], seed)) for seed in range(100))
    seed, whole = next((seed, found) for seed, found in drawn if found.finished[0] and found.responses[0][1:])
    length = len(whole.responses[0])
    assert draw(policy, tokenizer, QUESTIONS[:1], seed, length) == whole
    cut = draw(policy, tokenizer, QUESTIONS[:1], seed, length - 1)
    assert cut == Rollout([whole.responses[0][:-1]], [False])


def test_the_seed_decides_every_token(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    first, again, other = (draw(policy, tokenizer, QUESTIONS, seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_a_rows_tokens_do_not_depend_on_when_other_rows_end(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """The same two rows among neighbours that end early, and among others."""
    kept = [QUESTIONS[1], QUESTIONS[4]]
    rollouts = []
    for neighbour in ("####", "####  3", QUESTIONS[1], "A:\n"):
        for seed in range(5):
            mixed = [neighbour, kept[0], neighbour, kept[1], neighbour]
            rollouts.append((seed, draw(policy, tokenizer, mixed, seed)))
    for seed, rollout in rollouts:
        of_seed = [other for s, other in rollouts if s == seed]
        assert {tuple(other.responses[1]) for other in of_seed} == {tuple(rollout.responses[1])}
        assert {tuple(other.responses[3]) for other in of_seed} == {tuple(rollout.responses[3])}
    assert len({len(rollout.responses[0]) for _, rollout in rollouts}) > 2


def test_a_batch_does_not_depend_on_the_batches_before_it(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Common random numbers: policies that answer the first batch differently still share the numbers of the next."""
    lengths = set()
    for seed in range(5):
        short, long = (
            draw(policy, tokenizer, [first] * 3 + QUESTIONS[1:4], seed, batch_size=3) for first in ("#### 3", "A:\n")
        )
        assert short.responses[3:] == long.responses[3:]
        lengths |= {sum(map(len, found.responses[:3])) for found in (short, long)}
    assert len(lengths) > 1


def test_batches_draw_different_numbers(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    found = draw(policy, tokenizer, QUESTIONS[:2] * 8, batch_size=2)
    assert len({tuple(found.responses[start]) for start in range(0, 16, 2)}) > 1


def test_the_size_of_the_batches_does_not_change_a_sharp_policy(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    with sharpened(policy):
        whole = draw(policy, tokenizer, QUESTIONS)
        assert all(draw(policy, tokenizer, QUESTIONS, batch_size=size) == whole for size in (1, 4, 5))


def test_a_mixed_seed_is_unlike_those_of_its_neighbours() -> None:
    seeds = {mix(first, second) for first in range(50) for second in range(50)}
    assert len(seeds) == 50 * 50
    assert mix(1, 2) == mix(1, 2) != mix(2, 1)


def test_every_token_is_drawn_from_what_stands_before_it(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Each token of a sharp policy's batch is the most likely one after its own prefix, computed alone."""
    prompts = encode_prompts(tokenizer, QUESTIONS)
    with sharpened(policy):
        found = draw(policy, tokenizer, QUESTIONS)
    for prompt, response in zip(prompts, found.responses, strict=True):
        with torch.no_grad():
            logits = policy(input_ids=torch.tensor([prompt + response])).logits[0]
        assert logits[len(prompt) - 1 : -1].argmax(-1).tolist() == response
