"""The flags of steps that load a policy, and the function that loads the policy."""

from dataclasses import dataclass
from pathlib import Path

from goodhart.cli import flag
from goodhart.models.admission import PRECISIONS
from goodhart.runtime.threads import use_threads
from goodhart.runtime.types import PreTrainedModel, PreTrainedTokenizerBase
from goodhart.store.flags import StepFlags


@dataclass(frozen=True, kw_only=True)
class PolicyFlags(StepFlags):
    """The policy's model folder, the precision of its weights, and the number of CPU threads, which affects results."""

    policy: Path
    precision: str = flag(choices=PRECISIONS)
    threads: int

    def load_policy(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Verify the model folder, set the threads, and load the frozen policy and its tokeniser."""
        use_threads(self.threads)
        from goodhart.models.loading import load_policy, load_tokenizer
        from goodhart.models.manifest import check_model

        check_model(self.policy)
        return load_policy(self.policy, self.precision), load_tokenizer(self.policy)
