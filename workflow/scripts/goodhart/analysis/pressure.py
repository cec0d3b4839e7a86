"""The true reward of different levels at equal pressure: at one value of the proxy, or at one KL.

After equally many updates a checkpoint with little left to lose has been driven less far than one with much. Whether
beta or mere distance decides is seen where all levels are compared at the same pressure. The pressure is any quantity
per response that optimisation raises: z of the proxy from pi0 (`estimands.rise`), or the log-ratio of a response, whose
mean is the KL, from the own start or from pi0.

Cross-fitting. Choosing an evaluation by its measured pressure favours evaluations whose error is upward, and the errors
of proxy and truth on one response are correlated. Therefore the evaluation is chosen on one half of the problems (even
or odd index) and the true reward is read on the other half; the halves are then swapped, and both readings averaged.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from goodhart.analysis.gap import FloatArray
from goodhart.analysis.responses import per_response
from goodhart.errors import InputError

Rows = Mapping[str, npt.ArrayLike]  # by level, (evaluations, problems) each


class Reading(NamedTuple):
    """One level at the common pressure, averaged over both halves.

    Attributes:
        true: mean true reward, in its own units.
        pressure: mean pressure on the halves where `true` was read. It differs from the target by sampling error and
            regression to the mean, and shows how equal the pressures are.
        evaluation: index of the evaluation, a fraction between two of them.
    """

    true: float
    pressure: float
    evaluation: float


class AtPressure(NamedTuple):
    """The levels at one pressure.

    Attributes:
        target: the common pressure, the mean over both halves.
        readings: by level; None for a level that starts above the target or does not reach it on one of the halves.
        beyond: the levels that start above the target.
        short: the other levels without a reading, which do not reach the target.
    """

    target: float
    readings: dict[str, Reading | None]
    beyond: tuple[str, ...]
    short: tuple[str, ...]

    @property
    def missing(self) -> int:
        """The number of levels without a reading."""
        return len(self.beyond) + len(self.short)


def true_at_pressure(pressure: Rows, true: Rows, target: float | None = None) -> AtPressure:
    """The true reward of every level where its mean pressure first reaches the target.

    Between two evaluations, pressure and truth are taken as linear. The levels may differ in the number of evaluations
    and must share the problems, in one order. There is no standard error: the unit of replication is the whole chain.

    Args:
        pressure: pressure per response, in any unit.
        true: true reward per response.
        target: the common pressure; by default the largest mean pressure that all levels reach, which each half of the
            problems determines for itself, so that the other half stays untouched.
    """
    rows = _checked(pressure, true)
    if target is not None and not np.isfinite(target):
        raise InputError(f"the common pressure must be finite, not {target!r}.")
    folds = [_fold(rows, half, target) for half in (0, 1)]
    readings: dict[str, Reading | None] = {}
    for level in rows:
        halves = [found for _, readings_of in folds if isinstance(found := readings_of[level], Reading)]
        readings[level] = Reading(*np.mean(halves, axis=0).tolist()) if len(halves) == 2 else None
    absent = [level for level, reading in readings.items() if reading is None]
    beyond = tuple(level for level in absent if any(found[level] == "beyond" for _, found in folds))
    short = tuple(level for level in absent if level not in beyond)
    return AtPressure(float(np.mean([at for at, _ in folds])), readings, beyond, short)


def first_reached(curve: npt.ArrayLike, target: float) -> float | None:
    """The fractional index where a curve (evaluations,) first reaches a target from below.

    None where it does not, or starts above the target. A curve that starts at the target reaches it at 0.
    """
    c = np.asarray(curve, dtype=np.float64)
    if c[0] >= target:
        return 0.0 if c[0] == target else None
    over = np.flatnonzero(c >= target)
    if not len(over):
        return None
    after = int(over[0])
    return after - 1 + float((target - c[after - 1]) / (c[after] - c[after - 1]))


def _fold(rows: dict[str, list[FloatArray]], half: int, target: float | None) -> tuple[float, dict[str, Reading | str]]:
    """Choose the evaluations on the problems of one parity and read the others: the target, and what was found.

    Instead of a reading, a level is "beyond" if it starts above the target, or "short" if it does not reach it.
    """
    curves = {level: pressure[:, half::2].mean(axis=1) for level, (pressure, _) in rows.items()}
    at = min(float(curve.max()) for curve in curves.values()) if target is None else float(target)
    found: dict[str, Reading | str] = {}
    for level, (pressure, true) in rows.items():
        index = first_reached(curves[level], at)
        if index is None:
            found[level] = "beyond" if curves[level][0] > at else "short"
            continue
        read = [np.interp(index, np.arange(len(x)), x[:, 1 - half :: 2].mean(axis=1)) for x in (true, pressure)]
        found[level] = Reading(float(read[0]), float(read[1]), index)
    return at, found


def _checked(pressure: Rows, true: Rows) -> dict[str, list[FloatArray]]:
    if not pressure or set(pressure) != set(true):
        raise InputError(f"pressure has levels {_listed(pressure)}, the true reward has {_listed(true)}.")
    rows = {level: per_response(pressure=pressure[level], true=true[level]) for level in pressure}
    problems = {p.shape[1] for p, _ in rows.values()}
    if len(problems) > 1 or min(problems) < 2:
        raise InputError(f"the levels must share at least two problems, not {', '.join(map(str, sorted(problems)))}.")
    return rows


def _listed(levels: Mapping[str, Any]) -> str:
    return ", ".join(levels) or "none"
