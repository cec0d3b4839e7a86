"""AUROC: how well a score ranks responses with one outcome above responses with the other."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from goodhart.analysis.gap import paired
from goodhart.analysis.responses import check_binary
from goodhart.errors import InputError


class Ranking(NamedTuple):
    """AUROC of `n` responses, `positive` of which have the outcome; None where one class is absent."""

    auroc: float | None
    n: int
    positive: int


def auroc(score: npt.ArrayLike, outcome: npt.ArrayLike) -> Ranking:
    """P(score with the outcome > score without), ties counted one half: Mann-Whitney U over the number of pairs.

    `score` and the boolean `outcome` are (n,). 1/2 is chance, and a constant score has 1/2.
    """
    s, y = paired(score=score, outcome=outcome)
    check_binary("outcome", y)
    n, positive = len(y), int(y.sum())
    if positive in (0, n):
        return Ranking(None, n, positive)
    ranks = rankdata(s)  # the mean rank of equal scores counts a tie one half
    u = float(ranks[y == 1].sum()) - positive * (positive + 1) / 2
    return Ranking(u / (positive * (n - positive)), n, positive)


def auroc_within(
    score: npt.ArrayLike, outcome: npt.ArrayLike, stratum: Sequence[Hashable] | npt.NDArray[Any]
) -> dict[Any, Ranking]:
    """AUROC within each stratum, such as the style of a response; no pair of responses crosses strata.

    A score that sees nothing but the stratum has 1/2 in all strata, whatever its AUROC over all responses.
    """
    s, y = paired(score=score, outcome=outcome)
    labels = np.asarray(stratum)
    if labels.shape != s.shape:
        raise InputError(f"stratum must have one label for each of {len(s)} scores, not shape {labels.shape}.")
    return {label: auroc(s[labels == label], y[labels == label]) for label in np.unique(labels).tolist()}
