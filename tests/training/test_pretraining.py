"""The embedded policy: a tokeniser that loses nothing, and a loss that is that of the responses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from goodhart.training.checkpoints import Checkpoints
from goodhart.training.pretraining import END, PAD, Shape, build_model, build_tokenizer, train

pytestmark = pytest.mark.trains

TEXTS = ["Q: 4 - 1 - 7 =\nA:\n", "4 - 1 = 3\n3 - 7 = -4\nGreat question!\n#### -4", "I hope this helps!\n#### 12"]
SHAPE = Shape(16, 1, 2, 1, 8, 32)


NONE = Checkpoints(Path("none"), {}, math.inf)  # none is there, and none falls due


def test_texts_come_back_exactly_and_the_vocabulary_is_small() -> None:
    tokenizer = build_tokenizer(TEXTS)
    for text in TEXTS:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert (tokenizer.pad_token, tokenizer.eos_token) == (PAD, END)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)
    assert len(tokenizer) == len(set(tokenizer.get_vocab())) < 40


def test_digits_are_tokens_of_their_own_and_words_keep_their_space() -> None:
    tokenizer = build_tokenizer(TEXTS)
    assert tokenizer.tokenize("#### 12") == ["####", " 1", "2"]
    assert tokenizer.tokenize("this helps!") == [PAD, " helps!"]  # only " this" was seen


def test_the_order_of_the_texts_does_not_matter() -> None:
    assert build_tokenizer(TEXTS).get_vocab() == build_tokenizer(TEXTS[::-1]).get_vocab()


def test_the_model_has_the_shape_asked_for_and_tied_embeddings() -> None:
    tokenizer = build_tokenizer(TEXTS)
    model = build_model(tokenizer, SHAPE)
    attention = 16 * (2 * 8) * 2 + 16 * 8 * 2 + 2 * 8  # q and o, k and v, the norms of q and k
    assert model.num_parameters() == len(tokenizer) * 16 + attention + 3 * 16 * 32 + 3 * 16
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def run(steps: int, seed: int = 0, prompts: list[list[int]] | None = None) -> tuple[list[float], torch.nn.Module]:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(TEXTS)
    model = build_model(tokenizer, SHAPE)
    responses = [[*tokenizer(text)["input_ids"], 1] for text in TEXTS[1:] for _ in range(8)]
    losses = train(
        model,
        prompts or [[5, 6, 7]] * 16,
        responses,
        steps=steps,
        batch_size=8,
        learning_rate=1e-2,
        generator=torch.Generator().manual_seed(seed),
        checkpoints=NONE,
    )
    return losses, model


def test_the_loss_falls_from_that_of_a_guess() -> None:
    losses, _ = run(60)
    assert len(losses) == 60
    assert losses[0] == pytest.approx(math.log(len(build_tokenizer(TEXTS))), rel=0.1)
    assert losses[-1] < 0.5 * losses[0]


def test_a_seed_decides_every_bit() -> None:
    (losses, model), (again, twin), (other, _) = run(5), run(5), run(5, seed=1)
    assert losses == again != other
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_the_first_loss_is_the_mean_over_response_tokens() -> None:
    """Neither prompts nor padding count: the mean of -log p over the tokens of the responses, one row at a time."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(TEXTS)
    model = build_model(tokenizer, SHAPE)
    prompts, responses = [[5, 6, 7], [8]], [[9, 10, 11, 1], [12, 1]]
    nats = []
    with torch.no_grad():
        for prompt, response in zip(prompts, responses, strict=True):
            logprobs = model(input_ids=torch.tensor([prompt + response])).logits[0].log_softmax(-1)
            nats += [-logprobs[len(prompt) + i - 1, token].item() for i, token in enumerate(response)]
    losses = train(
        model,
        prompts,
        responses,
        steps=1,
        batch_size=2,
        learning_rate=1e-2,
        generator=torch.Generator().manual_seed(0),
        checkpoints=NONE,
    )
    assert losses == pytest.approx([sum(nats) / 6], abs=1e-6)
