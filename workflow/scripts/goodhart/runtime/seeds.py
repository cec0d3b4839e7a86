"""Seeds derived from seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    pass


def mix(*numbers: int) -> int:
    """One seed from several numbers, unlike those of their neighbours."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
