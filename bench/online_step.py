r"""One online update, ours against TRL's RLOOTrainer and GRPOTrainer: sampling, log-probs, update; the reward is free.

All three start from one LoRA adapter, whose frozen copy is the reference, and draw as many responses to the same
prompts. The learning rate is 0, so that all of them go on sampling from the same policy. Before it times anything, it
holds the log-probs of the same responses against each other; then the lengths of the responses that were drawn.

    python bench/online_step.py --policy results/bench/policy --problems results/bench/data/problems.parquet \
        --case pocket --rows 64 --per-prompt 4 --max-new-tokens 48 --rank 8 --precision float32 --threads 1 \
        --pairs 5 --steps 3 --target 2.5 --output results/bench-comparisons/online_step-pocket.parquet
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alternating import alternate, publish, record, seconds
from goodhart.cli import parser, run
from goodhart.errors import InputError
from goodhart.models.flags import PRECISIONS
from goodhart.runtime.threads import use_threads
from goodhart.store.files import read_table
from goodhart.store.schemas.inputs import PROBLEMS

BETA = 0.1


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    add_update(args)
    args.add_argument("--per-prompt", type=int, required=True)
    args.add_argument("--pairs", type=int, required=True)
    args.add_argument("--steps", type=int, required=True, help="updates that are timed together")
    args.add_argument("--target", type=float, required=True)
    args.add_argument("--output", type=Path, required=True)
    return args.parse_args(argv)


def add_update(args: argparse.ArgumentParser) -> None:
    """The flags that say of which policy an update is, and how large; `our_run` and `draw_prompts` read them."""
    args.add_argument("--policy", type=Path, required=True, help="model folder of a study")
    args.add_argument("--problems", type=Path, help="of the study; without them, prompts are random tokens")
    args.add_argument("--prompt-tokens", type=int, default=16, help="of a random prompt")
    args.add_argument("--case", required=True, help="what the table calls it")
    args.add_argument("--rows", type=int, required=True, help="responses an update")
    args.add_argument("--max-new-tokens", type=int, required=True)
    args.add_argument("--rank", type=int, required=True)
    args.add_argument("--precision", choices=PRECISIONS, required=True)
    args.add_argument("--threads", type=int, required=True)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    use_threads(args.threads)
    import torch

    from goodhart.models.loading import load_tokenizer

    tokenizer = load_tokenizer(args.policy)
    prompts = draw_prompts(args, tokenizer)
    ours = our_run(args, tokenizer, prompts)
    tables = []
    for peer in ("RLOO", "GRPO"):
        trainer = stock_trainer(peer, args, tokenizer, prompts)
        check = compare_logprobs(ours, trainer)
        lengths: list[float] = []

        def theirs(trainer: Any = trainer, lengths: list[float] = lengths) -> float:
            torch.use_deterministic_algorithms(False)
            trainer.train()
            lengths += [row["completions/mean_length"] for row in trainer.state.log_history if "loss" in row]
            return trainer.watch.seconds()

        def mine() -> float:
            torch.use_deterministic_algorithms(True, warn_only=True)  # as in a study
            return seconds(lambda: [ours.step() for _ in range(args.steps)]) / args.steps

        first = ours.done
        measured = alternate(mine, theirs, args.pairs)
        check += "; " + compare_lengths([update["response_tokens"] for update in ours.updates[first:]], lengths)
        tables.append(record("online update", args.case, f"TRL {peer}", measured, check, args.target))
    publish(args.output, *tables)


def draw_prompts(args: argparse.Namespace, tokenizer: Any) -> list[str]:
    """As many prompts as an update has."""
    import torch

    count = args.rows // args.per_prompt
    if args.problems:
        return read_table(args.problems, PROBLEMS, "online")["prompt"].tolist()[:count]
    ids = torch.randint(len(tokenizer) // 2, len(tokenizer), (count, args.prompt_tokens))
    return tokenizer.batch_decode(ids)


def policy(args: argparse.Namespace, name: str) -> Any:
    """The base with a LoRA adapter that does something, the same in every call."""
    import torch
    from peft import get_peft_model

    from goodhart.models.adapters import lora_config
    from goodhart.models.loading import load_policy

    model = load_policy(args.policy, args.precision)
    torch.manual_seed(0)
    model = get_peft_model(model, lora_config(args.rank, 2 * args.rank, 0.0, "CAUSAL_LM"), adapter_name=name)
    for key, weights in model.named_parameters():
        if "lora_" in key:
            torch.nn.init.normal_(weights.data, std=0.02)
    return model.eval()


def our_run(args: argparse.Namespace, tokenizer: Any, prompts: Sequence[str]) -> Any:
    """An online run of the workflow, whose reward costs nothing."""
    import torch

    from goodhart.models.ensemble import Scores
    from goodhart.sampling.settings import Sampling
    from goodhart.training.online.loop import OnlineRun
    from goodhart.training.settings import Settings

    model = policy(args, "policy")
    model.add_adapter("reference", model.peft_config["policy"])
    weights = dict(model.named_parameters())
    for name, tensor in weights.items():
        if ".reference." in name:
            tensor.data.copy_(weights[name.replace(".reference.", ".policy.")].data)

    class Free:
        def score(self, _prompts: Sequence[str], texts: Sequence[str], _finished: Sequence[bool]) -> Scores:
            rewards = torch.tensor([[free(text)] for text in texts])
            return Scores(rewards, rewards, torch.zeros(len(texts)))

    settings = Settings(
        steps=1,
        evaluate_every=1,
        prompts_per_step=args.rows,
        sampling=Sampling(args.max_new_tokens, args.rows, "auto", ()),
        beta=BETA,
        kl_percentile=90,
        learning_rate=0.0,
        clip_norm=1.0,
        weight_decay=0.0,
        warmup_steps=0,
        batch_size=args.rows,
        recompute=recomputes(model),
    )
    rows = list(prompts) * args.per_prompt
    return OnlineRun(model, tokenizer, Free(), settings, rows, 0)  # type: ignore[arg-type]


def recomputes(model: Any) -> bool:
    """Whether both sides compute activations anew: where a large model would not fit into a GPU's memory otherwise."""
    from goodhart.models.loading import LARGE

    return model.device.type == "cuda" and model.num_parameters() > LARGE


def free(text: str) -> float:
    """A reward that costs nothing, and differs from text to text."""
    return float(len(text) % 7)


def stock_trainer(peer: str, args: argparse.Namespace, tokenizer: Any, prompts: Sequence[str]) -> Any:
    """TRL's trainer with a KL penalty, as ours has one; `trainer.watch.seconds()` is how long an update took."""
    import trl
    from datasets import Dataset
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        """When each update ended; the first one also pays for the beginning of `train` and does not count."""

        times: list[float] = []  # noqa: RUF012

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.times = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.times.append(time.perf_counter())

        def seconds(self) -> float:
            return (self.times[-1] - self.times[0]) / (len(self.times) - 1)

    model = policy(args, "default")
    on_cpu = model.device.type == "cpu"
    settings = getattr(trl, f"{peer}Config")(
        output_dir=str(args.output.with_suffix(".trainer")),
        per_device_train_batch_size=args.rows,
        num_generations=args.per_prompt,
        max_completion_length=args.max_new_tokens,
        max_steps=args.steps + 1,
        learning_rate=0.0,
        beta=BETA,
        use_cpu=on_cpu,
        bf16=not on_cpu and args.precision != "float32",
        gradient_checkpointing=recomputes(model),
        disable_dropout=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = getattr(trl, f"{peer}Trainer")(
        model=model,
        reward_funcs=lambda completions, **_: [free(text) for text in completions],
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": list(prompts)}),
        processing_class=tokenizer,
    )
    trainer.remove_callback(sys.modules["transformers"].PrinterCallback)
    trainer.watch = Watch()
    trainer.add_callback(trainer.watch)
    return trainer


def compare_logprobs(ours: Any, trainer: Any) -> str:
    """Hold the log-probs of the same responses under policy and reference against each other."""
    import torch
    from trl.trainer.utils import use_adapter

    from goodhart.models.adapters import activate, merged
    from goodhart.models.tokens import collate
    from goodhart.sampling.engines import sample

    activate(ours.model, "policy")
    with merged(ours.model):
        drawn = sample(ours.model, ours.tokenizer, ours.prompt_ids, ours.settings.sampling, 1)
    pairs = list(zip(ours.prompt_ids, drawn.responses, strict=True))
    batch = collate(*zip(*pairs, strict=True), pad=ours.tokenizer.pad_token_id, device=ours.model.device)
    width = batch.response_mask.shape[1]
    worst = 0.0
    for mine, other in (("policy", "default"), ("reference", "ref")):
        with torch.no_grad(), use_adapter(trainer.model, other):
            logprobs = trainer._get_per_token_logps_and_entropies(trainer.model, batch.ids, batch.mask, width)[0]
        theirs = (logprobs.float() * batch.response_mask).sum(-1).cpu()
        found = ours._logprobs(mine, pairs)
        worst = max(worst, ((found - theirs).abs() / theirs.abs().clamp(min=1)).max().item())
    tolerance = 1e-4 if ours.model.dtype is torch.float32 else 5e-2
    if worst > tolerance:
        raise InputError(f"log-probs of the same responses differ by {worst:.1e} of their size; nothing was timed.")
    return f"log-probs of the same {len(pairs)} responses equal to {worst:.0e} (relative)"


def compare_lengths(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Hold the mean lengths of updates against each other, by Welch's test."""
    import numpy as np
    from scipy.stats import ttest_ind

    means = f"sampled mean length {np.mean(ours):.1f} against {np.mean(theirs):.1f} tokens"
    constant = np.std(ours) + np.std(theirs) == 0
    p = float(np.mean(ours) == np.mean(theirs)) if constant else ttest_ind(ours, theirs, equal_var=False).pvalue
    if p < 1e-4:
        raise InputError(f"responses are not drawn from one distribution: {means}.")
    return means


if __name__ == "__main__":
    run(main)
