"""The examination every policy of a study sits: the same problems, sampled with the same seed, checked the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from goodhart.models.adapters import merged
from goodhart.models.tokens import decode, encode_prompts
from goodhart.sampling.engines import Rollout, sample
from goodhart.sampling.settings import Sampling

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Examination:
    """A fixed set of problems and how responses to them are drawn and judged."""

    prompts: Sequence[str]
    answers: Sequence[str]
    verify: Callable[[str, str, str], bool]
    sampling: Sampling
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
        rollout = sample(model, tokenizer, encode_prompts(tokenizer, exam.prompts), exam.sampling, exam.seed)
    texts = decode(tokenizer, rollout.responses, exam.sampling.stop)
    strict, flexible = (
        [exam.verify(text, answer, style) for text, answer in zip(texts, exam.answers, strict=True)]
        for style in ("strict", "flexible")
    )
    return Responses(rollout, texts, strict, flexible)
