"""Answers as lm-evaluation-harness checks them: the verdict is the same, or the difference has a reason.

The peer below follows the facts of lm_eval 0.4.13, tasks/gsm8k/gsm8k.yaml (task version 3.0): what its filters
strict-match and flexible-extract look for, which of the places found they keep, and what its metric exact_match removes
from the answer and from the gold one before it compares the two as texts.
"""

import json
import re

import pytest
from test_gsm8k import FLEXIBLE, GSM8K, STRICT

from goodhart.verifiers.gsm8k import extract_answer, is_correct

FILTERS = {"strict": (r"#### (-?[0-9.,]+)", 0), "flexible": (r"-?[$0-9.,]{2,}|-?[0-9]+", -1)}
REMOVED = (",", r"\$", r"(?s).*#### ", r"\.$")

REASONS = {
    "layout": "The peer wants one space after #### and then the digits; white space, $, bold and + change no answer.",
    "spelling": "The peer compares texts; 18.0 and 018 are 18, .5 is 0.5 and -0 is 0.",
    "latex": r"1{,}200 is LaTeX for 1,200 and \$ for $; the peer sees the number in pieces.",
    "minus": "U+2212 is a minus sign; the peer passes over it.",
    "last": "The answer follows the last ####, as the paper says; the peer takes the first that a number follows.",
    "thinking": "What is thought is no answer; the peer cuts it off only where its think_end_token is set.",
    "closed": "No number follows the last ####; the peer takes the first that one follows, here the better guess.",
    "expression": "It is not a number, and its first part is not its value; the peer takes that part.",
    "scripts": "A number that goes on in digits of another script is not its ASCII part; the peer takes that part.",
    "hyphen": "A hyphen right after a letter or a digit is no minus sign; the peer takes it for one.",
    "commas": "These commas group no thousands; the peer joins what they part: wrong for 1,2,3, right for 1,00,000.",
    "dots": "The peer takes any two of $ . , for a number and 1.2.3 for one, which no gold answer equals.",
}
# Why, the style, the text, the gold answer that we call right and the one that the peer does (None: no gold answer).
DIFFERENCES = [
    ("layout", "strict", "####18", "18", None),
    ("layout", "strict", "####  18", "18", None),
    ("layout", "strict", "####\n18", "18", None),
    ("layout", "strict", "####" + " " * 10_000 + "18", "18", None),
    ("layout", "strict", "#### $18", "18", None),
    ("layout", "strict", "#### $-5", "-5", None),
    ("layout", "strict", "#### **18**", "18", None),
    ("layout", "strict", "#### **-$1,200.50**", "-1200.5", None),
    ("layout", "strict", "#### +5", "5", None),
    ("spelling", "strict", "#### 18.0", "18", None),
    ("spelling", "flexible", "#### 18.0", "18", None),
    ("spelling", "strict", "#### 18.00", "18", None),
    ("spelling", "flexible", "#### 18.00", "18", None),
    ("spelling", "flexible", "It costs $18.00.", "18", None),
    ("spelling", "flexible", "#### **-$1,200.50**", "-1200.5", None),
    ("spelling", "strict", "#### 018", "18", None),
    ("spelling", "flexible", "#### 018", "18", None),
    ("spelling", "strict", "#### .5", "0.5", None),
    ("spelling", "flexible", "#### .5", "0.5", None),
    ("spelling", "flexible", "between 12 and .5", "0.5", None),
    ("spelling", "strict", "#### -0", "0", None),
    ("spelling", "flexible", "#### -0", "0", None),
    ("latex", "strict", r"#### \$18", "18", None),
    ("latex", "strict", r"#### -\$1,200", "-1200", None),
    ("latex", "flexible", r"#### -\$1,200", "-1200", "1200"),
    ("latex", "strict", "#### 1{,}200", "1200", "1"),
    ("latex", "flexible", "#### 1{,}200", "1200", "200"),
    ("latex", "flexible", r"$1{,}200$ or \(1{,}200\)", "1200", "200"),
    ("minus", "strict", "#### \N{MINUS SIGN}4", "-4", None),
    ("minus", "flexible", "#### \N{MINUS SIGN}4", "-4", "4"),
    ("minus", "flexible", "x = \N{MINUS SIGN}3", "-3", "3"),
    ("last", "strict", "#### 3\n#### 18", "18", "3"),
    ("last", "strict", "#### 2. Add up\n#### 18", "18", "2"),
    ("thinking", "strict", "<think>#### 3</think>#### 18", "18", "3"),
    ("thinking", "strict", "<think>a</think>#### 3<think>b</think>\n#### 18", "18", "3"),
    ("thinking", "strict", "<think>#### 18</think> The answer is 18.", None, "18"),
    ("closed", "strict", "#### 18 ####", None, "18"),
    ("expression", "strict", "#### 3/4", None, "3"),
    ("expression", "strict", "#### 1e5", None, "1"),
    ("expression", "strict", "#### 10-12", None, "10"),
    ("expression", "strict", "#### 10:30", None, "10"),
    ("scripts", "strict", "#### 1\N{ARABIC-INDIC DIGIT EIGHT}", None, "1"),
    ("scripts", "flexible", "#### 1\N{ARABIC-INDIC DIGIT EIGHT}", None, "1"),
    ("scripts", "strict", "#### 18.\N{ARABIC-INDIC DIGIT FIVE}", None, "18"),
    ("scripts", "flexible", "#### 18.\N{ARABIC-INDIC DIGIT FIVE}", None, "18"),
    ("hyphen", "flexible", "#### 10-12", "12", "-12"),
    ("hyphen", "flexible", "5-3", "3", "-3"),
    ("hyphen", "flexible", "GPT-4", "4", "-4"),
    ("commas", "strict", "#### 1,2", None, "12"),
    ("commas", "flexible", "#### 1,2", "2", "12"),
    ("commas", "flexible", "1,2,3", "3", "123"),
    ("commas", "strict", "#### 1,2345", None, "12345"),
    ("commas", "flexible", "#### 1,2345", "2345", "12345"),
    ("commas", "strict", "#### 1,00,000", None, "100000"),
    ("commas", "flexible", "#### 1,00,000", "0", "100000"),
    ("dots", "flexible", "#### 1.2.3", "0.3", None),
    ("dots", "flexible", "18...", "18", None),
    ("dots", "flexible", "18 cups (of tea, e.g., or milk)", "18", None),
    ("dots", "flexible", "$x = 18$, which is $y$, too", "18", None),
]


def cleaned(text: str) -> str:
    for pattern in REMOVED:
        text = re.sub(pattern, "", text)
    return text


def peer_answer(text: str, style: str) -> str:
    pattern, which = FILTERS[style]
    found = re.findall(pattern, text)
    return cleaned(found[which]) if found else "[invalid]"


def peer_is_correct(text: str, gold: str, style: str) -> bool:
    return peer_answer(text, style) == cleaned(gold)


def right_golds(text: str, style: str) -> tuple[str | None, str | None]:
    """The gold answer, spelled as GSM8K spells it, that we call right, and the one that the peer calls right."""
    number, theirs = extract_answer(text, style), peer_answer(text, style)
    ours = None if number is None else re.sub(r"\.0+$|(\.\d*[1-9])0+$", r"\1", f"{number or 0:f}")
    return ours, theirs if re.fullmatch(r"(?!-0$)-?(0|[1-9]\d*)(\.\d*[1-9])?", theirs) else None


@pytest.mark.parametrize(("why", "style", "text", "ours", "theirs"), DIFFERENCES, ids=lambda part: str(part)[:40])
def test_a_known_difference(why: str, style: str, text: str, ours: str | None, theirs: str | None) -> None:
    assert ours != theirs
    for gold in {ours, theirs} - {None}:
        assert is_correct(text, gold, style) is (gold == ours)
        assert peer_is_correct(text, gold, style) is (gold == theirs)


def test_no_other_difference_on_tricky_answers() -> None:
    found = {(style, text): right_golds(text, style) for style in FILTERS for text, _ in STRICT + FLEXIBLE}
    differing = {case: golds for case, golds in found.items() if golds[0] != golds[1]}
    assert {why for why, *_ in DIFFERENCES} == set(REASONS)
    assert differing == {(style, text): (ours, theirs) for _, style, text, ours, theirs in DIFFERENCES}


@pytest.mark.skipif(not GSM8K.is_dir(), reason="GSM8K does not lie beside the checkout")
@pytest.mark.parametrize("style", FILTERS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_no_difference_on_gsm8k(split: str, style: str) -> None:
    """Every solution against its own gold answer, which it has, and against the next, which it seldom has."""
    golds = [json.loads(line)["answer"] for line in (GSM8K / f"{split}.jsonl").read_text("utf-8").splitlines()]
    for text, other in zip(golds, golds[1:] + golds[:1], strict=True):
        assert is_correct(text, text, style)
        assert peer_is_correct(text, text, style)
        assert is_correct(text, other, style) is peer_is_correct(text, other, style)
