"""The canonical table of preferences: texts from any source, splits by prompt, and coverage statistics."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from goodhart.errors import InputError
from goodhart.models.chat import SHARED, split_pair
from goodhart.runtime.types import PreTrainedTokenizerBase

OPTIONAL = ("chosen_score", "rejected_score", "chosen_source", "rejected_source")
SPLITS = (("train", 0.8), ("validation", 0.9), ("test", 1.0))  # section 4.1: 80/10/10, as cumulative shares
HELD_OUT = "held_out"  # the split of reward models that no policy is trained against


def pair_texts(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """The rows as texts; without a prompt column, the prompt is the common beginning of chosen and rejected."""
    rows = []
    prompts = frame["prompt"] if "prompt" in frame else [SHARED] * len(frame)
    for row, pair in enumerate(zip(prompts, frame["chosen"], frame["rejected"], strict=True)):
        try:
            rows.append(split_pair(*pair))
        except InputError as error:
            raise InputError(f"{source}, row {row}: {error}") from error
    texts = pd.DataFrame(rows, columns=["prompt", "chosen", "rejected"], index=frame.index)
    return texts.join(frame.drop(columns=["prompt", "chosen", "rejected"], errors="ignore"))


def split_of(prompt: str, seed: int, held_out: float = 0.0) -> str:
    """The split of a prompt, determined by its hash, so that all pairs of a prompt are in one split.

    `held_out` is the share of the prompts in the split HELD_OUT; the shares of SPLITS are those of the other prompts.
    """
    digest = hashlib.sha256(f"{seed}:{prompt}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < held_out:
        return HELD_OUT
    return next(name for name, end in SPLITS if share < held_out + (1 - held_out) * end)


def bootstrap_prompts(pairs: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Draw as many prompts as there are, with replacement; each draw of a prompt brings all of its pairs."""
    codes, prompts = pd.factorize(pairs["prompt"])
    drawn = np.random.default_rng(seed).integers(len(prompts), size=len(prompts))
    return pairs.iloc[np.repeat(np.arange(len(pairs)), np.bincount(drawn, minlength=len(prompts))[codes])]


def finish_preferences(
    frame: pd.DataFrame, seed: int, limit: int | None, held_out: float = 0.0, bootstrap: bool = False
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Drop pairs of identical responses, draw at most `limit` of the other pairs, number them and assign splits.

    With `bootstrap`, the prompts of the source are resampled first.

    Pairs with tied scores are counted, not dropped: the source states which response is chosen, as in the paper.

    Args:
        frame: prompt, chosen, rejected and, if the source has them, scores and source models.

    Returns:
        the rows of `schemas.inputs.PREFERENCES`, and counts for `coverage.json`.
    """
    identical = frame["chosen"] == frame["rejected"]
    pairs = frame[~identical]
    if pairs.empty:
        raise InputError("no preference pair has two different responses; check the source.")
    if bootstrap:
        pairs = bootstrap_prompts(pairs, seed).reset_index(drop=True)
    if limit is not None and limit < len(pairs):
        pairs = pairs.sample(n=limit, random_state=seed).sort_index()
    pairs = pairs.assign(
        split=[split_of(prompt, seed, held_out) for prompt in pairs["prompt"]], pair_id=range(len(pairs))
    )
    absent = sorted({name for name, _ in SPLITS if name != "validation"} - set(pairs["split"]))
    if absent:
        raise InputError(f"the preferences have no pair in split {absent[0]} ({len(pairs)} pairs in total); add pairs.")
    pairs = pairs.assign(**{column: None for column in OPTIONAL if column not in pairs})
    counts = {
        "rows_in_source": len(frame),
        "identical_pairs_dropped": int(identical.sum()),
        "pairs_with_tied_scores": int((pairs["chosen_score"] == pairs["rejected_score"]).sum()),
        "pairs": len(pairs),
        "prompts": int(pairs["prompt"].nunique()),
        "pairs_by_split": {name: int(n) for name, n in pairs["split"].value_counts().sort_index().items()},
    }
    return pairs.reset_index(drop=True), counts


def coverage(preferences: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Appendix F (d): quantiles of token lengths and of scores, and the source models, i.e. the logging policies.

    `unknown_tokens` is the share of unknown and padding tokens in all texts.
    """
    from goodhart.models.tokens import encode_prompts, encode_responses

    encode = {"prompt": encode_prompts, "chosen": encode_responses, "rejected": encode_responses}
    tokens = {column: encoded(tokenizer, preferences[column].tolist()) for column, encoded in encode.items()}
    strange = {tokenizer.unk_token_id, tokenizer.pad_token_id} - {tokenizer.eos_token_id, tokenizer.bos_token_id}
    every = [token for rows in tokens.values() for ids in rows for token in ids]
    unknown = sum(token in strange for token in every) / len(every)
    sources = pd.concat([preferences["chosen_source"], preferences["rejected_source"]]).dropna()
    scores = pd.concat([preferences["chosen_score"], preferences["rejected_score"]]).dropna().astype(float)
    return {
        "tokens": {column: quantiles([len(ids) for ids in rows]) for column, rows in tokens.items()},
        "unknown_tokens": unknown,
        "responses_by_source_model": {str(k): int(v) for k, v in sources.value_counts().sort_index().items()},
        "scores": quantiles(scores.tolist()) if len(scores) else None,
    }


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Minimum, quartiles, maximum and mean."""
    levels = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    names = ("minimum", "p25", "median", "p75", "maximum")
    return {**dict(zip(names, map(float, levels), strict=True)), "mean": float(np.mean(values))}
