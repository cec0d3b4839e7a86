"""A seal shows any change of a file; the record of a folder any change in it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from goodhart.errors import InputError
from goodhart.store import checksums

CONTENT = b"before " + checksums.BLANK.encode() + b" after"


def test_the_digest_is_of_the_file_with_zeros_in_its_place() -> None:
    sealed = checksums.sealed(CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest().encode()
    assert sealed == b"before goodhart-sha256:" + digest + b":goodhart-sha256 after"
    assert checksums.check_seal(sealed, Path("a"))


def test_every_flipped_bit_is_told() -> None:
    """The seal's own among them."""
    sealed = checksums.sealed(CONTENT)
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InputError, match="a was changed or damaged after it was made; rerun the step that makes"):
            checksums.check_seal(bytes(changed), Path("a"))


def test_a_file_without_a_seal_is_external() -> None:
    assert not checksums.check_seal(b"anything", Path("a"))


@pytest.mark.parametrize("content", [b"no seal", CONTENT + CONTENT])
def test_a_seal_needs_one_place(content: bytes) -> None:
    with pytest.raises(ValueError, match="no single blank seal"):
        checksums.sealed(content)


def test_the_record_of_a_folder(tmp_path: Path) -> None:
    for name, content in (("b", b"two"), ("a", b"one")):
        (tmp_path / name).write_bytes(content)
    record = checksums.describe_files(tmp_path, tmp_path.iterdir())
    assert list(record) == ["a", "b"]
    assert record["a"] == {"bytes": 3, "sha256": hashlib.sha256(b"one").hexdigest()}
    checksums.check_files(tmp_path, record)
    for content, said in ((b"on", r"a is truncated \(2 of 3 bytes\)"), (b"oneS", "changed"), (b"onE", "changed")):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(InputError, match=said):
            checksums.check_files(tmp_path, record)
    checksums.check_files(tmp_path, record, large=2)  # goes by its size
    (tmp_path / "a").unlink()
    with pytest.raises(InputError, match="a does not exist"):
        checksums.check_files(tmp_path, record, large=2)
