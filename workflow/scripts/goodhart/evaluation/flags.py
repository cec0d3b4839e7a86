"""The flags of steps that sample responses of a policy, and of steps that evaluate a policy."""

from dataclasses import dataclass
from pathlib import Path

from goodhart.cli import flag, group
from goodhart.models.flags import PolicyFlags
from goodhart.models.manifest import check_adapters
from goodhart.runtime.types import Record
from goodhart.sampling.settings import Sampling
from goodhart.store.flags import record, tensors


@dataclass(frozen=True, kw_only=True)
class ResponseFlags(PolicyFlags):
    """A policy, how responses are sampled from it, and the verifier of their answers."""

    verifier: str
    sampling: Sampling = group(Sampling)


@dataclass(frozen=True, kw_only=True)
class EvaluationFlags(ResponseFlags):
    """An offline adapter, and the reward models that score its responses."""

    adapter: Path = flag(help="offline adapter")
    metrics: Record = record("method", "level", "beta", "replicate", help="metrics.json of that adapter")
    backbone: Path = flag(help="of the reward models; may be the policy itself")
    members: list[Path]
    held_out: list[Path] = flag(default=(), help="reward models that no policy is trained against")
    quality: Record = record("member_means", help="quality.json of the members")
    centroid: Path = tensors()
    derived_reward: Record = record("values")
    correct_weight: float | None = flag(default=None, help="of the judge that labelled the pairs, if known")
    filler_weight: float | None = flag(default=None, help="of the same judge")
    evaluation_seed: int = flag(help="the same for every policy of the replicate")

    def verify(self) -> None:
        """Raise `InputError` unless adapters, bases and cached files belong together."""
        check_adapters(self.policy, [self.adapter])
        check_adapters(self.backbone, [*self.members, *self.held_out])
        self.origin.verify_policy(self.raw)
