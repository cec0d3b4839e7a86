"""The task `arithmetic`: chains of one-digit additions and subtractions, and a teacher that writes them out.

    Q: 4 - 1 - 7 =          4 - 1 = 3
    A:                      3 - 7 = -4
                            #### -4

A quarter of the teacher's responses have no working; some have filler sentences before the answer. All are correct.
"""

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from goodhart.cli import flag
from goodhart.data.tasks.fillers import draw_fillers

ANSWER_ONLY = 0.25  # share of teacher responses without working

Chain = tuple[tuple[int, ...], tuple[str, ...]]  # digits, and the signs between them


@dataclass(frozen=True)
class Arithmetic:
    """Chains with the given numbers of terms, which are the kinds of items."""

    verifier: ClassVar[str] = "gsm8k"
    terms: tuple[int, ...] = flag(help="numbers of terms of a chain")

    def items(self) -> list[list[Chain]]:
        return [chains(terms) for terms in self.terms]

    def prompt(self, item: Chain, rng: np.random.Generator) -> str:
        digits, signs = item
        terms = str(digits[0]) + "".join(f" {sign} {digit}" for sign, digit in zip(signs, digits[1:], strict=True))
        return f"Q: {terms} =\nA:\n"

    def answer(self, item: Chain) -> str:
        return str(working(item)[1])

    def teach(self, item: Chain, rng: np.random.Generator) -> str:
        """Working or answer only, then 0-3 filler sentences, then the answer."""
        lines, total = working(item)
        if rng.random() < ANSWER_ONLY:
            lines = []
        return "\n".join([*lines, *draw_fillers(rng), f"#### {total}"])


def chains(terms: int) -> list[Chain]:
    """Every chain of `terms` digits 0-9 and `terms - 1` signs: 4,000 of three terms, 80,000 of four."""
    return [(digits, signs) for digits in product(range(10), repeat=terms) for signs in product("+-", repeat=terms - 1)]


def working(chain: Chain) -> tuple[list[str], int]:
    """A line for each partial sum, and the value of the chain."""
    digits, signs = chain
    total, lines = digits[0], []
    for sign, digit in zip(signs, digits[1:], strict=True):
        value = total + digit if sign == "+" else total - digit
        lines.append(f"{total} {sign} {digit} = {value}")
        total = value
    return lines, total
