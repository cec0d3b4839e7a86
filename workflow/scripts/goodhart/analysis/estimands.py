"""What online optimisation did to a policy, measured from the reference policy pi0 and not from the offline checkpoint.

Definition 3.1 measures the gap from each checkpoint's own start, so that nothing which went wrong offline counts. Here
z(x) is the rise of a reward x since pi0 in standard deviations of x. A series holds one value per evaluation of one
run, starting at step 0, the offline checkpoint. Rewards of pi0 and of all checkpoints must come from the same
evaluation problems. The area under any of the gaps is `gap.augc`, in standard deviations times updates.

With the scales of `gap.gap`, gap_from_reference(t) = gap_from_reference(0) + gap(t) holds exactly: a constant offline
share, plus the gap from the own start.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from goodhart.analysis.gap import FloatArray, finite_series, paired
from goodhart.analysis.responses import finite_array
from goodhart.errors import InputError

DEBRIS = 1.0  # nats of KL per response token; a policy beyond this writes hardly anything that the reference would


class Origin(NamedTuple):
    """Where and in what unit the rises of one reward are measured.

    Attributes:
        mean: mean of the reward over pi0's responses to the evaluation problems.
        scale: SD of one reward: over held-out preference responses for a proxy or a judge, `gap.true_scale` for
            correctness. A held-out proxy has a mean and an SD of its own.
    """

    mean: float
    scale: float


class Losses(NamedTuple):
    """Where the true reward went, in units of the true reward (for accuracies, 0.01 is one point).

    Attributes:
        offline: true reward of pi0 minus that of the offline checkpoint.
        online: true reward of the offline checkpoint minus its mean over the run.
        online_share: `online` as a share of the true reward of the checkpoint; None where that is 0.
        total: offline + online, which is the true reward of pi0 minus the mean over the run.
    """

    offline: float
    online: float
    online_share: float | None
    total: float


def rise(values: npt.ArrayLike, origin: Origin) -> FloatArray:
    """z(x) = (x - x at pi0) / SD for rewards of any shape, in standard deviations."""
    if not np.isfinite(origin.mean):
        raise InputError(f"the mean reward of the reference policy must be finite, not {origin.mean!r}.")
    if not (np.isfinite(origin.scale) and origin.scale > 0):
        raise InputError(f"the scale of a reward must be a positive number, not {origin.scale!r}.")
    return (finite_array("reward", values) - origin.mean) / origin.scale


def gap_from_reference(
    proxy: npt.ArrayLike, true: npt.ArrayLike, proxy_origin: Origin, true_origin: Origin
) -> FloatArray:
    """z(proxy_t) - z(true_t), (evaluations,): the total over-optimisation since pi0.

    Its value at step 0 is the offline share: what offline training has already caused. It may be negative.
    """
    p, r = paired(proxy=proxy, true=true)
    return rise(p, proxy_origin) - rise(r, true_origin)


def reward_error(proxy: npt.ArrayLike, judge: npt.ArrayLike, proxy_origin: Origin, judge_origin: Origin) -> FloatArray:
    """z(proxy_t) - z(judge_t), (evaluations,): what the reward models credit and the judge who labelled does not.

    It is 0 for a proxy that ranks as the judge does in the judge's units. It exists only where the judge can score new
    responses. reward_error + specification_error = gap_from_reference.
    """
    p, j = paired(proxy=proxy, judge=judge)
    return rise(p, proxy_origin) - rise(j, judge_origin)


def specification_error(
    judge: npt.ArrayLike, true: npt.ArrayLike, judge_origin: Origin, true_origin: Origin
) -> FloatArray:
    """z(judge_t) - z(true_t), (evaluations,): what the labelling judge credits although it is not true."""
    j, r = paired(judge=judge, true=true)
    return rise(j, judge_origin) - rise(r, true_origin)


def held_out_gap(
    proxy: npt.ArrayLike, held_out: npt.ArrayLike, proxy_origin: Origin, held_out_origin: Origin
) -> FloatArray:
    """z(proxy_t) - z(held-out proxy_t), (evaluations,): what other reward models do not credit.

    The held-out reward models were trained on other prompts and are never optimised against. The gap needs no truth,
    and errors that all reward models share do not show in it (Eisenstein et al. 2023, arXiv:2312.09244).
    """
    p, h = paired(proxy=proxy, held_out=held_out)
    return rise(p, proxy_origin) - rise(h, held_out_origin)


def offline_loss(reference: float, start: float) -> float:
    """True reward of pi0 minus that of the offline checkpoint; negative where offline training helped."""
    values = finite_series("reference and start", [reference, start])
    return float(values[0] - values[1])


def online_loss(steps: npt.ArrayLike, true: npt.ArrayLike) -> float:
    """(1/T) times the integral over the run of true_0 - true_t, by the trapezoid rule; signed.

    Unlike AUGC, gains and losses cancel, so that noise adds variance but no floor. The error of true_0 enters this
    loss and the offline loss with opposite signs and nearly cancels in their sum.
    """
    t, r = paired(steps=steps, true=true)
    if len(t) < 2:
        raise InputError("the online loss needs at least two evaluations.")
    if (np.diff(t) <= 0).any():
        raise InputError("steps must be strictly increasing.")
    return float(np.trapezoid(r[0] - r, t) / (t[-1] - t[0]))


def total_loss(steps: npt.ArrayLike, true: npt.ArrayLike, reference: float) -> float:
    """Offline plus online loss: the true reward of pi0 minus the mean over the run, which is what a user loses."""
    return losses(steps, true, reference).total


def losses(steps: npt.ArrayLike, true: npt.ArrayLike, reference: float) -> Losses:
    """The losses of one run; `steps` and `true` are (evaluations,), `reference` is the true reward of pi0."""
    online = online_loss(steps, true)
    start = float(finite_series("true", true)[0])
    offline = offline_loss(reference, start)
    return Losses(offline, online, online / start if start else None, offline + online)


def debris(kl: npt.ArrayLike, response_tokens: npt.ArrayLike, limit: float = DEBRIS) -> npt.NDArray[np.bool_]:
    """Which evaluations are beyond `limit` nats of KL per response token, (evaluations,).

    Args:
        kl: mean KL in nats per response, from the policy that the caller chooses; estimates may be below 0.
        response_tokens: mean tokens per response. Without tokens, any positive KL is beyond the limit.
    """
    k, n = paired(kl=kl, response_tokens=response_tokens)
    if (n < 0).any():
        raise InputError("response_tokens must not be negative.")
    return k > limit * n


def centred_uncertainty(rewards: npt.ArrayLike, held_out_means: npt.ArrayLike) -> FloatArray:
    """Eq. 13 without the members' offsets: SD over members (ddof 1) after each member's held-out mean is subtracted.

    Eq. 5 leaves the origin of a member free, and Eq. 13 counts the differences of these origins as uncertainty.

    Args:
        rewards: one reward per member on the last axis, (..., K).
        held_out_means: mean reward of each member over the held-out preference responses, (K,).

    Returns:
        One value per response, (...); 0 for a single member.
    """
    means = finite_series("held_out_means", held_out_means)
    r = finite_array("rewards", rewards)
    if not len(means) or r.ndim < 1 or r.shape[-1] != len(means):
        raise InputError(f"rewards of shape {r.shape} do not have one column for each of {len(means)} members.")
    return (r - means).std(axis=-1, ddof=1) if len(means) > 1 else np.zeros(r.shape[:-1])
