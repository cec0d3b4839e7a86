"""Work in batches: spread over the processes of a job, and halved where memory runs out."""

import gc
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from goodhart.errors import InputError
from goodhart.runtime.distributed import spread
from goodhart.runtime.progress import progress

S = TypeVar("S")
T = TypeVar("T")
# What a full memory is called: by torch on a GPU and on a CPU, by CUDA itself, and by its linear algebra.
FULL = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def in_batches(
    work: Callable[[Sequence[S]], Sequence[T]], rows: Sequence[S], size: int, what: str, report: bool = False
) -> list[T]:
    """What `work` makes of each row, `size` consecutive rows at a time; `report` shows how far it is.

    `work` returns one result a row, off the accelerator, and must give a row the same one in any batch.
    """

    def batch(start: int) -> list[T]:
        part = rows[start : start + size]

        def pieces(length: int) -> list[T]:
            return [result for i in range(0, len(part), length) for result in work(part[i : i + length])]

        return within_memory(pieces, len(part), what)[0]

    starts = range(0, len(rows), size)
    batches = spread(batch, starts, (lambda mine: progress(mine, what)) if report else iter)
    return [result for results in batches for result in results]


def within_memory(work: Callable[[int], T], size: int, what: str, smallest: int = 1) -> tuple[T, int]:
    """`work(size)`, or where memory runs out `work` of the largest divisor of `size` up to its half, and so on.

    A divisor, so that a batch still splits evenly. `work` is called anew and must start from the beginning.

    Returns:
        what `work` returned, and the size it managed with.

    Raises:
        InputError: `smallest` rows do not fit either.
    """
    while True:
        try:
            return work(size), size
        except RuntimeError as error:
            if not any(sign in str(error) for sign in FULL):
                raise
        # Outside the except clause: a traceback would keep alive what filled the memory.
        smaller = next((d for d in range(size // 2, 0, -1) if size % d == 0), 0)
        if smaller < smallest:
            raise InputError(
                f"{what}: {size} rows do not fit into memory; override a smaller batch size or max_length, or choose "
                "precision nf4."
            )
        _empty_cache()
        print(f"{what}: {size} rows do not fit into memory, going on with {smaller}", file=sys.stderr, flush=True)
        size = smaller


def _empty_cache() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
