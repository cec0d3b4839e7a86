"""Forms of preference data: the columns that each form reads, and how rows become pairs.

Since reward models are trained on pairs, another form of data, or another rule for which response is better, gives
other reward models. To add a form, write a function and add an entry to FORMS.
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
# The name of each column in the source: keys of the config, and flags of load_preferences.
Columns = make_dataclass("Columns", [(f"{name}_column", str | None, None) for name in COLUMNS], frozen=True)


class Form(NamedTuple):
    """A form's required and optional columns (of COLUMNS); `pair` turns rows into pairs, and counts for coverage.json.

    A pair has prompt, chosen and rejected and, if known, the scores and source models of the two responses. Texts are
    strings or lists of messages, as in the source. The counts are those of source rows and dropped prompts.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]
    pair: Callable[[Frame], tuple[Frame, dict[str, int]]]


def best_against_worst(rows: Frame) -> tuple[Frame, dict[str, int]]:
    """One pair per prompt: the responses with the highest and the lowest score; ties select the first response.

    A prompt with one response, or with equal scores for all responses, shows no preference; such prompts are dropped
    and counted.
    """
    rows = rows.assign(score=[_number(row, score) for row, score in enumerate(rows["score"])])
    rows["key"] = rows["prompt"].map(str)  # a prompt may be a list of messages
    scores = rows.groupby("key", sort=False)["score"]
    best = _named("chosen", rows.loc[scores.idxmax()])
    pairs = best.join(_named("rejected", rows.loc[scores.idxmin()]).drop(columns="prompt"))
    single = scores.size() == 1
    tied = (pairs["chosen_score"] == pairs["rejected_score"]) & ~single
    dropped = {
        "rows_in_source": len(rows),  # rather than the number of pairs
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
    raise InputError(f"row {row} has the score {score!r:.60}, which is not a number; correct it or remove the row.")


FORMS: dict[str, Form] = {
    "pairs": Form(_PAIR[:2], ("prompt", *_PAIR[2:]), lambda rows: (rows, {})),
    "scored": Form(("prompt", *_SCORED[:2]), _SCORED[2:], best_against_worst),
}


def columns_of(name: str, given: Mapping[str, Any]) -> dict[str, str]:
    """The columns of the source that a form reads, as {our name: the source's name}.

    Args:
        given: the fields of `Columns`, or the configuration that has them as keys.

    Raises:
        InputError: the form is unknown, or a required column is not named.
    """
    if name not in FORMS:
        raise InputError(f"unknown form of preferences {name!r}: choose from {', '.join(sorted(FORMS))}.")
    form = FORMS[name]
    for column in form.required:
        if given[f"{column}_column"] is None:
            raise InputError(f"form {name!r} needs {column}_column; set it to a column of the source.")
    columns = {column: given[f"{column}_column"] for column in form.required + form.optional}
    return {column: theirs for column, theirs in columns.items() if theirs is not None}
