"""What pi0 scored in a replicate, from eight hand-made responses; the responses of a run as an array."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from goodhart.analysis.calibration import fit_calibration
from goodhart.analysis.reference import Reference, by_step
from goodhart.errors import InputError

QUALITY = {"proxy_scale": 2.0, "held_out": {"proxy_scale": 0.5}, "judge_scale": 1.5}
RESPONSES = pd.DataFrame(
    {
        "problem_id": [f"e-{i}" for i in range(4)] + [f"o-{i}" for i in range(4)],
        "split": ["evaluation"] * 4 + ["online"] * 4,
        "correct": [True, True, True, False, False, True, False, True],
    }
)
BASELINE = pd.DataFrame(
    {
        "problem_id": RESPONSES["problem_id"],
        "proxy": [1.0, 2.0, 3.0, 6.0, -1.0, 0.0, 1.0, 2.0],
        "held_out": [0.0, 1.0, 2.0, 1.0, 9.0, 9.0, 9.0, 9.0],
        "judge": [4.0, 4.0, 4.0, 0.0, 9.0, 9.0, 9.0, 9.0],
    }
)


def test_origins_are_those_of_the_evaluation_problems() -> None:
    """Three of four are right, so that correctness has an SD of sqrt(4 / 6 * 2 / 6), with a pseudo-count each way."""
    found = Reference.of(7, QUALITY, BASELINE, RESPONSES)
    assert (found.replicate, found.successes, found.problems) == (7, 3, 4)
    assert (found.proxy, found.held_out, found.judge) == ((3.0, 2.0), (1.0, 0.5), (3.0, 1.5))
    assert found.true == (0.75, pytest.approx(math.sqrt(8) / 6))


def test_the_proxy_is_calibrated_on_other_problems() -> None:
    found = Reference.of(7, QUALITY, BASELINE, RESPONSES).calibration
    expected = fit_calibration([-1, 0, 1, 2], [0, 1, 0, 1])
    assert found is not None
    assert expected is not None
    assert (found.n, found.a, found.b, found.tail) == (4, expected.a, expected.b, expected.tail)


def test_scores_belong_to_responses_by_problem() -> None:
    shuffled = Reference.of(7, QUALITY, BASELINE.sample(frac=1, random_state=0), RESPONSES)
    assert shuffled.record() == Reference.of(7, QUALITY, BASELINE, RESPONSES).record()


@pytest.mark.parametrize("online", [[], [True] * 4], ids=["no online problems", "all right"])
def test_what_a_study_lacks_is_none(online: list[bool]) -> None:
    responses = RESPONSES.iloc[: 4 + len(online)]
    responses = responses.assign(correct=[*responses["correct"][:4], *online])
    baseline = BASELINE.iloc[: len(responses)].assign(held_out=None, judge=None)
    found = Reference.of(7, {"proxy_scale": 2.0}, baseline, responses)
    assert (found.held_out, found.judge, found.calibration) == (None, None, None)
    assert found.record() == {
        "replicate": 7,
        "successes": 3,
        "problems": 4,
        "proxy": {"mean": 3.0, "scale": 2.0},
        "true": {"mean": 0.75, "scale": pytest.approx(math.sqrt(8) / 6)},
        **dict.fromkeys(("held_out", "judge", "calibration")),
    }


def test_the_record_is_json() -> None:
    """sigma(a + b proxy) with the recorded a and b is the fitted curve, whose mean is the accuracy."""
    record = Reference.of(7, QUALITY, BASELINE, RESPONSES).record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["held_out"], record["judge"]) == ({"mean": 1.0, "scale": 0.5}, {"mean": 3.0, "scale": 1.5})
    curve = record["calibration"]
    assert set(curve) == {"a", "b", "tail", "n"}
    promised = 1 / (1 + np.exp(-(curve["a"] + curve["b"] * np.array([-1, 0, 1, 2]))))
    assert promised.mean() == pytest.approx(0.5)
    assert curve["b"] > 0


@pytest.mark.parametrize("scale", [0.0, float("nan")])
def test_an_ensemble_that_says_always_the_same_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match="replicate 7: the reward models give every held-out response the same reward"):
        Reference.of(7, {"proxy_scale": scale}, BASELINE, RESPONSES)


def test_responses_by_step() -> None:
    """Rows may come in any order: rows of the array are steps, columns are problems by their id."""
    cells: list[Any] = [(8, "b", 3), (0, "b", 1), (8, "a", 2), (0, "a", 0), (16, "a", 4), (16, "b", 5)]
    responses = pd.DataFrame(cells, columns=["step", "problem_id", "score"])
    assert by_step(responses, "score").tolist() == [[0, 1], [2, 3], [4, 5]]
    assert by_step(responses.assign(score=responses["score"] > 2), "score").tolist() == [[0, 0], [0, 1], [1, 1]]
