"""The processes of one job, started by `accelerate launch`: which one this is, and how they share work.

Every process loads the same model and runs the same script. A loop over batches is divided among the processes and its
results are gathered, so that all processes compute the same update; only the first process publishes files.
"""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from itertools import pairwise
from operator import itemgetter
from typing import Any

from goodhart.runtime.types import S, T


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
    """The result of `work` for every item, in order; each process computes its share and receives all results.

    Results must not be on an accelerator. `wrap` wraps the indices of this process's items, to show progress.
    """
    if count() > 1:
        _join()
    indices = range(rank(), len(items), count())
    share = [(i, work(items[i])) for i in wrap(indices)]
    pairs = [pair for part in gather(share) for pair in part]
    return [value for _, value in sorted(pairs, key=itemgetter(0))]


def divide(work: Callable[[Sequence[S]], list[T]], rows: Sequence[S]) -> list[T]:
    """One result per row: each process calls `work` once, on its contiguous part of the rows."""
    ends = [len(rows) * part // count() for part in range(count() + 1)]
    parts = [rows[start:end] for start, end in pairwise(ends)]
    return [result for results in spread(lambda part: work(part) if part else [], parts) for result in results]


def agree(answer: bool) -> bool:
    """Return the first process's answer in all processes."""
    return gather(answer)[0]


def gather(value: T) -> list[T]:
    """Return the values of all processes, in the order of their ranks, in every process."""
    if count() == 1:
        return [value]
    from accelerate.utils import gather_object

    _join()
    return gather_object([value])


def sum_gradients(parameters: Iterable[Any]) -> None:
    """Replace each gradient by its sum over the processes; a process without a gradient contributes zero."""
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

    The timeout is a day, since a process may wait hours for others whose shares take longer.
    """
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))
