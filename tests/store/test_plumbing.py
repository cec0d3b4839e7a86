"""The modules that fingerprints leave out decide no result: what passes through each of them comes out unchanged."""

from __future__ import annotations

import ast
import importlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from goodhart.cli import flag
from goodhart.errors import InputError
from goodhart.launch import gpus
from goodhart.runtime import signals, types
from goodhart.runtime.finite import Watched, dump_on_nan, label_step
from goodhart.runtime.progress import progress
from goodhart.store.checksums import BLANK, SEAL, sealed
from goodhart.store.files import read_json, read_table, write_json, write_table, write_tensors
from goodhart.store.fingerprint import PLUMBING
from goodhart.store.flags import StepFlags, record
from goodhart.store.flags import table as table_flag
from goodhart.store.provenance import Origin
from goodhart.store.publishing import publish
from goodhart.store.schemas.inputs import FLAG, FLOAT, INT, TEXT, table

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
FLOATS = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3]
CONTRACT = table("any", "row", {"row": INT, "text": TEXT, "value": FLOAT, "flag": FLAG}, {"maybe": FLOAT})
SPLIT = table("splits", "row", {"row": INT, "split": TEXT})
SPLITS = pd.DataFrame({"row": range(6), "split": list("cabbca")})
ROWS = pd.DataFrame(
    {
        "row": [0, 1, 2, 3, 2**53 + 1],
        "text": ["", "Größe\n\t", "a\x00b", "None", "🙂"],
        "value": FLOATS,
        "flag": [True, False, True, False, True],
        "maybe": [None, 0.1, None, 1e-300, 2.0],
    }
)


@dataclass(frozen=True, kw_only=True)
class Every(StepFlags):
    """A flag of every kind."""

    number: int
    rate: float
    word: str
    several: tuple[float, ...]
    absent: str | None = flag(default=None)
    rows: pd.DataFrame = table_flag(CONTRACT)
    one: pd.DataFrame = table_flag(SPLIT, "c")
    three: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame] = table_flag(SPLIT, "b", "c", "a")
    content: dict = record("rate")


def files(folder: Path) -> None:
    write_table(folder / "rows.parquet", ROWS, CONTRACT)
    pd.testing.assert_frame_equal(read_table(folder / "rows.parquet", CONTRACT), ROWS, check_exact=True)
    assert np.signbit(read_table(folder / "rows.parquet", CONTRACT)["value"][1])
    write_table(folder / "splits.parquet", SPLITS, SPLIT)
    for split in ("a", "b", "c"):
        rows = read_table(folder / "splits.parquet", SPLIT, split)
        pd.testing.assert_frame_equal(rows, SPLITS[SPLITS["split"] == split], check_exact=True)
    content = {"rate": FLOATS, "text": "Größe\n", "none": None, "large": 2**63}
    write_json(folder / "content.json", content)
    assert read_json(folder / "content.json") == content
    tensors = {"a": torch.tensor(FLOATS, dtype=torch.float64), "b": torch.full((2, 2), torch.nan)}
    write_tensors(folder / "tensors.safetensors", tensors)
    for name, tensor in load_file(folder / "tensors.safetensors").items():
        assert tensor.numpy().tobytes() == tensors[name].numpy().tobytes()


def flags(folder: Path) -> None:
    """The command line as well: a number is what Python reads in its text."""
    files(folder)
    line = ["--number", "-3", "--rate", repr(1 / 3), "--word", "a b", "--several", *map(repr, FLOATS)]
    given = Every.parse([*line, *named(folder)])
    assert (given.number, given.rate, given.word, given.several) == (-3, 1 / 3, "a b", tuple(FLOATS))
    assert given.absent is None
    pd.testing.assert_frame_equal(given.rows, ROWS, check_exact=True)
    assert given.content == read_json(folder / "content.json")
    assert [rows["row"].tolist() for rows in (given.one, *given.three)] == [[0, 4], [2, 3], [0, 4], [1, 5]]


def named(folder: Path) -> list[str]:
    """The command line of what `files` wrote."""
    line = ["--rows", str(folder / "rows.parquet"), "--content", str(folder / "content.json")]
    return [*line, *(word for name in ("--one", "--three") for word in (name, str(folder / "splits.parquet")))]


def origins(folder: Path) -> None:
    """Content with an origin is the content without one."""
    files(folder)
    line = ["--number", "1", "--rate", "1", "--word", "w", "--several", "1"]
    given = Every.parse([*line, *named(folder)])
    origin = Origin.of(given.raw, str(SCRIPTS / "collect_derived.py"))
    write_table(folder / "with.parquet", ROWS, CONTRACT, origin)
    write_json(folder / "with.json", given.content, origin)
    pd.testing.assert_frame_equal(read_table(folder / "with.parquet", CONTRACT), ROWS, check_exact=True)
    assert read_json(folder / "with.json") == given.content


def published(folder: Path) -> None:
    with publish(folder / "file") as temporary:
        temporary.write_bytes(bytes(range(256)))
    assert (folder / "file").read_bytes() == bytes(range(256))


def checksums(_folder: Path) -> None:
    content = sealed(f"before {BLANK} after".encode())
    assert SEAL.sub(BLANK.encode(), content) == f"before {BLANK} after".encode()


def watched(folder: Path) -> None:
    values = torch.tensor(FLOATS, dtype=torch.float64)
    with dump_on_nan(folder / "stopped.json"), label_step("update", 1):
        assert Watched("update").add("values", values) is values
    assert list(folder.iterdir()) == []


def passed_through(_folder: Path) -> None:
    assert list(progress(FLOATS, "floats")) == FLOATS


def deferred(_folder: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals.stoppable(), signals.defer_signals():
        values = list(FLOATS)
    assert values == FLOATS
    assert signal.getsignal(signal.SIGTERM) is before


def launched(folder: Path) -> None:
    """A script that is started on GPUs has the arguments and streams of one that is started by hand."""
    (folder / "script.py").write_text("import json, sys; print(json.dumps(sys.argv[1:])); sys.exit(3)")
    words = ["--rate", "0.1", "a b", ""]
    line = [sys.executable, gpus.__file__, "--gpus", "0", str(folder / "script.py"), *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (json.loads(done.stdout), done.returncode) == (words, 3)


def unreachable(_folder: Path) -> None:
    """No script imports what starts it, asks a cluster for it, or hashes its code for the rules."""
    code = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; print(*sys.modules)"
    names = [path.stem for path in SCRIPTS.glob("*.py")]
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name.startswith("goodhart.launch")]


def only_names(_folder: Path) -> None:
    assert {name for name in vars(types) if name[0].isupper()} >= {"Frame", "Record", "Tensor"}
    assert not [value for value in vars(types).values() if isinstance(value, int | float) and value is not False]


def one_sentence(_folder: Path) -> None:
    assert str(InputError("It is wrong.")) == "It is wrong."
    assert InputError.__mro__[1] is ValueError


CHECKS: dict[str, Callable[[Path], None]] = {
    "goodhart/cli.py": flags,
    "goodhart/errors.py": one_sentence,
    "goodhart/launch/gpus.py": launched,
    "goodhart/launch/resources.py": unreachable,
    "goodhart/launch/warm.py": unreachable,  # and tests/workflow: imports of another process change no byte
    "goodhart/runtime/finite.py": watched,
    "goodhart/runtime/progress.py": passed_through,
    "goodhart/runtime/signals.py": deferred,
    "goodhart/runtime/types.py": only_names,
    "goodhart/store/checksums.py": checksums,
    "goodhart/store/files.py": files,
    "goodhart/store/fingerprint.py": origins,
    "goodhart/store/flags.py": flags,
    "goodhart/store/identity.py": origins,
    "goodhart/store/provenance.py": origins,
    "goodhart/store/publishing.py": published,
}


@pytest.mark.parametrize("module", PLUMBING)
def test_what_passes_through_comes_out_unchanged(tmp_path: Path, module: str) -> None:
    assert (SCRIPTS / module).is_file()
    importlib.import_module(module.removesuffix(".py").replace("/", "."))
    CHECKS[module](tmp_path)


@pytest.mark.parametrize("module", PLUMBING)
def test_plumbing_has_no_flags_of_a_step_and_no_types_of_columns(module: str) -> None:
    """A flag with its default, a setting or a column's type decides results, and has no place in what is left out."""
    tree = ast.parse((SCRIPTS / module).read_text())
    steps = [c for c in ast.walk(tree) if isinstance(c, ast.ClassDef) and "Flags" in "".join(map(ast.unparse, c.bases))]
    assert not [line for step in steps for line in step.body if isinstance(line, ast.AnnAssign)]
    types_of_columns = {"string", "int64", "float64", "bool_"}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert not [a for a in attributes if ast.unparse(a.value) == "pa" and a.attr in types_of_columns]


def test_every_module_that_is_left_out_has_its_check() -> None:
    assert set(CHECKS) == set(PLUMBING)
