"""The flags of steps that load models, and the function that loads the policy."""

from dataclasses import dataclass
from pathlib import Path

from goodhart.cli import flag
from goodhart.runtime.threads import use_threads
from goodhart.runtime.types import PreTrainedModel, PreTrainedTokenizerBase
from goodhart.store.flags import StepFlags

PRECISIONS = ("float32", "bfloat16", "nf4")  # of the base weights; nf4 is QLoRA


@dataclass(frozen=True, kw_only=True)
class ModelFlags(StepFlags):
    """The precision of base weights, and the number of CPU threads, which affects results."""

    precision: str = flag(choices=PRECISIONS)
    threads: int


@dataclass(frozen=True, kw_only=True)
class PolicyFlags(ModelFlags):
    """The policy's model folder, and how it is loaded."""

    policy: Path

    def load_policy(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Verify the model folder, set the threads, and load the frozen policy and its tokeniser."""
        use_threads(self.threads)
        from goodhart.models.loading import load_policy, load_tokenizer

        return load_policy(self.policy, self.precision), load_tokenizer(self.policy)
