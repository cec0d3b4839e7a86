"""Training of a member of the reward ensemble with TRL's RewardTrainer (Eq. 5)."""

from trl import RewardTrainer

from goodhart.training.guarded import Guarded


class MemberTrainer(Guarded, RewardTrainer):
    """A RewardTrainer that stops at numbers that are not finite and resumes after an interruption."""
