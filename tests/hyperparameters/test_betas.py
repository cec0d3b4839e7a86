"""Eq. 6 and 7 by hand."""

from __future__ import annotations

import numpy as np
import pytest

from goodhart.errors import InputError
from goodhart.hyperparameters import betas

DELTAS = np.array([5.0, 1.0, 3.0, 2.0, 14.0])  # median 3, mean 5


def test_log_ratios_lose_their_sign() -> None:
    assert betas.log_ratio_magnitudes(np.array([-1.0, -9.0]), np.array([-4.0, -2.5])).tolist() == [3, 6.5]


@pytest.mark.parametrize(("percentile", "beta"), [(20, 1.8 / 3), (50, 1), (80, 6.8 / 3), (12.5, 1.5 / 3)])
def test_beta_is_an_interpolated_percentile_over_the_median(percentile: float, beta: float) -> None:
    assert betas.beta_at(DELTAS, percentile) == pytest.approx(beta, rel=1e-6)


def test_epsilon_is_that_of_float32() -> None:
    assert betas.beta_at(DELTAS * 2**-23, 50) == pytest.approx(3 / 4)  # 3 / (3 + 1)


def test_beta_has_no_unit() -> None:
    assert betas.beta_at(1000 * DELTAS, 80) == pytest.approx(betas.beta_at(DELTAS, 80), rel=1e-6)


@pytest.mark.parametrize("deltas", [np.zeros(4), np.array([0, 0, 0, 0, 0, 7.0]), np.array([np.nan, 1])])
def test_a_beta_that_is_not_positive_is_refused(deltas: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"20th percentile .* explicit beta"):
        betas.beta_at(deltas, 20)
