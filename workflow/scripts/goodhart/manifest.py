"""What a study records of a base model: where its weights are, which revision, and the sizes Appendix C needs."""

from __future__ import annotations

import hashlib
import json
import struct
from math import prod
from pathlib import Path
from typing import Any

from goodhart.errors import InputError

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")  # "all attention projection matrices", section 4.1


def describe_model(folder: Path) -> dict[str, Any]:
    """Sizes of a local safetensors model, read from the headers alone, and a hash of its weights.

    Returns:
        hidden_size; parameters (all weights, a tied embedding once); projections: [in, out] of every attention
        projection, the matrices LoRA adapts (section 4.1); sha256 over the weight files in order of their names.
    """
    config = json.loads((folder / "config.json").read_text())
    files = sorted(folder.glob("*.safetensors"))
    shapes: dict[str, list[int]] = {}
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(length))
            handle.seek(0)
            while block := handle.read(1 << 24):
                digest.update(block)
        shapes |= {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    return {**describe_shapes(config["hidden_size"], shapes, str(folder)), "sha256": digest.hexdigest()}


def describe_shapes(hidden_size: int, shapes: dict[str, list[int]], where: str) -> dict[str, Any]:
    """The sizes of `describe_model` from weight shapes by name; a linear weight is stored as (out, in)."""
    projections = [
        [shape[1], shape[0]]
        for name, shape in sorted(shapes.items())
        if name.endswith(".weight") and name.split(".")[-2] in ATTENTION
    ]
    if not projections:
        raise InputError(f"{where} has no {', '.join(ATTENTION)} weights; LoRA of section 4.1 needs them.")
    return {
        "hidden_size": hidden_size,
        "parameters": sum(prod(shape) for shape in shapes.values()),
        "projections": projections,
    }
