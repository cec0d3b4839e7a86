"""The flags of steps that read the results of a study: the tables and records behind pages and figures."""

from dataclasses import dataclass
from pathlib import Path

from goodhart.cli import flag
from goodhart.runtime.types import Frame, Record
from goodhart.store.flags import StepFlags, record, table
from goodhart.store.schemas.inputs import PROBLEMS
from goodhart.store.schemas.summaries import GAPS, OVEROPTIMISATION, PRESSURE, RUNS

# The keys of coverage.json that appear on pages.
COVERAGE = [
    *("rows_in_source", "pairs", "prompts", "tokens", "responses_by_source_model"),
    *("identical_pairs_dropped", "pairs_with_tied_scores"),
]


@dataclass(frozen=True, kw_only=True)
class ResultFlags(StepFlags):
    """The results that figures show."""

    runs: Frame = table(RUNS)
    gaps: Frame = table(GAPS)
    fits: list[Path] = flag(help="power-law fits, named <method>-<arm>.json")
    overoptimisation: Frame = table(OVEROPTIMISATION)
    scales: Record = record("replicates", "thresholds")
    quality: list[Record] = record("pairs", "member_accuracy", "ensemble_accuracy", "calibration", "proxy_mean")


@dataclass(frozen=True, kw_only=True)
class FindingsFlags(ResultFlags):
    """The results, the statistics of Table 1, and what the study was given and derived before its runs."""

    trends: Record = record("trends", "arm_differences")
    beta_grid: Record = record("levels")
    derived: Record = record("offline", "reward", "online")
    coverage: Record = record(*COVERAGE)
    problems: tuple[Frame, Frame] = table(PROBLEMS, "online", "evaluation")
    gates: Record = record("gates")
    decision: Record = record("verdict", "sentence", "total", "primary", "contrasts")
    pressure: Frame = table(PRESSURE)
    redraw: list[str] = flag(default=(), help="stages that each replicate repeats")
    evaluation_seed: int = flag(help="sampling seed of the evaluation responses, for the checklist")
