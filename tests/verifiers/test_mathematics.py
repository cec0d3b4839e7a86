r"""Mathematical answers: where they are found, what math-verify calls equal; no text takes long or is an error."""

from __future__ import annotations

import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from goodhart.errors import InputError
from goodhart.verifiers import mathematics
from goodhart.verifiers.mathematics import boxed_answer, is_correct
from goodhart.verifiers.registry import VERIFIERS, verifier

BOXES = [
    (r"so it is $\boxed{5}$.", "5"),
    (r"$\boxed{3}$, no: $\boxed{5}$", "5"),
    (r"\boxed{\frac{1}{2}} and then some", r"\frac{1}{2}"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
    (r"\boxed {5}", "5"),
    (r"\fbox{5}", "5"),
    (r"the sum is $\boxed 5$, as said", "5"),
    ("\\boxed{\\begin{pmatrix} 1 \\\\\n 2 \\end{pmatrix}}", "\\begin{pmatrix} 1 \\\\\n 2 \\end{pmatrix}"),
    (r"<think>\boxed{3}</think> $\boxed{5}$", "5"),
    # No answer.
    (r"<think>\boxed{5}</think> It is 5.", None),
    (r"\boxed{5}, that is \boxed{5", None),
    (r"\boxed{}", None),
    (r"\boxed{ }", None),
    (r"\boxed", None),
    (r"\boxedfoo{5}", None),
    ("5", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "answer"), BOXES)
def test_the_last_box_after_thinking_is_the_answer(text: str, answer: str | None) -> None:
    assert boxed_answer(text) == answer


# Gold answers as MATH has them, an answer that a model might give, and the verdict.
VERDICTS = [
    (r"\frac{1}{2}", r"\dfrac12", True),
    (r"\frac{1}{2}", "1/2", True),
    (r"\frac{1}{2}", "0.5", True),
    (r"\frac{1}{3}", "0.333", False),
    ("3", "3.0", True),
    ("3", "4", False),
    ("3", "-3", False),
    ("3", "33", False),
    (r"3\frac{1}{2}", "3.5", True),
    (r"2\sqrt{2}", r"\sqrt{8}", True),
    (r"2\sqrt{2}", r"2\sqrt{3}", False),
    (r"11,\! 111", "11111", True),
    ("1,234", "1234", True),
    (r"1,234", r"1{,}234", True),
    (r"\$32.35", "32.35", True),
    (r"32\text{ cm}", "32", True),
    (r"45^\circ", "45", True),
    ("5!", "120", True),
    (r"\pi", "3.14159265", True),
    (r"\pi", "3.14", False),
    (r"x^2 + 2x + 1", "(x+1)^2", True),
    (r"x^2 + 2x + 1", "(x+2)^2", False),
    ("p - q", "-q + p", True),
    ("p - q", "q - p", False),
    (r"y = 2x + 3", "2x+3", True),
    ("5", "x = 5", True),
    ("5", "x = 6", False),
    ("1, 2", "2, 1", True),
    (r"1 \text{ and } 2", "1, 2", True),
    ("1, 2", "1", False),
    (r"\pm 2", "2, -2", True),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)", True),
    ("(1, 2)", "(2, 1)", False),
    (r"(-\infty, 3]", r"\left(-\infty,3\right]", True),
    (r"(-\infty, 3]", r"(-\infty, 3)", False),
    (r"[0, 1] \cup [2, 3]", r"[2,3]\cup[0,1]", True),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}", True),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}", False),
    ("1 + 2i", "2i + 1", True),
    (r"\text{Evelyn}", "Evelyn", True),
    (r"\text{Evelyn}", r"\text{Alice}", False),
    (r"\text{(B)}", "B", True),
    (r"\text{(B)}", "C", False),
]
# Where math-verify's verdict surprises: it is what counts, so it stands here, and a new release that differs shows.
SURPRISES = [
    ("base", "2516_8", "2516_9", True),
    ("percent", r"10\%", "10", True),
    ("percent", r"10\%", "0.1", True),
    ("unit", r"5\text{ cm}", r"5\text{ inches}", True),
    ("clock", "6:30", r"\frac{1}{5}", True),
    ("clock", "12:00", "12:00.", False),
    ("equation: its right side counts", "5", "2 = 5", True),
    ("equation: its right side counts", "5", "5 = 2", False),
    ("a pair without its parentheses", "(1, 2)", "1, 2", True),
    ("small: six decimals count", r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}", True),
    ("letters multiply", "ab", "ba", True),
    ("inequality, where the gold is an interval", "(0, 1)", "0 < x < 1", False),
    ("interval, where the gold is an inequality", "0 < x < 1", "(0, 1)", True),
    ("mixed number in plain text", r"1\frac{1}{2}", "1 1/2", False),
    ("period", "72", "72.", False),
    ("bold", "72", "**72**", False),
    ("words", r"\text{June 20}", "June 20", False),
    ("not understood: only the text before it counts", r"1-\frac{1}{\mathrm{e}}", "1-1/e", False),
    ("not understood: only the text before it counts", r"1-\frac{1}{\mathrm{e}}", r"1-\frac{1}{\mathrm{x}}", True),
]


@pytest.mark.parametrize(("gold", "answer", "correct"), VERDICTS)
def test_verdicts_of_the_box(gold: str, answer: str, correct: bool) -> None:
    response = rf"Let $x = 7$. So the answer is $\boxed{{{answer}}}$."
    assert is_correct(response, gold) is correct
    assert is_correct(response, rf"As $7 > 1$, we have $\boxed{{{gold}}}$.") is correct


@pytest.mark.parametrize(("why", "gold", "answer", "correct"), SURPRISES)
def test_verdicts_that_surprise(why: str, gold: str, answer: str, correct: bool) -> None:
    assert is_correct(rf"\boxed{{{answer}}}", gold) is correct, why


@pytest.mark.parametrize(
    ("text", "gold", "correct"),
    [
        (r"The answer is $\frac{1}{2}$.", "0.5", True),
        (r"It is $\frac12$, or $\frac13$.", "1/3", True),
        (r"It is $\frac12$, or $\frac13$.", "1/2", False),
        ("The answer is 1/2", r"\frac{1}{2}", True),
        ("so x is 1,200", "1200", True),
        ("I cannot say.", "3", False),
        ("", "3", False),
        (r"\boxed{3} or 4", "3", True),  # a box goes before what comes later
    ],
)
def test_flexible_takes_what_the_library_finds(text: str, gold: str, correct: bool) -> None:
    assert is_correct(text, gold, "flexible") is correct
    if r"\boxed" not in text:
        assert not is_correct(text, gold)


def test_an_answer_that_is_not_understood_is_not_the_number_inside_it() -> None:
    assert not is_correct(r"\boxed{1 + \frac{1}{\mathrm{e}}}", r"1 - \frac{1}{\mathrm{e}}")
    assert not is_correct(r"\boxed{\foo{7}{2} \bar \baz 3}", "3")


@pytest.mark.parametrize(
    "gold", ["", " ", r"\boxed{}", r"\boxed{5", "}{", "$$", "Two lines,\nand no box: #### 5", "7" * 2000]
)
def test_a_gold_answer_that_cannot_be_read_is_refused(gold: str) -> None:
    with pytest.raises(InputError, match="is not a mathematical answer and has none") as caught:
        is_correct(r"\boxed{5}", gold)
    assert len(str(caught.value).splitlines()) == 1


ENDLESS = {
    "tower": r"\boxed{10^{10^{10}}}",
    "plain tower": "The answer is 10^10^10",
    "factorial": r"\boxed{(10^9)!}",
    "expansion": r"\boxed{(x+1)^{100000}}",
    "integral": r"\boxed{\int_0^1 e^{x^{x^x}} dx}",
    "nested": r"\boxed{" + "(" * 450 + "1" + ")" * 450 + "}",
    "100 kB of braces": "{" * 100_000,
    "100 kB of braces in a box": r"\boxed{" + "{" * 50_000 + "}" * 50_000 + "}",
    "boxes that never close": r"\boxed{" * 15_000,
    "boxes": r"\boxed{2}" * 12_000,
    "dollars": "$ " * 50_000,
    "brackets": r"\[" * 50_000,
    "digits": "1" * 100_000,
    "sum": "1+" * 50_000 + "1",
    "anchors": "final answer is " * 6_000,
    "control characters": "\\boxed{\x00\x01}",
    "half a character": "\\boxed{\ud800}",
    "division by zero": r"\boxed{\frac{1}{0}}",
    "overflow": r"\boxed{1e999999999}",
}


@pytest.mark.parametrize("style", ["strict", "flexible"])
@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS)
def test_any_text_is_wrong_in_bounded_time(text: str, style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is loose: half a second of processor time here, on machines that do other things too."""
    monkeypatch.setattr(mathematics, "SECONDS", 0.5)
    before = signal.getsignal(signal.SIGPROF)
    start = time.process_time()
    assert is_correct(text, r"x^2 + \frac{1}{2}", style) is False
    assert time.process_time() - start < 10
    assert signal.getsignal(signal.SIGPROF) is before
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_what_takes_too_long_does_not_spoil_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathematics, "SECONDS", 0.2)
    assert not is_correct(ENDLESS["tower"], "100")
    monkeypatch.undo()
    assert is_correct(r"\boxed{10^{2}}", "100")


def test_outside_the_main_thread_there_is_no_limit_so_it_is_an_error() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="main thread") as caught:
        pool.submit(is_correct, r"\boxed{1}", "1").result()
    assert not isinstance(caught.value, InputError)


def test_the_registry_names_it_and_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verifier("math") is VERIFIERS["math"] is is_correct
    with pytest.raises(InputError, match="lenient"):
        is_correct(r"\boxed{1}", "1", "lenient")
    monkeypatch.setitem(sys.modules, "math_verify", None)  # as where it is not installed
    with pytest.raises(InputError, match="install this project's extra 'math'"):
        verifier("math")
    assert verifier("gsm8k")("#### 2", "2")
