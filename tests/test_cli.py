"""How a script ends and reports: in processes of their own, as a user or Snakemake runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from goodhart import cli
from goodhart.runtime.threads import use_threads

SCRIPTS = Path(__file__).parents[1] / "workflow" / "scripts"


def python(code: str) -> subprocess.CompletedProcess[str]:
    head = "from goodhart.cli import run\nfrom goodhart.errors import InputError\n"
    head += "from goodhart.runtime.progress import progress\n"
    return subprocess.run([sys.executable, "-c", head + code], cwd=SCRIPTS, capture_output=True, text=True, check=False)


def test_bad_input_is_one_line_and_exit_code_1() -> None:
    done = python("def main(): raise InputError('config: it is wrong.')\nrun(main)")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "-c: error: config: it is wrong.\n"


@pytest.mark.parametrize("error", ["ValueError('a bug')", "KeyError('a bug')"])
def test_a_bug_keeps_its_traceback(error: str) -> None:
    done = python(f"def main(): raise {error}\nrun(main)")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "a bug" in done.stderr


def test_success_is_exit_code_0_with_all_output() -> None:
    done = python("def main(): print('said', end='')\nrun(main)\nprint('never reached')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "said", "")


def test_progress_in_a_log_is_a_line_now_and_then_and_one_at_the_end() -> None:
    done = python("import time\nprint([(time.sleep(0.05), x)[1] for x in progress([1, 2, 3, 4], 'work', every=0.08)])")
    assert done.stdout == "[1, 2, 3, 4]\n"
    lines = done.stderr.splitlines()
    assert re.match("work: [1-3]/4 after", lines[0])  # 2, unless the machine is busy
    assert lines[-1].startswith("work: 4 done in")


def test_progress_of_short_work_is_one_line() -> None:
    assert len(python("list(progress(range(1000), 'work'))").stderr.splitlines()) == 1
    assert python("list(progress([], 'work'))").stderr.startswith("work: 0 done")


def test_help_shows_the_docstring_as_it_is_written() -> None:
    text = "One line.\n\n    python a.py --flag 1 \\\n        --other 2\n"
    assert text in cli.parser(text).format_help()


def test_threads_are_set_and_kernels_deterministic() -> None:
    before = torch.get_num_threads()
    try:
        use_threads(2)
        assert torch.get_num_threads() == 2
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_num_threads(before)


def test_a_script_that_used_torch_says_what_memory_it_took() -> None:
    used = []
    for size in (1, 2**28):
        done = python(f"import torch\ndef main(): torch.ones({size}).sum()\nrun(main)")
        used.append(float(done.stderr.split("peak memory: ")[1].split(" GiB of the process")[0]))
    assert used[1] - used[0] == pytest.approx(1.0, abs=0.3)  # 2^28 float32 numbers are a GiB


@dataclass(frozen=True)
class Round:
    radius: int


@dataclass(frozen=True)
class Square:
    sides: tuple[float, ...]
    tilted: str = "no"


@dataclass(frozen=True, kw_only=True)
class Drawing(cli.Flags):
    shape: Round | Square = cli.choice({"round": Round, "square": Square})
    seed: int


def test_a_choice_brings_the_flags_of_what_is_chosen() -> None:
    given = Drawing.parse(["--seed", "3", "--shape", "square", "--sides", "1", "2"])
    assert (given.seed, given.shape) == (3, Square((1.0, 2.0)))
    assert vars(given.raw) == {"seed": 3, "shape": "square", "sides": [1.0, 2.0]}
    assert Drawing.parse(["--shape=round", "--radius", "1", "--seed", "3"]).shape == Round(1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--seed 1", "required: --shape"),
        ("--seed 1 --shape oval", "invalid choice: 'oval'"),
        ("--seed 1 --shape", "expected one argument"),
        ("--seed 1 --shape round", "required: --radius"),
        ("--seed 1 --shape round --radius 1 --sides 2", "unrecognized arguments: --sides 2"),
    ],
)
def test_flags_of_what_is_not_chosen_are_usage_errors(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        Drawing.parse(line.split())
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
