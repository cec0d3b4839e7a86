"""What the reference policy pi0 of a replicate scored: where and in which units its gaps are measured."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from goodhart.analysis.calibration import Calibration, fit_calibration
from goodhart.analysis.estimands import Origin
from goodhart.analysis.gap import FloatArray, true_scale
from goodhart.errors import InputError


@dataclass(frozen=True)
class Reference:
    """The origins of all rewards in one replicate, over pi0's responses to the evaluation problems.

    Attributes:
        successes, problems: correct responses of pi0, and evaluation problems.
        proxy, true: mean and SD of the ensemble's mean reward, and of correctness.
        held_out, judge: those of the held-out reward models and of the labelling judge; None where there is none.
        calibration: correctness by proxy reward, from pi0's responses to other problems; None where it has none.
    """

    replicate: int
    successes: int
    problems: int
    proxy: Origin
    true: Origin
    held_out: Origin | None
    judge: Origin | None
    calibration: Calibration | None

    @classmethod
    def of(
        cls, replicate: int, quality: Mapping[str, Any], baseline: pd.DataFrame, responses: pd.DataFrame
    ) -> "Reference":
        """The reference of one replicate.

        Args:
            quality: quality.json of its reward models, with the SDs of all scores over held-out preference responses.
            baseline, responses: scores and verdicts of pi0's responses (`schemas.inputs`).
        """
        if not quality["proxy_scale"] > 0:
            raise InputError(
                f"replicate {replicate}: the reward models give every held-out response the same reward; they have "
                "learned nothing."
            )
        scored = responses.merge(baseline, on="problem_id", validate="one_to_one")
        mine, other = (scored[scored["split"] == split] for split in ("evaluation", "online"))
        successes, problems = int(mine["correct"].sum()), len(mine)
        held_out, judge = quality.get("held_out"), quality.get("judge_scale")
        return cls(
            replicate,
            successes,
            problems,
            Origin(float(mine["proxy"].mean()), quality["proxy_scale"]),
            Origin(successes / problems, true_scale(successes, problems)),
            Origin(float(mine["held_out"].mean()), held_out["proxy_scale"]) if held_out else None,
            Origin(float(mine["judge"].mean()), judge) if judge else None,
            fit_calibration(other["proxy"], other["correct"]) if len(other) else None,
        )

    def record(self) -> dict[str, Any]:
        """The reference as a JSON object."""
        found = asdict(self)
        for name in ("proxy", "true", "held_out", "judge"):
            origin = getattr(self, name)
            found[name] = origin._asdict() if origin else None
        if self.calibration:
            c = self.calibration
            found["calibration"] = {"a": c.a, "b": c.b, "tail": c.tail, "n": c.n}
        return found


def by_step(responses: pd.DataFrame, column: str) -> FloatArray:
    """A column of the responses of one run as (evaluations, problems), in the order of steps and problem ids."""
    ordered = responses.sort_values(["step", "problem_id"])
    return ordered[column].to_numpy(dtype=np.float64).reshape(ordered["step"].nunique(), -1)
