"""Offline training with TRL's DPOTrainer on cached reference log-probs (section 4.3)."""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from goodhart.models.tokens import Pair
from goodhart.runtime.types import Frame
from goodhart.training.guarded import Guarded
from goodhart.training.methods import METHODS


class CachedReferenceDPOTrainer(Guarded, DPOTrainer):
    """DPOTrainer on tokenised rows that carry the reference log-probs.

    TRL alone would compute these log-probs in every run: L x R times for L levels and R replicates. The trainer
    needs `precompute_ref_log_probs=True`, since TRL otherwise ignores the columns.
    """

    def _prepare_dataset(self, dataset: Dataset, *_args: object, **_kwargs: object) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_args: object, **_kwargs: object) -> Dataset:
        return dataset


def rows(pairs: Sequence[Pair | None], logprobs: Frame) -> list[dict[str, Any]]:
    """Rows for the trainer: the pairs that are not None, each with the reference log-probs of its row of `logprobs`."""
    return [
        {
            "prompt_ids": pair.prompt,
            "chosen_ids": pair.chosen,
            "rejected_ids": pair.rejected,
            "ref_chosen_logps": chosen,
            "ref_rejected_logps": rejected,
        }
        for pair, chosen, rejected in zip(pairs, logprobs["chosen_logprob"], logprobs["rejected_logprob"], strict=True)
        if pair
    ]


def config(method: str, beta: float, arguments: dict) -> DPOConfig:
    """The TRL configuration of one run: Eq. 1 at `beta`, with the `arguments` of `trainers.arguments`."""
    return DPOConfig(beta=beta, loss_type=[METHODS[method]], precompute_ref_log_probs=True, **arguments)
