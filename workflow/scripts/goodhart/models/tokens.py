"""From text to token ids, once and in one way for every stage.

A prompt is rendered with the chat template (thinking off) where the tokeniser has one, and taken as it is where it has
none. A response is encoded on its own and closed with the end token, so that a trained response is tokenised exactly
as a sampled one is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jinja2 import TemplateError

from goodhart.errors import InputError
from goodhart.models.chat import Turns, read_prompt
from goodhart.runtime.types import Frame, PreTrainedTokenizerBase


class Batch(NamedTuple):
    """Rows of one width: prompts padded on the left, responses on the right, so that responses begin in one column.

    ids, mask: (rows, prompt_width + response_width) int64; response_mask: (rows, response_width) int64.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    response_mask: torch.Tensor

    @property
    def positions(self) -> torch.Tensor:
        """Position of every token in its own row; padding takes position 0."""
        return (self.mask.cumsum(-1) - 1).clamp(min=0)


@dataclass(frozen=True)
class Pair:
    """One preference pair as token ids; the prompt is shared and responses may be cut to fit."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of prompts, ready for a response to follow."""
    turns = [_as_turns(prompt) for prompt in prompts]
    if tokenizer.chat_template is None:
        if longer := next((messages for messages in turns if len(messages) > 1), None):
            raise InputError(
                f"a prompt is a conversation of {len(longer)} turns, which needs a chat template; set prompts: chat, "
                "or take prompts of one turn."
            )
        return tokenizer([messages[0]["content"] for messages in turns])["input_ids"]
    try:
        rendered = [
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
            for messages in turns
        ]
    except TemplateError as error:  # such as one that knows no system's turn
        raise InputError(
            f"the chat template refuses a prompt ({error}); use other prompts or another model."
        ) from error
    return tokenizer(rendered, add_special_tokens=False)["input_ids"]


def _as_turns(prompt: str) -> Turns:
    read = read_prompt(prompt)
    return [{"role": "user", "content": read}] if isinstance(read, str) else read


def encode_responses(tokenizer: PreTrainedTokenizerBase, responses: Sequence[str]) -> list[list[int]]:
    """Token ids of whole responses, the end token included."""
    ids = tokenizer(list(responses), add_special_tokens=False)["input_ids"]
    return [[*row, tokenizer.eos_token_id] for row in ids]


def encode_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Frame, max_length: int) -> list[Pair | None]:
    """Token ids of preference pairs, cut at `max_length`; None where the prompt alone leaves no room for a response.

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
    """Responses as text, without special tokens, and cut before the first of the `stop` strings."""
    texts = tokenizer.batch_decode([list(row) for row in responses], skip_special_tokens=True)
    return [text[: min((text.find(s) for s in stop if s in text), default=None)] for text in texts]


def collate(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], pad: int, device: torch.device | str = "cpu"
) -> Batch:
    """Pad prompts on the left and responses on the right into one `Batch`."""
    left = max(len(row) for row in prompts)
    right = max(1, max(len(row) for row in responses))
    ids = torch.full((len(prompts), left + right), pad)
    mask = torch.zeros_like(ids)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        start, end = left - len(prompt), left + len(response)
        ids[row, start:end] = torch.tensor([*prompt, *response])
        mask[row, start:end] = 1
    return Batch(ids.to(device), mask.to(device), mask[:, left:].to(device))


def collate_rows(
    rows: Sequence[tuple[Sequence[int], Sequence[int]]], pad: int, device: torch.device | str = "cpu"
) -> Batch:
    """`collate` of (prompt, response) rows."""
    return collate([prompt for prompt, _ in rows], [response for _, response in rows], pad, device)
