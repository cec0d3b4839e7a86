"""The processes of one job, started by `accelerate launch`: which one this is, and how they share work.

Every process holds the same model and walks through the same script. A loop over batches is spread over them and its
results are gathered, so that all know the same numbers and take the same update; only the first one publishes.
"""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")


def count() -> int:
    """How many processes this job has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Which of the processes on this machine it is: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def spread(
    work: Callable[[S], T], items: Sequence[S], watch: Callable[[Collection[int]], Iterable[int]] = iter
) -> list[T]:
    """`work` of every item, in order: each process does its share and hears the rest from the others.

    What `work` returns must not lie on an accelerator. `watch` wraps the numbers of a process's items, for progress.
    """
    if count() > 1:
        _join()
    mine = range(rank(), len(items), count())
    share = [(i, work(items[i])) for i in watch(mine)]
    if count() == 1:
        return [value for _, value in share]
    from accelerate.utils import gather_object

    return [value for _, value in sorted(gather_object(share), key=lambda pair: pair[0])]


def divide(work: Callable[[Sequence[S]], list[T]], rows: Sequence[S]) -> list[T]:
    """`work` of all rows at once, or in a job of several processes of one run of rows in each; one result a row."""
    ends = [len(rows) * part // count() for part in range(count() + 1)]
    parts = [rows[start:end] for start, end in pairwise(ends)]
    return [result for results in spread(lambda part: work(part) if part else [], parts) for result in results]


def agree(word: bool) -> bool:
    """What the first process says, in every one of them."""
    return gather(word)[0]


def gather(value: T) -> list[T]:
    """The value of every process, in their order, in every one of them."""
    if count() == 1:
        return [value]
    from accelerate.utils import gather_object

    _join()
    return gather_object([value])


def sum_gradients(parameters: Iterable[Any]) -> None:
    """Replace each gradient by its sum over the processes; one that had no part in it contributes zero."""
    if count() == 1:
        return
    import torch

    _join()
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        torch.distributed.all_reduce(parameter.grad)


def _join() -> None:
    """Enter the group of processes; the second call and all later ones do nothing.

    The one that is done first waits for the others, whose shares may take hours more.
    """
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))
