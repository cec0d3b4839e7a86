"""What every embedded task provides."""

from typing import Any, ClassVar, Protocol

from numpy.random import Generator


class Task(Protocol):
    """A dataclass whose fields are the settings of the task, and the flags of `generate_problems`.

    An item is what a problem is about, such as a chain of digits and signs. The splits have no item in common.
    """

    verifier: ClassVar[str]  # the name of the verifier that reads the answers

    def items(self) -> list[list[Any]]:
        """Every item, in one pool for each kind; all kinds are equally frequent in the pretraining corpus."""

    def prompt(self, item: Any, rng: Generator) -> str:
        """A question about the item, which may present it in a random order."""

    def answer(self, item: Any) -> str:
        """The gold answer."""

    def teach(self, item: Any, rng: Generator) -> str:
        """A response of the teacher, from which the policy is pretrained."""
