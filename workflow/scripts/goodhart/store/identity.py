"""The identity of a file, a model or an adapter, independent of its location.

A model folder of a study or an adapter stores its identity in manifest.json, with the size and hash of each of its
files, which reveal damage. A folder without a manifest is external, and its files are its identity.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from goodhart.store.checksums import check_files, describe_files, digest, sha256
from goodhart.store.files import read_json, write_json
from goodhart.store.hub import weight_files, weights_folder

MANIFEST, ADAPTER, ADAPTER_WEIGHTS = "manifest.json", "adapter_config.json", "adapter_model.safetensors"
TOKENIZER = ("tokenizer*", "vocab*", "merges*", "special_tokens_map.json", "added_tokens.json", "*.model")
CONFIGURATION = ("config.json", "generation_config.json", "*.safetensors.index.json", "chat_template*")
# The parts in which two identities may differ; errors name the first difference in this order.
DIFFERENCES = {
    "model": "another model",
    "revision": "another revision",
    "sha256": "other weights",
    "prompts": "another setting of prompts",
    "template": "another chat template",
    "tokenizer": "another tokenizer",
}
LARGE = 1 << 30  # bytes; hashing takes a second per GiB, and every training step loads weights of up to 28 GB


@dataclass(frozen=True)
class Identity:
    """The identity of a file, a model or an adapter, independent of its location.

    Attributes:
        parts: `sha256` for a file or an adapter. For a model: `model` and `revision`, its name and commit on the hub,
            or otherwise the `sha256` of its weights; and how it is prompted: `prompts`, and the hashes of its
            `tokenizer` and chat `template`.
        files: size and hash of each file, as far as known.
    """

    parts: dict[str, Any]
    files: dict[str, dict[str, Any]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, path: Path) -> "Identity":
        """The identity of a file, or of a folder from the files in it."""
        files = {file.name: sha256(file) for file in path.glob("[!.]*") if file.is_file()}
        return cls({"sha256": digest(files) if path.is_dir() else sha256(path)})

    @classmethod
    def of_model(cls, folder: Path, prompts: str, hub: tuple[str, str] | None = None) -> "Identity":
        """The identity of the model in `folder`; a hub model is identified by name and commit, without a hash."""
        weights = weight_files(folder)
        parts = {"model": hub and hub[0], "revision": hub and hub[1], "sha256": None, **_prompting(folder, prompts)}
        if hub:
            return cls(parts)
        files = describe_files(folder, {*weights, *_found(folder, *CONFIGURATION, *TOKENIZER)})
        hashes = [files[path.name]["sha256"] for path in weights]
        return cls({**parts, "sha256": hashes[0] if len(hashes) == 1 else digest(hashes)}, files)

    @classmethod
    def weights(cls, manifest: Mapping[str, Any]) -> "Identity":
        """The identity of a model's weights or an adapter's base from its manifest: a hub commit, otherwise a hash."""
        if manifest["revision"] is None:
            return cls({"model": None, "revision": None, "sha256": manifest.get("sha256")})
        return cls({"model": manifest["model"], "revision": manifest["revision"], "sha256": None})

    @classmethod
    def read(cls, path: Path) -> "Identity":
        """The identity in the manifest of a model folder or adapter; for a file or folder of tables, `Identity.of`."""
        if (path / ADAPTER).is_file():  # a hash of its weights, its base and its PEFT configuration
            manifest = read_json(path / MANIFEST) if (path / MANIFEST).is_file() else {}
            base = {name: manifest.get(name) for name in ("model", "revision", "sha256")}
            files = manifest.get("files", {})
            located = ("base_model_name_or_path", "revision")
            applied = {name: value for name, value in read_json(path / ADAPTER).items() if name not in located}
            weights = files[ADAPTER_WEIGHTS]["sha256"] if ADAPTER_WEIGHTS in files else sha256(path / ADAPTER_WEIGHTS)
            return cls({"sha256": digest({"base": base, "applied": applied, "weights": weights})}, files)
        if not path.is_dir() or any(path.glob("*.parquet")):
            return cls.of(path)
        manifest = read_json(path / MANIFEST, ["model", "revision"])
        if "tokenizer" not in manifest and manifest["revision"] is None:  # not written by this project
            manifest |= _prompting(weights_folder(path, manifest), manifest.get("prompts"))
        prompting = {name: manifest.get(name) for name in ("prompts", "tokenizer", "template")}
        return cls({**cls.weights(manifest).parts, **prompting}, manifest.get("files", {}))

    def stamp(self, folder: Path, origin: Mapping[str, Any] | None = None, **facts: Any) -> None:
        """Write the manifest of a model folder or an adapter: this identity, additional `facts`, and the origin."""
        write_json(folder / MANIFEST, {**self.parts, **facts, "files": self.files}, origin)

    def verify(self, folder: Path, large: float = float("inf")) -> None:
        """Raise `InputError` unless `folder` holds the `files`; above `large` bytes only the size is compared."""
        check_files(folder, self.files, large)


def difference(before: Any, after: Any, name: str) -> str:
    """The difference in words between two values of the input `name`: parts of identities, or lists of them."""
    if all(isinstance(parts, Mapping) and "prompts" in parts for parts in (before, after)):
        changed = [words for part, words in DIFFERENCES.items() if before[part] != after[part]]
        return f"{changed[0]} than the {name}'s"
    return f"other {name}"


def _prompting(folder: Path, prompts: str | None) -> dict[str, str | None]:
    """How a local model is prompted: hashes of its tokenizer files, and of its chat template if it is used."""
    template = None
    if prompts == "chat":
        alone, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
        text = alone.read_text() if alone.is_file() else json.dumps(read_json(config).get("chat_template"))
        template = hashlib.sha256(text.encode()).hexdigest()
    tokenizer = digest([sha256(file) for file in _found(folder, *TOKENIZER)])
    return {"prompts": prompts, "tokenizer": tokenizer, "template": template}


def _found(folder: Path, *patterns: str) -> list[Path]:
    """The files of a folder whose names match one of the patterns, sorted."""
    return sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
