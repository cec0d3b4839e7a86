"""One response to each problem of a fixed set, sampled with a fixed seed, and whether its answer is correct."""

from collections.abc import Sequence
from dataclasses import dataclass

from goodhart.models.adapters import merged
from goodhart.models.tokens import decode, encode_prompts
from goodhart.runtime.types import Frame, PeftModel, PreTrainedModel, PreTrainedTokenizerBase
from goodhart.sampling.engines import Rollout, sample
from goodhart.sampling.settings import Sampling
from goodhart.verifiers.registry import verifier


@dataclass(frozen=True)
class ProblemSet:
    """A fixed set of problems, how responses to them are sampled, and the verifier of their answers."""

    prompts: Sequence[str]
    answers: Sequence[str]
    verifier: str
    sampling: Sampling
    seed: int

    @classmethod
    def of(cls, problems: Frame, verifier: str, sampling: Sampling, seed: int) -> "ProblemSet":
        """From a table of problems (`store.schemas.inputs.PROBLEMS`)."""
        return cls(problems["prompt"].tolist(), problems["answer"].tolist(), verifier, sampling, seed)


@dataclass(frozen=True)
class Responses:
    """One response a problem: its tokens, its text, and whether its answer is correct under each reading."""

    rollout: Rollout
    texts: list[str]
    strict: list[bool]
    flexible: list[bool]


def respond(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, problems: ProblemSet) -> Responses:
    """Sample one response a problem from the active policy, and verify the answers."""
    with merged(model):
        prompts = encode_prompts(tokenizer, problems.prompts)
        rollout = sample(model, tokenizer, prompts, problems.sampling, problems.seed)
    texts = decode(tokenizer, rollout.responses, problems.sampling.stop)
    correct = verifier(problems.verifier)
    strict, flexible = (
        [correct(text, answer, style) for text, answer in zip(texts, problems.answers, strict=True)]
        for style in ("strict", "flexible")
    )
    return Responses(rollout, texts, strict, flexible)
