"""Where a response ends: with an end token, or with a stop string."""

from collections.abc import Sequence
from dataclasses import dataclass

from goodhart.models.tokens import decode
from goodhart.runtime.types import PeftModel, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Ending:
    """Where a response ends: with any of the end tokens, or with the token that completes a stop string.

    The tokens up to that one were sampled and stay; the text is cut before the stop string (`models.tokens.decode`).
    The strings are looked for in the decoded text, as transformers' `StopStringCriteria` cannot read the vocabulary of
    every tokeniser, the embedded policy's among them.
    """

    tokens: tuple[int, ...]
    stop: tuple[str, ...]
    tokenizer: PreTrainedTokenizerBase

    @property
    def window(self) -> int:
        """Trailing tokens in which a stop string can lie: one a byte, and one whose leading space may be lost."""
        return 1 + max((len(string.encode()) for string in self.stop), default=0)

    def completed(self, windows: Sequence[Sequence[int]]) -> list[bool]:
        """Whether a stop string stands in each of the windows."""
        return [any(string in text for string in self.stop) for text in decode(self.tokenizer, windows)]

    def cut(self, row: Sequence[int]) -> tuple[list[int], bool]:
        """The response in a row of sampled tokens, and whether it ended by itself; what follows its end is dropped."""
        end = next((i for i, token in enumerate(row, start=1) if token in self.tokens), None)
        if self.stop and any(self.completed([row[:end]])):
            found = self.completed([row[max(0, i - self.window) : i] for i in range(1, len(row[:end]) + 1)])
            end = next((i for i, complete in enumerate(found, start=1) if complete), end)
        return list(row[:end]), end is not None


def ending(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = ()) -> Ending:
    """Where this model's responses end: many a chat model names several end tokens in its generation config."""
    named = getattr(model.generation_config, "eos_token_id", None)
    tokens = [tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    return Ending(tuple(dict.fromkeys(token for token in tokens if token is not None)), tuple(stop), tokenizer)
