"""Progress of a loop: a bar on a terminal, or regular lines in a log."""

import sys
import time
from collections.abc import Collection, Iterator

from tqdm import tqdm

from goodhart.runtime import distributed
from goodhart.runtime.types import T


def progress(items: Collection[T], description: str, every: float = 10.0) -> Iterator[T]:
    """Yield `items` and report progress: a bar on a terminal, or a log line every `every` seconds and at the end."""
    if distributed.rank() or sys.stderr.isatty():
        yield from tqdm(items, desc=description, disable=distributed.rank() > 0)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= every:
            last = now
            print(f"{description}: {done}/{len(items)} after {now - start:.0f} s", file=sys.stderr, flush=True)
    print(f"{description}: {len(items)} done in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
