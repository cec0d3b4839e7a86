"""The decision rule on the paper's claim, fixed before the study that decides.

A verdict is a list of conditions, each of which puts a whole 95 % interval over replicates on one side of a bound. It
is reached if all its conditions hold, so that a false verdict needs a false condition, and each of these has a
probability of 2.5 %. The first verdict of `RULE` that is reached counts, else the study is undecided.

Both forms of the gap must agree on AUGC, and points and shares on the online loss: where they contradict each other,
no verdict rests on one of them. A valley is judged on the gap in SD alone, because Eq. 2 divides by another proxy(0) at
every level. A study that meets both "holds" and "artefact" has a loss that grows, by less than 0.02: it holds.

The bound 0.18 is a quarter of the paper's relative slope of 0.73; 0.02 is two points of accuracy, or two percent of the
start, per factor e of beta.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from goodhart.analysis.gap import FloatArray

Limits = Mapping[str, tuple[FloatArray, FloatArray]]  # lower and upper end of the interval of each contrast, (studies)

PAPER_SLOPE, REFUTED_BELOW, NEGLIGIBLE_LOSS = 0.73, 0.18, 0.02
_ROUNDING = 1e-9  # an interval that touches its bound but for this has not passed it


class Condition(NamedTuple):
    """The interval of a contrast (a key of `contrasts.CONTRASTS`) lies wholly "above" or "below" a bound."""

    contrast: str
    side: str
    bound: float = 0.0


Rule = Mapping[str, tuple[Condition, ...]]

_RISES = (Condition("augc", "above"), Condition("augc_paper", "above"))
RULE: Rule = {
    "valley": (
        Condition("low_end", "below"),
        Condition("high_end", "above"),
        Condition("descent", "below"),
        Condition("ascent", "above"),
    ),
    "reversed": (Condition("augc", "below"), Condition("augc_paper", "below")),
    "refuted": (Condition("augc", "below", REFUTED_BELOW), Condition("augc_paper", "below", REFUTED_BELOW)),
    "holds": (*_RISES, Condition("online_loss", "above"), Condition("online_share", "above")),
    "artefact": (
        *_RISES,
        Condition("online_loss", "below", NEGLIGIBLE_LOSS),
        Condition("online_share", "below", NEGLIGIBLE_LOSS),
    ),
}
TOTAL: Rule = {"pays": (Condition("total_loss", "below"),), "costs": (Condition("total_loss", "above"),)}

# Names of contrasts in braces stand for their title, mean and interval.
SENTENCES = {
    "no verdict": "No verdict: a gate failed, so that this study cannot test the paper's claim.",
    "valley": "AUGC is smallest at an intermediate beta and larger at both ends, so that neither more nor less "
    "conservatism is better throughout ({descent}; {ascent}).",
    "reversed": "The paper's order is reversed: AUGC falls as beta grows ({augc}; {augc_paper}).",
    "refuted": f"An effect of the paper's size is refuted: as a share of its mean, AUGC grows by less than "
    f"{REFUTED_BELOW} per factor e of beta, and the paper's points give {PAPER_SLOPE} ({{augc}}; {{augc_paper}}).",
    "holds": "The paradox holds online: as beta grows, AUGC and the accuracy lost online both grow ({augc}; "
    "{augc_paper}; {online_loss}; {online_share}).",
    "artefact": "The paradox is an artefact of the measure: AUGC grows with beta, but the accuracy lost online does "
    f"not, or by less than {NEGLIGIBLE_LOSS} per factor e of beta ({{augc}}; {{augc_paper}}; {{online_loss}}; "
    "{online_share}).",
    "undecided": "Undecided: the intervals meet no verdict of the rule ({augc}; {augc_paper}; {online_loss}; "
    "{online_share}).",
}
TOTAL_SENTENCES = {
    "no verdict": SENTENCES["no verdict"],
    "pays": "Conservatism pays in total: less accuracy is lost since pi0 as beta grows ({total_loss}).",
    "costs": "Conservatism costs in total: more accuracy is lost since pi0 as beta grows ({total_loss}).",
    "undecided": "Whether conservatism pays in total is undecided ({total_loss}).",
}


def met(condition: Condition, limits: Limits) -> npt.NDArray[np.bool_]:
    """Whether the condition holds in each study, (studies); never where an interval is unknown (NaN)."""
    low, high = limits[condition.contrast]
    above = condition.side == "above"
    return np.asarray(low > condition.bound + _ROUNDING if above else high < condition.bound - _ROUNDING)


def first_match(limits: Limits, rule: Rule) -> npt.NDArray[np.str_]:
    """The first verdict of a rule whose conditions all hold, else "undecided", for each study, (studies)."""
    reached = [np.logical_and.reduce([met(c, limits) for c in conditions]) for conditions in rule.values()]
    return np.select(reached, [np.asarray(verdict) for verdict in rule], default="undecided")
