"""What reaches TRL: the values of Appendix C, dropout that is really applied, float32 trainable weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from goodhart import training
from goodhart.artifacts import read_json
from goodhart.derivations import FORMULAS, values
from goodhart.models import load_policy, load_tokenizer, lora_config
from goodhart.offline import CachedReferenceDPOTrainer, config
from tiny_study import Study

USED = dict.fromkeys(FORMULAS, 1) | {
    "batch_size": 32,
    "learning_rate": 3e-4,
    "weight_decay": 0.01,
    "clip_norm": 1.1,
    "warmup_steps": 9,
}
ROWS = [{"prompt_ids": [5, 6], "chosen_ids": [7, 8, 1], "rejected_ids": [9, 1]} for _ in range(4)]


def derived(parameters: float = 1e5, **used: float) -> dict[str, Any]:
    return {"inputs": {"parameters": parameters}, "values": {k: {"value": v} for k, v in (USED | used).items()}}


@pytest.mark.parametrize(("rows", "epochs", "logging"), [(100, 2, 1), (3_200, 1, 5), (3_201, 1, 5), (1, 1, 1)])
def test_arguments_by_hand(rows: int, epochs: int, logging: int) -> None:
    """3,201 rows in batches of 32 are 101 steps, of which every fifth is logged; the warm-up is the derived one."""
    found = training.arguments(derived(), "float32", rows, epochs, 7, Path("out"))
    assert found["warmup_steps"] == 9
    assert found["logging_steps"] == logging
    assert (found["per_device_train_batch_size"], found["num_train_epochs"]) == (32, epochs)
    assert (found["learning_rate"], found["weight_decay"], found["max_grad_norm"]) == (3e-4, 0.01, 1.1)
    assert (found["seed"], found["data_seed"]) == (7, 7)
    assert found["disable_dropout"] is False
    assert found["max_length"] is None


def test_only_large_models_compute_activations_twice() -> None:
    found = [
        training.arguments(derived(size), "float32", 9, 1, 0, Path("out"))["gradient_checkpointing"]
        for size in (1e5, 1e9)
    ]
    assert found == [False, True]


def test_rows_become_a_dataset_as_they_are() -> None:
    assert list(training.tokenized(ROWS)) == ROWS


def trainer(tiny: Study, folder: Path, dropout: float, precision: str = "float32") -> CachedReferenceDPOTrainer:
    rows = [{**row, "ref_chosen_logps": -3.0, "ref_rejected_logps": -4.0} for row in ROWS]
    arguments = training.arguments(derived(batch_size=2), precision, len(rows), 1, 0, folder)
    return CachedReferenceDPOTrainer(
        model=load_policy(tiny / "policy", precision),
        args=config("dpo", 0.5, arguments),
        train_dataset=training.tokenized(rows),
        processing_class=load_tokenizer(tiny / "policy"),
        peft_config=lora_config(4, 8, dropout, "CAUSAL_LM"),
    )


def test_the_derived_dropout_is_applied_in_training(tiny: Study, tmp_path: Path) -> None:
    """TRL turns dropout off unless told otherwise; Appendix C gives this study the most it allows."""
    dropout = values(read_json(tiny / "derived/offline.json"))["lora_dropout"]
    assert dropout == 0.10
    loop = trainer(tiny, tmp_path, dropout)
    seen: list[tuple[bool, float]] = []
    for module in loop.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(lambda layer, *_: seen.append((layer.training, layer.p)))
    training.train(loop)
    assert set(seen) == {(True, 0.10)}
    with torch.no_grad():  # B is no longer 0, so what dropout leaves of A's input shows
        first, second = (loop.model.train()(input_ids=torch.tensor([[5, 6, 7, 8]])).logits for _ in range(2))
    assert not torch.equal(first, second)


def test_training_returns_numbers_and_changes_the_adapter_only(tiny: Study, tmp_path: Path) -> None:
    loop = trainer(tiny, tmp_path, 0.0)
    before = {name: p.clone() for name, p in loop.model.named_parameters()}
    history = training.train(loop)
    assert [row["epoch"] for row in history] == [0.5, 1.0]
    assert all(type(value) is float for row in history for value in row.values())
    changed = {name for name, p in loop.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    assert all(".lora_" in name for name in changed)


@pytest.mark.parametrize("precision", ["float32", "nf4"])
def test_trainable_weights_are_float32_whatever_the_base(tiny: Study, tmp_path: Path, precision: str) -> None:
    loop = trainer(tiny, tmp_path, 0.0, precision)
    kinds: list[Any] = []
    loop.model.register_forward_pre_hook(
        lambda model, *_: kinds.extend(p.dtype for p in model.parameters() if p.requires_grad)
    )
    training.train(loop)
    assert set(kinds) == {torch.float32}
