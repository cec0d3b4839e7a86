"""Where an artefact comes from: the code that made it, its arguments, and what it was made of, all without a path.

The same step on the same inputs has the same origin on any machine and in any folder, so that an artefact which holds
its origin keeps its bytes, and two origins that differ say what differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from goodhart.artifacts import read_json
from goodhart.commandline import Labelled, Output, Source
from goodhart.errors import InputError
from goodhart.fingerprint import fingerprint
from goodhart.manifest import asked, identity, sha256

AIDS = {"checkpoint_minutes"}  # flags that change no result


def origin(args: argparse.Namespace, script: str, **pinned: Any) -> dict[str, Any]:
    """What the outputs of a script come from, ready for JSON.

    Args:
        args: its parsed command line; what it writes (`Output`) is left out, what it reads stands under its content.
        script: its `__file__`.
        pinned: what it found out besides, such as the commit of a dataset.

    Returns:
        script: its name; code: the fingerprint of all it runs; arguments: by flag; inputs: by flag, a sha256 or a list
        of them, or for a model folder its identity and how it is asked; derived: by flag, the values it takes from
        Appendix C or the beta grid.
    """
    arguments: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    derived: dict[str, Any] = {}
    for name, value in sorted(vars(args).items()):
        if name in AIDS:
            continue
        values = value if isinstance(value, list) else [value]
        if any(isinstance(one, Output) for one in values):
            continue
        if values and all(map(_is_input, values)):
            found = [_content(one) for one in values]
            inputs[name] = found if isinstance(value, list) else found[0]
            if isinstance(value, Path) and value.is_file() and name.startswith(("derived", "beta", "kl_beta")):
                derived |= {name: used} if (used := _used(value)) else {}
        else:
            arguments[name] = value
    path = Path(script).resolve()
    made = {"script": path.stem, "code": fingerprint(path), "arguments": arguments, "inputs": inputs}
    return {**made, **({"derived": derived} if derived else {}), **pinned}


def digest(content: Any) -> str:
    """Hex sha256 of something JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def model_identity(folder: Path) -> dict[str, Any]:
    """Which weights a model folder of a study stands for, wherever they lie, and how they are asked.

    Returns the `manifest.identity` of its manifest, `prompts`, and the sha256 of its `tokenizer` and chat `template`.
    """
    manifest = read_json(folder / "manifest.json", ["model", "revision"])
    if "tokenizer" not in manifest:  # one that this version did not make
        source = folder if manifest["model"] == "." else Path(manifest["model"])
        manifest |= asked(source, manifest.get("prompts")) if manifest["revision"] is None else {}
    return {**identity(manifest), **{name: manifest.get(name) for name in ("prompts", "tokenizer", "template")}}


def _is_input(value: Any) -> bool:
    """Whether the value of a flag names something on this machine."""
    if isinstance(value, Source):
        return Path(value).exists()
    return isinstance(value, Path | Labelled)


def _content(value: Path | str) -> Any:
    """What stands for an input: its hash, with its label if it has one, or the identity of a model folder."""
    if isinstance(value, Labelled):
        label, _, file = value.partition("=")
        return {label: sha256(_there(Path(file)))}
    path = _there(Path(value))
    if not path.is_dir():
        return sha256(path)
    if (path / "adapter_config.json").is_file():
        record = path / "manifest.json"
        if record.is_file() and "files" in read_json(record):
            return sha256(record)
        return sha256(*map(_there, (path / "adapter_config.json", path / "adapter_model.safetensors")))
    if (path / "manifest.json").is_file():
        return model_identity(path)
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    return digest({file.name: sha256(file) for file in files})


def _used(path: Path) -> dict[str, Any]:
    """The values in use of a derived/<stage>.json, or the beta of a beta/<level>.json."""
    content = read_json(path)
    if "values" in content:
        return {name: entry["value"] for name, entry in content["values"].items()}
    return {name: content[name] for name in ("level", "beta") if name in content}


def _there(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path} does not exist; run the step that makes it, or correct the path.")
    return path
