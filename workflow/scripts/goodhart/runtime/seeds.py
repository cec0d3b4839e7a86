"""Seeds derived from seeds."""

import numpy as np


def mix(*numbers: int) -> int:
    """One seed from several numbers; neighbouring numbers give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
