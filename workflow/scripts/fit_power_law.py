"""Fit AUGC = a beta^b + c (Eq. 14, Appendix E) and rival curves to any table of points; derive beta* (Eq. 15).

    python workflow/scripts/fit_power_law.py --augc points.csv --fit fit.json

`points.csv` has the columns beta and augc, and may have replicate (for intervals over replicates) and win_rate (for
Definition 6.1); .parquet, .json and .jsonl files are also read. In the fit, `rivals` holds other curves, compared by
AICc, and `tradeoff` holds the beta* of Definition 6.1 as a function of lambda (None without win rates).
"""

from dataclasses import dataclass
from pathlib import Path

from goodhart.cli import Output, run
from goodhart.errors import InputError
from goodhart.store.files import write_json
from goodhart.store.flags import StepFlags


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    augc: Path
    fit: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    from goodhart.analysis.curves import fit_points
    from goodhart.data.points import COLUMNS, read_points

    points = read_points(given.augc)
    try:
        fit = fit_points(points)
    except InputError as error:
        raise InputError(f"{given.augc}: {error}") from None
    write_json(given.fit, fit, given.origin)
    known = points.columns.isin(COLUMNS)
    used, ignored = (", ".join(points.columns[which]) for which in (known, ~known))
    print(f"read {len(points)} points with {used}{'; ignored ' if ignored else ''}{ignored}")


if __name__ == "__main__":
    run(main)
