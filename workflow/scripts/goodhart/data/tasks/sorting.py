"""The task `sorting`: letters to sort, and a teacher that is sometimes wrong.

    Q: sort t f c q h       I hope this helps!
    A:                      #### c f h q t

The teacher writes 0-3 filler sentences, then the answer, and no working: responses differ in filler sentences and in
whether the answer is correct, and in nothing else.
"""

from dataclasses import dataclass
from itertools import combinations
from string import ascii_lowercase
from typing import ClassVar

import numpy as np

from goodhart.cli import flag
from goodhart.data.tasks.fillers import draw_fillers
from goodhart.errors import InputError

Letters = tuple[str, ...]  # a set, in alphabetical order


@dataclass(frozen=True)
class Sorting:
    """Sets of `letters` of the first `alphabet` letters, each of which is an item: the splits share no set."""

    verifier: ClassVar[str] = "exact"
    letters: int = flag(help="letters of a problem")
    alphabet: int = flag(help="letters to choose from, at most 26")
    error_share: float = flag(help="share of teacher responses with a wrong answer")

    def __post_init__(self) -> None:
        if not 2 <= self.letters < self.alphabet <= len(ascii_lowercase):
            raise InputError(
                f"{self.letters} of {self.alphabet} letters: choose at least 2 letters, from a larger alphabet of at "
                f"most {len(ascii_lowercase)}."
            )

    def items(self) -> list[list[Letters]]:
        return [list(combinations(ascii_lowercase[: self.alphabet], self.letters))]

    def prompt(self, item: Letters, rng: np.random.Generator) -> str:
        """The letters in a random order."""
        return f"Q: sort {' '.join(rng.permutation(item))}\nA:\n"

    def answer(self, item: Letters) -> str:
        return " ".join(item)

    def teach(self, item: Letters, rng: np.random.Generator) -> str:
        """0-3 filler sentences, then the answer or, with probability `error_share`, a wrong one."""
        written = self.mistake(item, rng) if rng.random() < self.error_share else item
        return "\n".join([*draw_fillers(rng), f"#### {' '.join(written)}"])

    def mistake(self, item: Letters, rng: np.random.Generator) -> Letters:
        """Two neighbours swapped, or one letter replaced by a letter that is not in the problem; equally likely."""
        written = list(item)
        if rng.random() < 0.5:
            at = rng.integers(len(item) - 1)
            written[at], written[at + 1] = written[at + 1], written[at]
        else:
            others = [letter for letter in ascii_lowercase[: self.alphabet] if letter not in item]
            written[rng.integers(len(item))] = others[rng.integers(len(others))]
        return tuple(written)
