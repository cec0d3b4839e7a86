r"""Fit reward against distance, R(d) = d (alpha - beta log d) with d = sqrt(KL) (Gao et al. 2022), by arm and level.

    python workflow/scripts/fit_overoptimisation.py --gaps gaps.parquet --runs runs.parquet \
        --overoptimisation overoptimisation.parquet --csv overoptimisation.csv
"""

from dataclasses import dataclass

from goodhart.cli import Output, run
from goodhart.runtime.types import Frame
from goodhart.store.files import write_table, write_text
from goodhart.store.flags import StepFlags, table
from goodhart.store.schemas.summaries import GAPS, OVEROPTIMISATION, RUNS


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    gaps: Frame = table(GAPS)
    runs: Frame = table(RUNS)
    overoptimisation: Output
    csv: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    from goodhart.analysis.overoptimisation import overoptimisation_rows

    rows = overoptimisation_rows(given.gaps, given.runs)
    write_table(given.overoptimisation, rows, OVEROPTIMISATION, given.origin)
    write_text(given.csv, rows[OVEROPTIMISATION.schema.names].to_csv(index=False))


if __name__ == "__main__":
    run(main)
