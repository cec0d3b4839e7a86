"""The noise floor of AUGC: the area that an unmoved checkpoint has through evaluation noise alone.

AUGC integrates the positive part of the gap, so noise does not cancel. If the evaluations of a run draw their responses
independently, the gap of an unmoved checkpoint at evaluation k is e_k - e_0, where e is the error of
z(proxy) - z(true). With normal errors of one SD, the linearly interpolated gap has a mean of 0 and a known SD at every
step, and E max(N(0, s^2), 0) = s / sqrt(2 pi). The integral over steps has a closed form; nothing is simulated.

Under one shared evaluation seed there is no such floor, because an unmoved checkpoint repeats its responses and its gap
is exactly 0. This holds for an unmoved checkpoint only. As a policy moves, its responses decouple from those at step 0,
and a part of the floor returns. AUGC from pi0 has the same property where its gap is near
0; a gap that is positive throughout has no floor, since its noise averages out.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from goodhart.analysis.gap import finite_series
from goodhart.errors import InputError

# Integral over u from 0 to 1 of sqrt((1 - u)^2 + u^2 + 1): SD of the interpolated gap between two evaluations after
# step 0, in SDs of one evaluation, averaged over the interval.
_LATER = float(np.sqrt(2) * (0.5 + 0.75 * np.arcsinh(1 / np.sqrt(3))))
# The same before the first evaluation after step 0: integral of u sqrt(2).
_FIRST = float(np.sqrt(0.5))


class Floor(NamedTuple):
    """The expected AUGC of an unmoved checkpoint.

    Attributes:
        augc: expected AUGC, in standard deviations times updates.
        se: its standard error from the number of evaluation seeds; relative to `augc` it is 42 % with 4 seeds.
        sd: SD of the gap of one evaluation, corrected for the bias of an SD from few values.
    """

    augc: float
    se: float
    sd: float


def noise_floor(gaps: npt.ArrayLike, steps: npt.ArrayLike) -> Floor:
    """The floor of AUGC from the own start, for a run evaluated at `steps` with independent draws.

    Args:
        gaps: z(proxy) - z(true) of one unmoved checkpoint under independent evaluation seeds, (seeds,), in standard
            deviations and from any origin, at least two.
        steps: the steps of the evaluations, strictly increasing from the start of the run, (evaluations,).
    """
    g, t = finite_series("gaps", gaps), finite_series("steps", steps)
    if len(g) < 2:
        raise InputError("the noise floor needs the gap under at least two evaluation seeds.")
    if len(t) < 2 or (np.diff(t) <= 0).any():
        raise InputError("steps must hold at least two steps, strictly increasing.")
    correction = _c4(len(g))
    sd = float(g.std(ddof=1)) / correction
    widths = np.diff(t)
    augc = sd / np.sqrt(2 * np.pi) * (_FIRST * widths[0] + _LATER * widths[1:].sum())
    return Floor(float(augc), float(augc * np.sqrt(1 - correction**2) / correction), sd)


def _c4(n: int) -> float:
    """E[sample SD, ddof 1] / SD of n normal values: sqrt(2 / (n - 1)) Gamma(n / 2) / Gamma((n - 1) / 2)."""
    return float(np.sqrt(2 / (n - 1)) * np.exp(gammaln(n / 2) - gammaln((n - 1) / 2)))
