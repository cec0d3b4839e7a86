"""The calibrated gap by hand, its fit on known curves, and best-of-n on noisy proxies."""

from typing import Any

import numpy as np
import pytest

from goodhart.analysis import calibration as c
from goodhart.errors import InputError

LOG3 = float(np.log(3))
N = 4_000


def drawn(rng: np.random.Generator, accuracy: Any, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Correctness with these accuracies, and a proxy that is correctness plus normal noise of SD 0.7: (shape) each."""
    correct = (rng.random(shape) < accuracy).astype(float)
    return correct + 0.7 * rng.normal(size=shape), correct


def best_of(n: int, proxy: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The response with the highest proxy among the first n of each problem; inputs (n or more, problems)."""
    best = proxy[:n].argmax(axis=0), np.arange(proxy.shape[1])
    return proxy[best], correct[best]


def test_the_fit_of_two_scores_by_hand() -> None:
    """1/4 right at score 2 and 3/4 at score 4: log-odds -ln 3 and +ln 3, a slope of ln 3 per unit."""
    proxy = np.repeat([2.0, 4.0], N // 2)
    correct = np.tile(np.repeat([0.0, 1.0], [3, 1]), N // 8)
    fit = c.fit_calibration(proxy, np.concatenate([correct, 1 - correct]))
    assert fit is not None
    assert (fit.a, fit.b) == pytest.approx((-3 * LOG3, LOG3), rel=1e-3)
    assert (fit.mean, fit.scale, fit.tail, fit.n) == (3, 1, 4, N)
    # The information is 3/16 per response for intercept and slope alike, since z is -1 or 1.
    assert fit.covariance == pytest.approx(np.diag([1, 1]) * 16 / 3 / N, rel=1e-3, abs=1e-9)
    assert c.expected_accuracy(fit, [[2.0, 3.0, 4.0]]) == pytest.approx(np.array([[0.25, 0.5, 0.75]]), abs=1e-4)


def test_gap_by_hand() -> None:
    """At scores 0 and 1 the curve promises 1/2 and 3/4; one answer is right. Excess 0.5 and -0.25 have SD 0.53."""
    fit = c.Calibration(0.0, LOG3, 0.0, 1.0, np.diag([0.04, 0.01]), 0.5, 100)
    found = c.calibrated_gap(fit, [[0.0, 1.0], [0.0, 0.0]], [[0, 1], [1, 1]])
    assert found.gap == pytest.approx([0.125, -0.5])
    assert found.se == pytest.approx([0.375, 0])
    # p (1 - p) is 1/4 and 3/16: the gap changes by 7/32 per unit of a and by 3/32 per unit of b.
    assert found.fit_se == pytest.approx([np.sqrt(0.04 * (7 / 32) ** 2 + 0.01 * (3 / 32) ** 2), 0.2 * 0.25])
    assert found.beyond.tolist() == [0.5, 0]


def test_the_fit_recovers_the_conditional_probability_of_a_normal_proxy() -> None:
    """With SD s and means 0 and 1, log-odds are logit(p) - 1 / (2 s^2) + proxy / s^2: Bayes' rule."""
    proxy, correct = (x[0] for x in drawn(np.random.default_rng(0), 0.7, (1, 50_000)))
    fit = c.fit_calibration(proxy, correct)
    assert fit is not None
    assert fit.b == pytest.approx(1 / 0.49, abs=0.06)
    assert fit.a == pytest.approx(np.log(7 / 3) - 0.5 / 0.49, abs=0.06)


def test_the_responses_of_the_fit_have_no_gap_and_one_percent_beyond() -> None:
    proxy, correct = drawn(np.random.default_rng(1), 0.7, (1, 2_000))
    fit = c.fit_calibration(proxy[0], correct[0])
    assert fit is not None
    found = c.calibrated_gap(fit, proxy, correct)
    assert found.gap == pytest.approx([0], abs=1e-7)
    assert found.beyond == pytest.approx([0.01])


def test_best_of_n_on_a_merely_noisy_proxy_has_no_gap() -> None:
    """All problems are equally hard and the noise is normal, so that both conditions of the module hold."""
    rng = np.random.default_rng(2)
    proxy, correct = drawn(rng, 0.5, (1, N))
    fit = c.fit_calibration(proxy[0], correct[0])
    assert fit is not None
    many = drawn(rng, 0.5, (16, N))
    chosen = [best_of(n, *many) for n in (1, 4, 16)]
    found = c.calibrated_gap(fit, [p for p, _ in chosen], [y for _, y in chosen])
    assert (np.abs(found.gap) < 3 * np.hypot(found.se, found.fit_se)).all()
    assert found.gap == pytest.approx([0, 0, 0], abs=0.03)
    assert (np.diff(found.beyond) > 0.02).all()
    assert chosen[2][1].mean() > 0.8  # selection pays, as the calibration says


def test_best_of_n_has_a_gap_where_problems_differ_in_difficulty() -> None:
    """The first condition fails: on a hard problem a high score is noise, although elsewhere it means success."""
    rng = np.random.default_rng(3)
    accuracy = np.repeat([0.05, 0.95], N // 2)
    proxy, correct = drawn(rng, accuracy, (1, N))
    fit = c.fit_calibration(proxy[0], correct[0])
    assert fit is not None
    chosen = best_of(16, *drawn(rng, accuracy, (16, N)))
    found = c.calibrated_gap(fit, [chosen[0]], [chosen[1]])
    assert found.gap[0] > 5 * np.hypot(found.se, found.fit_se)[0]


def test_a_policy_that_buys_score_without_correctness_has_a_gap() -> None:
    """2 more of proxy, the same correctness. The gap is the promised rise in accuracy."""
    rng = np.random.default_rng(4)
    proxy, correct = drawn(rng, 0.5, (1, N))
    fit = c.fit_calibration(proxy[0], correct[0])
    assert fit is not None
    found = c.calibrated_gap(fit, proxy + 2, correct)
    assert 0.4 < found.gap[0] < 0.5
    assert found.beyond[0] > 0.5


def test_separated_answers_have_a_finite_steep_curve() -> None:
    proxy = np.linspace(-1, 1, 40)
    fit = c.fit_calibration(proxy, proxy > 0)
    assert fit is not None
    assert 5 < fit.slope < 50
    assert np.isfinite(fit.covariance).all()
    assert c.expected_accuracy(fit, proxy).mean() == pytest.approx(0.5)


@pytest.mark.parametrize("right", [1, 2_500, 4_999])
def test_one_outlying_score_does_not_stop_the_fit(right: int) -> None:
    """The slope then rests on one response, and the likelihood is flat to within its rounding."""
    proxy, correct = np.zeros(5_000), np.arange(5_000) < right
    proxy[0] = 1
    fit = c.fit_calibration(proxy, correct)
    assert fit is not None
    assert c.expected_accuracy(fit, proxy).mean() == pytest.approx(right / 5_000)


def test_a_shift_and_a_unit_of_the_proxy_change_nothing() -> None:
    proxy, correct = drawn(np.random.default_rng(5), 0.4, (3, 300))
    first, second = (c.fit_calibration(x[0], correct[0]) for x in (proxy, 50 * proxy - 900))
    assert first is not None
    assert second is not None
    assert second.b == pytest.approx(first.b / 50, rel=1e-5)
    for one, other in zip(
        c.calibrated_gap(first, proxy, correct), c.calibrated_gap(second, 50 * proxy - 900, correct), strict=True
    ):
        assert other == pytest.approx(one, abs=1e-6)


@pytest.mark.parametrize(
    ("proxy", "correct"),
    [([1, 2, 3], [1, 1, 1]), ([1, 2, 3], [0, 0, 0]), ([2, 2, 2], [0, 1, 1]), ([1], [1]), ([], [])],
)
def test_responses_that_determine_no_curve_give_none(proxy: list[float], correct: list[float]) -> None:
    assert c.fit_calibration(proxy, correct) is None


FIT = c.Calibration(0.0, 1.0, 0.0, 1.0, np.eye(2), 2.0, 9)


@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (c.fit_calibration, ([1, 2], [0]), "proxy, correct differ in length"),
        (c.fit_calibration, ([1, 2], [0, 0.5]), "correct must hold nothing but 0 and 1"),
        (c.fit_calibration, ([1, np.nan], [0, 1]), "proxy .* not finite"),
        (c.calibrated_gap, (FIT, [[1, 2]], [[0, 1, 1]]), "proxy, correct differ in shape"),
        (c.calibrated_gap, (FIT, [1, 2], [0, 1]), r"\(evaluations, problems\), not \(2,\)"),
        (c.calibrated_gap, (FIT, [[1]], [[0]]), "at least two problems"),
        (c.calibrated_gap, (FIT, [[1, 2]], [[0, 2]]), "nothing but 0 and 1"),
        (c.expected_accuracy, (FIT, ["a"]), "proxy must be an array of numbers"),
    ],
)
def test_bad_input_is_one_sentence(function: Any, arguments: tuple, named: str) -> None:
    with pytest.raises(InputError, match=named):
        function(*arguments)
