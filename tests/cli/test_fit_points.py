"""fit_power_law.py on points of a user's own: the published fit, degenerate tables, and files that hold no points."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import fit_power_law
from goodhart.analysis.curves import FORMULAS
from goodhart.errors import InputError
from goodhart.store.files import read_json

SCRIPT = Path(fit_power_law.__file__)
PUBLISHED = pd.DataFrame({"beta": [0.310, 1.0, 2.379], "augc": [31.1, 43.0, 145.8]})
KEYS = {"a", "b", "c", "r_squared", "exact_by_construction", "beta_star", "warnings"}
NO_STAR = {"eq15": None, "grid_minimum": None}


def fitted(points: Path) -> dict[str, Any]:
    """The fit of a file of points; numpy's warnings on the way to it are errors."""
    output = points.with_name("fit.json")
    fit_power_law.main(["--augc", str(points), "--fit", str(output)])
    return read_json(output)


def written(folder: Path, rows: str, name: str = "points.csv") -> Path:
    """A file of the lines that slashes part."""
    path = folder / name
    path.write_text("\n".join(rows.split("/")) + "\n" if rows else "")
    return path


def save(points: pd.DataFrame, path: Path) -> None:
    match path.suffix:
        case ".csv":
            points.to_csv(path, index=False)
        case ".parquet":
            points.to_parquet(path)
        case ".json" | ".jsonl":
            points.to_json(path, orient="records", lines=path.suffix == ".jsonl")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json", ".jsonl"])
def test_the_published_points_give_the_published_fit(tmp_path: Path, suffix: str) -> None:
    """Figure 5 of the paper: AUGC = 12.523 beta^2.562 + 30.477, beta* 1.082 within the rounding of its data."""
    save(PUBLISHED, tmp_path / f"points{suffix}")
    fit = fitted(tmp_path / f"points{suffix}")
    assert fit.keys() >= KEYS
    assert [fit[name] for name in "abc"] == pytest.approx([12.523, 2.562, 30.477], abs=5e-4)
    assert fit["beta_star"] == pytest.approx({"eq15": 1.105, "grid_minimum": 1.081}, abs=5e-4)
    assert fit["r_squared"] == pytest.approx(1)
    assert fit["exact_by_construction"] is True
    assert [warning["name"] for warning in fit["warnings"]] == ["exact_by_construction"]
    assert fit["tradeoff"] is None
    rivals = fit["rivals"]
    assert {curve["name"] for curve in rivals["curves"]} == set(FORMULAS)
    assert {warning["name"] for warning in rivals["warnings"]} == {"saturated", "too_few_runs"}


def test_replicates_and_win_rates_are_read_where_there_are_some(tmp_path: Path) -> None:
    """The path over lambda by hand: (43 - 31.1) / 0.1 and (145.8 - 43) / 0.2; each replicate has the same points."""
    points = pd.concat([PUBLISHED.assign(replicate=s, win_rate=[0.5, 0.6, 0.8]) for s in "abcdefgh"])
    save(points, tmp_path / "points.csv")
    fit = fitted(tmp_path / "points.csv")
    assert fit["n"] == 24
    assert fit["beta_star_interval"]["eq15"] == pytest.approx([1.105, 1.105], abs=5e-4)
    *turns, last = fit["tradeoff"]["path"]
    assert [step["lambda_to"] for step in turns] == pytest.approx([119, 514])
    assert [step["lambda_to_interval"] for step in turns] == [pytest.approx([119, 119]), pytest.approx([514, 514])]
    assert (last["lambda_to"], last["lambda_to_interval"]) == (None, None)
    assert fit["tradeoff"]["support"]["replicates"] == 8
    save(points[points["replicate"] < "h"], tmp_path / "points.csv")
    fit = fitted(tmp_path / "points.csv")
    assert fit["beta_star"]["eq15"] == pytest.approx(1.105, abs=5e-4)
    assert set(fit["beta_star_interval"].values()) == {None}  # seven replicates are too few for a bootstrap
    assert fit["tradeoff"]["support"] is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("rows", "warnings", "star"),
    [
        ("beta,augc/0.31,145.8/1,43/2.379,31.1", {"no_increase", "not_monotone"}, False),
        ("beta,augc/0.31,7/1,7/2.379,7", {"constant"}, False),
        ("beta,augc/0.31,0/1,0/2.379,0", {"constant", "zeros"}, False),
        ("beta,augc,replicate/0.31,0,0/1,0,0/2.379,0,0/0.31,0,1/1,0,1/2.379,0,1", {"constant", "zeros"}, False),
        ("beta,augc/0.31,31.1/1,43", {"too_few_betas"}, False),
        ("beta,augc/1,31.1", {"too_few_betas"}, False),
        ("beta,augc/1,31.1/1,43/1,145.8", {"too_few_betas"}, False),
        ("beta,augc/0.31,30/0.31,32.2/1,43/1,43/2.379,145.8", {"exact_by_construction"}, True),
        ("beta,augc/0.31,31.1/1,43/2.379,145.8/3,1e9", {"one_point_dominates"}, False),
        ("beta,augc/0.31,31.1/1,1e9/2.379,145.8/3,200", {"one_point_dominates", "not_monotone"}, False),
        ("beta, augc/0.31, 31.1/1, 43/2.379, 145.8", {"exact_by_construction"}, True),
        ("run,augc,beta/x,31.1,0.31/,43,1/y,145.8,2.379", {"exact_by_construction"}, True),
    ],
    ids=[
        *("decreasing", "constant", "zeros", "zeros in two replicates", "two points", "one point", "one beta"),
        *("duplicate betas", "outlier", "outlier inside", "space after comma", "other columns"),
    ],
)
def test_degenerate_points_are_fitted_as_far_as_they_go(
    tmp_path: Path, rows: str, warnings: set[str], star: bool
) -> None:
    fit = fitted(written(tmp_path, rows))
    assert fit.keys() >= KEYS | {"rivals", "tradeoff"}
    assert {warning["name"] for warning in fit["warnings"]} >= warnings
    assert (fit["beta_star"] == NO_STAR) == (not star)


@pytest.mark.parametrize(
    ("rows", "name", "said"),
    [
        ("beta,augc/0.31,NaN/1,43/2.379,145.8", "points.csv", "augc of point 1 is 'NaN'"),
        ("beta,augc/0.31,31.1/1,inf/2.379,145.8", "points.csv", "augc of point 2 is 'inf'"),
        ("beta,augc/0.31,31.1/1,43/-inf,145.8", "points.csv", "beta of point 3 is '-inf'"),
        ("beta,augc/0.31,31.1/-1,43/2.379,145.8", "points.csv", "beta must be positive"),
        ("beta,augc/0,31.1/1,43/2.379,145.8", "points.csv", "beta must be positive"),
        ("beta,augc/0.31,-31.1/1,43/2.379,145.8", "points.csv", "no AUGC may be negative"),
        ("", "points.csv", "cannot be read"),
        ("beta,augc", "points.csv", "has no rows"),
        ("beta,augc/0.31,31.1/1,/2.379,145.8", "points.csv", "augc of point 2 is ''"),
        ("beta,augc/0.31,31.1/one,43/2.379,145.8", "points.csv", "beta of point 2 is 'one'"),
        ("beta,augc,win_rate/0.31,31.1,0.5/1,43,/2.379,145.8,0.7", "points.csv", "win_rate of point 2 is ''"),
        ("beta,augc,replicate/0.31,31.1,0/1,43,/2.379,145.8,0", "points.csv", "replicate has an empty cell"),
        ("beta,gap/0.31,31.1/1,43/2.379,145.8", "points.csv", "no column 'augc'"),
        ("0.31,31.1/1,43/2.379,145.8", "points.csv", "no column 'beta'"),
        ("beta;augc/0.31;31.1/1;43", "points.csv", "no column 'beta'"),
        ("beta,augc/0.31,31.1,0/1,43,0/2.379,145.8,0", "points.csv", "cannot be read"),
        ("beta,augc, beta/0.31,31.1,1/1,43,2/2.379,145.8,3", "points.csv", "several columns 'beta'"),
        ("beta,augc,win_rate/0.31,31.1,0.5/1,43,60/2.379,145.8,0.7", "points.csv", "outside 0 to 1"),
        ("beta,augc/0.31,31.1/1,43/2.379,145.8", "points.txt", "does not exist or is not a .csv or "),
        ("beta,augc/0.31,31.1/1,43/2.379,145.8", "points.json", "cannot be read"),
        ("beta,augc/0.31,31.1/1,43/2.379,145.8", "points.jsonl", "cannot be read"),
        ("beta,augc/0.31,31.1/1,43/2.379,145.8", "points.parquet", "cannot be read"),
        ('[{"beta": [1], "augc": 2}, {"beta": 2, "augc": 3}]', "points.json", "beta of point 1 is '[1]'"),
        ('[{"beta": 1, "augc": 2}, {"beta": 2}]', "points.json", "augc of point 2 is 'nan'"),
        (None, "points.csv", "does not exist"),
    ],
    ids=[
        *("NaN", "infinite", "minus infinite", "negative beta", "beta 0", "negative augc", "empty", "header only"),
        *("blank cell", "text cell", "blank win rate", "blank replicate", "missing column", "no header", "semicolons"),
        *("longer rows", "two columns beta", "win rate in percent"),
        *("unknown ending", "no json", "no jsonl", "no parquet", "nested", "missing key", "missing file"),
    ],
)
def test_what_holds_no_points_is_refused_in_one_line(tmp_path: Path, rows: str | None, name: str, said: str) -> None:
    points, output = tmp_path / name, tmp_path / "out" / "fit.json"
    if rows is not None:
        written(tmp_path, rows, name)
    with pytest.raises(InputError) as caught:
        fit_power_law.main(["--augc", str(points), "--fit", str(output)])
    assert len(str(caught.value).splitlines()) == 1
    assert str(points) in str(caught.value)
    assert said in str(caught.value)
    assert not output.parent.exists()


def test_a_user_reads_that_line_and_gets_exit_code_1(tmp_path: Path) -> None:
    points = written(tmp_path, "beta,augc")
    command = [sys.executable, str(SCRIPT), "--augc", str(points), "--fit", str(tmp_path / "fit.json")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fit_power_law.py: error: ")
    assert f"{points} has no rows" in done.stderr
    assert done.stderr.count("\n") == 1


def test_good_points_leave_nothing_on_stderr(tmp_path: Path) -> None:
    points = written(tmp_path, "beta,augc/0.31,145.8/1,43/2.379,31.1")
    command = [sys.executable, str(SCRIPT), "--augc", points.name, "--fit", "fit.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "read 3 points with beta, augc\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit.json", "points.csv"]
