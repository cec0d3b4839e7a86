"""The inventory of a finished study: every file with size, hash and origin, and a summary of the origins."""

import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from goodhart.store.checksums import check_seal, describe_file, digest, existing
from goodhart.store.files import read_json
from goodhart.store.identity import ADAPTER, MANIFEST, Identity
from goodhart.store.provenance import Origin

PACKAGES = (
    *("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets", "tokenizers"),
    *("safetensors", "numpy", "scipy", "pandas", "pyarrow", "snakemake"),
)


def inventory(study: Path, artifacts: Sequence[tuple[str, Path]]) -> dict[str, Any]:
    """The contents of a study and their provenance, ready for JSON.

    A file whose format cannot store an origin, such as a CSV, gets the origin of its folder or of the other outputs of
    its step. Every seal is checked, and so is every file of a model or adapter in the study.

    Args:
        study: the root folder; paths in the inventory are relative to it.
        artifacts: (step, output) for every output, which is a file or a folder.

    Returns:
        models: the identity of each model folder and adapter; data, seeds, threads, code: `summary` of the origins, by
        script; origins: by digest; artefacts: path, step, bytes, sha256 and the digest of the origin of every file.
    """
    origins: dict[str, Origin] = {}
    rows: list[dict[str, Any]] = []
    models: dict[str, Any] = {}
    for step, path in artifacts:
        if (path / MANIFEST).is_file():
            identity = Identity.read(path)
            models[path.relative_to(study).as_posix()] = identity.parts
            if (path / ADAPTER).is_file() or read_json(path / MANIFEST)["model"] == ".":  # it holds its own files
                identity.verify(path)
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [existing(path)]:
            if file.suffix in (".json", ".parquet"):
                check_seal(file.read_bytes(), file)
            origin = Origin.read(file) or Origin.read(path)
            if origin:
                origins[digest(origin)] = origin
            row = {"path": file.relative_to(study).as_posix(), "step": step, **describe_file(file)}
            rows.append({**row, "origin": origin and digest(origin)})
    for row in rows:
        others = {other["origin"] for other in rows if other["step"] == row["step"]} - {None}
        if row["origin"] is None and len(others) == 1:
            row["origin"] = others.pop()
    return {"models": models, **summary(origins.values()), "origins": origins, "artefacts": rows}


def summary(origins: Iterable[Origin]) -> dict[str, Any]:
    """The data, seeds, threads and code fingerprints recorded in origins, by script."""
    gathered: dict[str, dict[str, Any]] = {"data": {}, "seeds": {}, "threads": {}, "code": {}}
    for origin in sorted(origins, key=lambda origin: origin["script"]):
        named = {
            "data": origin.get("data"),
            "seeds": {
                name: value for name, value in origin["arguments"].items() if name.endswith(("seed", "replicate"))
            },
            "threads": origin["arguments"].get("threads"),
            "code": origin["code"],
        }
        for name, value in named.items():
            if value and value not in gathered[name].setdefault(origin["script"], []):
                gathered[name][origin["script"]].append(value)
    return gathered


def software() -> dict[str, str]:
    """Versions of Python and of the packages whose code decides the results."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def machine() -> dict[str, Any]:
    """The platform, the processor and the GPUs, because other hardware rounds differently."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    gpus = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return {
        "platform": platform.platform(),
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "gpus": gpus.splitlines() if gpus else [],
    }


def git(file: Path) -> dict[str, Any] | None:
    """The commit of the repository that holds a file, and whether tracked files differ; None outside a repository."""
    here = ("git", "-C", str(file.parent))
    if _output(*here, "ls-files", "--error-unmatch", file.name) is None:
        return None
    changes = _output(*here, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _output(*here, "rev-parse", "HEAD"), "dirty": bool(changes)}


def _output(*command: str) -> str | None:
    """The output of a command, or None if the command is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
