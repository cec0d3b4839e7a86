r"""Train one reward member: Bradley-Terry (Eq. 5) on a bootstrap resample, a LoRA adapter and a head of its own.

TRL's RewardTrainer on rows tokenised as every other stage does; the resampled row ids are kept.

    python workflow/scripts/train_reward.py --member 0 --preferences preferences.parquet --backbone policy \
        --precision float32 --derived derived/reward.json --epochs 2 --seed 0 --threads 1 \
        --checkpoints checkpoints --checkpoint-minutes 5 --output member-0/adapter --metrics member-0/metrics.json
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
from goodhart.store.schemas.inputs import PREFERENCES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--member", type=int, required=True)
    args.add_argument("--preferences", type=Path, required=True)
    args.add_argument("--backbone", type=Path, required=True)
    args.add_argument("--precision", choices=PRECISIONS, required=True)
    args.add_argument("--derived", type=Path, required=True, help="derived/reward.json")
    args.add_argument("--epochs", type=int, required=True)
    args.add_argument("--seed", type=int, required=True, help="seed of the ensemble; the member's own follows from it")
    args.add_argument("--threads", type=int, required=True)
    args.add_argument("--output", type=Output, required=True, help="adapter folder")
    args.add_argument("--metrics", type=Output, required=True)
    add_checkpoints(args)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    preferences = read_table(args.preferences, PREFERENCES, split="train")
    derived = read_json(args.derived, ["inputs", "values"])
    use_threads(args.threads)
    import numpy as np
    from trl import RewardConfig

    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.adapters import lora_config, publish_adapter
    from goodhart.models.loading import load_reward_backbone, load_tokenizer
    from goodhart.models.manifest import check_model
    from goodhart.models.tokens import encode_pairs
    from goodhart.training.checkpoints import Checkpoints
    from goodhart.training.reward import MemberTrainer
    from goodhart.training.trainers import tokenized, train

    check_model(args.backbone)
    used = values(derived)
    tokenizer = load_tokenizer(args.backbone)
    encoded = encode_pairs(tokenizer, preferences, used["max_length"])
    fitting = [(pair_id, pair) for pair_id, pair in zip(preferences["pair_id"], encoded, strict=True) if pair]
    if not fitting:
        raise InputError(f"no preference pair fits into max_length = {used['max_length']} tokens; override max_length.")
    # Member k's resample and initial weights are its own, whatever the number of members.
    seed = int(np.random.SeedSequence([args.seed, args.member]).generate_state(1)[0])
    picks = np.random.default_rng(seed).integers(len(fitting), size=len(fitting))
    rows = [fitting[pick][1] for pick in picks]
    dataset = tokenized([{"chosen_ids": p.prompt + p.chosen, "rejected_ids": p.prompt + p.rejected} for p in rows])

    def build(settings: dict[str, Any]) -> MemberTrainer:
        return MemberTrainer(
            model=load_reward_backbone(args.backbone, args.precision),
            args=RewardConfig(**settings),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=lora_config(used["lora_rank"], used["lora_alpha"], used["lora_dropout"], "SEQ_CLS"),
        )

    made = Origin.of(args, __file__)
    with (
        Checkpoints(args.checkpoints, made, args.checkpoint_minutes, [args.output, args.metrics]) as checkpoints,
        dump_on_nan(args.output.parent / "stopped.json", seed),
    ):
        model, record = train(build, derived, args.precision, len(rows), args.epochs, seed, checkpoints)
        publish_adapter(model, "default", args.output, args.backbone, made)
        write_json(
            args.metrics,
            {
                "member": args.member,
                "seed": seed,
                "rows": len(rows),
                "distinct_rows": len(set(picks.tolist())),
                "pair_ids": [int(fitting[pick][0]) for pick in picks],
                **record,
            },
            made,
        )


if __name__ == "__main__":
    run(main)
