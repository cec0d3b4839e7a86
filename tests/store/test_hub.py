"""Models and datasets of a hub, through the real clients: pinned, found with no network, refused in a sentence."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from huggingface_hub import constants
from transformers import Qwen3Config, Qwen3ForCausalLM

import load_preferences
import load_problems
import resolve_model
from goodhart.data.sources import read_source
from goodhart.errors import InputError
from goodhart.models import loading
from goodhart.models.manifest import check_model
from goodhart.models.tokens import encode_prompts
from goodhart.store.files import read_json, read_table
from goodhart.store.hub import snapshot
from goodhart.store.schemas.inputs import PREFERENCES, PROBLEMS
from goodhart.training.pretraining import build_tokenizer
from local_hub import LocalHub, files_of

TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }}\n{% endfor %}"
TEXTS = ["user user system hello ? how are you ? well . bad ! 1 2 3 #### \n", "hello", "well", "bad"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A hub with a network to it, and an empty cache."""
    with LocalHub() as server:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
        yield server


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a tiny model with a chat template, beside formats that must be left alone."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = build_tokenizer(TEXTS)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Qwen3Config(vocab_size=len(tokenizer), head_dim=4, intermediate_size=8, tie_word_embeddings=True, **shape)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    others = dict.fromkeys(["pytorch_model.bin", "consolidated.safetensors", "onnx/model.safetensors"], b"no")
    return {**files_of(folder), **others}


def without(files: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {path: content for path, content in files.items() if not path.startswith(names)}


def with_config(files: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    return {**files, "config.json": json.dumps({**json.loads(files["config.json"]), **changes}).encode()}


def resolve(folder: Path, name: str, revision: str | None = None, role: str = "policy", prompts: str = "chat") -> Path:
    flags = ["--model", name, "--role", role, "--prompts", prompts, "--output", str(folder / "resolved")]
    resolve_model.main([*flags, *(["--revision", revision] if revision else [])])
    return folder / "resolved"


def refusal(folder: Path, *arguments: Any, **flags: Any) -> str:
    """The sentence with which a model is refused; nothing may be left of it."""
    with pytest.raises(InputError) as caught:
        resolve(folder, *arguments, **flags)
    assert len(str(caught.value).splitlines()) == 1
    assert not (folder / "resolved").exists()
    return str(caught.value)


def test_a_branch_is_pinned_to_its_commit_and_loaded_without_a_network(
    hub: LocalHub, model: dict[str, bytes], tmp_path: Path
) -> None:
    first = hub.push("model", "some/model", model)
    resolved = resolve(tmp_path, "some/model")
    hub.push("model", "some/model", with_config(model, rope_theta=5.0))  # the branch moves on
    manifest = check_model(resolved)
    assert (manifest["model"], manifest["revision"]) == ("some/model", first)
    assert manifest["projections"] == [[8, 4], [8, 8], [8, 8], [8, 4]]  # of k, o, q and v
    assert manifest["sha256"] is None
    asked = len(hub.requests)
    policy, reward = loading.load_policy(resolved, "float32"), loading.load_reward_backbone(resolved, "float32")
    assert manifest["parameters"] == policy.num_parameters()
    assert reward.score.weight.shape == (1, 8)
    assert loading.load_tokenizer(resolved).chat_template == TEMPLATE
    assert len(hub.requests) == asked  # not even asked whether anything is new
    assert [path.name for path in (tmp_path / "cache").rglob("*.bin")] == []
    assert [path.name for path in (tmp_path / "cache").rglob("*.safetensors")] == ["model.safetensors"]


@pytest.mark.parametrize("revision", ["main", "other", "commit", "gone"])
def test_without_a_network_a_filled_cache_answers(
    hub: LocalHub, model: dict[str, bytes], tmp_path: Path, offline: Any, revision: str
) -> None:
    """By branch or commit where it was fetched; a branch that was not fetched is refused."""
    changed = hub.push("model", "some/model", with_config(model, rope_theta=5.0), branch="other")
    commit = hub.push("model", "some/model", model)
    for name in ("main", "other"):
        resolve(tmp_path / name, "some/model", name)
    offline()
    if revision == "gone":
        assert "is not in the cache" in refusal(tmp_path, "some/model", revision)
        return
    manifest = check_model(resolve(tmp_path, "some/model", commit if revision == "commit" else revision))
    assert manifest["revision"] == (changed if revision == "other" else commit)


def test_what_the_hub_does_not_give_is_said_in_a_sentence(
    hub: LocalHub, model: dict[str, bytes], tmp_path: Path
) -> None:
    hub.push("model", "some/model", model)
    hub.push("model", "some/gated", model, gated=True)
    assert "some/nothing does not exist on the hub" in refusal(tmp_path, "some/nothing")
    assert "at revision v9 does not exist on the hub, though" in refusal(tmp_path, "some/model", "v9")
    assert "some/gated is gated" in refusal(tmp_path, "some/gated")
    assert "neither a local path nor a name on the hub" in refusal(tmp_path, "some model/of/mine")


def test_an_empty_cache_without_a_network_is_said_in_a_sentence(hub: LocalHub, tmp_path: Path, offline: Any) -> None:
    offline()
    assert "some/model is not in the cache of this machine" in refusal(tmp_path, "some/model")


def test_a_hub_that_cannot_be_reached_is_said_in_a_sentence(
    tmp_path: Path, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "some/model cannot be fetched from the hub (" in refusal(tmp_path, "some/model")


def test_a_job_whose_cache_lost_the_model_is_told_where_to_fetch_it(
    hub: LocalHub, model: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push("model", "some/model", model)
    resolved = resolve(tmp_path, "some/model")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match=r"some/model at revision \w{40} is not in the cache"):
        check_model(resolved)


REFUSED = {
    "pickled weights": (lambda files: without(files, "model.safetensors"), {}, "can run code"),
    "remote code": (lambda files: with_config(files, model_type="mine", auto_map={}), {}, "(trust_remote_code)"),
    "no generator": (lambda files: with_config(files, model_type="vit"), {}, "no class for text generation"),
    "no classifier": (
        lambda files: with_config(files, model_type="cohere"),
        {"role": "reward"},
        "no class with a score",
    ),
    "no tokenizer": (lambda files: without(files, "tokenizer"), {}, "has no tokenizer"),
    "broken tokenizer": (lambda files: {**files, "tokenizer.json": b"{}"}, {}, "cannot be loaded"),
    "no template": (lambda files: without(files, "chat_template"), {}, "policy.prompts: plain"),
    "no reward template": (lambda files: without(files, "chat_template"), {"role": "reward"}, "reward.prompts: plain"),
    "no config": (lambda files: without(files, "config.json"), {}, "it is not a model"),
    "an adapter": (lambda f: {**without(f, "config.json"), "adapter_config.json": b"{}"}, {}, "name its base"),
    "no sizes": (lambda files: with_config(files, hidden_size=None), {}, "no hidden_size"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_cannot_serve_is_refused_on_the_hub_and_on_disk(
    hub: LocalHub, model: dict[str, bytes], tmp_path: Path, case: str
) -> None:
    change, flags, said = REFUSED[case]
    files = change(model)
    hub.push("model", "some/model", files)
    folder = tmp_path / "local"
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    for name in ("some/model", str(folder)):
        message = refusal(tmp_path, name, **flags)
        assert said in message
        assert name in message


def test_a_known_type_with_code_of_its_own_is_loaded_with_the_librarys(
    hub: LocalHub, model: dict[str, bytes], tmp_path: Path
) -> None:
    code = {"modeling.py": b"raise SystemExit('ran code of the hub')"}
    mapped = {"AutoConfig": "modeling.Config", "AutoModelForCausalLM": "modeling.Model"}
    hub.push("model", "some/model", {**with_config(model, auto_map=mapped), **code})
    assert type(loading.load_policy(resolve(tmp_path, "some/model"), "float32")) is Qwen3ForCausalLM


def test_weights_of_a_refused_model_are_never_fetched(hub: LocalHub, model: dict[str, bytes], tmp_path: Path) -> None:
    hub.push("model", "some/model", with_config(model, model_type="mine"))
    refusal(tmp_path, "some/model")
    assert not [path for path in hub.requests if path.endswith(".safetensors")]


def test_plain_prompts_are_taken_as_they_are(hub: LocalHub, model: dict[str, bytes], tmp_path: Path) -> None:
    hub.push("model", "some/model", model)
    for prompts, words in (("plain", ["user", " hello"]), ("chat", ["user", " user", " hello", "\n"])):
        tokenizer = loading.load_tokenizer(resolve(tmp_path / prompts, "some/model", prompts=prompts))
        (ids,) = encode_prompts(tokenizer, ["user hello"])
        assert tokenizer.convert_ids_to_tokens(ids) == words


README = b"""---
configs:
- config_name: main
  data_files: [{split: train, path: main/train-*}, {split: test, path: main/test-*}]
- config_name: socratic
  data_files: [{split: train, path: socratic/train-*}]
---
"""


def parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame(rows).to_parquet(buffer)
    return buffer.getvalue()


def problems(count: int, note: str = "") -> bytes:
    return parquet([{"question": f"{note}{i} + 1 ?", "answer": f"so #### {i + 1}"} for i in range(count)])


def as_gsm8k(note: str = "") -> dict[str, bytes]:
    """The layout of openai/gsm8k."""
    tables = {"main/train": problems(6, note), "main/test": problems(3), "socratic/train": problems(2)}
    return {"README.md": README} | {f"{name}-00000-of-00001.parquet": content for name, content in tables.items()}


def test_a_dataset_is_read_by_configuration_split_and_revision(hub: LocalHub, tmp_path: Path, offline: Any) -> None:
    first = hub.push("dataset", "openai/gsm8k", as_gsm8k("old: "))
    cases = [("main", "train", 6), ("main", "test", 3), ("socratic", "train", 2)]

    def check(revision: str | None, commit: str, note: str) -> None:
        for name, split, rows in cases:
            frame, record = read_source(f"openai/gsm8k:{split}", name, revision)
            assert record == {"source": "openai/gsm8k", "configuration": name, "split": split, "revision": commit}
            assert len(frame) == rows
            assert rows < 6 or frame["question"][0] == f"{note}0 + 1 ?"

    check(None, first, "old: ")
    second = hub.push("dataset", "openai/gsm8k", as_gsm8k())
    check("main", second, "")
    offline()
    check(None, second, "")
    check(first, first, "old: ")


@pytest.mark.parametrize(
    ("source", "name", "revision", "said"),
    [
        ("openai/gsm8k:valid", "main", None, "openai/gsm8k cannot be read (Unknown split"),
        ("openai/gsm8k:train", "other", None, "'other' not found"),
        ("openai/gsm8k:train", None, None, "Config name is missing"),
        ("openai/gsm8k", "main", None, "has the splits train, test; name one"),
        ("openai/gsm8k:train", "main", "v9", "at revision v9 does not exist on the hub, though"),
        ("openai/math:train", "main", None, "dataset openai/math does not exist on the hub"),
        ("some/code:train", None, None, "some/code cannot be read"),
    ],
)
def test_a_dataset_that_cannot_be_read_is_said_in_a_sentence(
    hub: LocalHub, source: str, name: str | None, revision: str | None, said: str
) -> None:
    hub.push("dataset", "openai/gsm8k", as_gsm8k())
    hub.push("dataset", "some/code", {"code.py": b"raise SystemExit", "README.md": b""})
    with pytest.raises(InputError) as caught:
        read_source(source, name, revision)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert str(Path(constants.HF_HUB_CACHE)) not in str(caught.value)


def test_a_dataset_that_is_not_in_the_cache_is_said_in_a_sentence(hub: LocalHub, offline: Any) -> None:
    hub.push("dataset", "openai/gsm8k", as_gsm8k())
    offline()
    with pytest.raises(InputError, match="dataset openai/gsm8k is not in the cache"):
        read_source("openai/gsm8k:train", "main")


def test_problems_of_the_hub_are_pinned_and_their_overlap_counted(hub: LocalHub, tmp_path: Path) -> None:
    """By the column names of openai/gsm8k; its evaluation problems here are three of the six online ones."""
    commit = hub.push("dataset", "openai/gsm8k", as_gsm8k())
    line = (
        "--online openai/gsm8k:train --evaluation openai/gsm8k:test --name main --prompt-column question --seed 0"
        " --answer-column answer --template {question} --evaluation-problems 2"
        f" --problems {tmp_path}/problems.parquet --record {tmp_path}/problems.json"
    )
    load_problems.main(line.split())
    assert read_table(tmp_path / "problems.parquet", PROBLEMS)["split"].tolist() == ["online"] * 6 + ["evaluation"] * 2
    pinned = {"source": "openai/gsm8k", "configuration": "main", "revision": commit}
    assert read_json(tmp_path / "problems.json") == {
        "online": {**pinned, "split": "train", "rows_in_source": 6, "problems": 6},
        "evaluation": {**pinned, "split": "test", "rows_in_source": 3, "problems": 2},
        "online_problems_also_evaluated": 2,
    }


def test_preferences_of_the_hub_are_pinned(hub: LocalHub, model: dict[str, bytes], tmp_path: Path) -> None:
    """By the column names and the form of HuggingFaceH4/ultrafeedback_binarized: conversations beside their prompt."""
    rows: list[dict[str, Any]] = []
    prompts = [" ".join(["hello", *words]) for words in list(product("123", repeat=4))[:60]]
    for prompt in prompts:
        turns = [
            [{"content": prompt, "role": "user"}, {"content": text, "role": "assistant"}]
            for text in ("well .", "bad !")
        ]
        scores = {"score_chosen": 8.0, "score_rejected": 5.5}
        rows.append({"prompt": prompt, "chosen": turns[0], "rejected": turns[1], "messages": turns[0], **scores})
    files = {"data/train_prefs-00000-of-00001.parquet": parquet(rows), "README.md": b""}
    commit = hub.push("dataset", "HuggingFaceH4/ultrafeedback_binarized", files)
    hub.push("model", "some/model", model)
    line = (
        "--source HuggingFaceH4/ultrafeedback_binarized:train_prefs --form pairs --prompt-column prompt"
        " --chosen-column chosen --rejected-column rejected"
        " --chosen-score-column score_chosen --rejected-score-column score_rejected"
        f" --seed 0 --policy {resolve(tmp_path, 'some/model')}"
        f" --preferences {tmp_path}/preferences.parquet --coverage {tmp_path}/coverage.json"
    )
    load_preferences.main(line.split())
    table = read_table(tmp_path / "preferences.parquet", PREFERENCES)
    assert table["prompt"].tolist() == prompts
    assert set(table["chosen"]) == {"well ."}
    assert set(table["rejected_score"]) == {5.5}
    record = read_json(tmp_path / "coverage.json")["data"]
    assert (record["revision"], record["split"]) == (commit, "train_prefs")


def test_only_the_files_asked_for_are_fetched(hub: LocalHub) -> None:
    commit = hub.push("dataset", "some/data", {"a.csv": b"x\n1\n", "b.py": b"", "c.bin": b""})
    folder = snapshot("some/data", None, "dataset", ["*.csv"])
    assert folder.name == commit
    assert [path.name for path in folder.iterdir()] == ["a.csv"]
