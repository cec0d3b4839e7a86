"""TRL's trainers with the guard: nothing else changes, and no weight has moved when a number stops them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback
from trl import DPOTrainer, RewardConfig, RewardTrainer

from goodhart.models.adapters import lora_config
from goodhart.models.loading import load_policy, load_reward_backbone, load_tokenizer
from goodhart.runtime.finite import NotFinite
from goodhart.training.guarded import Guarded, MemberTrainer
from goodhart.training.offline import CachedReferenceDPOTrainer, config
from goodhart.training.trainers import tokenized
from tiny_study import Study

SETTINGS = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "learning_rate": 1e-2,
    "max_length": None,
    "disable_dropout": False,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "remove_unused_columns": False,
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
    "report_to": [],
    "train_sampling_strategy": "sequential",
}
PAIRS = [{"prompt_ids": [5, 6 + i], "chosen_ids": [7 + i, 8, 1], "rejected_ids": [9, 20 + i, 1]} for i in range(8)]


def dpo(tiny: Study, folder: Path, reference: list[float], kind: Any = CachedReferenceDPOTrainer, **more: Any) -> Any:
    """A trainer of 8 pairs, in order: two updates of two micro-batches of two; `reference` is theirs of the chosen."""
    torch.manual_seed(0)
    rows = [
        {**pair, "ref_chosen_logps": chosen, "ref_rejected_logps": -4.0}
        for pair, chosen in zip(PAIRS, reference, strict=True)
    ]
    return kind(
        model=load_policy(tiny / "policy", "float32"),
        args=config("dpo", 0.5, {**SETTINGS, "output_dir": str(folder), **more}),
        train_dataset=tokenized(rows),
        processing_class=load_tokenizer(tiny / "policy"),
        peft_config=lora_config(4, 8, 0.0, "CAUSAL_LM"),
    )


def weights(trainer: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in trainer.model.parameters() if p.requires_grad]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def stop(trainer: Any) -> NotFinite:
    with pytest.raises(NotFinite) as caught:
        trainer.train()
    return caught.value


def test_the_guard_stands_in_front_of_both_trainers() -> None:
    for ours, stock in ((CachedReferenceDPOTrainer, DPOTrainer), (MemberTrainer, RewardTrainer)):
        assert ours.__mro__.index(Guarded) < ours.__mro__.index(stock)


def test_finite_training_is_what_it_was(tiny: Study, tmp_path: Path) -> None:
    class Bare(DPOTrainer):
        _prepare_dataset = CachedReferenceDPOTrainer._prepare_dataset
        _precompute_ref_logps = CachedReferenceDPOTrainer._precompute_ref_logps

    with_guard, without = (dpo(tiny, tmp_path, [-3.0] * 8, kind) for kind in (CachedReferenceDPOTrainer, Bare))
    before = weights(without)
    with_guard.train()
    without.train()
    assert same(weights(with_guard), weights(without))
    assert not same(weights(with_guard), before)


@pytest.mark.parametrize(("row", "step"), [(0, 1), (2, 1), (5, 2)])
def test_the_loss_of_a_micro_batch_stops_before_the_weights_move(
    tiny: Study, tmp_path: Path, row: int, step: int
) -> None:
    """Of two micro-batches an update, two pairs each; the margin of the odd pair overflows in float32."""
    trainer = dpo(tiny, tmp_path, [3.4e38 if i == row else -3.0 for i in range(8)])
    trainer.train_dataset = trainer.train_dataset.map(
        lambda pair: {"ref_rejected_logps": -3.4e38 if pair["ref_chosen_logps"] > 0 else -4.0}
    )
    seen: list[list[torch.Tensor]] = [weights(trainer)]

    class Watcher(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            seen.append(weights(trainer))

    trainer.add_callback(Watcher())
    error = stop(trainer)
    assert (error.where, error.step, error.what) == ("update", step, "loss is inf")
    assert same(weights(trainer), seen[-1])
    assert len(seen) == step
    assert len(error.rows) == 2
    assert error.offending == [row % 2]
    found = error.rows[row % 2]
    assert found["chosen_tokens"] == PAIRS[row]["prompt_ids"] + PAIRS[row]["chosen_ids"]
    assert found["rejected_tokens"] == PAIRS[row]["prompt_ids"] + PAIRS[row]["rejected_ids"]
    assert found["chosen"] == load_tokenizer(tiny / "policy").decode(found["chosen_tokens"])


def test_a_gradient_stops_with_all_micro_batches_of_its_update(tiny: Study, tmp_path: Path) -> None:
    """The gradient of one weight is made infinite on its way, as an overflow in half precision would."""
    trainer = dpo(tiny, tmp_path, [-3.0] * 8)
    before = weights(trainer)
    weight = next(p for name, p in trainer.model.named_parameters() if "lora_B" in name)
    weight.register_hook(lambda gradient: gradient * math.inf)
    error = stop(trainer)
    assert (error.step, error.what) in [(1, "gradient norm is nan"), (1, "gradient norm is inf")]
    assert same(weights(trainer), before)
    assert [row["chosen_tokens"][1] for row in error.rows] == [6, 7, 8, 9]
    assert error.offending == [0, 1, 2, 3]
    assert all(math.isfinite(row["loss"]) for row in error.rows)


def test_weights_that_break_in_the_last_update_are_found(tiny: Study, tmp_path: Path) -> None:
    trainer = dpo(tiny, tmp_path, [-3.0] * 8)
    weight = next(p for name, p in trainer.model.named_parameters() if "lora_B" in name)

    class Breaker(TrainerCallback):
        def on_step_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
            if state.global_step == 2:
                weight.data[0, 0] = math.inf

    trainer.add_callback(Breaker())
    error = stop(trainer)
    assert str(error).startswith("update 2: 1 of 16 trained weight matrices are not finite after it; ")
    assert [row["chosen_tokens"][1] for row in error.rows] == [10, 11, 12, 13]


def test_a_reward_trainer_is_guarded_with_its_own_rows(tiny: Study, tmp_path: Path) -> None:
    rows = [
        {"chosen_ids": pair["prompt_ids"] + pair["chosen_ids"], "rejected_ids": pair["prompt_ids"] + [9, 1]}
        for pair in PAIRS
    ]
    trainer = MemberTrainer(
        model=load_reward_backbone(tiny / "policy", "float32"),
        args=RewardConfig(**SETTINGS, output_dir=str(tmp_path)),
        train_dataset=tokenized(rows),
        processing_class=load_tokenizer(tiny / "policy"),
        peft_config=lora_config(4, 8, 0.0, "SEQ_CLS"),
    )
    head = next(p for name, p in trainer.model.named_parameters() if "score" in name and p.requires_grad)
    head.data[0, 0] = math.nan
    error = stop(trainer)
    assert (error.step, error.what, error.offending) == (1, "loss is nan", [0, 1])
    assert [row["chosen_tokens"] for row in error.rows] == [row["chosen_ids"] for row in rows[:2]]
    assert [row["rejected_tokens"] for row in error.rows] == [row["rejected_ids"] for row in rows[:2]]
