"""A policy adapter with all that its evaluation needs: the ensemble beside it, the centroid, and the problems."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goodhart.cli import flag, group
from goodhart.models.flags import PolicyFlags
from goodhart.models.manifest import check_adapters
from goodhart.runtime.types import Frame, Tensor
from goodhart.sampling.settings import Sampling
from goodhart.store.flags import record, tensors
from goodhart.store.provenance import Origin
from goodhart.verifiers.registry import verifier


@dataclass(frozen=True, kw_only=True)
class EvaluationFlags(PolicyFlags):
    """An offline adapter, the reward models that judge it, and how responses to the evaluation problems are sampled."""

    adapter: Path = flag(help="offline adapter")
    metrics: dict[str, Any] = record("method", "level", "beta", "seed", help="metrics.json of that adapter")
    backbone: Path = flag(help="of the reward models; may be the policy itself")
    members: list[Path]
    centroid: Path = tensors()
    derived_reward: dict[str, Any] = record("values")
    verifier: str
    sampling: Sampling = group(Sampling)
    evaluation_seed: int = flag(help="the same for every policy of the study")

    def verify(self, origin: Origin) -> None:
        """Raise `InputError` unless adapters, bases and cached files belong together."""
        check_adapters(self.policy, [self.adapter])
        check_adapters(self.backbone, self.members)
        origin.verify_policy(self.raw)
        verifier(self.verifier)


class Evaluator:
    """Evaluates adapter `policy` of `model`, which may have the same adapter as its frozen `reference` beside it."""

    def __init__(self, given: EvaluationFlags, problems: Frame, batch_size: int, trainable: bool = False) -> None:
        """`batch_size` rows share a pass without gradients; with `trainable` the policy can be trained."""
        from goodhart.evaluation.responses import ProblemSet
        from goodhart.hyperparameters.appendix_c import values
        from goodhart.models.adapters import attach_adapter
        from goodhart.models.ensemble import load_centroid, load_with_policy
        from goodhart.models.loading import load_policy, load_tokenizer
        from goodhart.models.manifest import check_model

        check_model(given.policy)
        self.tokenizer = load_tokenizer(given.policy)
        policy = load_policy(given.policy, given.precision)
        self.model = attach_adapter(policy, given.adapter, "policy", trainable)
        if trainable:
            self.model = attach_adapter(self.model, given.adapter, "reference")
        self.ensemble = load_with_policy(
            self.model, given.policy, given.backbone, given.precision, given.members, values(given.derived_reward)
        )
        self.centroid = load_centroid(given.centroid)
        self.problems = ProblemSet.of(problems, given.verifier, given.sampling, given.evaluation_seed)
        self.batch_size = batch_size

    def evaluate(self, reference: str | None) -> tuple[dict[str, Any], list[dict[str, Any]], Tensor]:
        """`probes.evaluate` of the policy against adapter `reference`, or the bare base."""
        from goodhart.evaluation.probes import evaluate

        return evaluate(
            self.model, self.tokenizer, self.ensemble, self.centroid, self.problems, reference, self.batch_size
        )
