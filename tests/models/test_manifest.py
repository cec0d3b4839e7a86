"""Model sizes from safetensors headers alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from goodhart.errors import InputError
from goodhart.models import manifest
from goodhart.store.hub import weight_files
from tiny_study import Study


def test_sizes_by_hand(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 6}))
    query, up = np.ones((8, 6), np.float16), np.ones((9, 6))
    first: dict[str, np.ndarray] = {"layers.0.attn.q_proj.weight": query, "layers.0.mlp.up_proj.weight": up}
    second = {"layers.0.attn.k_proj.weight": np.ones((4, 6)), "layers.0.attn.q_proj.bias": np.ones(8)}
    save_file(first, tmp_path / "model-1.safetensors", metadata={"format": "pt"})
    save_file(second, tmp_path / "model-2.safetensors")
    weight_map = {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-1.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    save_file({"q_proj.weight": np.ones((2, 2))}, tmp_path / "consolidated.safetensors")  # another format's, not loaded
    assert manifest.describe_model(tmp_path) == {
        "hidden_size": 6,
        "parameters": 48 + 54 + 24 + 8,
        "projections": [[6, 4], [6, 8]],
    }


def test_a_model_without_attention_projections_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 2}))
    save_file({"c_attn.weight": np.ones((2, 2)), "q_proj.bias": np.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="somewhere has no q_proj"):
        manifest.describe_model(tmp_path, "somewhere")


def test_the_sizes_are_those_of_the_loaded_model(tiny: Study) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny / "policy")
    found = manifest.describe_model(tiny / "policy")
    assert found["parameters"] == model.num_parameters()  # the tied embedding once
    linear = {name: module for name, module in model.named_modules() if name.endswith(manifest.ATTENTION)}
    assert len(linear) == 2 * 4
    expected = sorted([module.in_features, module.out_features] for module in linear.values())
    assert sorted(found["projections"]) == expected


def test_a_shard_that_the_index_names_must_be_there(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"model-1\.safetensors does not exist"):
        weight_files(tmp_path)


BASE = {"model": ".", "revision": None, "sha256": "5e", "projections": [[6, 4], [6, 8], [6, 4], [6, 8]]}
HUB = {"model": "some/model", "revision": "c0ffee", "projections": BASE["projections"]}


def adapter(folder: Path, layers: int = 2, inputs: int = 6) -> Path:
    """LoRA weights for the queries (4 outputs) of so many layers."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 3, "target_modules": ["q_proj"]}))
    name = "base_model.model.layers.{}.attn.q_proj.lora_{}.weight"
    weights = {name.format(k, "A"): np.ones((3, inputs), np.float32) for k in range(layers)}
    weights |= {name.format(k, "B"): np.ones((4, 3), np.float32) for k in range(layers)}
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize(("layers", "inputs", "fits"), [(2, 6, True), (1, 6, True), (3, 6, False), (2, 8, False)])
def test_an_adapter_without_a_record_must_fit_the_base(tmp_path: Path, layers: int, inputs: int, fits: bool) -> None:
    folder = adapter(tmp_path / "adapter", layers, inputs)
    if fits:
        manifest.check_adapter(folder, BASE)
    else:
        with pytest.raises(InputError, match="adapter is an adapter of another base"):
            manifest.check_adapter(folder, BASE)


@pytest.mark.parametrize("base", [BASE, HUB], ids=["local", "hub"])
def test_an_adapter_is_of_the_base_it_was_recorded_for_wherever_that_lies(tmp_path: Path, base: dict[str, Any]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/manifest.json").write_text(
        json.dumps({**base, "model": str(tmp_path)} if base is BASE else base)
    )
    folder = adapter(tmp_path / "adapter")
    manifest.stamp_adapter(folder, tmp_path / "model")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config.get("base_model_name_or_path") == ("some/model" if base is HUB else None)
    assert config.get("revision") == base["revision"]
    assert str(tmp_path) not in (folder / "manifest.json").read_text()
    manifest.check_adapter(folder, base)
    manifest.check_adapter(folder, {**base, "prompts": "plain"})
    for other in ({**base, "sha256": "6f", "revision": "f00"}, {**base, "sha256": "6f", "revision": None}):
        with pytest.raises(InputError, match="adapter is an adapter of another base"):
            manifest.check_adapter(folder, other)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("size", [None, 0, 20], ids=["missing", "empty", "truncated"])
def test_an_adapter_that_is_not_whole_is_refused(tmp_path: Path, name: str, size: int | None) -> None:
    path = adapter(tmp_path / "adapter") / name
    if size is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=re.escape(str(path))):
        manifest.check_adapter(tmp_path / "adapter", BASE)
