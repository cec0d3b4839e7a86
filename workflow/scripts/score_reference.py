r"""Log-probabilities of every preference response under the reference policy, in one pass (Eq. 6, and DPO's reference).

    python workflow/scripts/score_reference.py --preferences preferences.parquet --policy policy --precision float32 \
        --derived derived/offline.json --threads 1 --output logprobs.parquet
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from goodhart.artifacts import read_json, read_table, write_table
from goodhart.commandline import PRECISIONS, Output, parser, run, use_threads
from goodhart.errors import InputError
from goodhart.inspection import Watched, kept
from goodhart.provenance import origin
from goodhart.tables import LOGPROBS, PREFERENCES


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
    made = origin(args, __file__)
    use_threads(args.threads)
    import torch

    from goodhart.batches import in_batches
    from goodhart.derivations import values
    from goodhart.encoding import collate, encode_pairs
    from goodhart.logprobs import sequence_logprobs
    from goodhart.models import check_model, load_policy, load_tokenizer

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

    # Rows of like length share a batch; the order does not change a row's value.
    responses = {(i, side): getattr(pair, side) for i, pair in pairs.items() for side in ("chosen", "rejected")}
    order = sorted(responses, key=lambda row: len(pairs[row[0]].prompt) + len(responses[row]))

    @torch.no_grad()
    def score(rows: Sequence[tuple[int, str]]) -> list[float]:
        batch = collate(
            [pairs[i].prompt for i, _ in rows], [responses[row] for row in rows], tokenizer.pad_token_id, policy.device
        )
        return sequence_logprobs(policy, batch).tolist()

    scores = in_batches(score, order, used["inference_batch_size"], "reference log-probs", report=True)
    watched = Watched(
        "reference log-probs",
        pair_id=[int(preferences["pair_id"][i]) for i, _ in order],
        prompt=[preferences["prompt"][i] for i, _ in order],
        response=[preferences[side][i] for i, side in order],
        tokens=[responses[row] for row in order],
    )
    with kept(args.output.with_suffix(".stopped.json")):
        watched.add("logprob", torch.tensor(scores))
    logprobs = dict(zip(order, scores, strict=True))
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
