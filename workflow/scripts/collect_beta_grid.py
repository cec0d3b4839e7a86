"""Collect the betas of all levels into the grid of the study, in ascending order.

python workflow/scripts/collect_beta_grid.py --betas beta/p20.json beta/p50.json --beta-grid beta_grid.json
"""

from dataclasses import dataclass

from goodhart.cli import Output, run
from goodhart.store.files import write_json
from goodhart.store.flags import StepFlags, record


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    betas: list[dict] = record("level", "beta", "rule")
    beta_grid: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    write_json(given.beta_grid, {"levels": sorted(given.betas, key=lambda level: level["beta"])}, given.origin)


if __name__ == "__main__":
    run(main)
