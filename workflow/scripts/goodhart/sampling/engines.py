"""Sampling responses: one function for all engines, which are registered in ENGINES."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from goodhart.runtime.types import PeftModel, PreTrainedModel, PreTrainedTokenizerBase
from goodhart.sampling import continuous, loop, vllm
from goodhart.sampling.endings import Ending, ending
from goodhart.sampling.settings import Sampling

# An engine draws one row of at most `max_new_tokens` tokens per prompt; `sample` cuts the row at the response's end.
ENGINES: dict[str, Callable[[PreTrainedModel, Sequence[Sequence[int]], Sampling, Ending, int], list[list[int]]]] = {
    "loop": loop.draw,
    "continuous": continuous.draw,
    "vllm": vllm.draw,
}


@dataclass(frozen=True)
class Rollout:
    """Sampled responses as token ids, including the end token, and whether each ended within `max_new_tokens`."""

    responses: list[list[int]]
    finished: list[bool]


def sample(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    how: Sampling,
    seed: int,
) -> Rollout:
    """Sample one response per prompt at temperature 1, without top-k or top-p.

    There are no such settings, because the policy gradient needs samples from the distribution of the policy.
    """
    if not prompts:
        return Rollout([], [])
    end = ending(model, tokenizer, how.stop)
    rows = ENGINES[engine_for(how.engine, model.device.type)](model, prompts, how, end, seed)
    responses, finished = zip(*map(end.cut, rows), strict=True)
    return Rollout(list(responses), list(finished))


def engine_for(engine: str, device: str) -> str:
    """Resolve `auto`: continuous on a GPU, and loop, which is reproducible, on a CPU."""
    automatic = "continuous" if device == "cuda" else "loop"
    return automatic if engine == "auto" else engine
