"""What reaches TRL: the values of Appendix C, dropout that is really applied, float32 trainable weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3Model
from trl import RewardConfig, RewardTrainer

from goodhart.errors import InputError
from goodhart.hyperparameters.appendix_c import FORMULAS, values
from goodhart.models.adapters import lora_config
from goodhart.models.loading import load_policy, load_reward_backbone, load_tokenizer
from goodhart.store.files import read_json
from goodhart.training import trainers
from goodhart.training.checkpoints import Checkpoints
from goodhart.training.offline import CachedReferenceDPOTrainer, config
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


@pytest.mark.parametrize("epochs", [1, 2])
def test_arguments_by_hand(epochs: int) -> None:
    """Every step is logged, so that a checkpoint has the whole history; the warm-up is derived."""
    found = trainers.arguments(derived(), "float32", epochs, 7, Path("out"), 8)
    assert found["warmup_steps"] == 9
    assert found["logging_steps"] == 1
    assert (found["per_device_train_batch_size"], found["gradient_accumulation_steps"]) == (8, 4)
    assert found["num_train_epochs"] == epochs
    assert (found["learning_rate"], found["weight_decay"], found["max_grad_norm"]) == (3e-4, 0.01, 1.1)
    assert (found["seed"], found["data_seed"]) == (7, 7)
    assert found["disable_dropout"] is False
    assert found["max_length"] is None


def test_only_a_large_model_trades_time_and_order_for_memory() -> None:
    found = [trainers.arguments(derived(size), "float32", 1, 0, Path("out"), 32) for size in (1e5, 1e9)]
    assert [each["gradient_checkpointing"] for each in found] == [False, True]
    assert [each["train_sampling_strategy"] for each in found] == ["random", "group_by_length"]


def test_rows_become_a_dataset_with_their_lengths() -> None:
    assert list(trainers.tokenized(ROWS)) == [{**row, "length": 5} for row in ROWS]
    assert list(trainers.tokenized([{"chosen_ids": [1, 2], "rejected_ids": [1, 2, 3]}])["length"]) == [3]


def builder(
    tiny: Study, dropout: float, rows: list[dict[str, Any]] = ROWS, precision: str = "float32"
) -> Callable[[dict[str, Any]], CachedReferenceDPOTrainer]:
    data = trainers.tokenized([{**row, "ref_chosen_logps": -3.0, "ref_rejected_logps": -4.0} for row in rows])
    return lambda settings: CachedReferenceDPOTrainer(
        model=load_policy(tiny / "policy", precision),
        args=config("dpo", 0.5, settings),
        train_dataset=data,
        processing_class=load_tokenizer(tiny / "policy"),
        peft_config=lora_config(4, 8, dropout, "CAUSAL_LM"),
    )


@pytest.mark.parametrize("precision", ["float32", "nf4"])
def test_the_derived_dropout_is_applied_in_training(tiny: Study, tmp_path: Path, precision: str) -> None:
    """TRL turns dropout off unless told otherwise; Appendix C gives this study the most it allows."""
    dropout = values(read_json(tiny / "derived/offline.json"))["lora_dropout"]
    assert dropout == 0.10
    settings = trainers.arguments(derived(batch_size=2), precision, 1, 0, tmp_path, 2)
    loop = builder(tiny, dropout, precision=precision)(settings)
    seen: list[tuple[bool, float]] = []
    for module in loop.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(lambda layer, *_: seen.append((layer.training, layer.p)))
    trainers.fit(loop, loop.train)
    assert set(seen) == {(True, 0.10)}
    with torch.no_grad():  # B is no longer 0, so what dropout leaves of A's input shows
        first, second = (loop.model.train()(input_ids=torch.tensor([[5, 6, 7, 8]])).logits for _ in range(2))
    assert not torch.equal(first, second)


def test_training_returns_numbers_and_changes_the_adapter_only(tiny: Study, tmp_path: Path) -> None:
    settings = trainers.arguments(derived(batch_size=2), "float32", 1, 0, tmp_path, 2)
    loop = builder(tiny, 0.0)(settings)
    before = {name: p.clone() for name, p in loop.model.named_parameters()}
    history = trainers.fit(loop, loop.train)
    assert [row["epoch"] for row in history] == [0.5, 1.0]
    assert all(type(value) is float for row in history for value in row.values())
    changed = {name for name, p in loop.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    assert all(".lora_" in name for name in changed)


VARIED = [
    {"prompt_ids": [5, 6 + i], "chosen_ids": [7 + i, 8, 1], "rejected_ids": [9, 20 + i, *range(10, 10 + i), 1]}
    for i in range(8)
]


def test_a_batch_too_large_for_memory_is_halved_and_trains_the_same(
    tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The forward pass of more than four rows (two pairs) fails as a full GPU does; half the batch, twice the
    accumulation gives the losses and the adapter of the whole batch."""
    build = builder(tiny, 0.0, VARIED)
    call = (derived(batch_size=8, warmup_steps=0), "float32", 3, 0, Checkpoints(tmp_path, {}, 5))
    whole, record = trainers.train(build, *call)
    assert (record["micro_batch"], record["accumulation"]) == (8, 1)
    forward = Qwen3Model.forward

    def small(self: Qwen3Model, input_ids: torch.Tensor, **rest: Any) -> Any:
        if len(input_ids) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return forward(self, input_ids=input_ids, **rest)

    monkeypatch.setattr(Qwen3Model, "forward", small)
    halved, again = trainers.train(build, *call)
    assert (again["micro_batch"], again["accumulation"]) == (2, 4)
    assert "training: 8 rows do not fit into memory, continuing with 4" in capsys.readouterr().err
    losses = [[row["loss"] for row in each["history"]] for each in (record, again)]
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    for (name, one), (_, other) in zip(whole.named_parameters(), halved.named_parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-4), name


def reward_builder(tiny: Study, rows: list[dict[str, Any]]) -> Callable[[dict[str, Any]], RewardTrainer]:
    sides = [
        {"chosen_ids": row["prompt_ids"] + row["chosen_ids"], "rejected_ids": row["prompt_ids"] + row["rejected_ids"]}
        for row in rows
    ]
    return lambda settings: RewardTrainer(
        model=load_reward_backbone(tiny / "policy", "float32"),
        args=RewardConfig(**settings),
        train_dataset=trainers.tokenized(sides),
        processing_class=load_tokenizer(tiny / "policy"),
        peft_config=lora_config(4, 8, 0.0, "SEQ_CLS"),
    )


@pytest.mark.parametrize("stage", ["offline", "reward"])
def test_a_large_model_sees_rows_of_like_length_together(tiny: Study, tmp_path: Path, stage: str) -> None:
    rows = [{**ROWS[0], "chosen_ids": [7] * (1 + i * 37 % 64)} for i in range(64)]
    settings = trainers.arguments(derived(parameters=1e9, batch_size=4), "float32", 1, 0, tmp_path, 4)
    loop = (builder(tiny, 0.0, rows) if stage == "offline" else reward_builder(tiny, rows))(settings)
    lengths = [loop.train_dataset[i]["length"] for i in loop._get_train_sampler(loop.train_dataset)]
    assert sorted(lengths) == sorted(loop.train_dataset["length"])
    spans = [max(lengths[i : i + 4]) - min(lengths[i : i + 4]) for i in range(0, 64, 4)]
    assert sum(spans) / len(spans) < 16  # rows drawn at random would span 39 tokens on average
    assert len(trainers.fit(loop, loop.train)) == 16  # and checkpointing and grouping go together


def test_a_batch_that_the_processes_cannot_share_is_refused(
    tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="batch_size 15 cannot be split over 2 processes"):
        trainers.train(builder(tiny, 0.0), derived(batch_size=15), "float32", 1, 0, Checkpoints(tmp_path, {}, 5))
