"""The processes of one job, started by `accelerate launch`: which one this is, and how they share work.

Every process loads the same model and runs the same script. A loop over batches is divided among the processes and its
results are gathered, so that all of them compute the same update; only the first one publishes files.
"""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from itertools import pairwise
from operator import itemgetter
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")


def count() -> int:
    """The number of processes of this job."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """The number of this process on its machine, which is also the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def spread(
    work: Callable[[S], T], items: Sequence[S], wrap: Callable[[Collection[int]], Iterable[int]] = iter
) -> list[T]:
    """`work` of every item, in order: each process does its share and receives the results of the others.

    Results of `work` must not be on an accelerator. `wrap` wraps the indices of the items of a process, for progress.
    """
    if count() > 1:
        _join()
    indices = range(rank(), len(items), count())
    share = [(i, work(items[i])) for i in wrap(indices)]
    pairs = [pair for part in gather(share) for pair in part]
    return [value for _, value in sorted(pairs, key=itemgetter(0))]


def divide(work: Callable[[Sequence[S]], list[T]], rows: Sequence[S]) -> list[T]:
    """`work` of all rows, each process doing one contiguous part of them in a single call; one result per row."""
    ends = [len(rows) * part // count() for part in range(count() + 1)]
    parts = [rows[start:end] for start, end in pairwise(ends)]
    return [result for results in spread(lambda part: work(part) if part else [], parts) for result in results]


def agree(answer: bool) -> bool:
    """The answer of the first process, in all processes."""
    return gather(answer)[0]


def gather(value: T) -> list[T]:
    """The values of all processes, in their order, in all processes."""
    if count() == 1:
        return [value]
    from accelerate.utils import gather_object

    _join()
    return gather_object([value])


def sum_gradients(parameters: Iterable[Any]) -> None:
    """Replace each gradient by its sum over the processes; a process without one contributes zero."""
    if count() == 1:
        return
    import torch

    _join()
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        torch.distributed.all_reduce(parameter.grad)


def _join() -> None:
    """Join the group of processes; later calls do nothing.

    The process that is done first waits for the others, whose shares may take hours longer.
    """
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))
