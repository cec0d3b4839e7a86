"""The online loss: policy gradient with an adaptive squared penalty (Eq. 8-10), as pure functions.

L = -mean[A * log pi(y|x)] + kappa * mean[(log pi(y|x) - log pi_ref(y|x))^2],    log-probs summed over the sequence
"""

from typing import NamedTuple

import torch

EPSILON = torch.finfo(torch.float32).eps
DEGENERATE = 1e-6  # below this SD of its rewards, a batch counts as a zero-variance batch


class Loss(NamedTuple):
    """Eq. 8 and its two terms, each a scalar."""

    total: torch.Tensor
    policy: torch.Tensor
    penalty: torch.Tensor


def advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Eq. 9 over the whole batch (ddof = 0); zero in a zero-variance batch. (rows,) -> (rows,)."""
    deviation = rewards.std(correction=0)
    if deviation < DEGENERATE:
        return torch.zeros_like(rewards)
    return (rewards - rewards.mean()) / (deviation + EPSILON)


def kl_coefficient(beta: float, log_ratios: torch.Tensor, percentile: float) -> float:
    """Eq. 10: kappa = beta / (Q_p(|log pi - log pi_ref|) + eps), a constant: no gradient flows through it."""
    return beta / (torch.quantile(log_ratios.detach().abs().float(), percentile / 100).item() + EPSILON)


def online_loss(logprobs: torch.Tensor, reference: torch.Tensor, advantage: torch.Tensor, kappa: float) -> Loss:
    """Eq. 8 on sequence log-probs (rows,), in nats."""
    policy = -(advantage * logprobs).mean()
    penalty = kappa * (logprobs - reference).square().mean()
    return Loss(policy + penalty, policy, penalty)
