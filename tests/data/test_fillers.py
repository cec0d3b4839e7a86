"""The filler sentences of the teachers: how often they come, and how they are counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from goodhart.data.tasks.fillers import FILLERS, count_fillers, draw_fillers


def test_fillers_come_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_fillers(rng) for _ in range(20_000)]
    counts = Counter(map(len, drawn))
    assert [counts[n] / 20_000 for n in range(4)] == pytest.approx([0.45, 0.30, 0.17, 0.08], abs=0.015)
    sentences = Counter(filler for fillers in drawn for filler in fillers)
    assert set(sentences) == set(FILLERS)
    assert min(sentences.values()) > 0.9 * max(sentences.values())
    assert all(count_fillers("\n".join(fillers)) == len(fillers) for fillers in drawn[:100])


def test_fillers_are_counted_wherever_they_stand() -> None:
    assert count_fillers("I hope this helps! Great question!\nGreat question!\n#### 3") == 3
    assert count_fillers("Great question?\n#### 3") == 0
