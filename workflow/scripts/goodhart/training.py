"""What the two TRL trainers of the offline phase share: their arguments and the rows they see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from goodhart.derivations import values

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer


CHECKPOINTED = 5e7  # parameters from which on activations are recomputed rather than kept


def arguments(
    derived: Mapping[str, Any], precision: str, rows: int, epochs: int, seed: int, folder: Path
) -> dict[str, Any]:
    """Keyword arguments of a TRL config from a `derived/<stage>.json`.

    Dropout stays on (TRL would turn it off), and sequences are already cut to length, so the trainer cuts nothing.
    Activations are recomputed in the backward pass where the model is large enough for memory to matter.
    """
    gpu = torch.cuda.is_available()
    used = values(derived)
    total = epochs * -(-rows // used["batch_size"])
    return {
        "output_dir": str(folder),
        "num_train_epochs": epochs,
        "per_device_train_batch_size": used["batch_size"],
        "learning_rate": used["learning_rate"],
        "weight_decay": used["weight_decay"],
        "max_grad_norm": used["clip_norm"],
        "warmup_steps": used["warmup_steps"],
        "optim": "adamw_torch",
        "disable_dropout": False,
        "max_length": None,
        "seed": seed,
        "data_seed": seed,
        "bf16": gpu and precision != "float32",
        "use_cpu": not gpu,
        "gradient_checkpointing": derived["inputs"]["parameters"] > CHECKPOINTED,
        "save_strategy": "no",
        "logging_steps": max(1, total // 20),
        "disable_tqdm": True,
        "report_to": [],
        "dataloader_num_workers": 0,
    }


def tokenized(rows: Sequence[Mapping[str, Any]]) -> Dataset:
    """A dataset of token ids, one row a pair, ready for a TRL preference collator."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    return Dataset.from_list([dict(row) for row in rows])


def train(trainer: Trainer) -> list[dict[str, float]]:
    """Train; returns the logged history. Trainable weights are float32, which TRL undoes on a quantised base."""
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    trainer.train()
    return [{k: float(v) for k, v in row.items()} for row in trainer.state.log_history if "loss" in row]
