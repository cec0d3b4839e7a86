"""Model sizes from safetensors headers alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from goodhart import manifest
from goodhart.errors import InputError
from tiny_study import Study


def test_sizes_by_hand(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 6}))
    query, up = np.ones((8, 6), np.float16), np.ones((9, 6))
    first: dict[str, np.ndarray] = {"layers.0.attn.q_proj.weight": query, "layers.0.mlp.up_proj.weight": up}
    second = {"layers.0.attn.k_proj.weight": np.ones((4, 6)), "layers.0.attn.q_proj.bias": np.ones(8)}
    save_file(first, tmp_path / "model-1.safetensors", metadata={"format": "pt"})
    save_file(second, tmp_path / "model-2.safetensors")
    both = b"".join((tmp_path / f"model-{part}.safetensors").read_bytes() for part in (1, 2))
    assert manifest.describe_model(tmp_path) == {
        "hidden_size": 6,
        "parameters": 48 + 54 + 24 + 8,
        "projections": [[6, 4], [6, 8]],
        "sha256": hashlib.sha256(both).hexdigest(),
    }


def test_the_hash_follows_the_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 2}))
    hashes = []
    for value in (1.0, 1.0, 1.5):
        save_file({"q_proj.weight": np.full((2, 2), value)}, tmp_path / "model.safetensors")
        hashes.append(manifest.describe_model(tmp_path)["sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_model_without_attention_projections_is_refused() -> None:
    with pytest.raises(InputError, match="somewhere has no q_proj"):
        manifest.describe_shapes(2, {"c_attn.weight": [2, 2], "q_proj.bias": [2]}, "somewhere")


def test_the_sizes_are_those_of_the_loaded_model(tiny: Study) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny / "policy")
    found = manifest.describe_model(tiny / "policy")
    assert found["parameters"] == model.num_parameters()  # the tied embedding once
    linear = {name: module for name, module in model.named_modules() if name.endswith(manifest.ATTENTION)}
    assert len(linear) == 2 * 4
    expected = sorted([module.in_features, module.out_features] for module in linear.values())
    assert sorted(found["projections"]) == expected
