"""Hyperparameters derived from the architecture, the hardware and the data (Appendix C of the paper).

Each formula is one pure function with its equation number in the paper. `derive` applies all formulas and the user's
overrides, and records both the value in use and the derived value. Rounding to nearest rounds halves up.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from goodhart.errors import InputError

FORMULAS = {
    "max_length": "Algorithm 1, line 2: ceil of the 75th percentile of the sampled token counts",
    "lora_rank": "B.1: 2^round(log2 sqrt(h)), clipped to [4, 64]",
    "lora_alpha": "Eq. 4: 2 * lora_rank",
    "lora_dropout": "B.2: 32 / sqrt(n), clipped to [0.01, 0.10]",
    "batch_size": "B.3: 2^floor(log2(V_GB / P_B * m * 1024 / max_length)), clipped to [1, 64]; m = 1, training",
    "inference_batch_size": "B.3 with m = 2: rows of a pass without gradients",
    "learning_rate": "B.4: 2e-4 / sqrt(n_trainable / 1e7), clipped to [5e-7, 2e-4]",
    "clip_norm": "B.5: log10(n_trainable) / 7, clipped to [0.5, 2.0]",
    "warmup_steps": "B.6: floor(sqrt(T_total)), T_total the online updates, or epochs * ceil(n / batch_size)",
    "weight_decay": "B.7: 1 / sqrt(n)",
}
_MAY_BE_ZERO = {"lora_dropout", "warmup_steps", "weight_decay"}


def lora_rank(hidden_size: int) -> int:
    """B.1. LoRA rank for a hidden size h; 2048 lies exactly half-way and rounds up to 64."""
    # floor(x + 1/2), because Python's `round` maps 2.5 to 2.
    return min(max(2 ** math.floor(math.log2(_positive("hidden_size", hidden_size)) / 2 + 0.5), 4), 64)


def lora_alpha(rank: int) -> int:
    """Eq. 4. LoRA scaling, twice the rank."""
    return 2 * rank


def lora_dropout(n: int) -> float:
    """B.2. Dropout for n training examples."""
    return min(max(32 / math.sqrt(_positive("n", n)), 0.01), 0.10)


def batch_size(memory_gb: float, parameters: float, max_length: int, multiplier: int) -> int:
    """B.3. Examples of max_length tokens that fit into `memory_gb` GB beside a model of `parameters` parameters.

    `parameters` is the true count (14.8e9 for Qwen3-14B), not the element count of packed 4-bit tensors, which is half
    as large; `multiplier` is 1 for training and 2 for inference.
    """
    budget = _positive("memory_gb", memory_gb) * multiplier * 1024 * 10**9
    ratio = budget / (_positive("parameters", parameters) * _positive("max_length", max_length))
    # frexp gives the exact floor of log2; math.log2 rounds up for numbers just below a power of two.
    return int(min(max(2.0 ** (math.frexp(ratio)[1] - 1), 1), 64))


def trainable_parameters(projections: Sequence[tuple[int, int]], rank: int) -> int:
    """LoRA parameters summed over adapted matrices of shape (inputs, outputs): rank * (inputs + outputs) each."""
    return sum(rank * (inputs + outputs) for inputs, outputs in projections)


def learning_rate(trainable: int) -> float:
    """B.4. Learning rate for a number of trainable parameters."""
    return min(max(2e-4 / math.sqrt(_positive("trainable", trainable) / 1e7), 5e-7), 2e-4)


def clip_norm(trainable: int) -> float:
    """B.5. Gradient clipping norm for a number of trainable parameters."""
    return min(max(math.log10(_positive("trainable", trainable)) / 7, 0.5), 2.0)


def warmup_steps(total: int) -> int:
    """B.6. Warmup steps of a run of `total` steps: floor(sqrt(total))."""
    if total < 0:
        raise InputError(f"total must be a number of steps, not {total!r}.")
    return math.isqrt(total)


def weight_decay(n: int) -> float:
    """B.7. Weight decay for n training examples."""
    return 1 / math.sqrt(_positive("n", n))


def sample_size(n: int) -> int:
    """ceil(sqrt(n)): the size of the sample of lengths (Algorithm 1, line 2) and of the probe (section 5.1)."""
    return math.isqrt(int(_positive("n", n)) - 1) + 1


def length_percentile(token_counts: Sequence[int]) -> float:
    """Algorithm 1, line 2. The 75th percentile of token counts, linearly interpolated; its ceil is the max_length."""
    if len(token_counts) == 0:
        raise InputError("token_counts is empty: no sequence was measured.")
    return _positive("the 75th percentile of token_counts", float(np.percentile(token_counts, 75)))


def derive(
    *,
    hidden_size: int,
    parameters: float,
    projections: Sequence[tuple[int, int]],
    n: int,
    memory_gb: float,
    token_counts: Sequence[int],
    steps: int | None = None,
    epochs: int = 1,
    overrides: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """All of Appendix C for one model, as a JSON-ready record.

    T_total of the warm-up is `steps` if given (the online stage), otherwise the number of batches in `epochs` passes
    over the n examples.

    Returns {"inputs": every number needed to repeat the calculation by hand, "values": {name: {"value": the value in
    use, "derived": the result of the formula, "formula": its text, "overridden": bool}}} for the names in FORMULAS.
    Formulas use the values in use: an overridden rank changes alpha, and also learning rate and clipping norm through
    the trainable parameters; an overridden length changes the batch sizes.
    """
    for name in overrides.keys() - FORMULAS.keys():
        raise InputError(f"cannot override {name!r}: no such derived value; choose from {', '.join(FORMULAS)}.")
    values: dict[str, dict[str, Any]] = {}

    def use(name: str, derived: float) -> Any:
        used = _override(name, overrides[name], derived) if name in overrides else derived
        values[name] = {
            "value": used,
            "derived": derived,
            "formula": FORMULAS[name],
            "overridden": name in overrides,
        }
        return used

    p75 = length_percentile(token_counts)
    length = use("max_length", math.ceil(p75))
    rank = use("lora_rank", lora_rank(hidden_size))
    use("lora_alpha", lora_alpha(rank))
    use("lora_dropout", lora_dropout(n))
    batch = use("batch_size", batch_size(memory_gb, parameters, length, multiplier=1))
    use("inference_batch_size", batch_size(memory_gb, parameters, length, multiplier=2))
    trainable = trainable_parameters(projections, rank)
    use("learning_rate", learning_rate(trainable))
    use("clip_norm", clip_norm(trainable))
    total = epochs * -(-n // batch) if steps is None else steps
    use("warmup_steps", warmup_steps(total))
    use("weight_decay", weight_decay(n))
    shapes = Counter((int(inputs), int(outputs)) for inputs, outputs in projections)
    return {
        "inputs": {
            "hidden_size": hidden_size,
            "parameters": parameters,
            "projections": [{"in": i, "out": o, "matrices": count} for (i, o), count in shapes.items()],
            "trainable_parameters": trainable,
            "n": n,
            "memory_gb": memory_gb,
            "total_steps": total,
            "token_counts": {"size": len(token_counts), "p75": p75},
        },
        "values": values,
    }


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} must be a positive number, not {value!r}.")
    return value


def _override(name: str, value: Any, derived: float) -> float:
    """The override of `name`; InputError unless it is a valid number of the same type as the derived value."""
    whole = isinstance(derived, int)
    right_kind = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not right_kind or not math.isfinite(value) or value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
        raise InputError(f"override {name} must be a positive {'integer' if whole else 'number'}, not {value!r}.")
    return value


def values(derived: Mapping[str, Any]) -> dict[str, Any]:
    """The values in use from a record of `derive`, by name."""
    try:
        return {name: derived["values"][name]["value"] for name in FORMULAS}
    except (KeyError, TypeError) as error:
        raise InputError(f"the derived hyperparameters lack {error}; rerun derive_hyperparameters.") from error
