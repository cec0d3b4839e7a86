"""A tiny study: every step of the workflow, run once a session through the scripts' own command lines.

The command lines are those that the rules would run (a dry run of Snakemake). In one, `@path` is a file or folder that
an earlier step made, `>path` one that this step makes; both are relative to the folder of the study, and a test may
send the outputs elsewhere or put another file in an input's place.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pandas as pd

from goodhart.store.fingerprint import fingerprint
from house import ROOT, copy_house, run_snakemake

# Steps of data and models that a user brings, beside those of the study itself: their targets and configuration. What
# begins with `@` lies in the folder of the study.
GIVEN = {
    "study": "given",
    "policy": {"model": "@replicate-0/policy", "prompts": "plain"},
    "task": {
        "source": "dataset",
        "online_problems": 5,
        "evaluation_problems": None,
        "dataset": {
            "online": "@source/problems.csv",
            "evaluation": "@source/problems.parquet",
            "name": None,
            "template": "Q: {question} =\nA:\n",
        },
    },
}
PAIRS = {
    "source": "@source/pairs.jsonl",
    "pairs": 60,
    "prompt_column": "question",
    "chosen_column": "good",
    "rejected_column": "bad",
    "chosen_score_column": "score.good",
    "rejected_score_column": "score.bad",
}
SCORED = {
    "source": "@source/ratings.csv",
    "form": "scored",
    "prompt_column": "question",
    "response_column": "text",
    "score_column": "rating",
    "response_source_column": "model",
    **dict.fromkeys([name for name in PAIRS if name.startswith(("chosen", "rejected"))]),
}
PLANS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "": (("all", "memory"), {}),
    "given": (
        ("policy", "data/problems.parquet", "data/preferences.parquet"),
        GIVEN | {"preferences": {"source": "dataset", "dataset": PAIRS}},
    ),
    "scored": (("data/preferences.parquet",), GIVEN | {"preferences": {"source": "dataset", "dataset": SCORED}}),
}
LEAVES = ("draw_figures", "write_findings", "plan_memory", "show_samples", "resolve_model", "load_preferences")
LEAVES += ("load_preferences/scored", "load_problems")  # no other step needs them; a test runs them where it wants to


def plan(house: Path, name: str) -> dict[str, str]:
    """The command lines of a plan by step, from a dry run in a copy of the workflow."""
    targets, changes = PLANS[name]
    written = house / f"{name or 'tiny'}.yaml"
    written.write_text(json.dumps(changes).replace('"@', f'"{house}/results/tiny/'))
    for source in re.findall(r'"([^"]*/source/[^"]*|[^"]*/tiny/replicate-0/policy)"', written.read_text()):
        Path(source).parent.mkdir(parents=True, exist_ok=True)
        (Path(source).mkdir if source.endswith("policy") else Path(source).touch)(exist_ok=True)
    paths = [t if t in ("all", "memory") else f"results/given/replicate-0/{t}" for t in targets]
    done = run_snakemake(house, "-n", "-p", "--forceall", *paths, configs=("tests/tiny.yaml", written.name))
    assert done.returncode == 0, done.stdout[-3000:]
    steps: dict[str, str] = {}
    for job in re.split(r"^\[.*\]\n", done.stdout, flags=re.MULTILINE):
        command = re.search(
            r"^Shell command: [^\n]*?workflow/scripts/(\w+)\.py (.*) &> ", job, flags=re.MULTILINE | re.DOTALL
        )
        if command:
            outputs = re.search(r"^    output: (.*)", job, flags=re.MULTILINE)
            wildcards = re.search(r"^    wildcards: (.*)", job, flags=re.MULTILINE)
            key = "/".join([command[1], *_labels(wildcards[1] if wildcards else "")])
            if "rule train_held_out:" in job:  # the script of `train_reward`
                key = key.replace("/", "/held-out-", 1)
            steps[key] = _marked(command[2], outputs[1].split(", ") if outputs else [], house)
    return steps


def _labels(wildcards: str) -> Iterator[str]:
    """The values of wildcards, without the method; a replicate other than 0 comes last."""
    values = dict(pair.split("=") for pair in filter(None, wildcards.split(", ")))
    replicate = int(values.pop("replicate", 0))
    for name, value in values.items():
        if name != "method":
            yield f"kl-{value}" if name == "kl_level" else value
    if replicate:
        yield f"replicate-{replicate}"


def _marked(command: str, outputs: list[str], house: Path) -> str:
    """A command line with `--flag value` throughout, `@` before inputs and `>` before outputs."""
    expanded = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True)
    words = []
    for word in expanded.stdout.split("\0")[:-1]:
        flag, equals, value = word.partition("=")
        for part in (flag, value) if equals and flag.startswith("--") else (word,):
            label, _, path = part.rpartition("=") if not part.startswith("--") else ("", "", part)
            path = path.replace(f"{house}/", "")
            inside = re.sub("^results/(tiny|given)/", "", path)
            made = path in outputs or inside.startswith("checkpoints/")
            marked = (">" if made else "@") + inside if inside != path else path
            if label not in LEAVES:
                words.append(f"{label}={marked}" if label else part if marked == path else marked)
    return shlex.join(words)


def _in_order(found: dict[str, str]) -> dict[str, str]:
    """The steps in an order in which they can run, by name as far as that goes."""
    made_by = {path: name for name, line in found.items() for path in re.findall(r"(?<!\S)'?>([^\s']+)", line)}
    needs = {
        name: {made_by[path] for path in re.findall(r"@([^\s']+)", line) if path in made_by} - {name}
        for name, line in sorted(found.items())
    }
    return {name: found[name] for name in TopologicalSorter(needs).static_order()}


def steps() -> dict[str, str]:
    """The command lines of all plans, from a file where neither rules, configuration nor this module have changed."""
    sources = [ROOT / "Snakefile", Path(__file__), *sorted(ROOT.glob("workflow/rules/*.smk"))]
    sources += [ROOT / name for name in ("tests/house.py", "tests/tiny.yaml")] + sorted(ROOT.glob("config/*.yaml"))
    scripts = ROOT / "workflow/scripts"
    code = [fingerprint(scripts / "goodhart" / name, scripts) for name in ("study.py", "launch/resources.py")]
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + repr(code).encode()).hexdigest()[:16]
    kept = Path(tempfile.gettempdir()) / f"goodhart-tests-{key}.json"
    if not kept.is_file():
        with tempfile.TemporaryDirectory() as folder:
            house = copy_house(Path(folder).resolve())
            found = _in_order(plan(house, ""))
            found |= {k: v for k, v in sorted(plan(house, "given").items()) if k.startswith(("load", "resolve"))}
            found["load_preferences/scored"] = plan(house, "scored")["load_preferences"]
        temporary = kept.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(found))
        temporary.replace(kept)
    return json.loads(kept.read_text())


STEPS = steps()
CHAIN = [name for name in STEPS if name not in LEAVES]


def write_sources(folder: Path) -> None:
    """Data as a user might bring it: 80 pairs, the first three of which are odd, as many ratings, and 20 problems."""
    folder.mkdir()
    pairs = [
        {"question": f"Q: {i} =\nA:\n", "good": f"#### {i}", "bad": "#### 0", "score": {"good": 2.0, "bad": 1.0}}
        for i in range(80)
    ]
    pairs[1]["score"] = pairs[2]["score"] = {"good": 1.0, "bad": 1.0}  # and pair 0 is "#### 0" twice
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    ratings = [
        (f"Q: {i} =\nA:\n", f"#### {i + error}", 5 - error, "ab"[error % 2]) for i in range(80) for error in range(3)
    ]
    ratings = ratings[2:]  # one response to the first question
    ratings[1:4] = [(*rating[:2], 4, rating[3]) for rating in ratings[1:4]]  # and one rating for all to the second
    pd.DataFrame(ratings, columns=["question", "text", "rating", "model"]).to_csv(folder / "ratings.csv", index=False)
    problems = pd.DataFrame({"question": [f"{i} + 1" for i in range(20)], "answer": range(1, 21)})
    problems.to_csv(folder / "problems.csv", index=False)
    problems.astype({"answer": str}).to_parquet(folder / "problems.parquet")


OF_ALL = ("tables", "fit", "figures", "beta_grid", "memory", "samples", "findings", "checklist", "provenance")


def placed(path: str) -> str:
    """A path in a study: one that names no replicate and does not belong to all is in replicate 0."""
    first = path.partition("/")[0].partition(".")[0]
    return path if first in OF_ALL or first.startswith(("replicate-", "source")) else f"replicate-0/{path}"


class Study:
    """A finished tiny study: `study / "policy"` is a path in it (`placed`), `study.run` repeats a step of it elsewhere.

    `changes` replaces parts of every command line, for a study with other settings.
    """

    def __init__(self, root: Path, changes: Mapping[str, str] | None = None) -> None:
        self.root, self.changes = root, changes or {}
        self.seconds: dict[str, float] = {}  # that each step took

    def __truediv__(self, path: str) -> Path:
        return self.root / placed(path)

    def arguments(self, name: str, outputs: Path, instead: Mapping[str, Path] | None = None) -> list[str]:
        """The command line of one step, with its outputs under `outputs` and some inputs replaced."""
        line = STEPS[name].replace(">", "+")
        for old, new in self.changes.items():
            line = line.replace(old, new)
        others = {placed(path): other for path, other in (instead or {}).items()}
        return [self._path(word, outputs, others) for word in shlex.split(line)]

    def run(
        self, name: str, outputs: Path, instead: Mapping[str, Path] | None = None, precision: str = "float32"
    ) -> None:
        arguments = self.arguments(name, outputs, instead)
        importlib.import_module(name.partition("/")[0]).main([precision if a == "float32" else a for a in arguments])

    def _path(self, word: str, outputs: Path, instead: Mapping[str, Path]) -> str:
        before, mark, path = word.rpartition("@")
        if mark:
            return f"{before}{instead.get(path, self.root / path)}"
        return str(outputs / word[1:]) if word.startswith("+") else word


@contextmanager
def sharpened(model: Any) -> Iterator[None]:
    """The model with its logits multiplied by 1e5: what is drawn from it is then the most likely token."""

    hook = model.lm_head.register_forward_hook(lambda _module, _inputs, logits: logits * 1e5)
    try:
        yield
    finally:
        hook.remove()


def first_token_p_value(model: Any, prompt: list[list[int]], responses: list[list[int]]) -> float:
    """How likely first tokens as far from the softmax as these are, by chi-square; `prompt` is one row of token ids."""
    import torch
    from scipy import stats

    counts = torch.bincount(torch.tensor(responses).flatten(), minlength=model.config.vocab_size).numpy()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(prompt)).logits[0, -1]
    expected = (torch.softmax(logits.double(), -1) * len(responses)).numpy()
    common = expected > 5
    assert sum(common) > 3
    counts[common.argmax()] += counts[~common].sum()  # rare tokens share a cell with a common one
    expected[common.argmax()] += expected[~common].sum()
    return float(stats.chisquare(counts[common], expected[common]).pvalue)
