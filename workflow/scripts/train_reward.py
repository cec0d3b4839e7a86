r"""Train one reward model of the ensemble: Bradley-Terry (Eq. 5) on a bootstrap resample of the training pairs.

TRL's RewardTrainer gets rows that are tokenised as in every other stage; the ids of the resampled pairs are recorded.

    python workflow/scripts/train_reward.py --member 0 --preferences preferences.parquet --backbone policy \
        --split train --precision float32 --derived derived/reward.json --epochs 2 --seed 0 --threads 1 \
        --checkpoints checkpoints --checkpoint-minutes 5 --adapter member-0/adapter --metrics member-0/metrics.json
"""

from dataclasses import dataclass
from pathlib import Path

from goodhart.cli import flag, run
from goodhart.errors import InputError
from goodhart.runtime.seeds import mix
from goodhart.runtime.threads import use_threads
from goodhart.runtime.types import Frame
from goodhart.store.flags import table
from goodhart.store.schemas.inputs import PREFERENCES
from goodhart.training.settings import AdapterFlags


@dataclass(frozen=True, kw_only=True)
class Arguments(AdapterFlags):
    member: int
    preferences: Frame = table(PREFERENCES)
    split: str = flag(
        choices=("train", "held_out"), help="held_out: for a reward model that no policy is trained against"
    )
    backbone: Path
    seed: int = flag(help="seed of the ensemble; the seed of each member is derived from it")


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    preferences = given.preferences[given.preferences["split"] == given.split]
    if preferences.empty:
        raise InputError(f"{given.raw.preferences} has no rows of split '{given.split}'; use more data.")
    use_threads(given.threads)
    import numpy as np
    from trl import RewardConfig

    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.adapters import lora_config
    from goodhart.models.loading import load_reward_backbone, load_tokenizer
    from goodhart.models.tokens import encode_pairs
    from goodhart.training.guarded import MemberTrainer
    from goodhart.training.trainers import tokenized, train_adapter

    used = values(given.derived)
    tokenizer = load_tokenizer(given.backbone)
    encoded = encode_pairs(tokenizer, preferences, used["max_length"])
    fitting = [(int(number), pair) for number, pair in zip(preferences["pair_id"], encoded, strict=True) if pair]
    if not fitting:
        raise InputError(
            f"no preference pair of split {given.split} fits into max_length = {used['max_length']} tokens; override "
            "max_length."
        )
    # The resample and the initial weights of member k do not depend on the number of members.
    seed = mix(given.seed, given.member, *([1] if given.split == "held_out" else []))
    picks = np.random.default_rng(seed).integers(len(fitting), size=len(fitting))
    pair_ids, pairs = zip(*(fitting[pick] for pick in picks), strict=True)
    dataset = tokenized([{"chosen_ids": p.prompt + p.chosen, "rejected_ids": p.prompt + p.rejected} for p in pairs])
    train_adapter(
        given,
        given.backbone,
        seed,
        lambda settings: MemberTrainer(
            model=load_reward_backbone(given.backbone, given.precision),
            args=RewardConfig(**settings),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=lora_config(used["lora_rank"], used["lora_alpha"], used["lora_dropout"], "SEQ_CLS"),
        ),
        {
            "member": given.member,
            "seed": seed,
            "rows": len(dataset),
            "distinct_rows": len(set(pair_ids)),
            "pair_ids": pair_ids,
        },
    )


if __name__ == "__main__":
    run(main)
