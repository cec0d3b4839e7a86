"""AUROC by hand and by counting pairs, within strata, and where it does not exist."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodhart.analysis.rank import Ranking, auroc, auroc_within
from goodhart.errors import InputError

ROWS = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12)


def test_auroc_by_hand() -> None:
    assert auroc([1, 2, 3, 4], [0, 1, 0, 1]) == (0.75, 4, 2)  # 2 beats 1, 4 beats 1 and 3; 2 loses to 3
    assert auroc([5, 5], [True, False]) == (0.5, 2, 1)
    assert auroc([1, 2, 2], [0, 0, 1]) == (0.75, 3, 1)  # one win and one tie
    assert auroc([1, 2], [1, 0]) == (0, 2, 1)


@settings(deadline=None)
@given(ROWS)
def test_auroc_counts_pairs(rows: list[tuple[int, bool]]) -> None:
    wins = [(a > b) + 0.5 * (a == b) for a, hit in rows if hit for b, other in rows if not other]
    found = auroc(*zip(*rows, strict=True))
    assert found.auroc == (pytest.approx(np.mean(wins)) if wins else None)
    assert (found.n, found.positive) == (len(rows), sum(hit for _, hit in rows))


def test_a_score_that_sees_the_style_alone() -> None:
    """Plain answers are right in 3 of 4 cases, those with filler in 1 of 4."""
    style = np.repeat(["plain", "filler"], 4)
    correct = [1, 1, 1, 0, 0, 0, 0, 1]
    score = np.where(style == "plain", 1.0, 0.0)
    assert auroc(score, correct).auroc == pytest.approx(0.75)  # of 16 pairs 9 win and 6 tie
    assert auroc_within(score, correct, style) == {"filler": (0.5, 4, 1), "plain": (0.5, 4, 3)}


def test_a_stratum_without_one_class_is_none() -> None:
    found = auroc_within([1, 2, 3, 4, 5], [1, 1, 0, 1, 0], [0, 0, 1, 1, 2])
    assert found == {0: (None, 2, 2), 1: (1.0, 2, 1), 2: Ranking(None, 1, 0)}


@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (auroc, ([1, 2], [1]), "score, outcome differ in length"),
        (auroc, ([1, np.nan], [1, 0]), "score .* not finite"),
        (auroc, ([1, 2], [0, 2]), "outcome must hold nothing but 0 and 1"),
        (auroc_within, ([1, 2], [0, 1], ["a"]), "one label for each of 2 scores"),
    ],
)
def test_bad_input_is_one_sentence(function: Any, arguments: tuple, named: str) -> None:
    with pytest.raises(InputError, match=named):
        function(*arguments)
