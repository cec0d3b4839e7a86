"""The recorded sizes that determine the memory of a job: sizes of its models and batches of its stages.

`host_memory` bounds the node's memory from these sizes alone, for a request to a cluster; `memory.plan` estimates
memory item by item. This module imports nothing heavy, because each cluster job loads it twice before it starts.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

GIB = 2**30
LIBRARIES = 3 * GIB  # torch with CUDA, transformers etc., without any model; a CPU process takes 0.5 GiB


@dataclass(frozen=True, kw_only=True)
class Model:
    """The sizes of a model."""

    parameters: float
    hidden: int
    layers: int

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "Model":
        """The sizes in the manifest of a model folder, for four attention projections per layer."""
        return Model(
            parameters=float(manifest["parameters"]),
            hidden=int(manifest["hidden_size"]),
            layers=len(manifest["projections"]) // 4,
        )

    @classmethod
    def embedded(cls, config: Mapping[str, Any]) -> "Model":
        """The sizes of the policy that a study pretrains, without its few embeddings."""
        sizes = config["policy"]["pretraining"]
        heads = (2 * sizes["heads"] + 2 * sizes["kv_heads"]) * sizes["head_dim"]
        matrices = sizes["hidden_size"] * (heads + 3 * sizes["mlp_size"])
        return Model(parameters=sizes["layers"] * matrices, hidden=sizes["hidden_size"], layers=sizes["layers"])


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The number of rows that a stage processes at a time, and the maximum number of tokens per row."""

    pairs: int  # pairs in the training split
    batch_size: int
    inference_batch_size: int  # rows of a pass without gradients
    max_length: int

    @classmethod
    def of(cls, derived: Mapping[str, Any], **others: Any) -> Self:
        """From the derived values of a stage; `others` are the fields of a subclass."""
        names = ("batch_size", "inference_batch_size", "max_length")
        used = {name: derived["values"][name]["value"] for name in names}
        return cls(pairs=derived["inputs"]["n"], **used, **others)


def host_memory(config: Mapping[str, Any], models: Collection[Model], batches: Iterable[Batch]) -> float:
    """Bytes of the node's memory that a job may take.

    With GPUs, for each process: the libraries, and the 16-bit weights, which pass through host memory while loading.

    On a CPU: the libraries, the float32 weights twice (the original, and a copy with a merged adapter), and the largest
    batch with everything that a backward pass could store: 34 hidden states per layer and four copies of the logits,
    for a vocabulary of at most parameters / hidden. Weights and batch are capped at V_GB of Eq. B.3, which determines
    the batch sizes.
    """
    if config["gpus"]:
        return config["gpus"] * (LIBRARIES + sum(2 * model.parameters for model in models))
    new, prompt = config["sampling"]["max_new_tokens"], config["sampling"]["prompt_tokens"]
    embedded = config["policy"]["model"] is None
    rows = config["policy"]["pretraining"]["sampling_batch_size"] if embedded else config["sampling"]["batch_size"]
    sampled = rows * (new if embedded else prompt + new)
    tokens = max([sampled, *(max(2 * b.batch_size, b.inference_batch_size) * b.max_length for b in batches)])
    weights = sum(8 * model.parameters for model in models)
    batch = max(4 * tokens * (34 * m.hidden * m.layers + 4 * m.parameters / m.hidden) for m in models)
    return LIBRARIES + min(weights + batch, config["memory_gb"] * GIB)
