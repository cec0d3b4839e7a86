"""A number that is not finite: which sentence a user reads, and what is in the file it names."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from goodhart.errors import InputError
from goodhart.runtime.finite import NotFinite, Watched, dump_on_nan, label_step


def watched() -> Watched:
    return Watched("online update", 7, prompt=["a", "b", "c"], tokens=[[1], [2, 3], []])


def test_finite_numbers_pass_and_come_back() -> None:
    rows, values = watched(), torch.tensor([[1.0, -2.0], [0.0, 3e38], [-3e38, 1e-45]])
    assert rows.add("reward", values) is values
    assert rows.add("advantage", values[:, 0]) is not None
    rows.check("loss", -1e300)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_rows_are_kept_as_far_as_they_are_known(tmp_path: Path, value: float) -> None:
    path = tmp_path / "run" / "stopped.json"
    rows = watched()
    rows.add("reward", torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    with pytest.raises(NotFinite) as caught, dump_on_nan(path, seed=3):
        rows.add("logprob", torch.tensor([-1.5, value, value]))
    assert isinstance(caught.value, InputError)
    assert str(caught.value) == (
        f"online update 7: logprob is not finite in 2 of 3 rows; the batch is in {path}: look at its rows, or train "
        "with a lower learning rate."
    )
    assert json.loads(path.read_text()) == {
        "where": "online update",
        "step": 7,
        "what": "logprob is not finite in 2 of 3 rows",
        "seed": 3,
        "offending": [1, 2],
        "rows": [
            {"prompt": "a", "tokens": [1], "reward": [1.0, 2.0], "logprob": -1.5},
            {"prompt": "b", "tokens": [2, 3], "reward": [3.0, 4.0], "logprob": str(value)},
            {"prompt": "c", "tokens": [], "reward": [5.0, 6.0], "logprob": str(value)},
        ],
    }
    assert [file.name for file in path.parent.iterdir()] == ["stopped.json"]


def test_one_number_of_a_batch_offends_with_no_row(tmp_path: Path) -> None:
    with (
        pytest.raises(NotFinite, match=r"^online update 7: loss is -inf; ") as caught,
        dump_on_nan(tmp_path / "stopped.json"),
    ):
        watched().check("loss", -math.inf)
    assert caught.value.offending == ()
    assert len(json.loads((tmp_path / "stopped.json").read_text())["rows"]) == 3


def test_what_comes_from_deeper_down_is_told_where_it_was() -> None:
    with pytest.raises(NotFinite) as caught, label_step("evaluation after update", 0):
        raise NotFinite("reward is nan", [], where="sampling")
    assert str(caught.value) == "evaluation after update 0: reward is nan; train with a lower learning rate."


def test_a_run_that_ends_well_removes_what_an_earlier_one_left_and_other_errors_do_not(tmp_path: Path) -> None:
    path = tmp_path / "stopped.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="another"), dump_on_nan(path):
        raise InputError("another sentence.")
    assert path.read_text() == "{}"
    for _ in range(2):
        with dump_on_nan(path):
            pass
        assert not path.exists()
