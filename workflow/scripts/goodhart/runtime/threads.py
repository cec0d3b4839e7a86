"""The threads and kernels of torch."""

import os


def use_threads(threads: int) -> None:
    """Set the threads of torch and choose deterministic kernels, so that a seed determines every bit on a CPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # The loss of DPO allocates so much memory that filling it, although it is never read, would take longer than DPO.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
