"""Forms of preference data: how rated responses become pairs, and which columns a form asks for."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from goodhart.data.pairing import COLUMNS, FORMS, best_against_worst, columns_of
from goodhart.errors import InputError


def rated(*rows: tuple[Any, Any, Any]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["prompt", "response", "score"])


def test_the_best_response_of_a_prompt_stands_against_its_worst() -> None:
    rows = rated(("q", "b", 2), ("p", "low", 1), ("q", "a", 7.5), ("p", "high", 3), ("q", "c", -1), ("p", "mid", 2))
    pairs, dropped = best_against_worst(rows)
    assert pairs.to_dict("records") == [
        {"prompt": "q", "chosen": "a", "chosen_score": 7.5, "rejected": "c", "rejected_score": -1},
        {"prompt": "p", "chosen": "high", "chosen_score": 3, "rejected": "low", "rejected_score": 1},
    ]
    assert dropped == {
        "rows_in_source": 6,
        "prompts_with_one_response_dropped": 0,
        "prompts_with_tied_scores_dropped": 0,
    }


def test_prompts_without_two_different_scores_are_dropped_and_counted() -> None:
    rows = rated(
        ("one", "a", 1), ("tied", "a", 2), ("tied", "b", 2), ("kept", "a", 1), ("kept", "b", 2), ("two", "", 3)
    )
    pairs, dropped = best_against_worst(rows)
    assert pairs["prompt"].tolist() == ["kept"]
    assert (dropped["prompts_with_one_response_dropped"], dropped["prompts_with_tied_scores_dropped"]) == (2, 1)


def test_of_equal_scores_the_first_row_counts() -> None:
    pairs, _ = best_against_worst(rated(("p", "a", 2), ("p", "b", 2), ("p", "c", 1), ("p", "d", 1)))
    assert pairs[["chosen", "rejected"]].to_numpy().tolist() == [["a", "c"]]


def test_conversations_are_kept_and_told_apart() -> None:
    first, second = ([{"role": "user", "content": text}] for text in ("1?", "2?"))
    pairs, _ = best_against_worst(rated((first, "a", 1), (second, "b", 5), (first, "c", 2), (second, "d", 4)))
    assert pairs["prompt"].tolist() == [first, second]
    assert pairs["chosen"].tolist() == ["c", "b"]


def test_the_source_of_each_response_is_kept() -> None:
    rows = rated(("p", "a", "1"), ("p", "b", "2")).assign(response_source=["small", "large"])
    (pair,) = best_against_worst(rows)[0].to_dict("records")
    assert (pair["chosen_source"], pair["rejected_source"], pair["chosen_score"]) == ("large", "small", 2.0)


@pytest.mark.parametrize("score", [None, float("nan"), float("inf"), "", "good", [1]])
def test_a_score_that_is_no_number_is_refused_with_its_row(score: Any) -> None:
    with pytest.raises(InputError, match=r"^row 1 has the score") as caught:
        best_against_worst(rated(("p", "a", 1), ("p", "b", score)))
    assert len(str(caught.value).splitlines()) == 1


def test_a_form_asks_for_its_columns_and_leaves_those_of_others() -> None:
    known = ("prompt", "response", "score", "chosen")
    given = {f"{name}_column": f"their {name}" if name in known else None for name in COLUMNS}
    assert columns_of("scored", given) == {name: f"their {name}" for name in ("prompt", "response", "score")}
    with pytest.raises(InputError, match="'pairs' needs rejected_column"):
        columns_of("pairs", given)
    with pytest.raises(InputError, match="'ranked': choose from pairs, scored"):
        columns_of("ranked", given)


def test_no_form_asks_for_a_column_that_cannot_be_named() -> None:
    assert {name for form in FORMS.values() for name in form.required + form.optional} == set(COLUMNS)
