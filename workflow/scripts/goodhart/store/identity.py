"""What a file, a model or an adapter is, wherever it lies: its identity.

A model folder of a study and an adapter hold theirs in manifest.json: what tells it from others, and the size and hash
of each of its files, by which damage is found. One without a manifest is external, and goes by its files.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from goodhart.store.checksums import check_files, describe_files, digest, sha256
from goodhart.store.files import read_json, write_json
from goodhart.store.weights import weight_files, weights_folder

MANIFEST, ADAPTER, ADAPTER_WEIGHTS = "manifest.json", "adapter_config.json", "adapter_model.safetensors"
TOKENIZER = ("tokenizer*", "vocab*", "merges*", "special_tokens_map.json", "added_tokens.json", "*.model")
CONFIGURATION = ("config.json", "generation_config.json", "*.safetensors.index.json", "chat_template*")
BASE = ("model", "revision", "sha256")
PROMPTING = ("prompts", "tokenizer", "template")
# What two of them may differ in, in the order in which it is named.
DIFFERENCES = {
    "model": "another model",
    "revision": "another revision",
    "sha256": "other weights",
    "prompts": "another way to ask",
    "template": "another chat template",
    "tokenizer": "another tokenizer",
}
LARGE = 1 << 30  # bytes; hashing takes a second a GiB, and weights of 28 GB are loaded by every step that trains


@dataclass(frozen=True)
class Identity:
    """What tells a file, a model or an adapter from others, without its place.

    Attributes:
        parts: `sha256`; of a model `model` and `revision`, its name and commit on the hub, or else the `sha256` of its
            weights, and how it is prompted: `prompts`, and the hashes of its `tokenizer` and of the chat `template`.
        files: size and hash of each of its files, as far as known.
    """

    parts: dict[str, Any]
    files: dict[str, dict[str, Any]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, path: Path) -> "Identity":
        """Of a file, or of a folder by the files in it."""
        if not path.is_dir():
            return cls({"sha256": sha256(path)})
        return cls({"sha256": digest({file.name: sha256(file) for file in path.glob("[!.]*") if file.is_file()})})

    @classmethod
    def of_model(cls, folder: Path, prompts: str, hub: tuple[str, str] | None = None) -> "Identity":
        """Of the model in `folder`; one of the hub goes by its name and commit, which cannot change, without a hash."""
        weights = weight_files(folder)
        parts = {"model": hub and hub[0], "revision": hub and hub[1], "sha256": None, **_prompting(folder, prompts)}
        if hub:
            return cls(parts)
        files = describe_files(folder, {*weights, *_found(folder, *CONFIGURATION, *TOKENIZER)})
        hashes = [files[path.name]["sha256"] for path in weights]
        return cls({**parts, "sha256": hashes[0] if len(hashes) == 1 else digest(hashes)}, files)

    @classmethod
    def weights(cls, manifest: Mapping[str, Any]) -> "Identity":
        """Of a model's weights, or of an adapter's base, as the manifest says: a commit of the hub, else a hash."""
        if manifest["revision"] is None:
            return cls({"model": None, "revision": None, "sha256": manifest.get("sha256")})
        return cls({"model": manifest["model"], "revision": manifest["revision"], "sha256": None})

    @classmethod
    def read(cls, path: Path) -> "Identity":
        """Of a model folder or an adapter as its manifest says; of a file, or a folder of tables, `of` it."""
        if (path / ADAPTER).is_file():
            return cls._adapter(path)
        if not path.is_dir() or any(path.glob("*.parquet")):
            return cls.of(path)
        manifest = read_json(path / MANIFEST, ["model", "revision"])
        if "tokenizer" not in manifest and manifest["revision"] is None:  # not written by this project
            manifest |= _prompting(weights_folder(path, manifest), manifest.get("prompts"))
        prompting = {name: manifest.get(name) for name in PROMPTING}
        return cls({**cls.weights(manifest).parts, **prompting}, manifest.get("files", {}))

    @classmethod
    def _adapter(cls, folder: Path) -> "Identity":
        """A hash of an adapter's weights, of the base they are for and of how they apply to it."""
        manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
        base = {name: manifest.get(name) for name in BASE}
        config = read_json(folder / ADAPTER)
        applied = {name: value for name, value in config.items() if name not in ("base_model_name_or_path", "revision")}
        files = manifest.get("files", {})
        weights = files[ADAPTER_WEIGHTS]["sha256"] if ADAPTER_WEIGHTS in files else sha256(folder / ADAPTER_WEIGHTS)
        return cls({"sha256": digest({"base": base, "applied": applied, "weights": weights})}, files)

    def stamp(self, folder: Path, origin: Mapping[str, Any] | None = None, **facts: Any) -> None:
        """Write the manifest of a model folder or an adapter: this, with `facts` beside it, and its origin."""
        write_json(folder / MANIFEST, {**self.parts, **facts, "files": self.files}, origin)

    def verify(self, folder: Path, large: float = float("inf")) -> None:
        """Raise `InputError` unless `folder` holds the `files`; those of over `large` bytes go by their size."""
        check_files(folder, self.files, large)


def difference(before: Any, after: Any, name: str) -> str:
    """In words, what two inputs of a script called `name` differ in: parts of identities, or lists of such."""
    if all(isinstance(parts, Mapping) and "prompts" in parts for parts in (before, after)):
        changed = [words for part, words in DIFFERENCES.items() if before[part] != after[part]]
        return f"{changed[0]} than the {name}'s"
    return f"other {name}"


def _prompting(folder: Path, prompts: str | None) -> dict[str, str | None]:
    """How a local model is prompted: hashes of its tokenizer files, and of its chat template if that is used."""
    template = None
    if prompts == "chat":
        alone, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
        text = alone.read_text() if alone.is_file() else json.dumps(read_json(config).get("chat_template"))
        template = hashlib.sha256(text.encode()).hexdigest()
    tokenizer = digest([sha256(file) for file in _found(folder, *TOKENIZER)])
    return {"prompts": prompts, "tokenizer": tokenizer, "template": template}


def _found(folder: Path, *patterns: str) -> list[Path]:
    """The files of a folder whose names fit one of the patterns, in order."""
    return sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
