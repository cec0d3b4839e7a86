"""The settings of the training stages, named like their keys in the configuration and their flags."""

from dataclasses import dataclass

from goodhart.cli import Output, flag
from goodhart.models.flags import ModelFlags
from goodhart.runtime.types import Record
from goodhart.sampling.settings import Sampling
from goodhart.store.flags import StepFlags, record


@dataclass(frozen=True, kw_only=True)
class AutosaveFlags(StepFlags):
    """Where and how often a training script saves checkpoints; neither changes a result."""

    checkpoints: Output = flag(help="folder for checkpoints, which is removed after success")
    checkpoint_minutes: float = flag(help="minutes between two checkpoints; 0: a checkpoint after every step")


@dataclass(frozen=True, kw_only=True)
class AdapterFlags(AutosaveFlags, ModelFlags):
    """The arguments that the training of DPO adapters and of reward models share."""

    derived: Record = record("inputs", "values", help="derived/<stage>.json")
    epochs: int
    adapter: Output
    metrics: Output


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
    """The length of an online run, its batches, and the percentile of its penalty."""

    steps: int = flag(help="number of updates")
    prompts_per_step: int = flag(help="prompts per update, with one response each")
    kl_percentile: float = flag(help="p_KL of Eq. 10")
    evaluate_every: int = flag(help="updates between two evaluations")


@dataclass(frozen=True, kw_only=True)
class Settings(Online):
    """All settings of an online run except the seed: settings of the study, the beta, and values of Appendix C."""

    sampling: Sampling
    beta: float
    learning_rate: float
    clip_norm: float
    weight_decay: float
    warmup_steps: int
    batch_size: int  # rows of a micro-batch
    recompute: bool  # activation checkpointing
