"""What one replicate says about beta: the contrasts on which the decision rule rests, one number each per replicate.

x is ln beta, so that every slope is the change per factor e of the offline beta. AUGC differs several-fold between
replicates; its contrasts are therefore divided by the replicate's own mean AUGC over its levels. The paper's three
points (beta 0.310, 1.000, 2.379; AUGC 31.1, 43.0, 145.8) have a relative slope of 0.73.

A valley needs more than a quadratic. The derivative of a fitted quadratic is below 0 at one end and above 0 at the
other also for convex curves that rise throughout, such as the paper's own three points (Simonsohn 2018, "Two lines",
doi:10.1177/2515245918805755, against the test of Lind and Mehlum 2010). `descent` and `ascent` therefore compare both
ends with the interior level of the smallest AUGC. They divide a difference of two AUGCs by the mean of these two, which
is antisymmetric: where AUGC grows by some factor in one half of the replicates and shrinks by the same factor in the
other, they average 0, whereas the mean AUGC of these replicates has a valley that none of them has.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from goodhart.analysis.gap import FloatArray
from goodhart.analysis.replicates import slopes
from goodhart.errors import InputError


class Contrast(NamedTuple):
    """What a contrast measures, and its unit."""

    title: str
    unit: str


_SLOPE = "of the replicate's mean AUGC, per factor e of beta"
_RATIO = "of the mean of the two AUGCs"
_ACCURACY = "of accuracy (0.01 is one point), per factor e of beta"

CONTRASTS = {
    "augc": Contrast("slope of AUGC, gap in SD from the own start", _SLOPE),
    "augc_paper": Contrast("slope of AUGC, gap of Eq. 2", _SLOPE),
    "online_loss": Contrast("slope of the accuracy lost online", _ACCURACY),
    "online_share": Contrast("slope of the accuracy lost online, as a share of the start", "per factor e of beta"),
    "total_loss": Contrast("slope of the accuracy lost in total since pi0", _ACCURACY),
    "low_end": Contrast("derivative of a quadratic in ln beta at the lowest beta, AUGC in SD", _SLOPE),
    "high_end": Contrast("derivative of a quadratic in ln beta at the highest beta, AUGC in SD", _SLOPE),
    "descent": Contrast("AUGC in SD at the lowest interior level minus that at the lowest beta", _RATIO),
    "ascent": Contrast("AUGC in SD at the highest beta minus that at the lowest interior level", _RATIO),
}


def contrasts(ln_beta: FloatArray, cells: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Every contrast of `CONTRASTS` for every replicate, (..., replicates), of one study or of many.

    Args:
        ln_beta: (replicates, levels), rising along the levels.
        cells: augc, augc_paper, online_loss, true_start and total_loss, each (..., replicates, levels).

    Returns:
        NaN where a number that the contrast needs is NaN, for `online_share` also where an offline checkpoint has an
        accuracy of 0, and for the four contrasts of a valley below three levels.
    """
    augc, augc_paper = relative(cells["augc"]), relative(cells["augc_paper"])
    low_end, high_end = end_slopes(ln_beta, augc)
    descent, ascent = around_minimum(augc)
    start = cells["true_start"]
    share = np.divide(cells["online_loss"], start, out=np.full(start.shape, np.nan), where=start > 0)
    return {
        "augc": slopes(ln_beta, augc),
        "augc_paper": slopes(ln_beta, augc_paper),
        "online_loss": slopes(ln_beta, cells["online_loss"]),
        "online_share": slopes(ln_beta, share),
        "total_loss": slopes(ln_beta, cells["total_loss"]),
        "low_end": low_end,
        "high_end": high_end,
        "descent": descent,
        "ascent": ascent,
    }


def relative(augc: FloatArray) -> FloatArray:
    """AUGC, (..., levels), divided by its mean over levels; 0 where AUGC is 0 at every level, since nothing differs."""
    if (augc < 0).any():
        raise InputError("an AUGC is below 0; Eq. 3 integrates the positive part of the gap.")
    mean: FloatArray = augc.mean(axis=-1, keepdims=True)
    return np.divide(augc, mean, out=np.zeros_like(augc), where=mean != 0)


def end_slopes(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Derivative at the first and last level of the least-squares quadratic of y, (..., levels), on x, (..., levels).

    With three levels the quadratic passes through all points. Both derivatives are NaN below three levels.
    """
    if x.shape[-1] < 3:
        return np.full(y.shape[:-1], np.nan), np.full(y.shape[:-1], np.nan)
    centred = x - x.mean(axis=-1, keepdims=True)
    design = np.stack([np.ones_like(centred), centred, centred**2], axis=-1)
    _, b, c = np.moveaxis((np.linalg.pinv(design) @ y[..., None])[..., 0], -1, 0)
    return b + 2 * c * centred[..., 0], b + 2 * c * centred[..., -1]


def around_minimum(y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`difference` of y, (..., replicates, levels), from the first to an interior level, and from there to the last.

    The interior level is one for all replicates of a study: the one with the smallest mean over replicates, by the
    data. With m interior levels their intervals need Bonferroni's level, 1 - 0.05 / m. NaN below three levels.
    """
    if y.shape[-1] < 3:
        return np.full(y.shape[:-1], np.nan), np.full(y.shape[:-1], np.nan)
    place = 1 + np.argmin(y[..., 1:-1].mean(axis=-2), axis=-1)  # (...)
    turn = np.take_along_axis(y, place[..., None, None], axis=-1)[..., 0]
    return difference(y[..., 0], turn), difference(turn, y[..., -1])


def difference(before: FloatArray, after: FloatArray) -> FloatArray:
    """(after - before) over the mean of both, between -2 and 2 for AUGCs; 0 where both are 0."""
    mean = (before + after) / 2
    return np.divide(after - before, mean, out=np.zeros_like(mean), where=mean != 0)
