r"""DPO with the cached reference against a stock DPOTrainer, and the reference pass itself.

Both trainers see the same pairs of a finished study in the same order, with the same dropout masks; their loss curves
are held against each other. The stock one tokenises the texts and computes the reference in every batch, as it does by
itself. The passes over the data are those of the whole study: ours reads it once, for the beta grid and every run.

    python bench/offline_dpo.py --study results/bench --level p50 --threads 1 --pairs 5 \
        --output results/bench-comparisons/offline_dpo.parquet
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alternating import alternate, publish, record, seconds
from goodhart.cli import parser, run
from goodhart.errors import InputError
from goodhart.runtime.threads import use_threads
from goodhart.store.files import read_json, read_table
from goodhart.store.schemas.inputs import LOGPROBS, PREFERENCES

SIDES = ("chosen", "rejected")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--study", type=Path, required=True, help="results of a finished study")
    args.add_argument("--level", required=True, help="whose beta is trained with")
    args.add_argument("--threads", type=int, required=True)
    args.add_argument("--pairs", type=int, required=True)
    args.add_argument("--output", type=Path, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    use_threads(args.threads)
    from datasets import Dataset
    from transformers import set_seed
    from trl import DPOConfig, DPOTrainer

    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.adapters import lora_config
    from goodhart.models.loading import load_policy, load_tokenizer
    from goodhart.models.logprobs import response_logprobs
    from goodhart.models.tokens import encode_pairs
    from goodhart.training import offline
    from goodhart.training.trainers import arguments, tokenized

    study = args.study / "replicate-0"
    derived = read_json(study / "derived/offline.json", ["inputs", "values"])
    beta, used = read_json(study / f"beta/{args.level}.json", ["beta"])["beta"], values(derived)
    logprobs = read_table(study / "reference/logprobs.parquet", LOGPROBS, split="train")
    preferences = read_table(study / "data/preferences.parquet", PREFERENCES).drop(columns="split")
    pairs = logprobs.merge(preferences, on="pair_id", validate="one_to_one")
    tokenizer = load_tokenizer(study / "policy")
    settings = arguments(derived, "float32", 1, 0, args.output.with_suffix(".trainer"), used["batch_size"])
    lora = lora_config(used["lora_rank"], used["lora_alpha"], used["lora_dropout"], "CAUSAL_LM")

    def common() -> dict[str, Any]:
        set_seed(0)
        policy = load_policy(study / "policy", "float32")
        return {"model": policy, "processing_class": tokenizer, "peft_config": lora}

    def encode() -> list[Any]:
        return encode_pairs(tokenizer, pairs, used["max_length"])

    def cached() -> Any:
        dataset = tokenized(offline.rows(encode(), pairs))
        how = offline.config("dpo", beta, settings)
        return offline.CachedReferenceDPOTrainer(args=how, train_dataset=dataset, **common())

    def stock(kind: type = DPOTrainer, **more: Any) -> Any:
        texts = Dataset.from_pandas(pairs[["prompt", *SIDES]], preserve_index=False)
        cut = {"max_length": used["max_length"]}  # our rows are cut already
        how = DPOConfig(beta=beta, loss_type=["sigmoid"], **{**settings, **cut}, **more)
        return kind(args=how, train_dataset=texts, **common())

    class Timed(DPOTrainer):
        """With precompute_ref_log_probs; knows how long its pass took."""

        def _precompute_ref_logps(self, dataset: Dataset, *rest: Any) -> Dataset:
            dataset._fingerprint = f"{time.time_ns():x}"  # or it would find the pass of an earlier run
            self.pass_seconds = seconds(
                lambda: setattr(self, "known", super(Timed, self)._precompute_ref_logps(dataset, *rest))
            )
            return self.known

    def trained(build: Any, losses: list[list[float]]) -> float:
        def train() -> None:
            trainer = build()
            trainer.train()
            losses.append([row["loss"] for row in trainer.state.log_history if "loss" in row])

        return seconds(train)

    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    trained(cached, ours)
    trained(stock, theirs)
    worst = np.abs(np.array(ours[0]) - np.array(theirs[0])).max()
    if worst > 1e-3:
        raise InputError(f"the loss curves of the two sides differ by {worst:.1e}; nothing was timed.")
    check = f"{len(ours[0])} losses within {worst:.0e}"
    timed = alternate(lambda: trained(cached, ours), lambda: trained(stock, theirs), args.pairs, warmups=0)

    policy = load_policy(study / "policy", "float32")
    rows = [(pair.prompt, getattr(pair, side)) for pair in encode() if pair for side in SIDES]
    found: list[float] = []

    def one_pass() -> float:
        size = used["inference_batch_size"]
        return seconds(
            lambda: found.__setitem__(
                slice(None), response_logprobs(policy, rows, tokenizer.pad_token_id, size, "reference log-probs")
            )
        )

    def stock_pass() -> float:
        size = used["inference_batch_size"]
        trainer = stock(Timed, precompute_ref_log_probs=True, precompute_ref_batch_size=size)
        reference[:] = np.stack([np.array(trainer.known[f"ref_{side}_logps"]) for side in SIDES], axis=1).ravel()
        return trainer.pass_seconds

    reference: list[float] = []
    once = alternate(one_pass, stock_pass, args.pairs)
    apart = np.abs(np.array(reference) - np.array(found)).max()
    if apart > 1e-3:
        raise InputError(f"reference log-probs of the two sides differ by {apart:.1e}.")
    same = f"{len(found)} log-probs within {apart:.0e}"
    publish(
        args.output,
        record("offline DPO", "pocket", "stock DPOTrainer", timed, check),
        record("one reference pass", "pocket", "DPOTrainer's own", once, same),
    )


if __name__ == "__main__":
    run(main)
