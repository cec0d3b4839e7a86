"""Answers as models write them, right and wrong, and the real gold answers of GSM8K."""

import json
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodhart.errors import InputError
from goodhart.verifiers.gsm8k import extract_answer, is_correct
from goodhart.verifiers.registry import VERIFIERS, verifier

GSM8K = Path(__file__).resolve().parents[3] / "shared" / "data" / "gsm8k"


# The text of a response and the number each style finds in it.
STRICT = [
    ("#### 18", "18"),
    ("####18", "18"),
    ("####  18", "18"),
    ("####\n18", "18"),
    ("so 9 * 2 = 18\n#### 18\n", "18"),
    ("#### $18", "18"),
    (r"#### \$18", "18"),
    (r"#### -\$1,200", "-1200"),
    ("#### **18**", "18"),
    ("**#### 18**", "18"),
    ("#### **-$1,200.50**", "-1200.50"),
    ("#### $-5", "-5"),
    ("#### +5", "5"),
    ("#### 18.", "18"),
    ("#### 18.0", "18"),
    ("#### 18.00", "18"),
    ("#### 018", "18"),
    ("#### .5", "0.5"),
    ("#### 1,200", "1200"),
    ("#### 1{,}200", "1200"),
    ("#### 1,234,567.25", "1234567.25"),
    ("#### \N{MINUS SIGN}4", "-4"),
    ("#### -0", "0"),
    ("#### 18 dollars", "18"),
    ("#### 18%", "18"),
    ("#### 18, of course", "18"),
    ("#### 18\nI hope this helps!", "18"),
    ("#### 18\nIt took 2 steps.", "18"),
    ("##### 18", "18"),
    ("#### 3\n#### 18", "18"),
    ("#### Step 2\n#### 18", "18"),
    ("#### 2. Add up\n#### 18", "18"),
    ("<think>#### 3</think>#### 18", "18"),
    ("<think>a</think>#### 3<think>b</think>\n#### 18", "18"),
    ("so " * 3333 + "\n#### 18", "18"),
    ("#### 18" + " so" * 3333, "18"),
    ("####" + " " * 10_000 + "18", "18"),
    ("#### 1" + ",000" * 2500, "1" + "000" * 2500),
    # No answer.
    ("", None),
    ("18", None),
    ("18 " * 3333, None),
    ("#" * 10_000, None),
    ("#### ", None),
    ("#### 18 ####", None),
    ("#### Step 2", None),
    ("#### eighteen", None),
    ("### 18", None),
    ("<think>#### 18</think> The answer is 18.", None),
    ("#### 3/4", None),
    ("#### 1e5", None),
    ("#### 10-12", None),
    ("#### 10:30", None),
    ("#### 1,2", None),
    ("#### 1,2345", None),
    ("#### 1,00,000", None),
    ("#### 1.2.3", None),
    ("#### NaN", None),
    ("#### Infinity", None),
    ("#### \N{ARABIC-INDIC DIGIT ONE}\N{ARABIC-INDIC DIGIT EIGHT}", None),
    ("#### 1\N{ARABIC-INDIC DIGIT EIGHT}", None),
    ("#### 18.\N{ARABIC-INDIC DIGIT FIVE}", None),
    ("#### \N{FULLWIDTH DIGIT ONE}", None),
]
FLEXIBLE = [
    ("The answer is 18.", "18"),
    ("#### 3, or rather 18", "18"),
    ("She pays $1,200", "1200"),
    ("It costs $18.00.", "18"),
    (r"$1{,}200$ or \(1{,}200\)", "1200"),
    ("It is **18**!", "18"),
    ("x = -3", "-3"),
    ("x = \N{MINUS SIGN}3", "-3"),
    ("5-3", "3"),
    ("5 - 3", "3"),
    ("GPT-4", "4"),
    ("3/4", "4"),
    ("1,2,3", "3"),
    ("between 12 and .5", "0.5"),
    ("18...", "18"),
    ("18 cups (of tea, e.g., or milk)", "18"),
    ("$x = 18$, which is $y$, too", "18"),
    ("#### 18 ####", "18"),
    ("#### 3\n#### 18", "18"),
    ("<think>18</think> I cannot say.", "18"),
    ("so " * 3333 + "18", "18"),
    ("18" + " so" * 3333, "18"),
    ("18 \N{ARABIC-INDIC DIGIT FIVE}", "18"),
    ("eighteen", None),
    ("", None),
    (". " * 5000, None),
]


@pytest.mark.parametrize(("text", "answer"), STRICT, ids=lambda part: str(part)[:40])
def test_strict_answers(text: str, answer: str | None) -> None:
    assert extract_answer(text) == (None if answer is None else Decimal(answer))


@pytest.mark.parametrize(("text", "answer"), FLEXIBLE, ids=lambda part: str(part)[:40])
def test_flexible_answers(text: str, answer: str | None) -> None:
    assert extract_answer(text, "flexible") == (None if answer is None else Decimal(answer))


@pytest.mark.parametrize(
    ("text", "gold", "style", "correct"),
    [
        ("#### 1200.00", "1,200", "strict", True),
        ("#### 1,200", "2 * 600 = <<2*600=1200>>1200\n#### 1200", "strict", True),
        ("I say 1200", "1,200", "strict", False),
        ("I say 1200", "1,200", "flexible", True),
        ("#### 1201", "1,200", "strict", False),
        ("", "1,200", "flexible", False),
        ("#### " + "9" * 5000, "9" * 5000, "strict", True),
        ("#### " + "9" * 4999 + "8", "9" * 5000, "strict", False),
    ],
)
def test_correctness(text: str, gold: str, style: str, correct: bool) -> None:
    assert is_correct(text, gold, style) is correct


TRICKY = "#<think/>0123456789\N{ARABIC-INDIC DIGIT ONE}.,{}$\\*-\N{MINUS SIGN}+eE \n"


@settings(deadline=None)
@given(st.text() | st.text(alphabet=TRICKY, max_size=200))
def test_no_text_is_an_error(text: str) -> None:
    for style in ("strict", "flexible"):
        for answer in (extract_answer(text, style), extract_answer("####" + text, style)):
            assert answer is None or answer.is_finite()


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=2))
def test_a_written_number_is_read_back(number: Decimal) -> None:
    for written in (f"{number}", f"{number:,}", f"**{number:,}**", f"{number}00", f"{number:,}".replace(",", "{,}")):
        assert extract_answer(f"text 7\n#### {written}") == number
        assert extract_answer(f"text 7 is {written}.", "flexible") == number


@pytest.mark.parametrize(
    "unit", [*"1$\\*-. \N{ARABIC-INDIC DIGIT ONE}", "1,", "111,", "1{,}", "####", "#### -", "</think>"]
)
def test_reading_takes_linear_time(unit: str) -> None:
    """A quadratic pattern would take minutes on half a million characters; the bound is loose on purpose."""
    text = "####" + unit * (500_000 // len(unit)) + "\N{ARABIC-INDIC DIGIT ONE}"
    begin = time.perf_counter()
    extract_answer(text)
    extract_answer(text, "flexible")
    assert time.perf_counter() - begin < 5


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(InputError, match="lenient"):
        extract_answer("#### 1", "lenient")
    with pytest.raises(InputError, match="no number"):
        is_correct("#### 1", "unknown")
    with pytest.raises(InputError, match="maths"):
        verifier("maths")


def test_registry() -> None:
    assert verifier("gsm8k") is VERIFIERS["gsm8k"]
    assert verifier("gsm8k")("#### 2", "2.0", "strict")


@pytest.mark.skipif(not GSM8K.is_dir(), reason="GSM8K does not lie beside the checkout")
@pytest.mark.parametrize(("split", "size"), [("train", 7473), ("test", 1319)])
def test_every_gold_answer_of_gsm8k_is_correct(split: str, size: int) -> None:
    golds = [json.loads(line)["answer"] for line in (GSM8K / f"{split}.jsonl").read_text("utf-8").splitlines()]
    assert len(golds) == size
    for gold in golds:
        bare = gold.rpartition("#### ")[2]
        assert is_correct(gold, gold)
        assert is_correct(gold, bare)
        assert is_correct(gold, gold, "flexible")
        assert not is_correct(f"#### {bare}1", gold)
