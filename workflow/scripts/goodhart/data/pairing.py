"""Preference data in any form, as pairs: which columns a form reads, and how its rows become chosen and rejected.

A reward is learned from pairs, so another form of data, or another rule of what is better, is another reward.
"""

from collections.abc import Callable, Mapping
from dataclasses import make_dataclass
from math import isfinite
from typing import Any, NamedTuple

from goodhart.errors import InputError
from goodhart.runtime.types import Frame

_PAIR = ("chosen", "rejected", "chosen_score", "rejected_score", "chosen_source", "rejected_source")
_SCORED = ("response", "score", "response_source")
COLUMNS = ("prompt", *_PAIR, *_SCORED)
# Which column of the source holds each: keys of the config and flags of load_preferences.
Columns = make_dataclass("Columns", [(f"{name}_column", str | None, None) for name in COLUMNS], frozen=True)


class Form(NamedTuple):
    """Columns, of COLUMNS, that the form needs or takes; `pair` makes of such rows the pairs, and counts what it drops.

    A pair has prompt, chosen and rejected and, where known, chosen_score, rejected_score and the two sources. Texts are
    as the source has them, strings or lists of messages.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]
    pair: Callable[[Frame], tuple[Frame, dict[str, int]]]


def as_they_are(rows: Frame) -> tuple[Frame, dict[str, int]]:
    """Rows that are pairs already."""
    return rows, {}


def best_against_worst(rows: Frame) -> tuple[Frame, dict[str, int]]:
    """One pair a prompt from rows of prompt, response and score: the response with the highest score and the lowest.

    Of several with the same score the first row counts. A prompt with one response, or with one score for all of them,
    says nothing of what is better: it is dropped and counted.
    """
    rows = rows.assign(score=[_number(row, score) for row, score in enumerate(rows["score"])])
    rows["key"] = rows["prompt"].map(str)  # a prompt may be a list of messages
    scores = rows.groupby("key", sort=False)["score"]
    best = _named("chosen", rows.loc[scores.idxmax()])
    pairs = best.join(_named("rejected", rows.loc[scores.idxmin()]).drop(columns="prompt"))
    single = scores.size() == 1
    tied = (pairs["chosen_score"] == pairs["rejected_score"]) & ~single
    dropped = {
        "rows_in_source": len(rows),  # in place of the pairs
        "prompts_with_one_response_dropped": int(single.sum()),
        "prompts_with_tied_scores_dropped": int(tied.sum()),
    }
    return pairs[~single & ~tied].reset_index(drop=True), dropped


def _named(side: str, rows: Frame) -> Frame:
    names = {"response": side, "score": f"{side}_score", "response_source": f"{side}_source"}
    return rows.set_index("key").rename(columns=names)


def _number(row: int, score: Any) -> float:
    try:
        if isfinite(number := float(score)):
            return number
    except (TypeError, ValueError):
        pass
    raise InputError(f"row {row} has the score {score!r:.60}, which is no number; correct it or leave the row out.")


FORMS: dict[str, Form] = {
    "pairs": Form(_PAIR[:2], ("prompt", *_PAIR[2:]), as_they_are),
    "scored": Form(("prompt", *_SCORED[:2]), _SCORED[2:], best_against_worst),
}


def columns_of(name: str, given: Mapping[str, Any]) -> dict[str, str]:
    """The source's columns that a form reads, by our names; an unknown form or a column it lacks is an `InputError`.

    Args:
        given: the fields of `Columns`, or the configuration that has them as keys.
    """
    if name not in FORMS:
        raise InputError(f"unknown form of preferences {name!r}: choose from {', '.join(sorted(FORMS))}.")
    form = FORMS[name]
    for column in form.required:
        if given[f"{column}_column"] is None:
            raise InputError(f"form {name!r} needs {column}_column; name the column of the source.")
    columns = {column: given[f"{column}_column"] for column in form.required + form.optional}
    return {column: theirs for column, theirs in columns.items() if theirs is not None}
