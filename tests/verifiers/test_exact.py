"""Answers of words: the line after the last marker, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodhart.errors import InputError
from goodhart.verifiers.exact import extract_answer, is_correct
from goodhart.verifiers.registry import VERIFIERS, verifier

GOLD = "c f h q t"


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("#### c f h q t", True, True),
        ("####c f h q t", True, True),
        ("####  c  f h\tq t \n", True, True),
        ("####\nc f h q t", True, True),
        ("Great question!\n#### c f h q t", True, True),
        ("#### c f h q t\nI hope this helps!", True, True),
        ("#### a b\n#### c f h q t", True, True),
        ("<think>#### a b</think>#### c f h q t", True, True),
        ("#### c f h q t\n#### a b", False, True),
        ("<think>#### c f h q t</think> I cannot say.", False, False),
        ("The answer is c f h q t", False, True),
        ("#### c f h q t I hope this helps!", False, True),
        ("#### c f h q t.", False, False),
        ("#### c f q h t", False, False),
        ("#### c f h q", False, False),
        ("#### c f h q t u", False, True),
        ("#### cfhqt", False, False),
        ("#### C F H Q T", False, False),
        ("### c f h q t", False, True),
        ("#### c f\nh q t", False, True),
        ("#### ", False, False),
        ("", False, False),
    ],
)
def test_verdicts(text: str, strict: bool, flexible: bool) -> None:
    assert is_correct(text, GOLD) is is_correct(text, GOLD, "strict") is strict
    assert is_correct(text, GOLD, "flexible") is flexible


def test_a_gold_answer_may_be_a_solution() -> None:
    assert is_correct("#### red", "Roses are\n#### red")
    assert not is_correct("#### Roses", "Roses are\n#### red")


@given(st.text() | st.text(alphabet="#<think/> ab\n", max_size=200))
def test_no_text_is_an_error_and_an_answer_is_read_back(text: str) -> None:
    for written in (text, "####" + text):
        answer = extract_answer(written)
        if answer is not None:
            assert is_correct(written, answer)
            assert is_correct(f"#### {answer}", answer, "flexible")


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(InputError, match="lenient"):
        is_correct("#### a", "a", "lenient")
    for gold in ("", " ", "Roses\n#### "):
        with pytest.raises(InputError, match="is empty"):
            is_correct("#### a", gold)


def test_registry() -> None:
    assert verifier("exact") is VERIFIERS["exact"]
    assert verifier("exact")("#### a b", "a  b", "strict")
