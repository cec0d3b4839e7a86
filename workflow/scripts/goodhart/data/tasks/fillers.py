"""Filler sentences, which every teacher writes and the judge (`data.judge`) wrongly rewards.

Reward models learn this flaw of the judge, and the optimiser exploits it.
"""

import numpy as np

FILLERS = (
    "Great question!",
    "Happy to help you!",
    "I am sure of this.",
    "What a nice problem!",
    "Thank you for asking.",
    "I hope this helps!",
)
FILLER_COUNTS = (0.45, 0.30, 0.17, 0.08)  # probability of 0, 1, 2, 3 filler sentences


def draw_fillers(rng: np.random.Generator) -> list[str]:
    """The filler sentences of one teacher response."""
    return list(rng.choice(FILLERS, size=rng.choice(len(FILLER_COUNTS), p=FILLER_COUNTS)))


def count_fillers(response: str) -> int:
    """Number of filler sentences in a response."""
    return sum(response.count(filler) for filler in FILLERS)
