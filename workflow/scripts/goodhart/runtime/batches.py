"""Work in batches: divided among the processes of a job, and halved when memory runs out."""

import gc
import sys
from collections.abc import Callable, Sequence

from goodhart.errors import InputError
from goodhart.runtime.distributed import spread
from goodhart.runtime.progress import progress
from goodhart.runtime.types import S, T

# Texts of out-of-memory errors of torch (on a GPU and on a CPU), CUDA and cuBLAS.
FULL = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def in_batches(
    work: Callable[[Sequence[S]], Sequence[T]], rows: Sequence[S], size: int, what: str, report: bool = False
) -> list[T]:
    """The result of `work` for each row, computed on `size` consecutive rows at a time; `report` shows the progress.

    `work` returns one result per row, which must not be on an accelerator and must not depend on the row's batch.
    """
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]

    def work_on(batch: Sequence[S]) -> list[T]:
        return within_memory(
            lambda length: [done for i in range(0, len(batch), length) for done in work(batch[i : i + length])],
            len(batch),
            what,
        )[0]

    results = spread(work_on, batches, (lambda indices: progress(indices, what)) if report else iter)
    return [result for batch in results for result in batch]


def within_memory(work: Callable[[int], T], size: int, what: str, smallest: int = 1) -> tuple[T, int]:
    """Call `work(size)`; each time memory runs out, call it again with the next smaller divisor of the size.

    With a divisor, the batch is still split evenly. Each call of `work` must start from the beginning.

    Returns:
        the result of `work`, and the size that fitted into memory.

    Raises:
        InputError: `smallest` rows do not fit either.
    """
    while True:
        try:
            return work(size), size
        except RuntimeError as error:
            if not any(sign in str(error) for sign in FULL):
                raise
        # Not in the except clause: there, the traceback would keep the tensors alive that filled the memory.
        smaller = next((d for d in range(size // 2, 0, -1) if size % d == 0), 0)
        if smaller < smallest:
            raise InputError(
                f"{what}: {size} rows do not fit into memory; set a smaller batch size or max_length in override, or "
                "use precision nf4."
            )
        import torch

        gc.collect()
        torch.cuda.empty_cache()
        print(f"{what}: {size} rows do not fit into memory, continuing with {smaller}", file=sys.stderr, flush=True)
        size = smaller
