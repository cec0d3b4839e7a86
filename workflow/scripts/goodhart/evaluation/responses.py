"""Responses to a fixed set of problems, sampled with a fixed seed, and their verified answers."""

from collections.abc import Callable
from dataclasses import dataclass

from goodhart.evaluation.flags import ResponseFlags
from goodhart.models.adapters import merged
from goodhart.models.tokens import decode, encode_prompts
from goodhart.runtime.types import Frame, PeftModel, PreTrainedModel, PreTrainedTokenizerBase, Record
from goodhart.sampling.engines import Rollout, sample
from goodhart.sampling.settings import Sampling
from goodhart.verifiers.registry import verifier


@dataclass(frozen=True)
class ProblemSet:
    """A fixed set of problems with the verifier of their answers, and the settings and seed of sampling.

    `rows` has the columns problem_id, prompt and answer of `schemas.inputs.PROBLEMS`.
    """

    rows: Frame
    is_correct: Callable[[str, str, str], bool]
    sampling: Sampling
    seed: int

    @classmethod
    def of(cls, given: ResponseFlags, problems: Frame, seed: int) -> "ProblemSet":
        """Create the set from a table of problems (`schemas.inputs.PROBLEMS`); `InputError` without its verifier."""
        return cls(problems[["problem_id", "prompt", "answer"]], verifier(given.verifier), given.sampling, seed)


@dataclass(frozen=True)
class Responses:
    """One response per problem: its tokens, its text, and whether its answer is correct in each verifier style."""

    rollout: Rollout
    texts: list[str]
    strict: list[bool]
    flexible: list[bool]

    def columns(self) -> Record:
        """The columns of `schemas.inputs.RESPONSES` that describe a response, with one entry per problem."""
        return {
            "response": self.texts,
            "finished": self.rollout.finished,
            "tokens": [len(tokens) for tokens in self.rollout.responses],
            "correct": self.strict,
            "correct_flexible": self.flexible,
        }


def respond(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, problems: ProblemSet) -> Responses:
    """Sample one response per problem from the model with its active adapter, and verify the answers."""
    with merged(model):
        rollout = sample(
            model,
            tokenizer,
            encode_prompts(tokenizer, problems.rows["prompt"].tolist()),
            problems.sampling,
            problems.seed,
        )
    texts = decode(tokenizer, rollout.responses, problems.sampling.stop)
    strict, flexible = (
        [problems.is_correct(text, answer, style) for text, answer in zip(texts, problems.rows["answer"], strict=True)]
        for style in ("strict", "flexible")
    )
    return Responses(rollout, texts, strict, flexible)
