"""The inventory of a finished study: every file with size, hash and origin, and what the origins say taken together."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from goodhart.errors import InputError
from goodhart.store.checksums import check_files, check_seal, sha256
from goodhart.store.files import read_json
from goodhart.store.provenance import adapter_identity, digest, model_identity, origin_of

PACKAGES = ["torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets", "tokenizers"]
PACKAGES += ["safetensors", "numpy", "scipy", "pandas", "pyarrow", "snakemake"]


def inventory(study: Path, artefacts: Sequence[tuple[str, Path]]) -> dict[str, Any]:
    """What a study holds and where it comes from, ready for JSON.

    A file that has no room for its origin, such as a CSV, has that of the folder it lies in or of the other outputs of
    its step. Every seal is checked.

    Args:
        study: the folder the paths of the inventory start from.
        artefacts: step and output, a file or a folder, of everything in it.

    Returns:
        models, adapters: what stands for them in origins, by folder; data, seeds, threads, code: what the origins say,
        by script; origins: by digest;
        artefacts: path, step, bytes, sha256 and the digest of the origin of every file.
    """
    origins: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    models: dict[str, Any] = {}
    adapters: dict[str, Any] = {}
    for step, path in artefacts:
        if not path.exists():
            raise InputError(f"{path} does not exist; run the step that makes it, or correct the path.")
        whole = origin_of(path) if path.is_dir() else None
        if path.is_dir() and (path / "manifest.json").is_file():
            record = read_json(path / "manifest.json")
            if record.get("model") in (None, ".") and not record.get("revision"):
                check_files(path, record.get("files", {}))
            adapter = (path / "adapter_config.json").is_file()
            (adapters if adapter else models)[path.relative_to(study).as_posix()] = (
                adapter_identity(path) if adapter else model_identity(path)
            )
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            if file.suffix in (".json", ".parquet"):
                check_seal(file.read_bytes(), file)
            found = origin_of(file) or whole
            if found:
                origins[digest(found)] = found
            rows.append(
                {
                    "path": file.relative_to(study).as_posix(),
                    "step": step,
                    "bytes": file.stat().st_size,
                    "sha256": sha256(file),
                    "origin": digest(found) if found else None,
                }
            )
    for row in rows:
        others = {other["origin"] for other in rows if other["step"] == row["step"] and other["origin"]}
        if row["origin"] is None and len(others) == 1:
            row["origin"] = next(iter(others))
    return {"models": models, "adapters": adapters, **summary(origins), "origins": origins, "artefacts": rows}


def summary(origins: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The data, seeds, threads and code fingerprints that origins name, by script."""
    gathered: dict[str, dict[str, Any]] = {"data": {}, "seeds": {}, "threads": {}, "code": {}}
    for origin in origins.values():
        script, arguments = origin["script"], origin["arguments"]
        found = {
            "data": [origin["data"]] if "data" in origin else [],
            "seeds": [{name: value for name, value in arguments.items() if name.endswith("seed")}],
            "threads": [arguments["threads"]] if "threads" in arguments else [],
            "code": [origin["code"]],
        }
        for name, values in found.items():
            seen = gathered[name].setdefault(script, [])
            seen += [value for value in values if value and value not in seen]
    return {name: {script: values for script, values in sorted(by.items()) if values} for name, by in gathered.items()}


def software() -> dict[str, str]:
    """Versions of Python and of the packages whose code decides the results."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The platform, the processor and the GPUs: another one rounds differently."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in _lines(info) if line.startswith("model name")]
    gpus = _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return {
        "platform": platform.platform(),
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "gpus": gpus.splitlines() if gpus else [],
    }


def git(file: Path) -> dict[str, Any] | None:
    """The commit of the repository that holds a file, and whether a tracked file differs from it; None outside one."""
    here = ("git", "-C", str(file.parent))
    if _said(*here, "ls-files", "--error-unmatch", file.name) is None:
        return None
    commit = _said(*here, "rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(_said(*here, "status", "--porcelain", "--untracked-files=no"))}


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def _said(*command: str) -> str | None:
    """What a command prints, or None where it is not there or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
