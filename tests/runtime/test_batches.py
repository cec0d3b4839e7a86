"""Work in batches: every row once and in order, whatever the batch, and a batch that does not fit is halved."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from goodhart.errors import InputError
from goodhart.runtime.batches import in_batches, within_memory


def full(room: int, tried: list[int] | None = None):
    """Doubles each row; of more than `room` rows at once it says what a full GPU says."""

    def work(rows: Sequence[int]) -> list[int]:
        if tried is not None:
            tried.append(len(rows))
        if len(rows) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return [2 * row for row in rows]

    return work


@given(count=st.integers(0, 40), size=st.integers(1, 50), room=st.integers(1, 50))
def test_every_row_once_and_in_order_whatever_fits(count: int, size: int, room: int) -> None:
    assert in_batches(full(room), range(count), size, "work") == [2 * row for row in range(count)]


def test_only_the_batch_that_does_not_fit_is_halved() -> None:
    tried: list[int] = []
    in_batches(full(3, tried), range(12), 4, "work")
    assert tried == [4, 2, 2] * 3


def test_a_batch_is_halved_to_a_divisor_and_the_change_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    tried: list[int] = []

    def work(size: int) -> str:
        return f"{len(full(7, tried)(range(size)))} at a time"

    assert within_memory(work, 30, "training") == ("5 at a time", 5)
    assert tried == [30, 15, 5]
    assert "training: 30 rows do not fit into memory, continuing with 15" in capsys.readouterr().err


@pytest.mark.parametrize("smallest", [1, 8])
def test_what_cannot_be_halved_further_is_one_sentence(smallest: int) -> None:
    with pytest.raises(InputError, match=r"scoring: \d rows do not fit .* set a smaller batch size"):
        within_memory(lambda size: full(0)(range(size)), 8, "scoring", smallest)


def test_other_errors_are_not_taken_for_a_full_memory() -> None:
    def work(_size: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        within_memory(work, 8, "work")


def test_an_allocation_the_machine_really_refuses_is_recognised() -> None:
    """2^62 bytes: torch's own error, not one made up here."""
    seen: list[int] = []

    def work(size: int) -> int:
        seen.append(size)
        return len(torch.empty(2**60 if size > 2 else 1, dtype=torch.float32))

    assert within_memory(work, 8, "work") == (1, 2)
    assert seen == [8, 4, 2]
