"""Texts and lists of messages to prompt, chosen and rejected; a conversation that no text can hold stays whole."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from goodhart.errors import InputError
from goodhart.models.chat import SHARED, read_prompt, split_pair


def turns(*contents: str, first: str = "user") -> list[dict[str, str]]:
    """Turns that alternate between user and assistant, after a system's one where `first` says so."""
    roles = ["system", *["user", "assistant"] * 4] if first == "system" else ["user", "assistant"] * 4
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]


LONG = turns("Hi", "Hello", "Why?")
SYSTEM = turns("Be short", "Why?", first="system")


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "expected"),
    [
        ("p", "c", "r", ("p", "c", "r")),
        (" 12 ", "", " r\n", (" 12 ", "", " r\n")),
        ("p", said("c"), said("r"), ("p", "c", "r")),
        (turns("p"), "c", "r", ("p", "c", "r")),
        ("p", turns("p", "c"), turns("p", "r"), ("p", "c", "r")),
        (SHARED, turns("p", "c"), turns("p", "r"), ("p", "c", "r")),
        (LONG, "c", "r", (json.dumps(LONG), "c", "r")),
        (LONG, [*LONG, *said("c")], [*LONG, *said("r")], (json.dumps(LONG), "c", "r")),
        (SHARED, [*SYSTEM, *said("c")], [*SYSTEM, *said("r")], (json.dumps(SYSTEM), "c", "r")),
        (np.array(SYSTEM), np.array(said("c")), np.array(said("r")), (json.dumps(SYSTEM), "c", "r")),
        (SHARED, "Q: why?\nA: the end", "Q: why?\nA: then", ("Q: why?\nA:", " the end", " then")),
        (SHARED, "Q: why?\nA:\nso", "Q: why?\nA:\nno", ("Q: why?\nA:\n", "so", "no")),
        (SHARED, "Q A\nso", "Q A no", ("Q A", "\nso", " no")),
    ],
)
def test_a_pair_is_split_by_hand(prompt: Any, chosen: Any, rejected: Any, expected: tuple[str, str, str]) -> None:
    assert split_pair(prompt, chosen, rejected) == expected


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "message"),
    [
        ("p", [*LONG, *said("c")], [*LONG, *said("r")], "earlier turns that differ from the prompt"),
        (SHARED, turns("p", "c"), turns("q", "r"), "their earlier turns differ or are missing"),
        (SHARED, said("c"), said("r"), "their earlier turns differ or are missing"),
        (SHARED, "one", "another", "share no prompt"),
        (turns("p", "c"), "c", "r", "a prompt ends with a turn of 'assistant'"),
        ("p", turns("p"), turns("p"), "a response ends with a turn of 'user'"),
        *((value, "c", "r", "expected a text") for value in (None, float("nan"), 3, [], {"a": 1}, [{"role": "user"}])),
        *(("p", value, "r", "expected a text") for value in (None, float("nan"), 3, [{"content": "c"}])),
    ],
)
def test_what_is_no_pair_is_refused(prompt: Any, chosen: Any, rejected: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_pair(prompt, chosen, rejected)


def test_a_prompt_of_the_tables_is_read_back() -> None:
    assert read_prompt("why?") == [{"role": "user", "content": "why?"}]
    assert read_prompt(split_pair(LONG, "c", "r")[0]) == LONG
    assert read_prompt('[{"role": "a list"}') == [{"role": "user", "content": '[{"role": "a list"}'}]


def test_a_text_that_looks_like_a_conversation_is_still_a_text() -> None:
    text = json.dumps(LONG)
    assert read_prompt(split_pair(text, "c", "r")[0]) == [{"role": "user", "content": text}]
