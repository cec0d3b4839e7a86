"""The manifest of a model folder or adapter: its identity and, for a model, the sizes that Appendix C needs.

A manifest's `model` is the location of the weights: "." for the folder itself (a policy trained here), a local folder,
or a hub id with an immutable revision. The manifest of an adapter holds the identity of the adapter's base.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from goodhart.errors import InputError
from goodhart.store.checksums import describe_files
from goodhart.store.files import check_safetensors, read_json
from goodhart.store.hub import weight_files, weights_folder
from goodhart.store.identity import ADAPTER, ADAPTER_WEIGHTS, LARGE, MANIFEST, Identity

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")  # "all attention projection matrices", section 4.1


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder."""
    keys = ["model", "revision", "prompts", "hidden_size", "parameters", "projections"]
    return read_json(folder / MANIFEST, keys)


def stamp_model(
    folder: Path,
    source: Path,
    prompts: str,
    origin: Mapping[str, Any] | None = None,
    hub: tuple[str, str] | None = None,
    **facts: Any,
) -> None:
    """Write the manifest of a model folder.

    Args:
        source: the folder with the files of the model, which may be `folder` itself.
        hub: id and commit of a hub model.
        facts: further entries of the manifest.
    """
    place = hub[0] if hub else "." if source == folder else str(source)
    sizes = describe_model(source, hub[0] if hub else None)
    Identity.of_model(source, prompts, hub).stamp(folder, origin, model=place, **sizes, **facts)


def stamp_adapter(adapter: Path, model: Path, origin: Mapping[str, Any] | None = None) -> None:
    """Write the manifest of an adapter that was trained on the base of the model folder `model`.

    In PEFT's own config, the module names are sorted, since they are a set, whose order differs between processes. If
    the base is a hub model, the config gets its id and commit instead of a folder of this machine's cache.
    """
    base = Identity.weights(read_json(model / MANIFEST, ["model", "revision"])).parts
    config = read_json(adapter / ADAPTER, ["target_modules"])
    config["target_modules"] = sorted(config["target_modules"])
    if base["revision"] is not None:
        config |= {"base_model_name_or_path": base["model"], "revision": base["revision"]}
    (adapter / ADAPTER).write_text(json.dumps(config, indent=2) + "\n")
    files = describe_files(adapter, (file for file in adapter.iterdir() if file.is_file() and file.name != MANIFEST))
    Identity(base, files).stamp(adapter, origin)


def describe_model(folder: Path, where: str | None = None) -> dict[str, Any]:
    """Sizes of a local safetensors model, read from the headers alone.

    Args:
        where: the name of the model in errors.

    Returns:
        hidden_size; parameters (number of all weights, with a tied embedding counted once); projections ([in, out] of
        every attention projection, which LoRA adapts, section 4.1). A linear weight is stored as (out, in).
    """
    config = read_json(folder / "config.json", ["hidden_size"])
    shapes = {name: shape for path in weight_files(folder, where) for name, shape in _shapes(path).items()}
    projections = [
        [shape[1], shape[0]]
        for name, shape in sorted(shapes.items())
        if name.endswith(".weight") and name.split(".")[-2] in ATTENTION
    ]
    if not projections:
        raise InputError(f"{where or folder} has no {', '.join(ATTENTION)}, which LoRA adapts; use another model.")
    return {
        "hidden_size": config["hidden_size"],
        "parameters": sum(prod(shape) for shape in shapes.values()),
        "projections": projections,
    }


def check_model(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder; `InputError` unless the weights are present, complete and, if local, unchanged.

    If the weights lie in the model folder, all files are hashed. If they lie in another local folder, files larger than
    1 GiB are checked only by size and header: hashing 28 GB would take half a minute in every step.
    """
    manifest = read_manifest(folder)
    source = weights_folder(folder, manifest)
    weight_files(source)
    if manifest["revision"] is None:
        Identity.read(folder).verify(source, float("inf") if source == folder else LARGE)
        for path in (source / "config.json", source / "tokenizer_config.json", *source.glob("tokenizer.json")):
            read_json(path)
    return manifest


def same_weights(one: Path, other: Path) -> bool:
    """Whether two model folders refer to the same weights, so that one copy in memory suffices."""
    return _place(one) == _place(other)


def _place(folder: Path) -> tuple[str, Identity]:
    """The location and the identity of a model folder's weights."""
    manifest = read_manifest(folder)
    return str(folder.resolve()) if manifest["model"] == "." else manifest["model"], Identity.weights(manifest)


def check_adapters(model: Path, adapters: Sequence[Path]) -> None:
    """Apply `check_adapter` to adapters on the base of one model folder."""
    base = read_json(model / MANIFEST, ["model", "revision", "projections"])
    for adapter in adapters:
        check_adapter(adapter, base)


def check_adapter(folder: Path, base: Mapping[str, Any]) -> None:
    """Raise `InputError` unless `folder` holds a complete PEFT adapter for the base of a manifest.

    An external adapter has no manifest; the shapes of its weights must then fit the base.
    """
    read_json(folder / ADAPTER, ["peft_type", "r"])
    check_safetensors(folder / ADAPTER_WEIGHTS)
    if (folder / MANIFEST).is_file():
        Identity.read(folder).verify(folder)
        known = read_json(folder / MANIFEST, ["model", "revision", "sha256"])
        fits = Identity.weights(known) == Identity.weights(base)
    else:
        shapes = _shapes(folder / ADAPTER_WEIGHTS)
        # A is stored as (rank, in), B as (out, rank).
        adapted = Counter(
            (shape[1], shapes[name.replace(".lora_A.", ".lora_B.")][0])
            for name, shape in shapes.items()
            if name.endswith(".lora_A.weight") and name.split(".")[-3] in ATTENTION
        )
        fits = adapted <= Counter((inputs, outputs) for inputs, outputs in base["projections"])
    if not fits:
        raise InputError(f"{folder} is an adapter of another base model; use its own base model, or retrain it.")


def _shapes(path: Path) -> dict[str, list[int]]:
    """The shape of each tensor by name, from the header of a safetensors file."""
    return {name: entry["shape"] for name, entry in check_safetensors(path).items() if name != "__metadata__"}
