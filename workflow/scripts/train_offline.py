r"""Train one offline adapter: DPO (Eq. 1) at one beta and seed, with the cached reference log-probs.

    python workflow/scripts/train_offline.py --method dpo --beta beta/p20.json --preferences preferences.parquet \
        --logprobs logprobs.parquet --policy policy --precision float32 --derived derived/offline.json --epochs 1 \
        --seed 0 --threads 1 --checkpoints checkpoints --checkpoint-minutes 5 --output adapter --metrics metrics.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from goodhart.cli import PRECISIONS, Output, add_checkpoints, parser, run, use_threads
from goodhart.errors import InputError
from goodhart.runtime.finite import dump_on_nan
from goodhart.store.files import read_json, read_table, write_json
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import LOGPROBS, PREFERENCES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--method", choices=("dpo",), required=True)
    args.add_argument("--beta", type=Path, required=True, help="beta/<level>.json")
    args.add_argument("--preferences", type=Path, required=True)
    args.add_argument("--logprobs", type=Path, required=True, help="reference log-probs of the same pairs")
    args.add_argument("--policy", type=Path, required=True)
    args.add_argument("--precision", choices=PRECISIONS, required=True)
    args.add_argument("--derived", type=Path, required=True, help="derived/offline.json")
    args.add_argument("--epochs", type=int, required=True)
    args.add_argument("--seed", type=int, required=True)
    args.add_argument("--threads", type=int, required=True)
    args.add_argument("--output", type=Output, required=True, help="adapter folder")
    args.add_argument("--metrics", type=Output, required=True)
    add_checkpoints(args)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    beta = read_json(args.beta, ["level", "beta"])
    derived = read_json(args.derived, ["inputs", "values"])
    preferences = read_table(args.preferences, PREFERENCES)
    logprobs = read_table(args.logprobs, LOGPROBS, split="train")
    made = Origin.of(args, __file__)
    made.verify(args.logprobs, "score_reference", ["policy", "preferences"], ["max_length", "precision"])
    rows = logprobs.merge(preferences.drop(columns="split"), on="pair_id", validate="one_to_one")
    if len(rows) != len(logprobs):
        raise InputError(f"{args.logprobs} and {args.preferences} are of different pairs; rerun score_reference.")
    use_threads(args.threads)
    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.adapters import lora_config, publish_adapter
    from goodhart.models.loading import load_policy, load_tokenizer
    from goodhart.models.manifest import check_model
    from goodhart.models.tokens import encode_pairs
    from goodhart.training import offline
    from goodhart.training.checkpoints import Checkpoints
    from goodhart.training.trainers import tokenized, train

    check_model(args.policy)
    used = values(derived)
    tokenizer = load_tokenizer(args.policy)
    pairs = encode_pairs(tokenizer, rows, used["max_length"])
    counts = [(len(p.prompt), len(p.chosen), len(p.rejected)) if p else None for p in pairs]
    if counts != list(zip(rows["prompt_tokens"], rows["chosen_tokens"], rows["rejected_tokens"], strict=True)):
        raise InputError(f"{args.logprobs} was computed on other tokens; rerun score_reference with this policy.")
    dataset = tokenized(offline.rows(pairs, rows))

    def build(settings: dict[str, Any]) -> offline.CachedReferenceDPOTrainer:
        return offline.CachedReferenceDPOTrainer(
            model=load_policy(args.policy, args.precision),
            args=offline.config(args.method, beta["beta"], settings),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=lora_config(used["lora_rank"], used["lora_alpha"], used["lora_dropout"], "CAUSAL_LM"),
        )

    with (
        Checkpoints(args.checkpoints, made, args.checkpoint_minutes, [args.output, args.metrics]) as checkpoints,
        dump_on_nan(args.output.parent / "stopped.json", args.seed),
    ):
        model, record = train(build, derived, args.precision, len(dataset), args.epochs, args.seed, checkpoints)
        publish_adapter(model, "default", args.output, args.policy, made)
        write_json(
            args.metrics,
            {
                "method": args.method,
                "level": beta["level"],
                "beta": beta["beta"],
                "seed": args.seed,
                "rows": len(dataset),
                **record,
            },
            made,
        )


if __name__ == "__main__":
    run(main)
