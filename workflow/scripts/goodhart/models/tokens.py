"""Tokenisation: every stage encodes prompts, responses and preference pairs with the functions of this module.

A prompt is rendered with the tokeniser's chat template (thinking off), or encoded as plain text without a template. A
response is encoded separately and ends with the end token, so that a response in training data has the same tokens as
a sampled one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from jinja2 import TemplateError

from goodhart.errors import InputError
from goodhart.models.chat import read_prompt
from goodhart.runtime.batches import in_batches
from goodhart.runtime.types import Frame, PreTrainedTokenizerBase

T = TypeVar("T")
Row = tuple[Sequence[int], Sequence[int]]  # token ids of a prompt and of its response


class Batch(NamedTuple):
    """Rows padded to one width: prompts end, and responses start, in the same column of all rows.

    ids, mask: (rows, prompt_width + response_width) int64; response_mask: (rows, response_width) int64.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    response_mask: torch.Tensor

    @property
    def positions(self) -> torch.Tensor:
        """Position of every token in its row, (rows, width); padding has position 0."""
        return (self.mask.cumsum(-1) - 1).clamp(min=0)


@dataclass(frozen=True)
class Pair:
    """One preference pair as token ids; responses may be cut to `max_length`."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of prompts, including the generation prompt of the chat template."""
    turns = [read_prompt(prompt) for prompt in prompts]
    if tokenizer.chat_template is None:
        if longer := next((messages for messages in turns if len(messages) > 1), None):
            raise InputError(
                f"a prompt is a conversation of {len(longer)} turns, which needs a chat template; set prompts: chat, "
                "or use prompts of one turn."
            )
        return tokenizer([messages[0]["content"] for messages in turns])["input_ids"]
    try:
        rendered = [
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
            for messages in turns
        ]
    except TemplateError as error:  # for example, a template without a system role
        raise InputError(
            f"the chat template rejects a prompt ({error}); use other prompts or another model."
        ) from error
    return tokenizer(rendered, add_special_tokens=False)["input_ids"]


def encode_responses(tokenizer: PreTrainedTokenizerBase, responses: Sequence[str]) -> list[list[int]]:
    """Token ids of complete responses, including the end token."""
    ids = tokenizer(list(responses), add_special_tokens=False)["input_ids"]
    return [[*row, tokenizer.eos_token_id] for row in ids]


def encode_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Frame, max_length: int) -> list[Pair | None]:
    """Token ids of preference pairs, cut to `max_length`; None if the prompt alone has `max_length` tokens or more.

    `pairs` has the text columns prompt, chosen and rejected.
    """
    return [
        Pair(p, c[: max_length - len(p)], r[: max_length - len(p)]) if len(p) < max_length else None
        for p, c, r in zip(
            encode_prompts(tokenizer, pairs["prompt"].tolist()),
            encode_responses(tokenizer, pairs["chosen"].tolist()),
            encode_responses(tokenizer, pairs["rejected"].tolist()),
            strict=True,
        )
    ]


def decode(
    tokenizer: PreTrainedTokenizerBase, responses: Sequence[Sequence[int]], stop: Sequence[str] = ()
) -> list[str]:
    """Responses as text, without special tokens, cut before the first stop string."""
    texts = tokenizer.batch_decode([list(row) for row in responses], skip_special_tokens=True)
    return [text[: min((text.find(s) for s in stop if s in text), default=None)] for text in texts]


def collate(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    pad: int,
    device: torch.device | str = "cpu",
) -> Batch:
    """A `Batch` of prompts and responses; for (prompt, response) rows, call `collate(*zip(*rows), pad=pad)`."""
    left = max(len(row) for row in prompts)
    right = max(1, max(len(row) for row in responses))
    ids = torch.full((len(prompts), left + right), pad)
    mask = torch.zeros_like(ids)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        start, end = left - len(prompt), left + len(response)
        ids[row, start:end] = torch.tensor([*prompt, *response])
        mask[row, start:end] = 1
    return Batch(ids.to(device), mask.to(device), mask[:, left:].to(device))


def batches_by_length(
    work: Callable[[Sequence[Row]], Sequence[T]], rows: Sequence[Row], size: int, what: str, report: bool = False
) -> list[T]:
    """`in_batches` over rows sorted by length, which saves padding; results are in the order of `rows`."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))
    results = in_batches(lambda some: work([rows[i] for i in some]), order, size, what, report)
    return [result for _, result in sorted(zip(order, results, strict=True), key=lambda pair: pair[0])]
