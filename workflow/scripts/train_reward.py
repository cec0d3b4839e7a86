r"""Train one reward model of the ensemble: Bradley-Terry (Eq. 5) on a bootstrap resample of the training pairs.

TRL's RewardTrainer on rows tokenised as in every other stage; the ids of the resampled pairs are recorded.

    python workflow/scripts/train_reward.py --member 0 --preferences preferences.parquet --backbone policy \
        --precision float32 --derived derived/reward.json --epochs 2 --seed 0 --threads 1 \
        --checkpoints checkpoints --checkpoint-minutes 5 --adapter member-0/adapter --metrics member-0/metrics.json
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goodhart.cli import Output, flag, run
from goodhart.errors import InputError
from goodhart.models.admission import PRECISIONS
from goodhart.runtime.finite import dump_on_nan
from goodhart.runtime.threads import use_threads
from goodhart.runtime.types import Frame, Record
from goodhart.store.files import write_json
from goodhart.store.flags import record, table
from goodhart.store.schemas.inputs import PREFERENCES
from goodhart.training.settings import AutosaveFlags


@dataclass(frozen=True, kw_only=True)
class Arguments(AutosaveFlags):
    member: int
    preferences: Frame = table(PREFERENCES, "train")
    backbone: Path
    precision: str = flag(choices=PRECISIONS)
    derived: Record = record("inputs", "values", help="derived/reward.json")
    epochs: int
    seed: int = flag(help="seed of the ensemble, from which the member's own follows")
    threads: int
    adapter: Output
    metrics: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    use_threads(given.threads)
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

    check_model(given.backbone)
    used = values(given.derived)
    tokenizer = load_tokenizer(given.backbone)
    encoded = encode_pairs(tokenizer, given.preferences, used["max_length"])
    fitting = [(pair_id, pair) for pair_id, pair in zip(given.preferences["pair_id"], encoded, strict=True) if pair]
    if not fitting:
        raise InputError(f"no preference pair fits into max_length = {used['max_length']} tokens; override max_length.")
    # The resample and the initial weights of member k do not depend on the number of members.
    seed = int(np.random.SeedSequence([given.seed, given.member]).generate_state(1)[0])
    picks = np.random.default_rng(seed).integers(len(fitting), size=len(fitting))
    rows = [fitting[pick][1] for pick in picks]
    dataset = tokenized([{"chosen_ids": p.prompt + p.chosen, "rejected_ids": p.prompt + p.rejected} for p in rows])

    def build(settings: dict[str, Any]) -> MemberTrainer:
        return MemberTrainer(
            model=load_reward_backbone(given.backbone, given.precision),
            args=RewardConfig(**settings),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=lora_config(used["lora_rank"], used["lora_alpha"], used["lora_dropout"], "SEQ_CLS"),
        )

    made = given.origin
    with (
        Checkpoints(given.checkpoints, made, given.checkpoint_minutes, [given.adapter, given.metrics]) as checkpoints,
        dump_on_nan(given.adapter.parent / "stopped.json", seed),
    ):
        model, trained = train(build, given.derived, given.precision, len(rows), given.epochs, seed, checkpoints)
        publish_adapter(model, "default", given.adapter, given.backbone, made)
        drawn = {"distinct_rows": len(set(picks.tolist())), "pair_ids": [int(fitting[pick][0]) for pick in picks]}
        write_json(given.metrics, {"member": given.member, "seed": seed, "rows": len(rows), **drawn, **trained}, made)


if __name__ == "__main__":
    run(main)
