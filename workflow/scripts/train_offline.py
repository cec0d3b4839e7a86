r"""Train one offline adapter: DPO (Eq. 1) at one beta and seed, with the cached reference log-probs.

    python workflow/scripts/train_offline.py --method dpo --beta beta/p20.json --preferences preferences.parquet \
        --logprobs logprobs.parquet --policy policy --precision float32 --derived derived/offline.json --epochs 1 \
        --seed 0 --threads 1 --checkpoints checkpoints --checkpoint-minutes 5 --adapter adapter --metrics metrics.json
"""

from dataclasses import dataclass
from typing import Any

from goodhart.cli import Output, flag, run
from goodhart.errors import InputError
from goodhart.models.flags import PolicyFlags
from goodhart.runtime.finite import dump_on_nan
from goodhart.runtime.threads import use_threads
from goodhart.runtime.types import Frame, Record
from goodhart.store.files import write_json
from goodhart.store.flags import record, table
from goodhart.store.schemas.inputs import LOGPROBS, PREFERENCES
from goodhart.training.settings import AutosaveFlags


@dataclass(frozen=True, kw_only=True)
class Arguments(PolicyFlags, AutosaveFlags):
    method: str = flag(choices=("dpo",))
    beta: Record = record("level", "beta", help="beta/<level>.json")
    preferences: Frame = table(PREFERENCES)
    logprobs: Frame = table(LOGPROBS, "train", help="reference log-probs of the same pairs")
    derived: Record = record("inputs", "values", help="derived/offline.json")
    epochs: int
    seed: int
    adapter: Output
    metrics: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    made, files = given.origin, given.raw
    made.verify(files.logprobs, "score_reference", ["policy", "preferences"], ["max_length", "precision"])
    rows = given.logprobs.merge(given.preferences.drop(columns="split"), on="pair_id", validate="one_to_one")
    if len(rows) != len(given.logprobs):
        raise InputError(f"{files.logprobs} and {files.preferences} are of different pairs; rerun score_reference.")
    use_threads(given.threads)
    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.adapters import lora_config, publish_adapter
    from goodhart.models.loading import load_policy, load_tokenizer
    from goodhart.models.manifest import check_model
    from goodhart.models.tokens import encode_pairs
    from goodhart.training import offline
    from goodhart.training.checkpoints import Checkpoints
    from goodhart.training.trainers import tokenized, train

    check_model(given.policy)
    used = values(given.derived)
    tokenizer = load_tokenizer(given.policy)
    pairs = encode_pairs(tokenizer, rows, used["max_length"])
    counts = [(len(p.prompt), len(p.chosen), len(p.rejected)) if p else None for p in pairs]
    if counts != list(zip(rows["prompt_tokens"], rows["chosen_tokens"], rows["rejected_tokens"], strict=True)):
        raise InputError(f"{files.logprobs} was computed on other tokens; rerun score_reference with this policy.")
    dataset = tokenized(offline.rows(pairs, rows))

    def build(settings: dict[str, Any]) -> offline.CachedReferenceDPOTrainer:
        return offline.CachedReferenceDPOTrainer(
            model=load_policy(given.policy, given.precision),
            args=offline.config(given.method, given.beta["beta"], settings),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=lora_config(used["lora_rank"], used["lora_alpha"], used["lora_dropout"], "CAUSAL_LM"),
        )

    with (
        Checkpoints(given.checkpoints, made, given.checkpoint_minutes, [given.adapter, given.metrics]) as checkpoints,
        dump_on_nan(given.adapter.parent / "stopped.json", given.seed),
    ):
        model, trained = train(
            build, given.derived, given.precision, len(dataset), given.epochs, given.seed, checkpoints
        )
        publish_adapter(model, "default", given.adapter, given.policy, made)
        cell = {"method": given.method, "level": given.beta["level"], "beta": given.beta["beta"], "seed": given.seed}
        write_json(given.metrics, {**cell, "rows": len(dataset), **trained}, made)


if __name__ == "__main__":
    run(main)
