"""Where an artefact comes from: the code that made it, its arguments, and what it was made of, all without a path.

The same step on the same inputs has the same origin on any machine and in any folder, so that an artefact which holds
its origin keeps its bytes, and two origins that differ say what differs.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from goodhart.cli import Labelled, Output, Source
from goodhart.errors import InputError
from goodhart.models.manifest import asked, identity
from goodhart.store.checksums import sha256
from goodhart.store.files import read_json
from goodhart.store.fingerprint import fingerprint

# What of a model folder may differ, in the order in which it is named.
MODEL = {
    "model": "another model",
    "revision": "another revision",
    "sha256": "other weights",
    "prompts": "another way to ask",
    "template": "another chat template",
    "tokenizer": "another tokenizer",
}
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


def check_cache(
    path: Path, now: Mapping[str, Any], step: str, inputs: Sequence[str], settings: Sequence[str] = ()
) -> None:
    """Raise `InputError` if what `step` made was not made with what is in use now.

    What has no origin is of someone else and passes: the checks of its content remain.

    Args:
        now: origin of the script that reads it.
        inputs: the flags whose files or folders must be the same in both.
        settings: the arguments and derived values that must be.
    """
    made = origin_of(path)
    if made is None:
        return
    for name in inputs:
        before, after = made["inputs"].get(name), now["inputs"][name]
        if before != after:
            models = isinstance(before, dict) and isinstance(after, dict)
            parts = [words for key, words in MODEL.items() if models and before[key] != after[key]]
            what = f"{parts[0]} than the {name}'s" if parts else f"other {name}"
            raise InputError(f"{path} was made with {what}; rerun {step}.")
    for name in settings:
        before, after = _setting(made, name), _setting(now, name)
        if before != after:
            raise InputError(f"{path} was made with {name} {before}, and {after} is in use; rerun {step}.")


def check_policy(args: argparse.Namespace, now: Mapping[str, Any]) -> None:
    """`check_cache` of what measures a policy: its adapter, the rewards, and what was computed with these."""
    check_cache(args.adapter, now, "train_offline", ["policy"])
    if origin_of(args.adapter) != origin_of(args.metrics) and origin_of(args.adapter) is not None:
        raise InputError(f"{args.metrics} is not of {args.adapter}; name its own, or rerun train_offline.")
    for member in args.members:
        check_cache(member, now, "train_reward", ["backbone"])
    for made in (args.centroid, getattr(args, "baseline", None)):
        if made is not None:
            check_cache(made, now, "evaluate_rewards", ["members", "backbone"])


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


def adapter_identity(folder: Path) -> str:
    """A sha256 of an adapter's weights, of the base they are for and of how they apply to it, wherever both lie."""
    record = read_json(folder / "manifest.json") if (folder / "manifest.json").is_file() else {}
    config = read_json(folder / "adapter_config.json")
    applied = {name: value for name, value in config.items() if name not in ("base_model_name_or_path", "revision")}
    weights = _there(folder / "adapter_model.safetensors")
    known = record.get("files", {}).get(weights.name)
    base = {name: record.get(name) for name in ("model", "revision", "sha256")}
    return digest({"base": base, "applied": applied, "weights": known["sha256"] if known else sha256(weights)})


def origin_of(path: Path) -> dict[str, Any] | None:
    """The origin that a file or folder of a study holds; None where it holds none, as one of someone else."""
    path = path / "manifest.json" if path.is_dir() else path
    try:
        return _READ[path.suffix](path)
    except (KeyError, TypeError, ValueError, OSError, struct.error):  # of another kind, or without one
        return None


def _of_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())["origin"]


def _of_parquet(path: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    return json.loads(pq.read_metadata(path).metadata[b"origin"])


def _of_safetensors(path: Path) -> dict[str, Any]:
    with path.open("rb") as handle:
        header = handle.read(*struct.unpack("<Q", handle.read(8)))
    return json.loads(json.loads(header)["__metadata__"]["goodhart"])["origin"]


def _of_text(path: Path) -> dict[str, Any]:
    """Of a page's head, or the description of a drawing."""
    found = re.search(r'<meta name="origin" content="(.*?)">|<dc:description>(.*?)</dc:description>', path.read_text())
    return json.loads(html.unescape((found[1] or found[2]) if found else ""))


_READ = {
    ".json": _of_json,
    ".parquet": _of_parquet,
    ".safetensors": _of_safetensors,
    ".svg": _of_text,
    ".html": _of_text,
}


def _setting(origin: Mapping[str, Any], name: str) -> Any:
    """An argument, or the derived value of the first stage that has it."""
    places = [origin["arguments"], *origin.get("derived", {}).values()]
    return next((place[name] for place in places if name in place), None)


def _is_input(value: Any) -> bool:
    """Whether the value of a flag names something on this machine."""
    if isinstance(value, Source):
        return Path(value).exists()
    return isinstance(value, Path | Labelled)


def _content(value: Path | str) -> Any:
    """What stands for an input: its hash, with its label if it has one, or the identity of a model folder."""
    if isinstance(value, Labelled):
        label, _, file = value.partition("=")
        return {label: _content(Path(file))}
    path = _there(Path(value))
    if not path.is_dir():
        return sha256(path)
    if (path / "adapter_config.json").is_file():
        return adapter_identity(path)
    if tables := sorted(path.glob("*.parquet")):  # an online run
        return digest({table.name: sha256(table) for table in tables})
    if isinstance(value, Source):  # a model to be pinned
        return digest({file.name: sha256(file) for file in sorted(path.glob("[!.]*")) if file.is_file()})
    return model_identity(path)


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
