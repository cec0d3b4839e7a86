"""The verifier `gsm8k` for numbers: it finds the answer in a response and compares it with the gold answer.

Each verifier has two styles. `strict`, as in the paper (section 4.1), is the true reward: the number right after the
last `####` after any `</think>`. `flexible` is the last number anywhere in the text, which distinguishes a wrong answer
from a correct answer in the wrong place. Numbers are compared as exact decimals, so that 18.0 equals 18. A policy in
training may write anything: a response without an answer is wrong, never an error, and any text takes linear time.
"""

import re
from decimal import Decimal

from goodhart.errors import InputError

_TO_ASCII = str.maketrans({"\N{MINUS SIGN}": "-"})
_DRESSING = str.maketrans("", "", "$\\,{}")
# Matches 1,200 and LaTeX's 1{,}200; 1200; 12.50; .5; -$5 and \$5. `\d` also matches the digits of other scripts, so
# that a token with such digits is rejected as a whole, not read in part. The group (?>...) prevents backtracking.
_NUMBER = r"(?:(?<![\w)\]}])[-+])?\\?\$?(?>(?:\d{1,3}(?:(?:,|\{,\})\d{3}(?!\d))+|\d+)(?:\.\d+)?|\.\d+)"
_ANYWHERE = re.compile(_NUMBER)
# Asterisks, dollar signs and white space may precede the number. Expressions (3/4, 1e5, 10-12, 1,2) do not count.
_AT_START = re.compile(rf"[\s*$\\]*({_NUMBER})(?![-,./:^eE]?\d)")


def extract_answer(text: str, style: str = "strict") -> Decimal | None:
    """The number that a response gives as its answer, or None; `style` is "strict" or "flexible"."""
    text = text.translate(_TO_ASCII)
    if style == "strict":
        _, marker, answer = text.rpartition("</think>")[2].rpartition("####")
        match = _AT_START.match(answer) if marker else None
        token = match[1] if match else ""
    elif style == "flexible":
        token = ([""] + [t for t in _ANYWHERE.findall(text) if t.isascii()])[-1]
    else:
        raise InputError(f"unknown answer style {style!r}: choose strict or flexible.")
    # Decimal also accepts the digits of other scripts.
    return Decimal(token.translate(_DRESSING)) if token and token.isascii() else None


def is_correct(text: str, gold: str, style: str = "strict") -> bool:
    """Whether the answer in `text` equals the gold answer.

    `gold` is a bare number ("1,200") or a solution that ends in `#### n`. A gold answer without a number is an
    `InputError`; otherwise every response would silently be wrong.
    """
    target = extract_answer(gold if "####" in gold else f"#### {gold}")
    if target is None:
        raise InputError(f"the gold answer {gold[-60:]!r} contains no number.")
    return extract_answer(text, style) == target
