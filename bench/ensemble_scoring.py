r"""K rewards on one backbone against K models: how long they take for the same rows, and what they hold in memory.

The members have random weights; each model of the other side is loaded by PEFT and has its adapter merged. Their scores
are held against each other first. Memory is what the weights take and the most that is allocated beside them.

    python bench/ensemble_scoring.py --backbone results/bench/policy --case pocket --rows 64 --tokens 40 --members 3 \
        --rank 8 --threads 1 --pairs 5 --output results/bench-comparisons/ensemble-pocket.parquet
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alternating import alternate, publish, record, seconds
from goodhart.cli import Output, parser, run
from goodhart.errors import InputError
from goodhart.runtime.threads import use_threads
from measure_memory import peak_bytes

MIB = 2**20


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--backbone", type=Path, required=True, help="model folder of a study")
    args.add_argument("--case", required=True, help="what the table calls it")
    args.add_argument("--rows", type=int, required=True)
    args.add_argument(
        "--tokens", type=int, required=True, help="of the longest row; the shortest has a quarter of them"
    )
    args.add_argument("--members", type=int, required=True)
    args.add_argument("--rank", type=int, required=True)
    args.add_argument("--threads", type=int, required=True)
    args.add_argument("--pairs", type=int, required=True)
    args.add_argument("--output", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    use_threads(args.threads)
    import torch
    from peft import AutoPeftModelForSequenceClassification

    from goodhart.models.ensemble import RewardEnsemble
    from goodhart.models.loading import load_reward_backbone, load_tokenizer
    from goodhart.models.tokens import collate

    load = AutoPeftModelForSequenceClassification.from_pretrained
    tokenizer = load_tokenizer(args.backbone)
    draws = torch.Generator().manual_seed(0)
    lengths = torch.linspace(args.tokens // 4, args.tokens, args.rows).long().tolist()
    first = len(tokenizer) // 2
    ids = [torch.randint(first, len(tokenizer), (length,), generator=draws).tolist() for length in lengths]
    prompts, responses = [row[: len(row) // 2] for row in ids], [row[len(row) // 2 :] for row in ids]

    with tempfile.TemporaryDirectory() as temporary:
        folders = [write_member(args, k, Path(temporary) / f"member-{k}") for k in range(args.members)]
        backbone = load_reward_backbone(args.backbone, "float32")
        ensemble = RewardEnsemble(backbone, tokenizer, folders, args.rows, 10**6)
        loaded = [load(folder, num_labels=1, dtype=torch.float32) for folder in folders]
    models = [model.merge_and_unload().eval() for model in loaded]
    for model in models:
        model.config.pad_token_id = tokenizer.pad_token_id

    @torch.no_grad()
    def stock(some: Sequence[Any] = models) -> torch.Tensor:
        torch.use_deterministic_algorithms(False)
        batch = collate(prompts, responses, pad=tokenizer.pad_token_id)
        asked = {"input_ids": batch.ids, "attention_mask": batch.mask, "use_cache": False}
        return torch.cat([model(**asked).logits for model in some], dim=1)

    @torch.no_grad()
    def shared() -> torch.Tensor:
        torch.use_deterministic_algorithms(True, warn_only=True)  # as in a study
        return torch.stack(
            [rewards for rewards, _ in ensemble._score_batch(list(zip(prompts, responses, strict=True)))]
        )

    worst = (shared() - stock()).abs().max().item()
    if worst > 1e-4:
        raise InputError(f"the two sides give rewards that differ by {worst:.1e}; nothing was timed.")
    check = f"rewards of {args.rows} rows by {args.members} members within {worst:.0e}"
    name, peer = "ensemble scoring", f"{args.members} models in turn"
    timed = alternate(lambda: seconds(shared), lambda: seconds(stock), args.pairs)
    one = held(models[0]) + peak_bytes(lambda: stock(models[:1]))
    together = held(ensemble.model) + peak_bytes(shared)
    memory = [(together / MIB, one / MIB)]
    publish(
        args.output,
        record(name, args.case, peer, timed, check, 1.0),
        record("ensemble memory", args.case, "one model", memory, check, 1 / 1.15, "MiB"),
    )


def write_member(args: argparse.Namespace, member: int, folder: Path) -> Path:
    """A reward member with random weights, as train_reward would leave it."""
    import torch
    from peft import get_peft_model

    from goodhart.models.adapters import lora_config, publish_adapter
    from goodhart.models.loading import load_reward_backbone
    from goodhart.store.provenance import Origin

    torch.manual_seed(member)
    backbone = load_reward_backbone(args.backbone, "float32")
    model = get_peft_model(backbone, lora_config(args.rank, 2 * args.rank, 0.0, "SEQ_CLS"))
    for name, weights in model.named_parameters():
        if "lora_" in name or "score.modules_to_save" in name:
            torch.nn.init.normal_(weights.data, std=0.05)
    publish_adapter(model, "default", folder, args.backbone, Origin.of(args, __file__))
    return folder


def held(model: Any) -> int:
    """Bytes of a model's weights, each storage once."""
    return sum({w.untyped_storage().data_ptr(): w.untyped_storage().nbytes() for w in model.parameters()}.values())


if __name__ == "__main__":
    run(main)
