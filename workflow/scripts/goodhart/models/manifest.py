"""What a study records of a base model: where its weights are, which revision, and the sizes Appendix C needs.

And whose base an adapter was made for: the same record, kept beside its weights.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from goodhart.errors import InputError
from goodhart.store.checksums import LARGE, check_files, describe_files, sha256
from goodhart.store.files import Origin, check_safetensors, read_json, write_json

TOKENIZER = ("tokenizer*", "vocab*", "merges*", "special_tokens_map.json", "added_tokens.json", "*.model")
PARTS = ("config.json", "generation_config.json", "*.safetensors.index.json", "chat_template*", *TOKENIZER)
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")  # "all attention projection matrices", section 4.1


def describe_model(folder: Path, where: str | None = None, hashed: bool = True) -> dict[str, Any]:
    """Sizes of a local safetensors model, read from the headers alone, and a hash of its weights.

    Args:
        where: what to call the model in an error.
        hashed: whether its weights can change; a commit of the hub cannot, and needs no hash.

    Returns:
        hidden_size; parameters (all weights, a tied embedding once); projections: [in, out] of every attention
        projection, the matrices LoRA adapts (section 4.1); sha256 over the weight files in order of their names.
    """
    where = where or str(folder)
    config = read_json(folder / "config.json", ["hidden_size"])
    files = weight_files(folder, where)
    shapes: dict[str, list[int]] = {}
    for path in files:
        shapes |= _shapes(path)
    sizes = describe_shapes(config["hidden_size"], shapes, where)
    return {**sizes, "sha256": sha256(*files)} if hashed else sizes


def weight_files(folder: Path, where: str | None = None) -> list[Path]:
    """The whole safetensors files that are loaded from a folder: model.safetensors, or what its index names."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        files = [single]
    elif index.is_file():
        files = sorted({folder / name for name in read_json(index, ["weight_map"])["weight_map"].values()})
    else:
        raise InputError(
            f"{where or folder} holds no model.safetensors and no index of one; only that format is loaded, since "
            "pickled weights (.bin, .pt) can run code: save the model with save_pretrained first."
        )
    for path in files:
        check_safetensors(path)
    return files


def pin_model(folder: Path, prompts: str, where: str | None = None) -> dict[str, Any]:
    """What a manifest says of a local model: `describe_model`, `asked`, and each of its `files` with size and hash."""
    parts = {file for pattern in PARTS for file in folder.glob(pattern) if file.is_file()}
    weights = weight_files(folder, where)
    files = describe_files(parts.union(weights))
    whole = files[weights[0].name]["sha256"] if len(weights) == 1 else sha256(*weights)
    return {**describe_model(folder, where, hashed=False), "sha256": whole, **asked(folder, prompts), "files": files}


def check_weights(source: Path, manifest: Mapping[str, Any]) -> None:
    """Raise `InputError` unless the files of a model are whole and, where it is local, those that were pinned.

    All files are hashed of a model that the study holds, and those of at most a GiB of one that lies elsewhere. Its
    larger ones are held against their sizes and headers: to hash 28 GB takes half a minute, in every step.
    """
    weight_files(source)
    if manifest["revision"] is None:
        check_files(source, manifest.get("files", {}), None if manifest["model"] == "." else LARGE)


def asked(folder: Path, prompts: str | None) -> dict[str, str | None]:
    """How a local model is asked: sha256 of its `tokenizer` files, and of its chat `template` if that is used."""
    files = sorted({file for pattern in TOKENIZER for file in folder.glob(pattern) if file.is_file()})
    template = None
    if prompts == "chat":
        alone, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
        text = alone.read_text() if alone.is_file() else json.dumps(read_json(config).get("chat_template"))
        template = hashlib.sha256(text.encode()).hexdigest()
    return {"tokenizer": sha256(*files), "template": template}


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


def identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Which weights a manifest stands for, wherever they lie: a commit of the hub, else a hash."""
    pinned = manifest["revision"] is not None
    return {
        "model": manifest["model"] if pinned else None,
        "revision": manifest["revision"],
        "sha256": None if pinned else manifest.get("sha256"),
    }


def record_base(adapter: Path, model: Path, origin: Origin | None = None) -> None:
    """Write beside an adapter's weights whose they are: their base, that of the model folder `model`, and their origin.

    Each file of the adapter stands there with its size and hash.

    PEFT is told the name and commit of a base of the hub too: it was loaded from a folder of this machine's cache.
    """
    base = identity(read_json(model / "manifest.json", ["model", "revision"]))
    if base["revision"] is not None:
        config = read_json(adapter / "adapter_config.json")
        write_config(adapter, {**config, "base_model_name_or_path": base["model"], "revision": base["revision"]})
    files = describe_files(file for file in adapter.iterdir() if file.is_file() and file.name != "manifest.json")
    write_json(adapter / "manifest.json", {**base, "files": files}, origin)


def write_config(adapter: Path, config: Mapping[str, Any]) -> None:
    """Write PEFT's own record of an adapter, which has no room for a seal."""
    (adapter / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def check_adapters(model: Path, adapters: Sequence[Path]) -> None:
    """`check_adapter` for adapters on the base of one model folder."""
    base = read_json(model / "manifest.json", ["model", "revision", "projections"])
    for adapter in adapters:
        check_adapter(adapter, base)


def check_adapter(folder: Path, base: Mapping[str, Any]) -> None:
    """Raise `InputError` unless `folder` holds a whole PEFT adapter for the base of a manifest.

    An adapter that was not trained here has no record of its base: the shapes of its weights must fit then.
    """
    read_json(folder / "adapter_config.json", ["peft_type", "r"])
    weights = folder / "adapter_model.safetensors"
    check_safetensors(weights)
    record = folder / "manifest.json"
    if record.is_file():
        known = read_json(record, ["model", "revision", "sha256"])
        check_files(folder, known.get("files", {}))
        fits = {name: known[name] for name in ("model", "revision", "sha256")} == identity(base)
    else:
        adapted = Counter(_adapted(_shapes(weights)))
        fits = adapted <= Counter((inputs, outputs) for inputs, outputs in base["projections"])
    if not fits:
        raise InputError(f"{folder} is an adapter of another base than this model; name its own, or train it anew.")


def _adapted(shapes: Mapping[str, list[int]]) -> list[tuple[int, int]]:
    """(in, out) of every attention projection that LoRA weights adapt; A is stored as (rank, in), B as (out, rank)."""
    return [
        (shape[1], shapes[name.replace(".lora_A.", ".lora_B.")][0])
        for name, shape in shapes.items()
        if name.endswith(".lora_A.weight") and name.split(".")[-3] in ATTENTION
    ]


def _shapes(path: Path) -> dict[str, list[int]]:
    """Shapes by name, from the header of a safetensors file."""
    with path.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        header = json.loads(handle.read(length))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
