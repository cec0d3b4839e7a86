"""An origin names code, arguments and inputs by their content, and nothing of the place they lie in."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from goodhart.cli import Output, Source
from goodhart.store.checksums import digest
from goodhart.store.files import read_json, write_json
from goodhart.store.identity import Identity
from goodhart.store.provenance import Origin
from tiny_study import STEPS, Study

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def of(study: Study, step: str, outputs: Path, **replaced: str) -> dict[str, Any]:
    script = step.partition("/")[0]
    arguments = study.arguments(step, outputs)
    for flag, value in replaced.items():
        arguments[arguments.index(f"--{flag.replace('_', '-')}") + 1] = value
    return Origin.of(
        importlib.import_module(script).Arguments.parser().parse_args(arguments), str(SCRIPTS / f"{script}.py")
    )


@pytest.mark.parametrize("step", [step for step in STEPS if step != "write_provenance"])  # which stores no origin
def test_every_script_has_an_origin_without_a_place(tiny: Study, tmp_path: Path, step: str) -> None:
    found = of(tiny, step, tmp_path)
    assert found["script"] == step.partition("/")[0]
    assert not any(str(place) in json.dumps(found) for place in (tiny.root, tmp_path, SCRIPTS))
    shutil.copytree(tiny.root, tmp_path / "elsewhere")
    for config in (tmp_path / "elsewhere").rglob("adapter_config.json"):  # where PEFT names the folder of the base
        config.write_text(config.read_text().replace(str(tiny.root), "elsewhere"))
    again = of(Study(tmp_path / "elsewhere"), step, tmp_path / "other outputs")
    assert json.dumps(again) == json.dumps(found)
    assert list(tmp_path.iterdir()) == [tmp_path / "elsewhere"]  # nothing was written


def test_an_origin_by_hand(tiny: Study, tmp_path: Path) -> None:
    found = of(tiny, "train_offline/p20", tmp_path)
    assert found["arguments"] == {
        "method": "dpo",
        "precision": "float32",
        "epochs": 1,
        "replicate": 0,
        "threads": 1,
    }
    assert found["inputs"].keys() == {"beta", "derived", "logprobs", "policy", "preferences"}
    table = (tiny / "data/preferences.parquet").read_bytes()
    assert found["inputs"]["preferences"] == {"sha256": hashlib.sha256(table).hexdigest()}
    assert found["inputs"]["policy"]["prompts"] == "plain"
    assert (
        found["inputs"]["policy"]["sha256"]
        == hashlib.sha256((tiny / "policy/model.safetensors").read_bytes()).hexdigest()
    )
    assert found["derived"]["derived"]["lora_rank"] == 4
    assert found["derived"]["beta"] == {
        k: json.loads((tiny / "beta/p20.json").read_text())[k] for k in ("level", "beta")
    }


def test_what_is_another_run_has_another_origin(tiny: Study, tmp_path: Path) -> None:
    step = "adapt_online/p80/kl-p20/replicate-1"
    found = [
        of(tiny, step, tmp_path),
        of(tiny, step, tmp_path, replicate="7"),
        of(tiny, step, tmp_path, kl_beta=str(tiny / "beta/p80.json")),
        of(tiny, step, tmp_path, adapter=str(tiny / "offline/dpo/p20/adapter")),
        of(tiny, step, tmp_path, members=str(tiny / "reward/member-1/adapter")),
        of(tiny, step, tmp_path, held_out=str(tiny / "reward/member-0/adapter")),
    ]
    assert len({digest(one) for one in found}) == len(found)
    assert digest(of(tiny, step, tmp_path / "elsewhere")) == digest(found[0])


def test_the_template_counts_where_it_is_used(tiny: Study, tmp_path: Path) -> None:
    hashes: dict[str, set[str]] = {"chat": set(), "plain": set()}
    for prompts in hashes:
        for text in ("{{ messages }}", "{{ messages }} "):
            folder = tmp_path / f"{prompts}{len(text)}"
            shutil.copytree(tiny / "policy", folder)
            (folder / "chat_template.jinja").write_text(text)
            record = read_json(folder / "manifest.json")
            kept = {k: v for k, v in record.items() if k not in ("tokenizer", "template", "files", "sha256")}
            write_json(folder / "manifest.json", {**kept, "prompts": prompts})
            hashes[prompts].add(digest(Identity.read(folder).parts))
    assert (len(hashes["chat"]), len(hashes["plain"])) == (2, 1)


def test_types_of_flags(tmp_path: Path) -> None:
    import argparse

    (tmp_path / "a.json").write_text("{}")
    of_file = {"sha256": hashlib.sha256(b"{}").hexdigest()}
    args = argparse.Namespace(
        here=Source(tmp_path / "a.json"),
        there=Source("openai/gsm8k:train"),
        plots=[Output(tmp_path / "b.svg")],
        stop=[],
        name=None,
    )
    found = Origin.of(args, str(SCRIPTS / "collect_derived.py"), commit="c0ffee")
    assert found["inputs"] == {"here": of_file}
    assert found["arguments"] == {"there": "openai/gsm8k:train", "stop": [], "name": None}
    assert found["commit"] == "c0ffee"
