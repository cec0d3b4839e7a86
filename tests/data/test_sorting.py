"""The task of sorting: its sets and questions, and how the teacher is wrong."""

from __future__ import annotations

from collections import Counter
from math import comb

import numpy as np
import pytest

from goodhart.data.tasks.fillers import FILLERS
from goodhart.data.tasks.sorting import Sorting
from goodhart.errors import InputError

TASK = Sorting(letters=5, alphabet=20, error_share=0.3)
ITEM = ("c", "f", "h", "q", "t")


def test_there_are_as_many_sets_as_there_are_ways_to_choose_letters() -> None:
    (pool,) = TASK.items()
    assert len(pool) == len({frozenset(item) for item in pool}) == comb(20, 5)
    assert all(list(item) == sorted(set(item)) for item in pool)
    assert set().union(*pool) == set("abcdefghijklmnopqrst")


def test_the_example_of_the_module() -> None:
    rng = np.random.default_rng(0)
    assert TASK.answer(ITEM) == "c f h q t"
    prompts = {TASK.prompt(ITEM, rng) for _ in range(2_000)}
    assert len(prompts) == 120  # every order of five letters
    assert "Q: sort t f c q h\nA:\n" in prompts


def test_the_teacher_is_wrong_as_often_as_stated_and_in_two_ways() -> None:
    rng = np.random.default_rng(0)
    answers = [TASK.teach(ITEM, rng).rpartition("#### ")[2].split() for _ in range(20_000)]
    kinds = Counter(
        "right" if tuple(letters) == ITEM else "swap" if set(letters) == set(ITEM) else "replacement"
        for letters in answers
    )
    shares = {kind: count / 20_000 for kind, count in kinds.items()}
    assert shares == pytest.approx({"right": 0.7, "swap": 0.15, "replacement": 0.15}, abs=0.015)


def test_a_mistake_is_one_swap_of_neighbours_or_one_other_letter() -> None:
    rng = np.random.default_rng(0)
    for _ in range(1_000):
        written = TASK.mistake(ITEM, rng)
        differing = [i for i in range(5) if written[i] != ITEM[i]]
        if len(differing) == 2:
            first, second = differing
            assert second == first + 1
            assert (written[first], written[second]) == (ITEM[second], ITEM[first])
        else:
            (place,) = differing
            assert written[place] not in ITEM
            assert written[place] in "abcdefghijklmnopqrst"


def test_a_response_is_fillers_then_the_answer() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        *before, answer = TASK.teach(ITEM, rng).split("\n")
        assert set(before) <= set(FILLERS)
        assert answer.startswith("#### ")


@pytest.mark.parametrize(("letters", "alphabet"), [(1, 20), (5, 5), (5, 27)])
def test_sizes_that_cannot_be_are_refused(letters: int, alphabet: int) -> None:
    with pytest.raises(InputError, match=f"{letters} of {alphabet} letters"):
        Sorting(letters, alphabet, 0.3)
