"""docs/extending.md: its blocks, put where they say, make the tasks and rewards that the page describes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from goodhart.store.files import read_table
from goodhart.store.schemas.inputs import CORPUS, PROBLEMS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True) for kind, block in BLOCKS if kind == "sh" for line in block.splitlines() if line
]
STUDIES = [command for command in COMMANDS if command[0] == "snakemake"]
AT_END = ", at its end"
BEFORE = re.compile(r', before its first "(.*)"$')
SOLUTIONS = {  # as MATH writes them
    "What is $\\frac{1}{4} + \\frac{1}{4}$?": "We have $\\frac{2}{4} = \\boxed{\\frac{1}{2}}$.",
    "Solve $x^2 = 4$ over {$x$ real}.": "So $x = \\boxed{-2, 2}$.",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workflow with every block of the page in its place, and the data that the page names."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "Snakefile", folder)
    for part in ("workflow", "config", "envs", "profiles"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for kind, block in BLOCKS:
        if kind in ("python", "yaml"):
            place, _, content = block.removeprefix("# ").partition("\n")
            path, before = folder / BEFORE.sub("", place.removesuffix(AT_END)), BEFORE.search(place)
            assert path.exists() == (place.endswith(AT_END) or before is not None), place
            text = path.read_text() if path.exists() else ""
            if before:
                above, line, below = text.partition(f"\n{before[1]}")
                assert line, place
                path.write_text(f"{above}\n{content.rstrip()}{line}{below}")
            else:
                path.write_text(f"{text}\n\n{content}")
    problems = pd.DataFrame(SOLUTIONS.items(), columns=["problem", "solution"])
    questions = pd.DataFrame({"question": ["Which? (A) this (B) that"], "answer": ["B"]})
    for split in ("train", "test"):
        (folder / "math").mkdir(exist_ok=True)
        (folder / "choice").mkdir(exist_ok=True)
        problems.to_json(folder / f"math/{split}.jsonl", orient="records", lines=True)
        questions.to_csv(folder / f"choice/{split}.csv", index=False)
    (folder / "path/to/a/model").mkdir(parents=True)
    rating = {"prompt": "p", "response": "r", "rating": 1, "model": "m"}
    (folder / "ratings.jsonl").write_text(json.dumps(rating) + "\n")
    return folder


def run(folder: Path, *command: str) -> str:
    """What a command prints in the copy, whose library it imports."""
    environment = {"PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin", "HOME": str(folder)}
    environment["PYTHONPATH"] = str(folder / "workflow" / "scripts")
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_every_block_is_short_and_of_a_known_kind() -> None:
    assert {kind for kind, _ in BLOCKS} == {"python", "yaml", "sh"}
    assert max(block.count("\n") for _, block in BLOCKS) <= 30
    assert {Path(command[-1]).stem for command in STUDIES} == {"math", "choice", "brief", "reversal"}


def test_the_one_command_that_is_no_study_installs_an_extra_of_this_project() -> None:
    (install,) = [command for command in COMMANDS if command not in STUDIES]
    assert install[-1] == ".[math]"
    assert '\nmath = ["math-verify' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("command", STUDIES, ids=" ".join)
def test_each_command_is_one_that_the_workflow_plans(house: Path, command: list[str]) -> None:
    plan = run(house, "-m", *command, "--dry-run", "--quiet", "rules")
    assert any(step in plan for step in ("load_problems", "load_preferences", "generate_problems"))
    assert ("adapt_online" in plan) is not any("results/" in word for word in command)


def test_math_is_loaded_and_judged(house: Path) -> None:
    command = next(command for command in STUDIES if "results/math/replicate-0/data/problems.parquet" in command)
    run(house, "-m", *command)
    problems = read_table(house / "results/math/replicate-0/data/problems.parquet", PROBLEMS, split="evaluation")
    question, *_ = SOLUTIONS
    assert problems["answer"].tolist() == list(SOLUTIONS.values())
    assert problems["prompt"][problems.index[0]] == (
        f"{question}\n\nSolve the problem step by step and put the final answer in \\boxed{{}}."
    )
    responses = [["\\boxed{0.5}", "0.5"], ["$x \\in \\boxed{\\{2, -2\\}}$", "\\boxed{2}"]]
    judged = run(
        house,
        "-c",
        "import json, sys; from goodhart.verifiers.registry import verifier; judge = verifier('math');"
        "print(json.dumps([[judge(r, gold) for r in rs] for rs, gold in json.loads(sys.argv[1])]))",
        json.dumps(list(zip(responses, problems["answer"], strict=True))),
    )
    assert json.loads(judged) == [[True, False], [True, False]]


def test_reversals_are_generated_and_judged(house: Path) -> None:
    command = next(command for command in STUDIES if "results/reversal/replicate-0/data/problems.parquet" in command)
    run(house, "-m", *command)
    problems = read_table(house / "results/reversal/replicate-0/data/problems.parquet", PROBLEMS, split="preference")
    assert len(problems) == 2000
    for prompt, answer in zip(problems["prompt"], problems["answer"], strict=True):
        assert prompt.removeprefix("Q: reverse ").removesuffix("\nA:\n").split() == answer.split()[::-1]
    corpus = read_table(house / "results/reversal/replicate-0/data/corpus.parquet", CORPUS)
    assert not set(problems["prompt"]) & set(corpus["prompt"])


def test_multiple_choice_is_judged(house: Path) -> None:
    rows = [
        ("I think.\nAnswer: B", "strict", True),
        ("Answer: **B**", "strict", True),
        ("Answer: A\nNo.\nAnswer: (B).", "strict", True),
        ("Answer: Bananas", "strict", False),
        ("It is B.", "strict", False),
        ("It is B.", "flexible", True),
        ("<think>Answer: B</think>", "strict", False),
        ("Answer: B, no, A", "flexible", False),
        ("", "flexible", False),
    ]
    judged = run(
        house,
        "-c",
        "import json, sys; from goodhart.verifiers.registry import verifier; judge = verifier('choice');"
        "print(json.dumps([judge(text, 'B', style) for text, style, _ in json.loads(sys.argv[1])]))",
        json.dumps(rows),
    )
    assert json.loads(judged) == [correct for *_, correct in rows]
    refused = (
        "from goodhart.errors import InputError\nfrom goodhart.verifiers.registry import verifier\n"
        "try: verifier('choice')('', '7')\n"
        "except InputError as error: print(error)"
    )
    assert "'7' is no letter" in run(house, "-c", refused)


def test_of_equal_ratings_the_shorter_response_is_chosen(house: Path) -> None:
    rows = [
        ("p", "long, long", 5),
        ("p", "short", 5),
        ("p", "bad", 1),
        ("q", "wordy", 3),
        ("q", "dry", 3),
        ("r", "", 1),
    ]
    pairs = run(
        house,
        "-c",
        "import json, sys, pandas; from goodhart.data.pairing import FORMS;"
        "rows = pandas.DataFrame(json.loads(sys.argv[1]), columns=['prompt', 'response', 'score']);"
        "pairs, dropped = FORMS['brief'].pair(rows);"
        "print(json.dumps([pairs[['chosen', 'rejected']].to_numpy().tolist(), dropped]))",
        json.dumps(rows),
    )
    chosen, dropped = json.loads(pairs)
    assert chosen == [["short", "bad"], ["dry", "wordy"]]
    assert (dropped["prompts_with_one_response_dropped"], dropped["prompts_with_tied_scores_dropped"]) == (1, 0)


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#\s]+)\)", TEXT))
def test_a_relative_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / "docs" / link).is_file()
