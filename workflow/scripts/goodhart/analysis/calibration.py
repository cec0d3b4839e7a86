"""The calibrated gap: the accuracy that pi0's own responses promise at a proxy reward, minus the accuracy reached.

A logistic curve sigma(a + b proxy) is fitted to the correctness of pi0's responses to other problems than those of the
evaluations. For a policy that is optimised against the proxy, mean sigma(a + b proxy_t) - accuracy_t says in accuracy
points how much of the promise is not kept. Unlike z(proxy) - z(true), this needs no choice of standard deviations and
does not count a rise of the proxy that was never evidence of correctness.

Selection alone has a calibrated gap of 0 under two conditions. (1) Given the proxy, correctness of pi0's responses does
not depend on the problem. (2) P(correct | proxy) is logistic. The reason: best-of-n chooses by the proxy alone, so that
the chosen response has the same P(correct | proxy, problem) as any other response of pi0. Both conditions hold if every
problem has the same accuracy and the proxy is Gaussian with one SD and a mean that depends on correctness only. Where
problems differ in difficulty, (1) fails. A high score then partly says that a problem is easy, which selection within a
problem cannot use, and even a merely noisy proxy has a positive gap. Compare with best-of-n on the same problems there.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from goodhart.analysis.gap import FloatArray, paired
from goodhart.analysis.responses import check_binary, finite_array, per_response
from goodhart.errors import InputError

# SD of the normal prior on the change of log-odds per SD of the proxy. It keeps the slope finite where a threshold
# separates right from wrong answers; with 100 of 400 responses right it shrinks a slope by about 0.05 %.
PRIOR_SD = 5.0
TAIL = 99.0  # percentile of pi0's scores beyond which the calibration extrapolates


class Calibration(NamedTuple):
    """sigma(intercept + slope z) of z = (proxy - mean) / scale, fitted to `n` responses of pi0, one per problem.

    Attributes:
        intercept, slope: log-odds at z = 0, and their change per SD of the proxy.
        mean, scale: mean and SD (ddof 0) of the proxy over these responses.
        covariance: of intercept and slope, (2, 2), from the curvature of the penalised likelihood.
        tail: the 99th percentile of the proxy over these responses.
        n: number of responses.
    """

    intercept: float
    slope: float
    mean: float
    scale: float
    covariance: FloatArray
    tail: float
    n: int

    @property
    def a(self) -> float:
        """The intercept in units of the proxy: sigma(a + b proxy)."""
        return self.intercept - self.slope * self.mean / self.scale

    @property
    def b(self) -> float:
        """The slope per unit of the proxy."""
        return self.slope / self.scale


class CalibratedGap(NamedTuple):
    """The calibrated gap at every evaluation, (evaluations,) each, in units of accuracy.

    Attributes:
        gap: mean sigma(a + b proxy) minus accuracy.
        se: standard error over problems, for the calibration as fitted.
        fit_se: standard error from the calibration, by the delta method. It is independent of `se`, since the problems
            are others, and common to all evaluations and levels that use this calibration.
        beyond: share of scores above pi0's 99th percentile, where the calibration extrapolates; 0.01 at pi0.
    """

    gap: FloatArray
    se: FloatArray
    fit_se: FloatArray
    beyond: FloatArray


def fit_calibration(proxy: npt.ArrayLike, correct: npt.ArrayLike) -> Calibration | None:
    """Fit correctness (0 or 1) of pi0's responses to their proxy reward, both (n,) with one response per problem.

    Maximum likelihood with a normal prior of SD 5 on the standardised slope and none on the intercept, so that the mean
    of the fitted probabilities equals the accuracy, and the calibrated gap of these responses is 0. None where all
    responses are right, all are wrong, or all have the same score.
    """
    x, y = paired(proxy=proxy, correct=correct)
    check_binary("correct", y)
    if len(x) < 2 or np.ptp(y) == 0 or np.ptp(x) <= 1e-12 * np.abs(x).max():
        return None
    mean, scale = float(x.mean()), float(x.std())
    features = np.column_stack([np.ones(len(x)), (x - mean) / scale])
    prior = np.array([0.0, PRIOR_SD**-2])

    def loss(theta: FloatArray) -> float:
        logits = features @ theta
        return float(np.logaddexp(0, logits).sum() - y @ logits + prior @ theta**2 / 2)

    def gradient(theta: FloatArray) -> FloatArray:
        return features.T @ (expit(features @ theta) - y) + prior * theta

    def curvature(theta: FloatArray) -> FloatArray:
        p = expit(features @ theta)
        return (features * (p * (1 - p))[:, None]).T @ features + np.diag(prior)

    start = np.array([np.log(y.mean() / (1 - y.mean())), 0.0])
    theta = minimize(loss, start, jac=gradient, hess=curvature, method="trust-exact").x
    for _ in range(20):  # Newton steps, since near the optimum the loss changes by less than its rounding
        theta = theta - np.linalg.solve(curvature(theta), gradient(theta))
    if not np.abs(gradient(theta)).max() <= 1e-9 * len(x):
        raise InputError("the calibration of the proxy did not converge.")
    a, b = (float(value) for value in theta)
    covariance: FloatArray = np.linalg.inv(curvature(theta)).astype(np.float64)
    return Calibration(a, b, mean, scale, covariance, float(np.percentile(x, TAIL)), len(x))


def expected_accuracy(calibration: Calibration, proxy: npt.ArrayLike) -> FloatArray:
    """sigma(a + b proxy) for scores of any shape: the probability of correctness that pi0's responses promise."""
    x = finite_array("proxy", proxy)
    return np.asarray(expit(calibration.intercept + calibration.slope * (x - calibration.mean) / calibration.scale))


def calibrated_gap(calibration: Calibration, proxy: npt.ArrayLike, correct: npt.ArrayLike) -> CalibratedGap:
    """The calibrated gap of the evaluations of one run; `proxy` and `correct` (0 or 1) are (evaluations, problems).

    At pi0 the gap is 0 within its error. A negative gap means that responses are better than their scores promise.
    """
    x, y = per_response(proxy=proxy, correct=correct)
    if x.shape[1] < 2:
        raise InputError("the calibrated gap needs at least two problems.")
    check_binary("correct", y)
    p = expected_accuracy(calibration, x)
    excess, weight = p - y, p * (1 - p)
    change = np.stack([weight.mean(axis=1), (weight * (x - calibration.mean) / calibration.scale).mean(axis=1)])
    return CalibratedGap(
        excess.mean(axis=1),
        excess.std(axis=1, ddof=1) / np.sqrt(x.shape[1]),
        np.sqrt(np.einsum("it,ij,jt->t", change, calibration.covariance, change)),
        (x > calibration.tail).mean(axis=1),
    )
