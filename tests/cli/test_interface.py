"""What a user meets first: help that comes at once from anywhere, examples that parse, errors of one line."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from tiny_study import STEPS, Study

SCRIPTS = sorted((Path(__file__).parents[2] / "workflow" / "scripts").glob("*.py"))
HEAVY = {"torch", "transformers", "peft", "trl", "datasets", "pandas", "matplotlib", "scipy", "tokenizers"}


def examples_of(module: ModuleType, name: str) -> list[str]:
    """The command lines of a script's docstring, without the name of the script."""
    text = (module.__doc__ or "").replace("\\\n", " ")
    return re.findall(rf"^ *python workflow/scripts/{name} (.*)$", text, flags=re.MULTILINE)


def call(script: str, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = str(SCRIPTS[0].parent / f"{script}.py")
    return subprocess.run([sys.executable, path, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_comes_at_once_and_from_any_folder(script: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    command = [sys.executable, "-X", "importtime", str(script), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert time.monotonic() - start < 5
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "argparse" in imported
    assert not imported & HEAVY
    docstring = importlib.import_module(script.stem).__doc__
    assert docstring is not None
    assert docstring.strip() in done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_example_of_the_docstring_parses(script: Path) -> None:
    module = importlib.import_module(script.stem)
    examples = examples_of(module, script.name)
    assert len(examples) == 1
    module.Arguments.parser().parse_args(shlex.split(examples[0]))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_missing_or_unknown_flag_is_a_usage_error(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(script.stem)
    (example,) = examples_of(module, script.name)
    for arguments in ([], [*shlex.split(example), "--no-such-flag"]):
        with pytest.raises(SystemExit) as caught:
            module.Arguments.parser().parse_args(arguments)
        assert caught.value.code == 2
    assert "--no-such-flag" in capsys.readouterr().err


def test_every_script_is_in_the_tests() -> None:
    assert {script.stem for script in SCRIPTS} == {step.partition("/")[0] for step in STEPS}


def test_a_user_reads_one_line_and_exit_code_1(tmp_path: Path) -> None:
    done = call("collect_beta_grid", ["--betas", "p20.json", "--beta-grid", "grid.json"], tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "collect_beta_grid.py: error: p20.json does not exist; run the step that makes it, or correct the path.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_heavy_script_finds_a_bad_input_before_it_imports_torch(tiny: Study, tmp_path: Path) -> None:
    (tmp_path / "empty.parquet").touch()
    broken = {"data/problems.parquet": tmp_path / "empty.parquet"}
    start = time.monotonic()
    done = call("adapt_online", tiny.arguments("adapt_online/p20/kl-p20", tmp_path / "out", broken), tmp_path)
    assert time.monotonic() - start < 5
    assert done.returncode == 1
    assert done.stderr.startswith("adapt_online.py: error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_script_that_succeeds_exits_with_0(tiny: Study, tmp_path: Path) -> None:
    done = call("collect_beta_grid", tiny.arguments("collect_beta_grid", tmp_path), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["beta_grid.json"]
    assert (tmp_path / "beta_grid.json").read_bytes() == (tiny / "beta_grid.json").read_bytes()
