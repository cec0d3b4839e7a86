"""The threads and kernels of torch."""

import os


def use_threads(threads: int) -> None:
    """Give torch `threads` threads and deterministic kernels, so that a seed decides every bit on a CPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling memory nobody reads would take longer than DPO itself, whose loss asks for a large work space.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
