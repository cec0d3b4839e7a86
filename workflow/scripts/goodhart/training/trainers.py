"""What the two TRL trainers of the offline phase share: their arguments, the rows they see, and how they go on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from goodhart.errors import InputError
from goodhart.hyperparameters.appendix_c import values
from goodhart.models.loading import LARGE
from goodhart.runtime import distributed
from goodhart.runtime.batches import within_memory
from goodhart.runtime.seeds import mix
from goodhart.runtime.signals import Stopped, defer, deliver, stoppable
from goodhart.runtime.types import Dataset, PeftModel
from goodhart.training.checkpoints import Checkpoint, Checkpoints

LATEST = {"epoch", "step", "learning_rate", "grad_norm", "num_tokens"}  # not averaged over the steps of an entry
ENTRIES = 20  # of a training history


class Resumable(Trainer):
    """A Trainer that keeps checkpoints, and goes on from one to the very bits of a run that was never stopped.

    transformers saves and loads model, optimiser, schedule, random states and step; here are added when it does so, the
    rest of what a run depends on, and a signal's way out in the middle of a step.
    """

    checkpoints: Checkpoints

    def resume(self, checkpoints: Checkpoints, newest: Checkpoint | None) -> None:
        """Train, from the newest checkpoint if there is one; a signal saves what the last whole step left."""
        self.checkpoints = checkpoints
        self._total_train_tokens = newest.notes["tokens"] if newest else 0
        self.remove_callback(PrinterCallback)
        self.add_callback(_Keeper(self))
        with stoppable():
            try:
                self.train(resume_from_checkpoint=str(newest.folder / "checkpoint") if newest else None)
            except Stopped:
                if distributed.count() == 1 and self.state.global_step > checkpoints.step:
                    _set_random_states(*self.random_states)
                    self._save_checkpoint(self.model, None)
                raise

    def _save_checkpoint(self, model: torch.nn.Module, trial: None) -> None:
        def write(folder: Path) -> None:
            self.args.output_dir = str(folder)
            super(Resumable, self)._save_checkpoint(model, trial)
            saved = (folder / f"checkpoint-{self.state.global_step}").rename(folder / "checkpoint")
            states = [(path.name, path.read_bytes()) for path in saved.glob("rng_state*")]
            for name, content in (pair for pairs in distributed.gather(states) for pair in pairs):
                (saved / name).write_bytes(content)  # each process has its own, and the first one's folder is kept

        notes = {"micro_batch": self.args.per_device_train_batch_size, "tokens": self._tokens()}
        self.checkpoints.save(self.state.global_step, write, notes)

    def _tokens(self) -> int:
        """Tokens seen, as of the last whole step."""
        return int(next(row["num_tokens"] for row in reversed(self.state.log_history) if "num_tokens" in row))

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> torch.utils.data.Sampler:
        sampler = super()._get_train_sampler(train_dataset)
        if isinstance(sampler, LengthGroupedSampler):
            return _ByLength(sampler, self.args.data_seed)
        return sampler


class _ByLength(LengthGroupedSampler):
    """Rows of like length together, in an order that follows from seed and epoch, whatever was drawn before."""

    def __init__(self, sampler: LengthGroupedSampler, seed: int) -> None:
        super().__init__(sampler.batch_size * distributed.count(), lengths=sampler.lengths)  # whatever their number
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.generator = torch.Generator().manual_seed(mix(self.seed, epoch))


class _Keeper(TrainerCallback):
    """Asks for a checkpoint when one is due, and keeps signals away while weights and records change."""

    def __init__(self, trainer: Resumable) -> None:
        self.trainer = trainer

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        defer()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        deliver()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        defer()

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_kwargs: Any) -> None:
        self.trainer.random_states = _random_states()
        control.should_save = self.trainer.checkpoints.due()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        deliver()


def _random_states() -> tuple[torch.Tensor, list[torch.Tensor]]:
    """torch's, which dropout draws from; nothing else that is random happens in a step."""
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _set_random_states(cpu: torch.Tensor, gpus: list[torch.Tensor]) -> None:
    torch.set_rng_state(cpu)
    torch.cuda.set_rng_state_all(gpus)


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
        "remove_unused_columns": False,  # or the rows' lengths would be gone before they are grouped by them
        "save_strategy": "no",  # `Resumable` saves
        "logging_steps": 1,  # what is averaged over several steps would be lost with the process
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
    build: Callable[[dict[str, Any]], Resumable],
    derived: Mapping[str, Any],
    precision: str,
    rows: int,
    epochs: int,
    seed: int,
    checkpoints: Checkpoints,
) -> tuple[PeftModel, dict[str, Any]]:
    """Train what `build` makes of the trainer's arguments, in batches that fit into memory.

    It goes on from the newest checkpoint, also where memory ran out: model and trainer are then built anew with half
    the batch and twice the accumulation. The last update of a pass, where it is of fewer rows, then weighs its parts
    alike rather than its rows.

    Returns:
        the trained model, and the record of it: `micro_batch`, `accumulation` and the logged `history`.
    """
    from transformers import set_seed

    whole = values(derived)["batch_size"]
    if whole % distributed.count():
        raise InputError(f"batch_size {whole} cannot be split over {distributed.count()} processes; override it.")

    def attempt(size: int) -> tuple[PeftModel, dict[str, Any]]:
        newest = checkpoints.newest()
        largest = min(size, newest.notes["micro_batch"]) if newest else size
        micro_batch = next(rows for rows in range(largest, 0, -1) if size % rows == 0)
        set_seed(seed)
        settings = arguments(derived, precision, rows, epochs, seed, checkpoints.folder, micro_batch)
        trainer = build(settings)
        accumulation = settings["gradient_accumulation_steps"]
        history = fit(trainer, lambda: trainer.resume(checkpoints, newest))
        return trainer.model, {"micro_batch": micro_batch, "accumulation": accumulation, "history": history}

    share = whole // distributed.count()
    smallest = share if distributed.count() > 1 else 1  # one process alone cannot start over
    return within_memory(attempt, share, "training", smallest)[0]


def fit(trainer: Trainer, run: Callable[[], object]) -> list[dict[str, float]]:
    """Train by `run`; returns some twenty entries of the history.

    An entry averages what was logged over its steps. Trainable weights are float32, which TRL undoes on a 4-bit base.
    """
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    run()
    steps = [row for row in trainer.state.log_history if "loss" in row]
    size = max(1, len(steps) // ENTRIES)
    return [_entry(steps[i : i + size]) for i in range(0, len(steps), size)]


def _entry(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    last = steps[-1]
    return {k: float(last[k] if k in LATEST else sum(row[k] for row in steps) / len(steps)) for k in sorted(last)}
