"""The end of a response: an end token or a stop string."""

from collections.abc import Sequence
from dataclasses import dataclass

from goodhart.models.tokens import decode
from goodhart.runtime.types import PeftModel, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Ending:
    """A response ends with the first of the end tokens, or with the token that completes a stop string.

    The response includes this token; its text is cut before the stop string (`models.tokens.decode`). The strings are
    searched for in the decoded text, because transformers' `StopStringCriteria` does not support every tokeniser, for
    example not that of the embedded policy.
    """

    tokens: tuple[int, ...]
    stop: tuple[str, ...]
    tokenizer: PreTrainedTokenizerBase

    @property
    def window(self) -> int:
        """Number of last tokens that can contain a stop string: one per byte, plus one for a lost leading space."""
        return 1 + max((len(string.encode()) for string in self.stop), default=0)

    def completed(self, windows: Sequence[Sequence[int]]) -> list[bool]:
        """Whether each of the windows of tokens contains a stop string."""
        return [any(string in text for string in self.stop) for text in decode(self.tokenizer, windows)]

    def cut(self, row: Sequence[int]) -> tuple[list[int], bool]:
        """The tokens of a row up to the end of the response, and whether the response ended."""
        end = next((i for i, token in enumerate(row, start=1) if token in self.tokens), None)
        if self.stop and any(self.completed([row[:end]])):
            complete = self.completed([row[max(0, i - self.window) : i] for i in range(1, len(row[:end]) + 1)])
            end = complete.index(True) + 1 if True in complete else end
        return list(row[:end]), end is not None


def ending(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = ()) -> Ending:
    """The ending of a model's responses; chat models often have several end tokens in their generation config."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    tokens = [tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])]
    return Ending(tuple(dict.fromkeys(token for token in tokens if token is not None)), tuple(stop), tokenizer)
