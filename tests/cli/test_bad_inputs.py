"""Every file a script reads, missing, empty, cut in half or of another kind: one sentence, and nothing left behind."""

from __future__ import annotations

import importlib
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from goodhart.errors import InputError
from goodhart.store.files import read_json, read_table, write_json, write_table
from goodhart.store.schemas.inputs import LOGPROBS, PREFERENCES, PROBLEMS
from tiny_study import STEPS, Study

# One step a script, and the inputs of that step, the first of each flag.
FIRST = {name.partition("/")[0]: name for name in reversed(STEPS)}
INPUTS = {
    script: [re.findall(r"@(\S+)", flag)[0] for flag in re.split(r"(?:^| )--", STEPS[name]) if "@" in flag]
    for script, name in FIRST.items()
}
FILE_OF_FOLDER = {"policy": "model.safetensors", "adapter": "adapter_model.safetensors"}


def missing(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def empty(path: Path) -> None:
    missing(path)
    path.touch() if path.suffix else path.mkdir()


def truncated(path: Path) -> None:
    file = path / FILE_OF_FOLDER[path.name] if path.is_dir() else path
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flipped(path: Path) -> None:
    """One bit of another value, two thirds in."""
    file = path / FILE_OF_FOLDER[path.name] if path.is_dir() else path
    content = bytearray(file.read_bytes())
    content[2 * len(content) // 3] ^= 1
    file.write_bytes(content)


def of_another_kind(path: Path) -> None:
    """A file in the right format that holds something else."""
    if path.name == "policy":
        (path / "manifest.json").write_text("{}")
        (path / "config.json").unlink()
    elif path.name == "adapter":
        (path / "adapter_config.json").write_text("{}")
    elif path.is_dir():
        pd.DataFrame({"other": [1]}).to_parquet(path / FILE_OF_FOLDER[path.name])
    elif path.suffix == ".parquet":
        pd.DataFrame({"other": [1]}).to_parquet(path)
    elif path.suffix in (".json", ".jsonl"):
        path.write_text('{"other": 1}\n')
    elif path.suffix == ".csv":
        path.write_text("other\n1\n")
    else:
        save_file({"other": np.ones(3)}, path)


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"still running after {seconds} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def refusal(study: Study, name: str, outputs: Path, instead: dict[str, Path]) -> str:
    """The sentence with which a step refuses; it must leave no file."""
    with deadline(60), pytest.raises(InputError) as caught:
        study.run(name, outputs, instead)
    assert len(str(caught.value).splitlines()) == 1
    assert [path for path in outputs.rglob("*") if path.is_file()] == []
    return str(caught.value)


READ_NO_WEIGHTS = {("plan_memory", "replicate-0/policy")}
DAMAGES = [
    (script, path, damage)
    for script, paths in INPUTS.items()
    for path in paths
    for damage in (missing, empty, truncated, flipped, of_another_kind)
    if not (damage in (truncated, flipped) and (path.endswith(".csv") or (script, path) in READ_NO_WEIGHTS))
    and not (damage is flipped and (path.startswith("source/") or script == "resolve_model"))
]  # half a CSV file is a CSV file, and what a user brings goes by its form


@pytest.mark.parametrize(("script", "path", "damage"), DAMAGES)
def test_a_damaged_input_is_refused(
    tiny: Study, tmp_path: Path, script: str, path: str, damage: Callable[[Path], None]
) -> None:
    copy = tmp_path / "damaged" / Path(path).name
    copy.parent.mkdir()
    original = tiny / path
    shutil.copytree(original, copy) if original.is_dir() else shutil.copy(original, copy)
    damage(copy)
    assert str(copy) in refusal(tiny, FIRST[script], tmp_path / "out", {path: copy})


@pytest.mark.parametrize(
    ("script", "split"),
    [
        ("sample_preferences", "preference"),
        ("sample_reference", "evaluation"),
        ("probe_offline", "evaluation"),
        ("adapt_online", "online"),
        ("adapt_online", "evaluation"),
    ],
)
def test_problems_without_the_split_a_script_needs_are_refused(
    tiny: Study, tmp_path: Path, script: str, split: str
) -> None:
    problems = read_table(tiny / "data/problems.parquet", PROBLEMS)
    write_table(tmp_path / "problems.parquet", problems[problems["split"] != split], PROBLEMS)
    instead = {"data/problems.parquet": tmp_path / "problems.parquet"}
    assert split in refusal(tiny, FIRST[script], tmp_path / "out", instead)


@pytest.mark.parametrize(
    ("script", "table", "split"),
    [
        ("derive_hyperparameters", "data/preferences.parquet", "train"),
        ("derive_beta", "reference/logprobs.parquet", "train"),
        ("train_reward", "data/preferences.parquet", "train"),
        ("train_reward/held-out-0", "data/preferences.parquet", "held_out"),
        ("train_offline", "reference/logprobs.parquet", "train"),
        ("evaluate_rewards", "data/preferences.parquet", "train"),
        ("evaluate_rewards", "data/preferences.parquet", "test"),
        ("probe_offline", "reference/logprobs.parquet", "test"),
    ],
)
def test_pairs_without_the_split_a_script_needs_are_refused(
    tiny: Study, tmp_path: Path, script: str, table: str, split: str
) -> None:
    contract = PREFERENCES if "preferences" in table else LOGPROBS
    rows = read_table(tiny / table, contract)
    write_table(tmp_path / "pairs.parquet", rows[rows["split"] != split], contract)
    step = FIRST.get(script, script)
    assert split in refusal(tiny, step, tmp_path / "out", {table: tmp_path / "pairs.parquet"})


@pytest.mark.parametrize(
    ("script", "adapter"),
    [
        ("adapt_online", "offline/dpo/p20/adapter"),
        ("adapt_online", "reward/member-1/adapter"),
        ("probe_offline", "offline/dpo/p20/adapter"),
        ("probe_offline", "reward/member-1/adapter"),
        ("evaluate_rewards", "reward/member-1/adapter"),
    ],
)
def test_an_adapter_of_another_base_is_refused(tiny: Study, tmp_path: Path, script: str, adapter: str) -> None:
    shutil.copytree(tiny / adapter, tmp_path / "adapter")
    record = tmp_path / "adapter/manifest.json"
    write_json(record, {**read_json(record), "sha256": "of another"})
    message = refusal(tiny, FIRST[script], tmp_path / "out", {adapter: tmp_path / "adapter"})
    assert f"{tmp_path / 'adapter'} is an adapter of another base" in message


def edited(path: Path, folder: Path, **changes: object) -> Path:
    """A copy of a `derived` file with some values in use replaced."""
    record = read_json(path)
    for name, value in changes.items():
        record["values"][name]["value"] = value
    write_json(folder / path.name, record)
    return folder / path.name


@pytest.mark.parametrize(
    ("script", "stage"), [("score_reference", "offline"), ("train_reward", "reward"), ("train_offline", "offline")]
)
def test_a_length_no_prompt_fits_is_refused(tiny: Study, tmp_path: Path, script: str, stage: str) -> None:
    derived = f"derived/{stage}.json"
    instead = {derived: edited(tiny / derived, tmp_path, max_length=4)}
    message = refusal(tiny, FIRST[script], tmp_path / "out", instead)
    assert "max_length" in message or "other tokens" in message


def test_log_probs_of_other_pairs_or_tokens_are_refused(tiny: Study, tmp_path: Path) -> None:
    logprobs = read_table(tiny / "reference/logprobs.parquet", LOGPROBS)
    for name, table, said in (
        ("pairs", logprobs.assign(pair_id=logprobs["pair_id"] + 1000), "different pairs"),
        ("tokens", logprobs.assign(chosen_tokens=logprobs["chosen_tokens"] + 1), "other tokens"),
    ):
        write_table(tmp_path / f"{name}.parquet", table, LOGPROBS)
        instead = {"reference/logprobs.parquet": tmp_path / f"{name}.parquet"}
        assert said in refusal(tiny, "train_offline/p20", tmp_path / "out", instead)


def words(study: Study, name: str, outputs: Path, **flags: str) -> list[str]:
    """A command line with the values of some flags replaced."""
    arguments = study.arguments(name, outputs)
    for flag, value in flags.items():
        arguments[arguments.index(f"--{flag}") + 1] = value
    return arguments


@pytest.mark.parametrize(
    ("step", "flags", "said"),
    [
        ("derive_beta/p20", {"level": "20"}, "neither a percentile"),
        ("derive_beta/p20", {"level": "p0"}, "neither a percentile"),
        ("derive_hyperparameters/offline", {"override": "learning_rate=fast"}, "not NAME=NUMBER"),
        ("derive_hyperparameters/offline", {"override": "learning_rate"}, "not NAME=NUMBER"),
        ("derive_hyperparameters/offline", {"override": "rank=4"}, "no such derived value"),
        ("derive_hyperparameters/offline", {"override": "max_length=0"}, "positive integer"),
        ("sample_reference", {"verifier": "maths"}, "unknown verifier"),
        ("sample_preferences", {"verifier": "maths"}, "unknown verifier"),
        ("generate_problems", {"preference-problems": "2000"}, "use a larger task"),
        ("load_problems", {"template": "no place"}, "{question}"),
        ("load_preferences", {"chosen-column": "best"}, "'best'"),
        ("load_preferences", {"chosen-score-column": "score.best"}, "'best'"),
        ("load_preferences/scored", {"score-column": "question"}, "row 0 has the score 'Q: 0 ="),
        ("load_preferences", {"form": "scored"}, "needs response_column"),
        ("load_problems", {"answer-column": "solution"}, "'solution'"),
        ("resolve_model", {"model": "/no/such/folder"}, "neither a local path nor a name on the hub"),
        ("resolve_model", {"model": "some/model"}, "some/model is not in the cache"),
        ("resolve_model", {"prompts": "chat"}, "has no chat template; set policy.prompts: plain"),
        ("resolve_model", {"model": "no_package:model.gguf"}, "no_package is not installed"),
        ("resolve_model", {"model": "nothing.gguf"}, "nothing.gguf does not exist"),
        ("show_samples", {"examples": "0"}, "--examples"),
    ],
)
def test_a_wrong_value_is_refused(tiny: Study, tmp_path: Path, step: str, flags: dict[str, str], said: str) -> None:
    script = importlib.import_module(step.partition("/")[0])
    with deadline(60), pytest.raises(InputError, match=re.escape(said)) as caught:
        script.main(words(tiny, step, tmp_path, **flags))
    assert len(str(caught.value).splitlines()) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("cell", ["paper/dpo/p20/p20", "paper/dpo/p20/p20/first", "p20"])
def test_a_cell_that_cannot_be_read_is_refused(tiny: Study, tmp_path: Path, cell: str) -> None:
    arguments = [cell if w == "paper/dpo/p20/p20/0" else w for w in tiny.arguments("collect_runs", tmp_path)]
    with pytest.raises(InputError, match=f"'{cell}' is not ARM/METHOD/LEVEL/KL_LEVEL/REPLICATE"):
        importlib.import_module("collect_runs").main(arguments)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("flag", ["trajectories", "responses", "updates", "probes", "floors"])
def test_a_run_an_arm_needs_or_its_probe_is_named_when_missing(tiny: Study, tmp_path: Path, flag: str) -> None:
    """Both arms name six runs of four checkpoints; here the first of one list is left out."""
    arguments = tiny.arguments("collect_runs", tmp_path)
    del arguments[arguments.index(f"--{flag}") + 1]
    with pytest.raises(InputError, match="p20"):
        importlib.import_module("collect_runs").main(arguments)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_points_of_an_arm_that_is_not_named_are_refused_before_anything_is_written(tiny: Study, tmp_path: Path) -> None:
    arguments = [word.replace("dpo-matched.csv", "dpo-other.csv") for word in tiny.arguments("collect_runs", tmp_path)]
    with pytest.raises(InputError, match="called dpo-other"):
        importlib.import_module("collect_runs").main(arguments)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_unknown_method_is_a_usage_error(tiny: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        importlib.import_module("train_offline").main(words(tiny, "train_offline/p20", tmp_path, method="ppo"))
    assert caught.value.code == 2
    assert "--method" in capsys.readouterr().err


def test_all_inputs_are_covered() -> None:
    assert sum(map(len, INPUTS.values())) > 60
    assert INPUTS["resolve_model"] == ["replicate-0/policy"]
