"""The examination every policy of a study sits: the same problems, sampled with the same seed, checked the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from goodhart.encoding import decode, encode_prompts
from goodhart.models import merged
from goodhart.rollout import Rollout, sample

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Examination:
    """A fixed set of problems and how responses to them are drawn and judged."""

    prompts: Sequence[str]
    answers: Sequence[str]
    verify: Callable[[str, str, str], bool]
    max_new_tokens: int
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Responses:
    """One response a problem: its tokens, its text, and whether its answer is right under each reading."""

    rollout: Rollout
    texts: list[str]
    strict: list[bool]
    flexible: list[bool]


def respond(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, exam: Examination) -> Responses:
    """Sample one response a problem from the active policy, and check the answers."""
    with merged(model):
        rollout = sample(
            model,
            encode_prompts(tokenizer, exam.prompts),
            max_new_tokens=exam.max_new_tokens,
            batch_size=exam.batch_size,
            end=tokenizer.eos_token_id,
            pad=tokenizer.pad_token_id,
            seed=exam.seed,
        )
    texts = decode(tokenizer, rollout.responses)
    strict, flexible = (
        [exam.verify(text, answer, style) for text, answer in zip(texts, exam.answers, strict=True)]
        for style in ("strict", "flexible")
    )
    return Responses(rollout, texts, strict, flexible)
