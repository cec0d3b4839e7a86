"""The verifier `exact` for answers of words or symbols, which have to match the gold answer character by character.

`strict` takes the first line after the last `####` after any `</think>`. `flexible` accepts the gold answer anywhere
in the response. Amounts of white space between words do not matter.
"""

from goodhart.errors import InputError


def extract_answer(text: str) -> str | None:
    """The words of the line after the last `####`, or None."""
    _, marker, answer = text.rpartition("</think>")[2].rpartition("####")
    lines = answer.strip().splitlines() if marker else []
    return " ".join(lines[0].split()) if lines else None


def is_correct(text: str, gold: str, style: str = "strict") -> bool:
    """Whether the answer in `text` is the gold answer.

    `gold` is a bare answer, or a solution with the answer after `####`. An empty gold answer is an `InputError`;
    otherwise every response would silently be wrong.
    """
    target = extract_answer(gold if "####" in gold else f"#### {gold}")
    if target is None:
        raise InputError(f"the gold answer {gold[-60:]!r} is empty.")
    if style == "strict":
        return extract_answer(text) == target
    if style == "flexible":
        return f" {target} " in f" {' '.join(text.replace('####', ' ').split())} "
    raise InputError(f"unknown answer style {style!r}: choose strict or flexible.")
