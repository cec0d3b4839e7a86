"""Reward objectives: what an online update maximises, one number for each response from the rewards of all members."""

import torch


def mean(rewards: torch.Tensor) -> torch.Tensor:
    """The mean over the members of the ensemble, as in the paper: (rows, K) -> (rows,)."""
    return rewards.mean(dim=1)
