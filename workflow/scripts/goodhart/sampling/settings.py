"""Settings of sampling; every engine samples at temperature 1 without top-k or top-p."""

from dataclasses import dataclass

from goodhart.cli import flag
from goodhart.errors import InputError

ENGINES = ("auto", "loop", "continuous", "vllm")


@dataclass(frozen=True)
class Sampling:
    """The settings of all sampling engines."""

    max_new_tokens: int
    batch_size: int = flag(help="responses sampled together")
    engine: str = flag(choices=ENGINES, help="auto: continuous on a GPU, loop on a CPU")
    stop: tuple[str, ...] = flag(default=(), help="strings that end a response")

    def __post_init__(self) -> None:
        if "" in self.stop:
            raise InputError("--stop: an empty string would end every response at its beginning; remove it.")
