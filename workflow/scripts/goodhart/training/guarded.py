"""Guarded TRL trainers: a number that is not finite stops them, and an interrupted run resumes bit for bit.

By default, transformers omits a loss that is not finite from its log (`logging_nan_inf_filter`) but updates with it.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import RewardTrainer

from goodhart.runtime import distributed
from goodhart.runtime.finite import NotFinite
from goodhart.runtime.seeds import mix
from goodhart.runtime.signals import Stopped, defer, deliver, stoppable
from goodhart.runtime.types import Dataset
from goodhart.training.checkpoints import Checkpoint, Checkpoints


class Guarded(Trainer, TrainerCallback):
    """A mixin for TRL trainers with a preference collator, whose batches hold all chosen rows, then all rejected rows.

    Loss and gradient norm are checked before the optimizer's step, so that no weight has changed when they stop the
    run; the weights are checked after the last step. transformers saves and loads model, optimizer, schedule, random
    states and step. This class decides when to save, saves whatever else a run depends on, and lets a signal end a step
    half-way.
    """

    checkpoints: Checkpoints
    _update = -1  # the update, counted from 0, to which `_batches` belong
    _batches: tuple[dict[str, Any], ...] = ()

    def resume(self, checkpoints: Checkpoints, newest: Checkpoint | None) -> None:
        """Train from the newest checkpoint, if any; a signal saves the state after the last whole step."""
        self.checkpoints = checkpoints
        self._total_train_tokens = newest.notes["tokens"] if newest else 0
        self.remove_callback(PrinterCallback)
        self.add_callback(self)
        with stoppable():
            try:
                self.train(resume_from_checkpoint=str(newest.folder / "checkpoint") if newest else None)
            except Stopped:
                if distributed.count() == 1 and self.state.global_step > checkpoints.step:
                    cpu, gpus = self._random_states
                    torch.set_rng_state(cpu)
                    torch.cuda.set_rng_state_all(gpus)
                    self._save_checkpoint(self.model, None)
                raise

    def train(self, *args: Any, **kwargs: Any) -> Any:
        output = super().train(*args, **kwargs)
        trained = [weights for weights in self.model.parameters() if weights.requires_grad]
        broken = sum(not weights.isfinite().all() for weights in trained)
        if broken:
            self._stop(f"{broken} of {len(trained)} trained weight matrices are not finite after it", self._batches)
        return output

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        if self._update != self.state.global_step:
            self._update, self._batches = self.state.global_step, ()
        self._batches += (dict(inputs),)
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not math.isfinite(loss):
            self._stop(f"loss is {float(loss)}", self._batches[-1:])
        return loss

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Defer signals until the first step, and from each optimizer's step until the next step begins."""
        defer()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        deliver()

    on_pre_optimizer_step = on_train_begin
    on_train_end = on_step_begin

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_kwargs: Any) -> None:
        # Dropout draws from torch's generators; nothing else in a step is random.
        self._random_states = torch.get_rng_state(), torch.cuda.get_rng_state_all()
        control.should_save = self.checkpoints.due()

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if not math.isfinite(norm):
            self._stop(f"gradient norm is {float(norm)}", self._batches)
        return norm

    def _stop(self, what: str, batches: Iterable[Mapping[str, Any]]) -> None:
        rows = [self._row(pair) for batch in batches for pair in _pairs(batch)]
        numbers = ("loss", "gradient_norm")
        offending = [i for i, row in enumerate(rows) if not all(math.isfinite(row.get(name, 0)) for name in numbers)]
        raise NotFinite(what, rows, offending, "update", self._update + 1)

    def _row(self, pair: Mapping[str, Any]) -> dict[str, Any]:
        """Texts and token ids of a pair, the other columns of its batch, and its own loss and gradient norm."""
        row: dict[str, Any] = {}
        for side, ids, mask in zip(("chosen", "rejected"), pair["input_ids"], pair["attention_mask"], strict=True):
            tokens = ids[mask.bool()].tolist()
            row |= {side: self.processing_class.decode(tokens), f"{side}_tokens": tokens}
        row |= {name: values.item() for name, values in pair.items() if values.numel() == 1}
        if distributed.count() == 1:  # a trainer's loss gathers from all processes, but only this process is here
            self.model.zero_grad()
            loss = self.compute_loss(self.model, self._prepare_inputs(dict(pair)))
            loss.backward()
            gradients = [weights.grad for weights in self.model.parameters() if weights.grad is not None]
            row |= {"loss": loss.item(), "gradient_norm": torch.nn.utils.get_total_norm(gradients).item()}
        return row

    def _save_checkpoint(self, model: torch.nn.Module, trial: None) -> None:
        def write(folder: Path) -> None:
            self.args.output_dir = str(folder)
            super(Guarded, self)._save_checkpoint(model, trial)
            saved = (folder / f"checkpoint-{self.state.global_step}").rename(folder / "checkpoint")
            states = [(path.name, path.read_bytes()) for path in saved.glob("rng_state*")]
            for name, content in (pair for pairs in distributed.gather(states) for pair in pairs):
                (saved / name).write_bytes(content)  # of all processes; only the first one's folder is published

        tokens = next(row["num_tokens"] for row in reversed(self.state.log_history) if "num_tokens" in row)
        notes = {"micro_batch": self.args.per_device_train_batch_size, "tokens": int(tokens)}
        self.checkpoints.save(self.state.global_step, write, notes)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> torch.utils.data.Sampler:
        sampler = super()._get_train_sampler(train_dataset)
        return _ByLength(sampler, self.args.data_seed) if isinstance(sampler, LengthGroupedSampler) else sampler


class MemberTrainer(Guarded, RewardTrainer):
    """The trainer of a member of the reward ensemble (Eq. 5)."""


class _ByLength(LengthGroupedSampler):
    """Groups rows of similar length, in an order determined by seed and epoch alone."""

    def __init__(self, sampler: LengthGroupedSampler, seed: int) -> None:
        super().__init__(sampler.batch_size * distributed.count(), lengths=sampler.lengths)
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.generator = torch.Generator().manual_seed(mix(self.seed, epoch))


def _pairs(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A batch of (2 n, ...) or (n,) tensors as n batches of one pair."""
    count = len(batch["input_ids"]) // 2
    tensors = {name: values for name, values in batch.items() if torch.is_tensor(values)}
    return [
        {name: values[[i, count + i]] if len(values) == 2 * count else values[[i]] for name, values in tensors.items()}
        for i in range(count)
    ]
