"""A file that carries its own sha256, and the record of the files of a folder.

The seal of a file is `goodhart-sha256:<digest>:goodhart-sha256`, somewhere in it where its format has room for remarks.
The digest is of the whole file with zeros in the digest's place, so that a change anywhere shows, be it in the seal: a
flipped bit spoils one of the two marks at most, and the other tells that there was a seal.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from goodhart.errors import InputError

MARK = "goodhart-sha256"
BLANK = f"{MARK}:{'0' * 64}:{MARK}"
SEAL = re.compile(rf"{MARK}:([0-9a-f]{{64}}):{MARK}".encode())
LARGE = 1 << 30  # bytes; hashing takes a second a GiB, and weights of 28 GB are loaded by every step that trains


def sealed(content: bytes) -> bytes:
    """The content of a file with its `BLANK`, of which there must be one, filled in."""
    before, blank, after = content.partition(BLANK.encode())
    if not blank or MARK.encode() in after:
        raise ValueError("the content has no single blank seal")
    return before + f"{MARK}:{hashlib.sha256(content).hexdigest()}:{MARK}".encode() + after


def check_seal(content: bytes, path: Path) -> bool:
    """Whether the content of a file is sealed; `InputError` if it was and is no longer what it was."""
    if MARK.encode() not in content:
        return False
    found = SEAL.search(content)
    if found:
        blank = content[: found.start(1)] + b"0" * 64 + content[found.end(1) :]
        if hashlib.sha256(blank).hexdigest().encode() == found[1]:
            return True
    raise damaged(path)


def damaged(path: Path) -> InputError:
    """The error of a file that is not what it was."""
    return InputError(f"{path} was changed or damaged after it was made; rerun the step that makes it.")


def sha256(*files: Path) -> str:
    """Hex digest of the bytes of files, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as handle:
            while block := handle.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()


def describe_files(files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """{name: {"bytes": size, "sha256": digest}} of files, in order of their names."""
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(files, key=lambda p: p.name)
    }


def check_files(folder: Path, record: Mapping[str, Mapping[str, Any]], large: int | None = None) -> None:
    """Raise `InputError` unless a folder holds the files of a record; one of over `large` bytes goes by its size."""
    for name, known in record.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path} does not exist; run the step that makes it, or correct the path.")
        size = path.stat().st_size
        if size < known["bytes"]:
            raise InputError(f"{path} is truncated ({size} of {known['bytes']} bytes); rerun the step that makes it.")
        if size != known["bytes"] or ((large is None or size <= large) and sha256(path) != known["sha256"]):
            raise damaged(path)
