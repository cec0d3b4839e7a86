"""Prompts and responses in the formats of datasets: plain texts, or conversations as lists of messages.

Our tables store a prompt of one user turn as its text. They store any other prompt, with a system turn or earlier
turns, as canonical JSON, which is rendered with the chat template during tokenisation.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from goodhart.errors import InputError

Turns = list[dict[str, str]]
KEYS = ("role", "content")
SHARED = object()  # in place of a prompt: the prompt is the text or the turns that both responses begin with
_OPENING = '[{"role": '


def split_pair(prompt: Any, chosen: Any, rejected: Any) -> tuple[str, str, str]:
    """Prompt, chosen and rejected response as texts for the tables, from texts or lists of messages.

    If a response is a conversation, its last turn is used. With `SHARED`, the prompt is what chosen and rejected have
    in common, as in TRL: all turns but the last, or the common beginning of two texts, cut between words.
    """
    if isinstance(chosen, str) and isinstance(rejected, str):
        if prompt is not SHARED:
            return _prompt(prompt), chosen, rejected
        shared = _shared_words(chosen, rejected)
        if not shared.strip():
            raise InputError("chosen and rejected share no prompt; name the prompt_column.")
        return _prompt(shared), chosen[len(shared) :], rejected[len(shared) :]
    (before, good), (other, bad) = _response(chosen), _response(rejected)
    if prompt is not SHARED:
        if len(before) > 1 and before != _turns(prompt):
            raise InputError(
                "chosen has earlier turns that differ from the prompt; to use them, set prompt_column: null."
            )
        return _prompt(prompt), good, bad
    if not before or before != other:
        raise InputError(
            "chosen and rejected share no prompt, as their earlier turns differ or are missing; name a prompt_column."
        )
    return _prompt(before), good, bad


def read_prompt(prompt: str) -> Turns:
    """The turns of a stored prompt: those of a conversation in JSON, or one user turn with the text."""
    try:
        return _turns(json.loads(prompt) if prompt.startswith(_OPENING) else prompt)
    except ValueError:  # includes InputError
        return _turns(prompt)


def _prompt(value: Any) -> str:
    """A prompt as the tables store it."""
    turns = _turns(value)
    if turns[-1]["role"] != "user":
        raise InputError(f"a prompt ends with a turn of {turns[-1]['role']!r}; its last turn must be of 'user'.")
    # A text that looks like a JSON conversation is stored as a conversation of one turn, so that it is read as a text.
    plain = len(turns) == 1 and read_prompt(turns[0]["content"]) == turns
    return turns[0]["content"] if plain else json.dumps(turns, ensure_ascii=False)


def _response(value: Any) -> tuple[Turns, str]:
    """The turns before a response, and the response."""
    if isinstance(value, str):
        return [], value
    turns = _turns(value)
    if turns[-1]["role"] == "user":
        raise InputError("a response ends with a turn of 'user'; its last turn must be of 'assistant'.")
    return turns[:-1], turns[-1]["content"]


def _turns(value: Any) -> Turns:
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    turns = list(value) if isinstance(value, Iterable) and not isinstance(value, Mapping) else []
    if turns and all(isinstance(t, Mapping) and isinstance(t.get(key), str) for t in turns for key in KEYS):
        return [{key: turn[key] for key in KEYS} for turn in turns]
    raise InputError(f"expected a text or a list of messages with 'role' and 'content', found {value!r:.80}.")


def _shared_words(one: str, other: str) -> str:
    """The common beginning of two texts, up to the first word that differs; a space before it belongs to the word."""
    differing = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    end = next(differing, min(len(one), len(other)))
    if all(text[end : end + 1].isspace() for text in (one, other)):
        return one[:end]
    while end and not one[end - 1].isspace():
        end -= 1
    return one[:end].removesuffix(" ")
