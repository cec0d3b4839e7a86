"""The flags of steps that load a policy."""

from dataclasses import dataclass
from pathlib import Path

from goodhart.cli import flag
from goodhart.models.admission import PRECISIONS
from goodhart.store.flags import StepFlags


@dataclass(frozen=True, kw_only=True)
class PolicyFlags(StepFlags):
    """The policy's model folder, the precision of its weights, and the CPU threads that decide every bit."""

    policy: Path
    precision: str = flag(choices=PRECISIONS)
    threads: int
