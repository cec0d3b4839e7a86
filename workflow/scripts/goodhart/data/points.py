"""Points of a power law from any table with columns beta and augc, and optionally replicate, level and win_rate."""

from pathlib import Path

import numpy as np
import pandas as pd

from goodhart.data.sources import READERS, read_source
from goodhart.errors import InputError

COLUMNS = ("beta", "augc", "replicate", "level", "win_rate")


def read_points(path: Path) -> pd.DataFrame:
    """The table of a CSV, Parquet, JSON or JSONL file: beta, augc and win_rate as floats, replicate and level as text.

    Raises:
        InputError: a column is missing or duplicated, or a cell is invalid for its column.
    """
    if path.suffix not in READERS or not path.is_file():
        kinds = " or ".join(sorted(READERS))
        raise InputError(f"--augc: {path} does not exist or is not a {kinds} file; correct the path.")
    points = read_source(str(path))[0].rename(columns=lambda name: str(name).strip())
    for name in COLUMNS:
        count = list(points.columns).count(name)
        if count > 1:
            raise InputError(f"{path} has several columns {name!r}; keep one.")
        if count == 0 and name in ("beta", "augc"):
            raise InputError(f"{path} has no column {name!r}; it needs {' and '.join(COLUMNS[:2])}.")
    for name in points.columns.intersection(["beta", "augc", "win_rate"]):
        numbers = pd.to_numeric(points[name], errors="coerce").to_numpy(dtype=float)
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if len(wrong):
            raise InputError(
                f"{path}: {name} of point {wrong[0] + 1} is {str(points[name].iloc[wrong[0]])!r}, not a finite number; "
                "correct it or remove the row."
            )
        points[name] = numbers
    if "win_rate" in points and not points["win_rate"].between(0, 1).all():
        raise InputError(f"{path}: a win_rate is outside 0 to 1; give it as a share.")
    for name in points.columns.intersection(["replicate", "level"]):
        points[name] = points[name].astype(str).where(points[name].notna(), "")
        if (points[name].str.strip() == "").any():
            raise InputError(f"{path}: column {name} has an empty cell; fill it, or drop the column.")
    return points
