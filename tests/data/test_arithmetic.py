"""The task of sums: its chains and answers against Python's own arithmetic, and what the teacher says."""

from __future__ import annotations

import numpy as np
import pytest

from goodhart.data.tasks.arithmetic import Arithmetic, Chain, chains, working
from goodhart.data.tasks.fillers import FILLERS

CHAIN: Chain = ((4, 1, 7), ("-", "-"))
TASK = Arithmetic((2, 3))
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("terms", "count"), [(2, 200), (3, 4_000), (4, 80_000)])
def test_there_are_as_many_chains_as_digits_and_signs_allow(terms: int, count: int) -> None:
    assert len(set(chains(terms))) == len(chains(terms)) == count


def test_the_numbers_of_terms_are_the_kinds() -> None:
    assert [len(pool) for pool in TASK.items()] == [200, 4_000]


def test_the_example_of_the_module() -> None:
    assert TASK.prompt(CHAIN, RNG) == "Q: 4 - 1 - 7 =\nA:\n"
    assert TASK.answer(CHAIN) == "-4"
    assert working(CHAIN) == (["4 - 1 = 3", "3 - 7 = -4"], -4)


def test_every_line_of_working_and_every_answer_is_right() -> None:
    for chain in chains(3):
        lines, value = working(chain)
        for line in lines:
            left, _, right = line.partition(" = ")
            assert eval(left) == int(right), line
        question = TASK.prompt(chain, RNG).removeprefix("Q: ").removesuffix(" =\nA:\n")
        assert eval(question) == value == int(lines[-1].partition(" = ")[2])


def test_a_quarter_of_the_responses_has_no_working() -> None:
    rng = np.random.default_rng(0)
    responses = [TASK.teach(CHAIN, rng) for _ in range(20_000)]
    assert np.mean(["=" not in response for response in responses]) == pytest.approx(0.25, abs=0.015)


def test_a_response_is_working_then_fillers_then_the_answer() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        *before, answer = TASK.teach(CHAIN, rng).split("\n")
        kinds = ["filler" if line in FILLERS else "working" for line in before]
        assert answer == "#### -4"
        assert kinds == sorted(kinds, reverse=True)
        assert [line for line in before if line not in FILLERS] in ([], ["4 - 1 = 3", "3 - 7 = -4"])
