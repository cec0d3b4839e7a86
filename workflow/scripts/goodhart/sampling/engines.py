"""Sampling responses, one interface to several engines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from goodhart.runtime.types import PeftModel, PreTrainedModel, PreTrainedTokenizerBase
from goodhart.sampling import continuous, loop, vllm
from goodhart.sampling.endings import Ending, ending
from goodhart.sampling.settings import Sampling

Engine = Callable[["PreTrainedModel", Sequence[Sequence[int]], Sampling, Ending, int], list[list[int]]]

# An engine draws one row of tokens a prompt, up to `max_new_tokens`; whatever follows a row's end is cut off here.
ENGINES: dict[str, Engine] = {
    "loop": loop.draw,
    "continuous": continuous.draw,
    "vllm": vllm.draw,
}


@dataclass(frozen=True)
class Rollout:
    """Sampled responses: token ids with the token that ended one where it ended, and whether it did."""

    responses: list[list[int]]
    finished: list[bool]


def sample(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    how: Sampling,
    seed: int,
) -> Rollout:
    """Sample one response a prompt from the model's own distribution: temperature 1, no top-k, no top-p.

    The policy gradient is that of the distribution sampled from, so there is nothing to tune here.
    """
    if not prompts:
        return Rollout([], [])
    where = ending(model, tokenizer, how.stop)
    rows = ENGINES[engine_for(how.engine, model.device.type)](model, prompts, how, where, seed)
    responses = [where.cut(row) for row in rows]
    return Rollout([tokens for tokens, _ in responses], [finished for _, finished in responses])


def engine_for(engine: str, device: str) -> str:
    """The engine that `auto` stands for: continuous on a GPU; on a CPU, whose bits are to repeat, the loop."""
    if engine != "auto":
        return engine
    return "continuous" if device == "cuda" else "loop"
