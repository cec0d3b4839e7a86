"""Training of a reward member with TRL's RewardTrainer (Eq. 5)."""

from trl import RewardTrainer

from goodhart.training.guarded import Guarded
from goodhart.training.trainers import Resumable


class MemberTrainer(Guarded, Resumable, RewardTrainer):
    """RewardTrainer that stops at what is not finite, and goes on where it was stopped."""
