"""Training of an adapter with a TRL trainer, shared by DPO and the reward models: arguments, data, the run itself."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers import Trainer, set_seed

from goodhart.errors import InputError
from goodhart.hyperparameters.appendix_c import values
from goodhart.models.adapters import publish_adapter
from goodhart.models.loading import LARGE
from goodhart.runtime import distributed
from goodhart.runtime.batches import within_memory
from goodhart.runtime.finite import dump_on_nan
from goodhart.runtime.types import PeftModel
from goodhart.store.files import write_json
from goodhart.training.checkpoints import Checkpoints
from goodhart.training.guarded import Guarded
from goodhart.training.settings import AdapterFlags

LATEST = {"epoch", "step", "learning_rate", "grad_norm", "num_tokens"}  # an entry has their last value, not a mean
ENTRIES = 20  # approximate number of entries in a training history


def arguments(
    derived: Mapping[str, Any], precision: str, epochs: int, seed: int, folder: Path, micro_batch: int
) -> dict[str, Any]:
    """Keyword arguments of a TRL config from a `derived/<stage>.json`.

    An update uses `batch_size` rows over all processes, in micro-batches of `micro_batch` rows per process. Dropout
    stays on (TRL would turn it off). The trainer truncates nothing, since all sequences are already cut to length. A
    large model uses activation checkpointing and batches of rows of similar length.
    """
    gpu = torch.cuda.is_available()
    used = values(derived)
    large = derived["inputs"]["parameters"] > LARGE
    return {
        "output_dir": str(folder),
        "num_train_epochs": epochs,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": used["batch_size"] // (micro_batch * distributed.count()),
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
        "remove_unused_columns": False,  # the column of lengths is needed to group the rows
        "save_strategy": "no",  # `Guarded` saves
        "logging_steps": 1,  # with more, an interruption would lose a running average
        "disable_tqdm": True,
        "report_to": [],
        "dataloader_num_workers": 0,
    }


def tokenized(rows: Sequence[Mapping[str, Any]]) -> Dataset:
    """A dataset of token ids, one row per pair, for a TRL preference collator; `length` is that of the longer side."""
    disable_progress_bars()
    return Dataset.from_list(
        [
            {**row, "length": len(row.get("prompt_ids", [])) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))}
            for row in rows
        ]
    )


def train_adapter(
    given: AdapterFlags,
    base: Path,
    seed: int,
    build: Callable[[dict[str, Any]], Guarded],
    record: Mapping[str, Any],
) -> None:
    """Train with the trainer that `build` returns (`train`), and publish the adapter on `base` with its metrics.

    The metrics are `record`, whose "rows" is the number of training rows, and the record of `train`. If a loss, a
    gradient norm or a weight is not finite, the batch is written to stopped.json.

    Raises:
        InputError: the warm-up takes all updates, or training has left the adapter as it was.
    """
    used = values(given.derived)
    updates = given.epochs * -(-record["rows"] // used["batch_size"])
    if used["warmup_steps"] >= updates:
        raise InputError(
            f"the warm-up takes {used['warmup_steps']} of {updates} updates, so almost nothing would be trained; use "
            "more pairs or epochs, or override warmup_steps."
        )
    with (
        Checkpoints(
            given.checkpoints, given.origin, given.checkpoint_minutes, [given.adapter, given.metrics]
        ) as checkpoints,
        dump_on_nan(given.adapter.parent / "stopped.json", seed),
    ):
        model, trained = train(build, given.derived, given.precision, given.epochs, seed, checkpoints)
        if not any(weights.any() for name, weights in model.named_parameters() if "lora_B" in name):
            raise InputError("training has not changed the adapter: all lora_B are 0; raise the learning rate.")
        publish_adapter(model, "default", given.adapter, base, given.origin)
        write_json(given.metrics, {**record, **trained}, given.origin)


def train(
    build: Callable[[dict[str, Any]], Guarded],
    derived: Mapping[str, Any],
    precision: str,
    epochs: int,
    seed: int,
    checkpoints: Checkpoints,
) -> tuple[PeftModel, dict[str, Any]]:
    """Run the trainer that `build` creates from its arguments, with micro-batches that fit into memory.

    Training resumes from the newest checkpoint, also after memory ran out: model and trainer are then rebuilt with
    a smaller micro-batch and more accumulation. If the last update of an epoch then has fewer rows, its micro-batches,
    rather than its rows, have equal weights.

    Returns:
        the trained model, and the record of training: `micro_batch`, `accumulation` and the logged `history`.
    """
    whole = values(derived)["batch_size"]
    if whole % distributed.count():
        raise InputError(f"batch_size {whole} cannot be split over {distributed.count()} processes; override it.")

    def attempt(size: int) -> tuple[PeftModel, dict[str, Any]]:
        newest = checkpoints.newest()
        largest = min(size, newest.notes["micro_batch"]) if newest else size
        micro_batch = next(rows for rows in range(largest, 0, -1) if size % rows == 0)
        set_seed(seed)
        trainer = build(arguments(derived, precision, epochs, seed, checkpoints.folder, micro_batch))
        history = fit(trainer, lambda: trainer.resume(checkpoints, newest))
        return trainer.model, {
            "micro_batch": micro_batch,
            "accumulation": trainer.args.gradient_accumulation_steps,
            "history": history,
        }

    share = whole // distributed.count()
    smallest = share if distributed.count() > 1 else 1  # no process can restart without the others
    return within_memory(attempt, share, "training", smallest)[0]


def fit(trainer: Trainer, run: Callable[[], object]) -> list[dict[str, float]]:
    """Train by calling `run`; returns a history of about twenty entries, each an average over consecutive steps.

    The trainable weights are cast back to float32, since TRL casts them to bfloat16 on a 4-bit base.
    """
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    run()
    steps = [row for row in trainer.state.log_history if "loss" in row]
    size = max(1, len(steps) // ENTRIES)
    return [
        {k: float(part[-1][k] if k in LATEST else sum(row[k] for row in part) / len(part)) for k in sorted(part[-1])}
        for part in (steps[i : i + size] for i in range(0, len(steps), size))
    ]
