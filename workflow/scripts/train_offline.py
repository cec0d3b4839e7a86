r"""Train one offline adapter: DPO (Eq. 1) at one beta, with the cached reference log-probs.

    python workflow/scripts/train_offline.py --method dpo --beta beta/p20.json --preferences preferences.parquet \
        --logprobs logprobs.parquet --policy policy --precision float32 --derived derived/offline.json --epochs 1 \
        --replicate 0 --threads 1 --checkpoints checkpoints --checkpoint-minutes 5 --adapter adapter \
        --metrics metrics.json
"""

from dataclasses import dataclass

from goodhart.cli import flag, run
from goodhart.errors import InputError
from goodhart.models.flags import PolicyFlags
from goodhart.runtime.threads import use_threads
from goodhart.runtime.types import Frame, Record
from goodhart.store.flags import record, table
from goodhart.store.schemas.inputs import LOGPROBS, PREFERENCES
from goodhart.training.methods import METHODS
from goodhart.training.settings import AdapterFlags


@dataclass(frozen=True, kw_only=True)
class Arguments(PolicyFlags, AdapterFlags):
    method: str = flag(choices=tuple(METHODS))
    replicate: int = flag(help="number of the replicate, which seeds the training")
    beta: Record = record("level", "beta", help="beta/<level>.json")
    preferences: Frame = table(PREFERENCES)
    logprobs: Frame = table(LOGPROBS, "train", help="reference log-probs of the same pairs")


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    given.origin.verify(given.raw.logprobs, "score_reference", ["policy", "preferences"], ["max_length", "precision"])
    rows = given.logprobs.merge(given.preferences.drop(columns="split"), on="pair_id", validate="one_to_one")
    if len(rows) != len(given.logprobs):
        raise InputError(
            f"{given.raw.logprobs} and {given.raw.preferences} contain different pairs; rerun score_reference."
        )
    use_threads(given.threads)
    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.adapters import lora_config
    from goodhart.models.loading import load_policy, load_tokenizer
    from goodhart.models.tokens import encode_pairs
    from goodhart.training import offline
    from goodhart.training.trainers import tokenized, train_adapter

    used = values(given.derived)
    tokenizer = load_tokenizer(given.policy)
    pairs = encode_pairs(tokenizer, rows, used["max_length"])
    counts = [(len(p.prompt), len(p.chosen), len(p.rejected)) if p else None for p in pairs]
    if counts != list(zip(rows["prompt_tokens"], rows["chosen_tokens"], rows["rejected_tokens"], strict=True)):
        raise InputError(f"{given.raw.logprobs} was computed on other tokens; rerun score_reference with this policy.")
    dataset = tokenized(offline.rows(pairs, rows))
    train_adapter(
        given,
        given.policy,
        given.replicate,
        lambda settings: offline.CachedReferenceDPOTrainer(
            model=load_policy(given.policy, given.precision),
            args=offline.config(given.method, given.beta["beta"], settings),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=lora_config(used["lora_rank"], used["lora_alpha"], used["lora_dropout"], "CAUSAL_LM"),
        ),
        {
            "method": given.method,
            "level": given.beta["level"],
            "beta": given.beta["beta"],
            "replicate": given.replicate,
            "rows": len(dataset),
        },
    )


if __name__ == "__main__":
    run(main)
