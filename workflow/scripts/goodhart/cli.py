"""What every script shares at its edge: the error a user reads, and progress that suits a terminal or a log."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path, PosixPath

from goodhart.errors import InputError
from goodhart.runtime.signals import Stopped

ENGINES = ("auto", "loop", "continuous", "vllm")  # of sampling; auto is continuous on a GPU and the loop on a CPU
PRECISIONS = ("float32", "bfloat16", "nf4")  # of base weights; nf4 is QLoRA


class Output(PosixPath):
    """The type of a flag that names what a script writes; a plain `Path` is what it reads (`provenance.origin`)."""


class Source(str):
    """The type of a flag that names a file or folder of this machine, or else something elsewhere."""


class Labelled(str):
    """The type of a flag that reads NAME=FILE."""


def run(main: Callable[[], None]) -> None:
    """Run a script: an `InputError` becomes one sentence on stderr and exit code 1, anything else keeps its traceback.

    A script that used torch says how much memory it took. The process then ends at once: unloading torch takes a
    second that a workflow of fifty jobs would rather keep.
    """
    try:
        main()
    except InputError as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        sys.exit(1)
    except Stopped as signal:
        print(f"{Path(sys.argv[0]).name}: stopped by {signal}; a rerun goes on from here", file=sys.stderr, flush=True)
        os._exit(128 + signal.number)
    except KeyboardInterrupt:  # while it was still reading or importing
        print(f"{Path(sys.argv[0]).name}: stopped by SIGINT; a rerun starts it anew", file=sys.stderr, flush=True)
        os._exit(130)
    if "torch" in sys.modules:
        print(peak_memory(), file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def peak_memory() -> str:
    """What this process and, where it used one, its GPU held at most, as a line for the log; a GiB is 2^30 bytes."""
    import resource

    import torch

    status = Path("/proc/self/status")
    if status.is_file():  # getrusage's maximum may be that of the process that started this one
        peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    line = f"peak memory: {peak / 2**30:.2f} GiB of the process"
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        line += f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB of the GPU"
    return line


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser that shows a script's module docstring as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_sampling(args: argparse.ArgumentParser) -> None:
    """The flags that say how responses are drawn; `sampling.Sampling.of` reads them."""
    args.add_argument("--max-new-tokens", type=int, required=True)
    args.add_argument("--batch-size", type=int, required=True, help="rows sampled together")
    args.add_argument("--engine", choices=ENGINES, required=True, help="auto: continuous on a GPU, loop on a CPU")
    args.add_argument("--stop", action="append", default=[], help="a string that ends a response; may be repeated")


def add_checkpoints(args: argparse.ArgumentParser) -> None:
    """The flags that say where and how often a training script keeps what it needs to go on; they change no result."""
    args.add_argument("--checkpoints", type=Output, required=True, help="folder of its checkpoints; gone after success")
    args.add_argument("--checkpoint-minutes", type=float, required=True, help="time between two; 0: after every step")


def use_threads(threads: int) -> None:
    """Give torch `threads` threads and deterministic kernels, so that a seed decides every bit on a CPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling memory nobody reads would take longer than DPO itself, whose loss asks for a large work space.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
