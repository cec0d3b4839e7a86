"""Fit AUGC = a beta^b + c (Eq. 14, Appendix E) to any table of points, read beta* off it (Eq. 15), and try rivals.

    python workflow/scripts/fit_power_law.py --augc points.csv --fit fit.json

`points.csv` has the columns beta and augc, and may have seed (for intervals over seeds) and win_rate (for Definition
6.1); .parquet, .json and .jsonl do too. `rivals` holds other curves, compared by AICc, `tradeoff` the beta*
of Definition 6.1 as a function of lambda (None without win rates).
"""

from dataclasses import dataclass
from pathlib import Path

from goodhart.cli import Output, run
from goodhart.errors import InputError
from goodhart.runtime.types import Frame
from goodhart.store.files import write_json
from goodhart.store.flags import StepFlags

COLUMNS = ("beta", "augc", "seed", "win_rate")


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    augc: Path
    fit: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    points = read_points(given.augc)
    made = given.origin
    from goodhart.analysis.curves import compare
    from goodhart.analysis.powerlaw import fit_power_law
    from goodhart.analysis.tradeoff import optimal_conservatism

    beta, augc = points["beta"].to_numpy(), points["augc"].to_numpy()
    seeds = points["seed"].to_numpy() if "seed" in points else None
    try:
        fit = fit_power_law(beta, augc, seeds)
    except InputError as error:
        raise InputError(f"{given.augc}: {error}") from None
    fit["rivals"] = compare(beta, augc, fit)
    win_rate = points["win_rate"].to_numpy() if "win_rate" in points else None
    fit["tradeoff"] = None if win_rate is None else optimal_conservatism(beta, augc, win_rate, seeds)
    write_json(given.fit, fit, made)
    used, ignored = ([str(c) for c in points if (c in COLUMNS) is known] for known in (True, False))
    print(f"read {len(points)} points with {', '.join(used)}{'; ignored ' + ', '.join(ignored) if ignored else ''}")


def read_points(path: Path) -> Frame:
    """The table of points, its numeric columns as floats; `InputError` names the cell that is not a number."""
    import numpy as np
    import pandas as pd

    from goodhart.data.sources import READERS, read_source

    if path.suffix not in READERS or not path.is_file():
        kinds = ", ".join(sorted(READERS))
        raise InputError(f"--augc: there is no file {path} of a kind that can be read ({kinds}); correct the path.")
    points = read_source(str(path))[0].rename(columns=lambda name: str(name).strip())
    twice = [name for name in points.columns[points.columns.duplicated()] if name in COLUMNS]
    if twice:
        raise InputError(f"{path} has several columns {twice[0]!r}; keep one.")
    missing = [column for column in ("beta", "augc") if column not in points]
    if missing:
        raise InputError(
            f"{path} has no column {missing[0]!r}; it needs beta and augc, and may have seed and win_rate."
        )
    for column in points.columns.intersection(["beta", "augc", "win_rate"]):
        numbers = pd.to_numeric(points[column], errors="coerce").astype(float)
        for row in np.flatnonzero(~np.isfinite(numbers))[:1]:
            cell = points[column].iloc[row]
            raise InputError(
                f"{path}: {column} of point {row + 1} is {str(cell)!r}, not a finite number; mend or drop it."
            )
        points[column] = numbers
    if "win_rate" in points and not points["win_rate"].between(0, 1).all():
        raise InputError(f"{path}: a win_rate lies outside 0 to 1; it is a share.")
    if "seed" in points and (points["seed"].isna() | (points["seed"].astype(str).str.strip() == "")).any():
        raise InputError(f"{path}: column seed has an empty cell; fill it, or drop the column.")
    if "seed" in points:
        points["seed"] = points["seed"].astype(str)
    return points


if __name__ == "__main__":
    run(main)
