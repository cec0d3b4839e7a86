"""Outputs appear whole or not at all, and a broken input is told in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file

from goodhart.errors import InputError
from goodhart.store import files
from goodhart.store.provenance import Origin

TABLE = files.Table(
    "runs",
    pa.schema(
        [
            pa.field("name", pa.string(), nullable=False),
            pa.field("seed", pa.int64(), nullable=False),
            pa.field("augc", pa.float64(), nullable=False),
            pa.field("onset", pa.int64()),
        ]
    ),
    ("name", "seed"),
)
ROWS = [{"name": "p20", "seed": 0, "augc": 1.5, "onset": 8}, {"name": "p20", "seed": 1, "augc": 0.0, "onset": None}]
FRAME = pd.DataFrame({"name": ["p20", "p20"], "seed": [0, 1], "augc": [1.5, 0.0], "onset": [8.0, np.nan]})


def refusal(action: Any, *arguments: Any) -> str:
    """The message of the InputError that an action raises; it must be one sentence on one line."""
    with pytest.raises(InputError) as caught:
        action(*arguments)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_publish_makes_parents_and_leaves_only_the_output(tmp_path: Path) -> None:
    with files.publish(tmp_path / "a" / "b" / "out.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "a" / "b" / "out.txt").exists()
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["out.txt"]
    assert (tmp_path / "a" / "b" / "out.txt").read_text() == "whole"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failure_leaves_the_old_output_and_nothing_else(tmp_path: Path, kind: str) -> None:
    output = tmp_path / "out"

    def write(path: Path, text: str) -> None:
        if kind == "folder":
            path.mkdir()
        (path / "part" if kind == "folder" else path).write_text(text)

    def fail_half_way() -> None:
        with files.publish(output) as temporary:
            write(temporary, "new")
            raise RuntimeError("half way")

    with files.publish(output) as temporary:
        write(temporary, "old")
    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (output / "part" if kind == "folder" else output).read_text() == "old"


def test_a_failure_before_anything_is_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), files.publish(tmp_path / "out"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_replaces_the_whole_old_folder(tmp_path: Path) -> None:
    (tmp_path / "out" / "old").mkdir(parents=True)
    with files.publish(tmp_path / "out") as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("")
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["out", "out/new"]


def test_json_comes_back_as_it_went(tmp_path: Path) -> None:
    content = {"beta": 0.1, "nothing": None, "levels": [1, 2]}
    files.write_json(tmp_path / "a.json", content)
    assert files.read_json(tmp_path / "a.json", ["beta", "nothing"]) == content
    assert (tmp_path / "a.json").read_text().endswith("}\n")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_refuses_what_json_does_not_have(tmp_path: Path, number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"beta": number})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b'{"beta": 0.', "is not valid JSON"),
        (b"\xff\xfe\x00", "is not valid JSON"),
        (b"[1, 2]", "lacks the keys"),
        (b'{"level": "p20"}', r"lacks the keys ['beta']"),
    ],
)
def test_a_bad_json_file_is_named_with_what_is_wrong(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    message = refusal(files.read_json, tmp_path / "a.json", ["level", "beta"])
    assert str(tmp_path / "a.json") in message
    assert said in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "a.json does not exist" in refusal(files.read_json, tmp_path / "a.json")
    assert "a.parquet does not exist" in refusal(files.read_table, tmp_path / "a.parquet", TABLE)


@pytest.mark.parametrize("rows", [ROWS, FRAME], ids=["rows", "frame"])
def test_a_table_comes_back_with_its_types(tmp_path: Path, rows: Any) -> None:
    files.write_table(tmp_path / "t.parquet", rows, TABLE)
    assert pq.read_schema(tmp_path / "t.parquet").remove_metadata() == TABLE.schema
    frame = files.read_table(tmp_path / "t.parquet", TABLE)
    assert frame[["name", "seed", "augc"]].to_dict("records") == [
        {"name": "p20", "seed": 0, "augc": 1.5},
        {"name": "p20", "seed": 1, "augc": 0.0},
    ]
    assert frame["onset"].isna().tolist() == [False, True]


def test_other_columns_of_a_table_are_left_out(tmp_path: Path) -> None:
    FRAME.assign(note="x").to_parquet(tmp_path / "t.parquet")
    assert list(files.read_table(tmp_path / "t.parquet", TABLE).columns) == TABLE.schema.names


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (FRAME.drop(columns="augc"), "lacks the columns ['augc']"),
        (FRAME.assign(seed=["zero", "one"]), "is not a runs table"),
        (FRAME.assign(seed=[0.5, 1.5]), "is not a runs table"),
        (FRAME.assign(augc=[1.5, np.nan]), "augc"),
        (FRAME.assign(augc=[1.5, -np.inf]), "column augc of the runs table holds NaN or infinity"),
        (FRAME.assign(seed=0), "several rows for one name, seed"),
        (FRAME.iloc[:0], "is empty"),
    ],
    ids=[
        "column missing",
        "text for a number",
        "fraction for an integer",
        "empty cell",
        "infinity",
        "key twice",
        "no rows",
    ],
)
def test_a_table_that_breaks_its_contract_is_refused(tmp_path: Path, frame: pd.DataFrame, said: str) -> None:
    frame.to_parquet(tmp_path / "t.parquet")
    assert said in refusal(files.read_table, tmp_path / "t.parquet", TABLE)


def test_an_optional_column_may_be_left_out_of_what_is_written_and_no_other(tmp_path: Path) -> None:
    files.write_table(tmp_path / "t.parquet", FRAME.drop(columns="onset"), TABLE)
    assert files.read_table(tmp_path / "t.parquet", TABLE)["onset"].isna().all()
    with pytest.raises(ValueError, match="augc"):
        files.write_table(tmp_path / "other.parquet", FRAME.drop(columns="augc"), TABLE)
    assert not (tmp_path / "other.parquet").exists()


@pytest.mark.parametrize(
    "rows",
    [[], [ROWS[0], ROWS[0]], [{**ROWS[0], "augc": None}], [{**ROWS[0], "augc": np.inf}], [{**ROWS[0], "seed": "zero"}]],
    ids=["no rows", "key twice", "empty cell", "infinity", "text for a number"],
)
def test_a_table_that_breaks_its_contract_is_never_written(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    with pytest.raises((ValueError, pa.ArrowException)):
        files.write_table(tmp_path / "t.parquet", rows, TABLE)
    assert list(tmp_path.iterdir()) == []


def test_nan_in_a_file_of_another_program_is_no_empty_cell(tmp_path: Path) -> None:
    """pandas writes one as the other; a column that may be empty may still hold no NaN."""
    pq.write_table(pa.table({"name": ["p20"], "score": pa.array([np.nan])}), tmp_path / "t.parquet")
    table = files.Table("t", pa.schema([pa.field("name", pa.string()), pa.field("score", pa.float64())]), ("name",))
    assert "column score of the t table holds NaN" in refusal(files.read_table, tmp_path / "t.parquet", table)
    files.write_table(tmp_path / "t.parquet", [{"name": "p20", "score": None}], table)
    assert files.read_table(tmp_path / "t.parquet", table)["score"].isna().all()


def test_a_parquet_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    files.write_table(tmp_path / "whole", ROWS, TABLE)
    content = (tmp_path / "whole").read_bytes()
    for length in range(1, len(content), 61):
        (tmp_path / "cut").write_bytes(content[:length])
        assert "is not a readable Parquet file" in refusal(files.read_table, tmp_path / "cut", TABLE)


def test_a_safetensors_file_of_any_other_length_is_refused(tmp_path: Path) -> None:
    save_file({"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 2), np.float16)}, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    files.check_safetensors(tmp_path / "whole")
    for length in range(len(content)):
        (tmp_path / "cut").write_bytes(content[:length])
        assert str(tmp_path / "cut") in refusal(files.check_safetensors, tmp_path / "cut")
    (tmp_path / "long").write_bytes(content + b"\0")
    refusal(files.check_safetensors, tmp_path / "long")


def test_tensors_have_the_same_bytes_every_time(tmp_path: Path) -> None:
    written = set()
    for k in range(20):
        files.write_tensors(tmp_path / f"{k}.safetensors", {"a": torch.ones(3)}, {"script": "x", "seed": 0})
        written.add((tmp_path / f"{k}.safetensors").read_bytes())
    assert len(written) == 1
    assert Origin.read(tmp_path / "0.safetensors") == {"script": "x", "seed": 0}


@pytest.mark.parametrize("content", [b"no header at all, but long enough", b"\x02" + bytes(7) + b"[]", b"{}"])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert "is not a safetensors file" in refusal(files.check_safetensors, tmp_path / "a")
