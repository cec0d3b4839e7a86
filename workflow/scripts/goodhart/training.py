"""What the two TRL trainers of the offline phase share: their arguments and the rows they see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from goodhart import processes
from goodhart.batches import within_memory
from goodhart.derivations import values
from goodhart.errors import InputError
from goodhart.models import LARGE

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftModel
    from transformers import Trainer


def arguments(
    derived: Mapping[str, Any], precision: str, rows: int, epochs: int, seed: int, folder: Path, micro_batch: int
) -> dict[str, Any]:
    """Keyword arguments of a TRL config from a `derived/<stage>.json`.

    An update takes `batch_size` rows: over all processes, `micro_batch` of them at a time in each. Dropout stays on
    (TRL would turn it off), and sequences are already cut to length, so the trainer cuts nothing. A large model
    computes its activations anew in the backward pass, and sees rows of like length together.
    """
    gpu = torch.cuda.is_available()
    used = values(derived)
    large = derived["inputs"]["parameters"] > LARGE
    total = epochs * -(-rows // used["batch_size"])
    return {
        "output_dir": str(folder),
        "num_train_epochs": epochs,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": used["batch_size"] // (micro_batch * processes.count()),
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
        "gradient_checkpointing": large,
        "train_sampling_strategy": "group_by_length" if large else "random",
        "remove_unused_columns": False,  # or the rows' lengths would be gone before they are grouped by them
        "save_strategy": "no",
        "logging_steps": max(1, total // 20),
        "disable_tqdm": True,
        "report_to": [],
        "dataloader_num_workers": 0,
    }


def tokenized(rows: Sequence[Mapping[str, Any]]) -> Dataset:
    """A dataset of token ids, one row a pair, ready for a TRL preference collator; `length` is its longest side."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    return Dataset.from_list([{**row, "length": _length(row)} for row in rows])


def _length(row: Mapping[str, Any]) -> int:
    return len(row.get("prompt_ids", [])) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


def train(
    build: Callable[[dict[str, Any]], Trainer],
    derived: Mapping[str, Any],
    precision: str,
    rows: int,
    epochs: int,
    seed: int,
    folder: Path,
) -> tuple[PeftModel, dict[str, Any]]:
    """Train what `build` makes of the trainer's arguments, in batches that fit into memory.

    Out of memory, model and trainer are built anew with half the batch and twice the accumulation. The last update of a
    pass, where it is of fewer rows, then weighs its parts alike rather than its rows.

    Returns:
        the trained model, and the record of it: `micro_batch`, `accumulation` and the logged `history`.
    """
    from transformers import set_seed

    whole = values(derived)["batch_size"]
    if whole % processes.count():
        raise InputError(f"batch_size {whole} cannot be split over {processes.count()} processes; override it.")

    def attempt(micro_batch: int) -> tuple[PeftModel, dict[str, Any]]:
        set_seed(seed)
        settings = arguments(derived, precision, rows, epochs, seed, folder, micro_batch)
        trainer = build(settings)
        accumulation = settings["gradient_accumulation_steps"]
        return trainer.model, {"micro_batch": micro_batch, "accumulation": accumulation, "history": fit(trainer)}

    share = whole // processes.count()
    smallest = share if processes.count() > 1 else 1  # one process alone cannot start over
    return within_memory(attempt, share, "training", smallest)[0]


def fit(trainer: Trainer) -> list[dict[str, float]]:
    """Run a trainer; returns the logged history. Trainable weights are float32, which TRL undoes on a 4-bit base."""
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    trainer.train()
    return [{k: float(v) for k, v in row.items()} for row in trainer.state.log_history if "loss" in row]
