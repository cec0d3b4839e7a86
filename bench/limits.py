r"""How far each hot loop is from the least time that this machine's matrix rate and memory bandwidth allow.

The floor of a loop is the larger of its operations (as torch's FlopCounterMode counts them, without attention on a CPU)
over the measured matrix rate and the bytes that it must read at least (all weights once a pass, and once a token where
it samples) over the measured bandwidth. A small model's operations are too small for either: what remains is the time
between them.

    python bench/limits.py --policy results/bench/policy --problems results/bench/data/problems.parquet --case pocket \
        --rows 64 --max-new-tokens 48 --rank 8 --precision float32 --threads 1 --repeats 5 \
        --output results/bench-comparisons/limits-pocket.parquet
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from alternating import publish, seconds
from goodhart.cli import parser, run
from goodhart.runtime.threads import use_threads
from online_step import add_update, draw_prompts, our_run

SQUARE = 1024  # rows and columns of the matrices whose product gives the rate
BLOCK = 2**26  # numbers that are summed for the bandwidth: 128 MiB or more, which no cache holds


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    add_update(args)
    args.add_argument("--repeats", type=int, required=True)
    args.add_argument("--output", type=Path, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    use_threads(args.threads)
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from goodhart.models.adapters import activate, merged
    from goodhart.models.loading import load_tokenizer
    from goodhart.runtime.seeds import mix
    from goodhart.sampling.engines import sample

    args.per_prompt = 1
    tokenizer = load_tokenizer(args.policy)
    ours = our_run(args, tokenizer, draw_prompts(args, tokenizer))
    activate(ours.model, "policy")

    def draw() -> list[list[int]]:
        with merged(ours.model):
            return sample(ours.model, ours.tokenizer, ours.prompt_ids, ours.settings.sampling, mix(0, 1)).responses

    responses = draw()
    pairs = sorted(zip(ours.prompt_ids, responses, strict=True), key=lambda pair: sum(map(len, pair)))
    weights = sum(w.numel() * w.element_size() for n, w in ours.model.named_parameters() if "lora_" not in n)
    steps = max(map(len, responses))
    trained = ours.parameters

    def update() -> None:
        activate(ours.model, "policy", trainable=True)
        torch.autograd.grad(ours._sequence_logprobs(pairs).sum(), trained)

    loops: dict[str, tuple[Callable[[], object], int]] = {
        "sampling": (draw, steps * weights),
        "log-probs, no gradients": (lambda: ours._logprobs("reference", pairs), weights),
        "log-probs and their gradients": (update, 2 * weights),
    }
    where = {"device": ours.model.device, "dtype": ours.model.dtype}
    rate, bandwidth = matrix_rate(args.repeats, **where), memory_bandwidth(args.repeats, **where)
    rows = []
    for name, (loop, read) in loops.items():
        with FlopCounterMode(display=False) as counter:
            loop()
        operations = counter.get_total_flops()
        reached = min(seconds(loop) for _ in range(args.repeats))
        floor = max(operations / rate, read / bandwidth)
        tokens = sum(map(len, responses))
        rows.append((args.case, name, args.threads, tokens, operations, read, rate, bandwidth, floor, reached))
    columns = ["case", "loop", "threads", "tokens", "operations", "bytes", "rate", "bandwidth", "floor", "reached"]
    table = pd.DataFrame(rows, columns=columns)
    print(table.assign(share=table["floor"] / table["reached"]).to_string(index=False), file=sys.stderr)
    publish(args.output, table)


def matrix_rate(repeats: int, **where: Any) -> float:
    """Operations a second of a large matrix product, at best."""
    import torch

    size = SQUARE if where["device"].type == "cpu" else 8 * SQUARE
    one, other = torch.randn(size, size, **where), torch.randn(size, size, **where)
    return 2 * size**3 / min(seconds(lambda: one @ other) for _ in range(3 * repeats))


def memory_bandwidth(repeats: int, **where: Any) -> float:
    """Bytes a second that a large sum reads, at best."""
    import torch

    block = torch.ones(BLOCK, **where)
    return block.nbytes / min(seconds(block.sum) for _ in range(3 * repeats))


if __name__ == "__main__":
    run(main)
