"""Training that cannot move, or has not moved, stops the study; so do texts outside the policy's vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import load_preferences
import train_offline
import train_reward
from goodhart.errors import InputError
from goodhart.store.files import read_json, write_json
from tiny_study import Study

STEPS = {"offline": ("train_offline/p20", train_offline), "reward": ("train_reward/0", train_reward)}


def refusal(study: Study, folder: Path, stage: str, **used: float) -> str:
    """What a training step says if some of its derived values are others; it leaves no file."""
    derived = read_json(study / f"derived/{stage}.json")
    for name, value in used.items():
        derived["values"][name]["value"] = value
    write_json(folder / "derived.json", derived)
    step, script = STEPS[stage]
    arguments = study.arguments(step, folder / "out", {f"derived/{stage}.json": folder / "derived.json"})
    with pytest.raises(InputError) as caught:
        script.main(arguments)
    assert not list((folder / "out").rglob("adapter_model.safetensors"))
    return str(caught.value)


@pytest.mark.parametrize("stage", STEPS)
def test_a_warm_up_without_end_is_refused_before_training(tiny: Study, tmp_path: Path, stage: str) -> None:
    assert "the warm-up takes 1000 of" in refusal(tiny, tmp_path, stage, warmup_steps=1000)


@pytest.mark.parametrize("stage", STEPS)
def test_an_adapter_that_training_left_as_it_was_is_refused(tiny: Study, tmp_path: Path, stage: str) -> None:
    assert "training has not changed the adapter" in refusal(tiny, tmp_path, stage, learning_rate=0.0, warmup_steps=0)


def test_texts_that_the_policy_cannot_read_are_refused(tiny: Study, tmp_path: Path) -> None:
    source = tmp_path / "pairs.jsonl"
    rows = [
        {
            "question": f"How many sheep in field {i}?",
            "good": f"perhaps {i}",
            "bad": "none",
            "score": {"good": 1, "bad": 0},
        }
        for i in range(60)
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = tiny.arguments("load_preferences", tmp_path / "out", {"source/pairs.jsonl": source})
    with pytest.raises(InputError, match=r"\d+% of the tokens of .* are unknown to the policy's tokenizer, at most 5%"):
        load_preferences.main(arguments)
    assert not (tmp_path / "out").exists()
