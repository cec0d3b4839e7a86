r"""Log-probs of all preference responses under the reference policy, the bare base: one pass for every level and seed.

    python workflow/scripts/score_reference.py --preferences preferences.parquet --policy policy --precision float32 \
        --derived derived/offline.json --threads 1 --logprobs logprobs.parquet
"""

import sys
from dataclasses import dataclass

from goodhart.cli import Output, run
from goodhart.errors import InputError
from goodhart.models.flags import PolicyFlags
from goodhart.runtime.finite import Watched, dump_on_nan
from goodhart.runtime.threads import use_threads
from goodhart.runtime.types import Frame, Record
from goodhart.store.files import write_table
from goodhart.store.flags import record, table
from goodhart.store.schemas.inputs import LOGPROBS, PREFERENCES


@dataclass(frozen=True, kw_only=True)
class Arguments(PolicyFlags):
    preferences: Frame = table(PREFERENCES)
    derived: Record = record("values", help="derived/offline.json: length and batch")
    logprobs: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    made, preferences = given.origin, given.preferences
    use_threads(given.threads)
    import torch

    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.loading import load_policy, load_tokenizer
    from goodhart.models.logprobs import response_logprobs
    from goodhart.models.manifest import check_model
    from goodhart.models.tokens import encode_pairs

    check_model(given.policy)
    tokenizer, policy = load_tokenizer(given.policy), load_policy(given.policy, given.precision)
    used = values(given.derived)
    max_length = used["max_length"]
    whole = encode_pairs(tokenizer, preferences, max_length=sys.maxsize)
    cut = encode_pairs(tokenizer, preferences, max_length)
    pairs = {i: pair for i, pair in enumerate(cut) if pair}
    for split in ("train", "test"):
        if not any(preferences["split"][i] == split for i in pairs):
            raise InputError(
                f"no pair of split {split} fits into {max_length} tokens; override max_length, or use more."
            )
    print(f"{len(pairs)} of {len(cut)} pairs have a prompt that fits into {max_length} tokens")

    sides = [(i, side) for i in pairs for side in ("chosen", "rejected")]
    rows = [(pairs[i].prompt, getattr(pairs[i], side)) for i, side in sides]
    size = used["inference_batch_size"]
    scores = response_logprobs(policy, rows, tokenizer.pad_token_id, size, "reference log-probs", report=True)
    watched = Watched(
        "reference log-probs",
        pair_id=[int(preferences["pair_id"][i]) for i, _ in sides],
        prompt=[preferences["prompt"][i] for i, _ in sides],
        response=[preferences[side][i] for i, side in sides],
        tokens=[response for _, response in rows],
    )
    with dump_on_nan(given.logprobs.with_suffix(".stopped.json")):
        watched.add("logprob", torch.tensor(scores))
    logprobs = dict(zip(sides, scores, strict=True))
    write_table(
        given.logprobs,
        [
            {
                "pair_id": preferences["pair_id"][i],
                "split": preferences["split"][i],
                "chosen_logprob": logprobs[i, "chosen"],
                "rejected_logprob": logprobs[i, "rejected"],
                "prompt_tokens": len(pair.prompt),
                "chosen_tokens": len(pair.chosen),
                "rejected_tokens": len(pair.rejected),
                "truncated": pair != whole[i],
            }
            for i, pair in pairs.items()
        ],
        LOGPROBS,
        made,
    )


if __name__ == "__main__":
    run(main)
