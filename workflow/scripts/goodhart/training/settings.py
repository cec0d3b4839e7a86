"""The settings of the training stages, as the configuration and the command line have them."""

from dataclasses import dataclass

from goodhart.cli import Output, flag
from goodhart.store.flags import StepFlags


@dataclass(frozen=True, kw_only=True)
class AutosaveFlags(StepFlags):
    """Where and how often a training script saves what it needs to resume; neither changes a result."""

    checkpoints: Output = flag(help="folder of the checkpoints, removed after success")
    checkpoint_minutes: float = flag(help="minutes between two; 0: after every step")


@dataclass(frozen=True)
class Shape:
    """The architecture of the embedded policy."""

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_size: int


@dataclass(frozen=True, kw_only=True)
class Online:
    """The length of an online run, its batches, and the penalty's percentile."""

    steps: int = flag(help="updates")
    prompts_per_step: int = flag(help="one response each")
    kl_percentile: float = flag(help="p_KL of Eq. 10")
    evaluate_every: int = flag(help="updates between two evaluations")
