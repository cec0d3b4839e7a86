r"""Compute log-probs of all preference responses under the reference policy (the base model), once for all runs.

    python workflow/scripts/score_reference.py --preferences preferences.parquet --policy policy --precision float32 \
        --derived derived/offline.json --threads 1 --logprobs logprobs.parquet
"""

import sys
from dataclasses import dataclass

from goodhart.cli import Output, run
from goodhart.errors import InputError
from goodhart.models.flags import PolicyFlags
from goodhart.runtime.finite import Watched, dump_on_nan
from goodhart.runtime.types import Frame, PreTrainedModel, PreTrainedTokenizerBase, Record
from goodhart.store.files import write_table
from goodhart.store.flags import record, table
from goodhart.store.schemas.inputs import LOGPROBS, PREFERENCES


@dataclass(frozen=True, kw_only=True)
class Arguments(PolicyFlags):
    preferences: Frame = table(PREFERENCES)
    derived: Record = record("values", help="derived/offline.json, for max_length and batch size")
    logprobs: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    origin = given.origin
    from goodhart.hyperparameters.appendix_c import values

    used = values(given.derived)
    max_length, batch_size = used["max_length"], used["inference_batch_size"]
    with dump_on_nan(given.logprobs.with_suffix(".stopped.json")):
        logprobs = reference_logprobs(*given.load_policy(), given.preferences, max_length, batch_size)
    print(f"{len(logprobs)} of {len(given.preferences)} pairs have a prompt that fits into {max_length} tokens")
    write_table(given.logprobs, logprobs, LOGPROBS, origin)


def reference_logprobs(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, preferences: Frame, max_length: int, batch_size: int
) -> Frame:
    """The rows of `schemas.inputs.LOGPROBS`: one per pair whose prompt is shorter than `max_length` tokens.

    Raises:
        InputError: no pair of the train split, or no pair of the test split, fits.
        NotFinite: a log-probability is NaN or infinite.
    """
    import torch

    from goodhart.models.logprobs import response_logprobs
    from goodhart.models.tokens import encode_pairs

    whole, cut = (encode_pairs(tokenizer, preferences, length) for length in (sys.maxsize, max_length))
    fitting = preferences[[pair is not None for pair in cut]]
    for split in ("train", "test"):
        if split not in set(fitting["split"]):
            raise InputError(
                f"no prompt of split {split} fits into max_length = {max_length} tokens; raise it, or use more pairs."
            )
    pairs = [pair for pair in cut if pair]
    rows = [(pair.prompt, response) for pair in pairs for response in (pair.chosen, pair.rejected)]
    logprobs = response_logprobs(policy, rows, tokenizer.pad_token_id, batch_size, "reference log-probs", report=True)
    watched = Watched(
        "reference log-probs",
        pair_id=fitting["pair_id"].repeat(2).tolist(),
        prompt=fitting["prompt"].repeat(2).tolist(),
        response=fitting[["chosen", "rejected"]].to_numpy().flatten().tolist(),
        tokens=[response for _, response in rows],
    )
    watched.add("logprob", torch.tensor(logprobs))
    return fitting[["pair_id", "split"]].assign(
        chosen_logprob=logprobs[0::2],
        rejected_logprob=logprobs[1::2],
        prompt_tokens=[len(pair.prompt) for pair in pairs],
        chosen_tokens=[len(pair.chosen) for pair in pairs],
        rejected_tokens=[len(pair.rejected) for pair in pairs],
        truncated=[short != long for short, long in zip(cut, whole, strict=True) if short],
    )


if __name__ == "__main__":
    run(main)
