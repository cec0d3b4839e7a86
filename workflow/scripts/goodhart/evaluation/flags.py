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

    adapter: Path = flag(help="offline adapter folder")
    metrics: Record = record("method", "level", "beta", "seed", help="metrics.json of that adapter")
    backbone: Path = flag(help="model folder of the reward models; may be that of the policy")
    members: list[Path]
    centroid: Path = tensors()
    derived_reward: Record = record("values")
    evaluation_seed: int = flag(help="sampling seed of the evaluation, the same for every policy of the study")

    def verify(self) -> None:
        """Raise `InputError` unless adapters, bases and cached files belong together."""
        check_adapters(self.policy, [self.adapter])
        check_adapters(self.backbone, self.members)
        self.origin.verify_policy(self.raw)
