"""A seal shows any change of a file; the record of a folder any change in it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from goodhart import seals
from goodhart.errors import InputError

CONTENT = b"before " + seals.BLANK.encode() + b" after"


def test_the_digest_is_of_the_file_with_zeros_in_its_place() -> None:
    sealed = seals.sealed(CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest().encode()
    assert sealed == b"before goodhart-sha256:" + digest + b":goodhart-sha256 after"
    assert seals.check_seal(sealed, Path("a"))


def test_every_flipped_bit_is_told() -> None:
    """The seal's own among them."""
    sealed = seals.sealed(CONTENT)
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InputError, match="a was changed or damaged after it was made; rerun the step that makes"):
            seals.check_seal(bytes(changed), Path("a"))


def test_a_file_without_a_seal_is_of_someone_else() -> None:
    assert not seals.check_seal(b"anything", Path("a"))


@pytest.mark.parametrize("content", [b"no seal", CONTENT + CONTENT])
def test_a_seal_needs_one_place(content: bytes) -> None:
    with pytest.raises(ValueError, match="no single blank seal"):
        seals.sealed(content)


def test_the_record_of_a_folder(tmp_path: Path) -> None:
    for name, content in (("b", b"two"), ("a", b"one")):
        (tmp_path / name).write_bytes(content)
    record = seals.describe_files(tmp_path.iterdir())
    assert list(record) == ["a", "b"]
    assert record["a"] == {"bytes": 3, "sha256": hashlib.sha256(b"one").hexdigest()}
    assert seals.sha256(tmp_path / "a", tmp_path / "b") == hashlib.sha256(b"onetwo").hexdigest()
    seals.check_files(tmp_path, record)
    for content, said in ((b"on", r"a is truncated \(2 of 3 bytes\)"), (b"oneS", "changed"), (b"onE", "changed")):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(InputError, match=said):
            seals.check_files(tmp_path, record)
    seals.check_files(tmp_path, record, large=2)  # goes by its size
    (tmp_path / "a").unlink()
    with pytest.raises(InputError, match="a does not exist"):
        seals.check_files(tmp_path, record, large=2)
