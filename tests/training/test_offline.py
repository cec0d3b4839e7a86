"""DPO on cached reference log-probs is TRL's own DPO, without computing the reference again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from datasets import Dataset
from transformers import set_seed
from trl import DPOConfig, DPOTrainer

from goodhart.hyperparameters.appendix_c import FORMULAS
from goodhart.models.adapters import lora_config
from goodhart.models.loading import load_policy, load_tokenizer
from goodhart.models.tokens import encode_pairs
from goodhart.store.files import read_table
from goodhart.store.schemas.inputs import LOGPROBS, PREFERENCES
from goodhart.training.offline import CachedReferenceDPOTrainer, config
from goodhart.training.trainers import arguments, fit, tokenized
from tiny_study import Study

BETA = 0.7
USED = dict.fromkeys(FORMULAS, 1) | {"batch_size": 8, "learning_rate": 5e-3, "weight_decay": 0.01, "clip_norm": 1.0}
DERIVED = {"inputs": {"parameters": 1e5}, "values": {name: {"value": value} for name, value in USED.items()}}


@pytest.fixture(scope="module")
def pairs(tiny: Study) -> pd.DataFrame:
    """24 training pairs whose responses are whole, with the reference log-probs that score_reference gave them."""
    logprobs = read_table(tiny / "reference/logprobs.parquet", LOGPROBS).query("split == 'train' and not truncated")
    preferences = read_table(tiny / "data/preferences.parquet", PREFERENCES).drop(columns="split")
    # A response cut by the token limit would be given an end token by TRL too, so every text will do.
    return logprobs.merge(preferences, on="pair_id").head(24)


def common(tiny: Study, precision: str = "float32") -> dict[str, Any]:
    return {
        "model": load_policy(tiny / "policy", precision),
        "processing_class": load_tokenizer(tiny / "policy"),
        "peft_config": lora_config(4, 8, 0.0, "CAUSAL_LM"),  # no dropout, so that both draw the same random numbers
    }


def cached(
    tiny: Study, folder: Path, pairs: pd.DataFrame, shift: float = 0.0, precision: str = "float32"
) -> CachedReferenceDPOTrainer:
    encoded = encode_pairs(load_tokenizer(tiny / "policy"), pairs, max_length=10_000)
    rows = [
        {
            "prompt_ids": pair.prompt,
            "chosen_ids": pair.chosen,
            "rejected_ids": pair.rejected,
            "ref_chosen_logps": chosen + shift,
            "ref_rejected_logps": rejected,
        }
        for pair, chosen, rejected in zip(encoded, pairs["chosen_logprob"], pairs["rejected_logprob"], strict=True)
        if pair
    ]
    set_seed(0)
    return CachedReferenceDPOTrainer(
        args=config("dpo", BETA, arguments(DERIVED, precision, 2, 0, folder, 8)),
        train_dataset=tokenized(rows),
        **common(tiny, precision),
    )


def quantised(tiny: Study, folder: Path, pairs: pd.DataFrame) -> pd.DataFrame:
    """The same pairs with the reference log-probs of the 4-bit policy, as score_reference computes them."""
    tiny.run("score_reference", folder, precision="nf4")
    sides = ["chosen_logprob", "rejected_logprob"]
    logprobs = read_table(folder / "replicate-0/reference/logprobs.parquet", LOGPROBS)[["pair_id", *sides]]
    return pairs.drop(columns=sides).merge(logprobs, on="pair_id")


@pytest.mark.parametrize("precision", ["float32", "nf4"])
def test_the_loss_curve_is_that_of_stock_trl(tiny: Study, tmp_path: Path, pairs: pd.DataFrame, precision: str) -> None:
    """Stock TRL tokenises the texts itself and computes its own reference in every batch."""
    if precision == "nf4":
        pairs = quantised(tiny, tmp_path, pairs)
    ours = cached(tiny, tmp_path / "ours", pairs, precision=precision)
    set_seed(0)
    stock = DPOTrainer(
        args=DPOConfig(beta=BETA, loss_type=["sigmoid"], **arguments(DERIVED, precision, 2, 0, tmp_path / "stock", 8)),
        train_dataset=Dataset.from_pandas(pairs[["prompt", "chosen", "rejected"]], preserve_index=False),
        **common(tiny, precision),
    )
    for column in ("prompt_ids", "chosen_ids", "rejected_ids"):
        assert list(stock.train_dataset[column]) == list(ours.train_dataset[column])
    our_history, stock_history = fit(ours, ours.train), fit(stock, stock.train)
    assert len(our_history) == 6
    for name in ("loss", "grad_norm", "rewards/margins", "logps/chosen", "logps/rejected"):
        assert [row[name] for row in our_history] == pytest.approx([row[name] for row in stock_history], abs=1e-5)
    losses = [row["loss"] for row in our_history]
    assert max(losses) - min(losses) > 1e-3  # what training changes is far above that tolerance
    for (name, mine), (_, theirs) in zip(ours.model.named_parameters(), stock.model.named_parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4), name


def test_the_first_loss_is_log_2_because_the_policy_is_the_reference(
    tiny: Study, tmp_path: Path, pairs: pd.DataFrame
) -> None:
    loop = cached(tiny, tmp_path, pairs)
    assert fit(loop, loop.train)[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize("shift", [2.0, -1.5])
def test_the_cached_columns_are_the_reference(tiny: Study, tmp_path: Path, pairs: pd.DataFrame, shift: float) -> None:
    """Raising log pi0(chosen) by s lowers every margin by s: the first loss is log(1 + exp(beta s))."""
    loop = cached(tiny, tmp_path, pairs, shift)
    history = fit(loop, loop.train)
    assert history[0]["loss"] == pytest.approx(math.log1p(math.exp(BETA * shift)), abs=1e-4)
    assert history[0]["rewards/margins"] == pytest.approx(-BETA * shift, abs=1e-4)


def test_the_configuration_is_eq_1_at_beta(tmp_path: Path) -> None:
    made = config("dpo", 0.25, arguments(DERIVED, "float32", 1, 0, tmp_path, 8))
    assert (made.beta, made.loss_type, made.precompute_ref_log_probs) == (0.25, ["sigmoid"], True)
    assert (made.label_smoothing, made.disable_dropout) == (0.0, False)
