"""Is the answer right? The true reward: find the answer in a response and compare it with the gold answer.

Each verifier finds the answer in two ways. Here is that of numbers, `gsm8k`. `strict`, the paper's (section 4.1): the
number right after the last `####` that follows any `</think>`; it is the true reward. `flexible`: the last number
anywhere in the text; it tells a wrong answer from a right one in the wrong place. Numbers are compared as exact
decimals, so 18.0 is 18. A response without an answer is wrong, never an error, and any text is read in linear time: the
policy under training may write anything.
"""

import re
from decimal import Decimal

from goodhart.errors import InputError

_TO_ASCII = str.maketrans({"\N{MINUS SIGN}": "-"})
_DRESSING = str.maketrans("", "", "$\\,{}")
# 1,200 and LaTeX's 1{,}200; 1200; 12.50; .5; then -$5, \$5. `\d` also takes the digits of other scripts, so that a
# token which mixes them in is seen whole and refused, not read in part. The group (?>...) never gives back a digit.
_NUMBER = r"(?:(?<![\w)\]}])[-+])?\\?\$?(?>(?:\d{1,3}(?:(?:,|\{,\})\d{3}(?!\d))+|\d+)(?:\.\d+)?|\.\d+)"
_ANYWHERE = re.compile(_NUMBER)
# Bold, dollars and white space may stand before the number; an expression (3/4, 1e5, 10-12, 1,2) is not a number.
_AT_START = re.compile(rf"[\s*$\\]*({_NUMBER})(?![-,./:^eE]?\d)")


def extract_answer(text: str, style: str = "strict") -> Decimal | None:
    """The number a response gives as its answer, None if it gives none; `style` is "strict" or "flexible"."""
    text = text.translate(_TO_ASCII)
    if style == "strict":
        _, marker, answer = text.rpartition("</think>")[2].rpartition("####")
        found = _AT_START.match(answer) if marker else None
        token = found[1] if found else ""
    elif style == "flexible":
        token = ([""] + [t for t in _ANYWHERE.findall(text) if t.isascii()])[-1]
    else:
        raise InputError(f"unknown answer style {style!r}: choose strict or flexible.")
    # Decimal would take the digits of other scripts too.
    return Decimal(token.translate(_DRESSING)) if token and token.isascii() else None


def is_correct(text: str, gold: str, style: str = "strict") -> bool:
    """Whether the answer in `text` equals the gold one: a bare number ("1,200") or a solution that ends in `#### n`.

    A gold answer without a number is an InputError: it would mark every response wrong in silence.
    """
    target = extract_answer(gold if "####" in gold else f"#### {gold}")
    if target is None:
        raise InputError(f"the gold answer {gold[-60:]!r} holds no number.")
    return extract_answer(text, style) == target
