"""The noise floor of AUGC against the closed form of one interval, and against simulated runs."""

import numpy as np
import pytest

from goodhart.analysis.floor import noise_floor
from goodhart.analysis.gap import augc
from goodhart.errors import InputError

GAPS = [0.1, -0.2, 0.4, 0.3, -0.1, 0.2]


def test_one_interval_on_paper() -> None:
    """e_1 - e_0 has SD sqrt(2) s, its positive part the mean s / sqrt(pi), and the triangle half of that times 10.

    Two values that differ by d have a sample SD of d / sqrt(2), which is sqrt(2 / pi) s on average: s = d sqrt(pi) / 2.
    """
    found = noise_floor([0.0, 2.0], [0, 10])
    assert found.sd == pytest.approx(np.sqrt(np.pi))
    assert found.augc == pytest.approx(5)
    assert found.se == pytest.approx(5 * np.sqrt(np.pi / 2 - 1))


@pytest.mark.parametrize("steps", [[0, 10], [0, 10, 20, 30], [0, 1, 10, 40]])
def test_simulated_runs_have_this_area_on_average(steps: list[int]) -> None:
    found = noise_floor(GAPS, steps)
    errors = found.sd * np.random.default_rng(0).normal(size=(4_000, len(steps)))
    areas = [augc(steps, run - run[0]) for run in errors]
    assert abs(np.mean(areas) - found.augc) < 3 * np.std(areas) / np.sqrt(len(areas))


def test_few_seeds_are_not_biased_and_have_the_stated_error() -> None:
    """With s = 1 the floor of ten updates is 5 / sqrt(pi)."""
    draws = np.random.default_rng(1).normal(size=(4_000, 4))
    found = np.array([noise_floor(gaps, [0, 10]) for gaps in draws])
    expected = 5 / np.sqrt(np.pi)
    assert found[:, 0].mean() == pytest.approx(expected, abs=0.06)
    assert found[:, 0].std() == pytest.approx(0.42 * expected, rel=0.05)
    assert found[:, 1].mean() == pytest.approx(0.42 * expected, rel=0.05)


def test_a_shared_seed_has_no_floor() -> None:
    assert noise_floor([0.3, 0.3, 0.3], [0, 10, 20]).augc == pytest.approx(0, abs=1e-12)


def test_origin_and_units() -> None:
    found, moved = noise_floor(GAPS, [0, 10, 30]), noise_floor(2 * np.array(GAPS) + 9, [0, 30, 90])
    assert moved.augc == pytest.approx(6 * found.augc)
    assert noise_floor(GAPS, [5, 15, 35]).augc == pytest.approx(found.augc)


@pytest.mark.parametrize(
    ("gaps", "steps", "named"),
    [
        ([1.0], [0, 1], "at least two evaluation seeds"),
        ([1.0, 2.0], [0], "steps must hold at least two"),
        ([1.0, 2.0], [0, 0], "strictly increasing"),
        ([1.0, np.nan], [0, 1], "gaps .* not finite"),
    ],
)
def test_bad_input_is_one_sentence(gaps: list[float], steps: list[int], named: str) -> None:
    with pytest.raises(InputError, match=named):
        noise_floor(gaps, steps)
