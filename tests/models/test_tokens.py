"""Token ids by hand: prompts with and without a chat template, cut pairs, and the layout of a batch."""

from __future__ import annotations

import copy
import json

import pandas as pd
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from goodhart.errors import InputError
from goodhart.models.loading import load_tokenizer
from goodhart.models.tokens import Pair, collate, decode, encode_pairs, encode_prompts, encode_responses
from goodhart.store.files import read_table
from goodhart.store.schemas.inputs import CORPUS
from tiny_study import Study

CHAT = (
    "{% for message in messages %}Q: {{ message['content'] }} =\n{% endfor %}"
    "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}A:\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(tiny: Study) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny / "policy")


def test_without_a_chat_template_a_prompt_is_taken_as_it_is(tokenizer: PreTrainedTokenizerBase) -> None:
    (ids,) = encode_prompts(tokenizer, ["Q: 1 + 2 =\nA:\n"])
    words = ["Q:", " 1", " +", " 2", " =", "\n", "A:", "\n"]
    assert tokenizer.convert_ids_to_tokens(ids) == words


def test_a_chat_template_is_rendered_for_an_answer_without_thinking(tokenizer: PreTrainedTokenizerBase) -> None:
    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = CHAT
    assert encode_prompts(chatty, ["1 + 2", "3"]) == encode_prompts(tokenizer, ["Q: 1 + 2 =\nA:\n", "Q: 3 =\nA:\n"])


def test_a_conversation_is_rendered_whole_by_a_template_and_refused_without(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    turns = [{"role": role, "content": text} for role, text in (("user", "1"), ("assistant", "2"), ("user", "3"))]
    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = CHAT
    plain = "Q: 1 =\nQ: 2 =\nQ: 3 =\nA:\n"
    assert encode_prompts(chatty, [json.dumps(turns)]) == encode_prompts(tokenizer, [plain])
    with pytest.raises(InputError, match="a conversation of 3 turns, which needs a chat template"):
        encode_prompts(tokenizer, ["1", json.dumps(turns)])
    assert encode_prompts(tokenizer, [json.dumps(turns[:1])]) == encode_prompts(tokenizer, ["1"])


def test_a_prompt_that_a_template_refuses_is_said_in_a_sentence(tokenizer: PreTrainedTokenizerBase) -> None:
    strict = copy.deepcopy(tokenizer)
    strict.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(InputError, match="System role not supported"):
        encode_prompts(strict, ["1"])


def test_a_response_ends_with_the_end_token_once(tokenizer: PreTrainedTokenizerBase) -> None:
    (ids, empty) = encode_responses(tokenizer, ["#### 3", ""])
    assert tokenizer.convert_ids_to_tokens(ids) == ["####", " 3", "<end>"]
    assert empty == [tokenizer.eos_token_id]


@pytest.mark.parametrize(
    ("max_length", "chosen", "rejected"), [(7, 4, 3), (6, 3, 3), (4, 1, 1), (3, None, None), (2, None, None)]
)
def test_pairs_are_cut_at_the_end_of_the_response(
    tokenizer: PreTrainedTokenizerBase, max_length: int, chosen: int | None, rejected: int | None
) -> None:
    """A prompt of three tokens, responses of four and three, their end tokens included."""
    table = pd.DataFrame({"prompt": ["Q: 1 ="], "chosen": ["1 + 2"], "rejected": ["#### 3"]})
    (pair,) = encode_pairs(tokenizer, table, max_length)
    (c, r) = encode_responses(tokenizer, ["1 + 2", "#### 3"])
    prompt = encode_prompts(tokenizer, ["Q: 1 ="])[0]
    assert pair == (None if chosen is None else Pair(prompt, c[:chosen], r[:rejected]))


def test_decoding_gives_back_every_text_of_the_corpus(tiny: Study, tokenizer: PreTrainedTokenizerBase) -> None:
    corpus = read_table(tiny / "data/corpus.parquet", CORPUS)
    for texts, encode in ((corpus["prompt"], encode_prompts), (corpus["response"], encode_responses)):
        ids = encode(tokenizer, texts.tolist())
        assert not any(tokenizer.pad_token_id in row for row in ids)  # nothing unknown
        assert decode(tokenizer, ids) == texts.tolist()


def test_a_batch_lines_responses_up() -> None:
    batch = collate([[5, 6], [7]], [[8], [9, 10, 11]], pad=0)
    assert batch.ids.tolist() == [[5, 6, 8, 0, 0], [0, 7, 9, 10, 11]]
    assert batch.mask.tolist() == [[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]
    assert batch.response_mask.tolist() == [[1, 0, 0], [1, 1, 1]]
    assert batch.positions.tolist() == [[0, 1, 2, 2, 2], [0, 0, 1, 2, 3]]
    assert batch.ids.dtype == batch.mask.dtype == torch.int64


def test_a_batch_of_prompts_alone_keeps_one_empty_column() -> None:
    batch = collate([[5, 6], [7]], [[], []], pad=0)
    assert batch.ids.tolist() == [[5, 6, 0], [0, 7, 0]]
    assert batch.response_mask.tolist() == [[0], [0]]
