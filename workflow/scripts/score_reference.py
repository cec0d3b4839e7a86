r"""Log-probabilities of every preference response under the reference policy, in one pass (Eq. 6, and DPO's reference).

    python workflow/scripts/score_reference.py --preferences preferences.parquet --policy policy --precision float32 \
        --derived derived/offline.json --threads 1 --output logprobs.parquet
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import PRECISIONS, Output, parser, run, use_threads
from goodhart.errors import InputError
from goodhart.runtime.finite import Watched, dump_on_nan
from goodhart.store.files import read_json, read_table, write_table
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import LOGPROBS, PREFERENCES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--preferences", type=Path, required=True)
    args.add_argument("--policy", type=Path, required=True)
    args.add_argument("--precision", choices=PRECISIONS, required=True)
    args.add_argument("--derived", type=Path, required=True, help="derived/offline.json: length and batch")
    args.add_argument("--threads", type=int, required=True)
    args.add_argument("--output", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    preferences = read_table(args.preferences, PREFERENCES)
    derived = read_json(args.derived, ["values"])
    made = Origin.of(args, __file__)
    use_threads(args.threads)
    import torch

    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.loading import load_policy, load_tokenizer
    from goodhart.models.logprobs import response_logprobs
    from goodhart.models.manifest import check_model
    from goodhart.models.tokens import encode_pairs

    check_model(args.policy)
    tokenizer, policy = load_tokenizer(args.policy), load_policy(args.policy, args.precision)
    used = values(derived)
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
    with dump_on_nan(args.output.with_suffix(".stopped.json")):
        watched.add("logprob", torch.tensor(scores))
    logprobs = dict(zip(sides, scores, strict=True))
    write_table(
        args.output,
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
