"""Hashes of files: a seal inside the file itself, and a record of the files of a folder.

The seal of a file is `goodhart-sha256:<digest>:goodhart-sha256`, in the part of its format that holds metadata. The
digest covers the whole file, with zeros in place of the digest, so that a change anywhere is detected, even in the
seal: a flipped bit damages at most one of the two marks, and the other mark shows that the file had a seal.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from goodhart.errors import InputError

MARK = "goodhart-sha256"
BLANK = f"{MARK}:{'0' * 64}:{MARK}"
SEAL = re.compile(rf"{MARK}:([0-9a-f]{{64}}):{MARK}".encode())


def sealed(content: bytes) -> bytes:
    """The content of a file with its digest filled into `BLANK`, which must occur exactly once."""
    before, blank, after = content.partition(BLANK.encode())
    if not blank or MARK.encode() in after:
        raise ValueError("the content has no single blank seal")
    return before + f"{MARK}:{hashlib.sha256(content).hexdigest()}:{MARK}".encode() + after


def check_seal(content: bytes, path: Path) -> bool:
    """Whether the content of a file is sealed; `InputError` if it was changed after it was sealed."""
    if MARK.encode() not in content:
        return False
    found = SEAL.search(content)
    if found:
        blank = content[: found.start(1)] + b"0" * 64 + content[found.end(1) :]
        if hashlib.sha256(blank).hexdigest().encode() == found[1]:
            return True
    raise damaged(path)


def damaged(path: Path) -> InputError:
    """The error for a file that was changed after it was written."""
    return InputError(f"{path} was changed or damaged after it was made; rerun the step that makes it.")


def existing(path: Path) -> Path:
    """The path of a file, or `InputError` if there is none."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; run the step that makes it, or correct the path.")
    return path


def digest(content: Any) -> str:
    """Hex sha256 of a JSON value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Hex digest of the bytes of a file."""
    with existing(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def describe_file(path: Path) -> dict[str, Any]:
    """The size of a file in bytes, and its sha256."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def describe_files(folder: Path, files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """`describe_file` of files in a folder, keyed by their path relative to the folder."""
    return {path.relative_to(folder).as_posix(): describe_file(path) for path in sorted(files)}


def check_files(folder: Path, record: Mapping[str, Mapping[str, Any]], large: float = float("inf")) -> None:
    """Raise `InputError` unless a folder holds the recorded files; above `large` bytes only the size is compared."""
    for name, known in record.items():
        path = existing(folder / name)
        size = path.stat().st_size
        if size < known["bytes"]:
            raise InputError(f"{path} is truncated ({size} of {known['bytes']} bytes); rerun the step that makes it.")
        if size != known["bytes"] or (size <= large and sha256(path) != known["sha256"]):
            raise damaged(path)
