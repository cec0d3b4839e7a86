"""The lock of a run: one process at a time, where the file system can lock; what is saved comes back whole."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from goodhart.training.checkpoints import Checkpoints


def test_the_lock_says_whose_it_is_and_goes_with_the_run(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "run", {}, 5):
        assert (tmp_path / "run/lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_said_and_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with Checkpoints(tmp_path / "run", {}, 5) as checkpoints:
        checkpoints.save(3, lambda folder: (folder / "state").write_text("3"), {"loss": 1.0})
        found = checkpoints.newest()
    assert found is not None
    assert (found.step, found.notes) == (3, {"loss": 1.0})
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path / 'run/lock'} cannot be locked (No locks available); continuing without it\n")
    assert list(tmp_path.iterdir()) == []


def test_another_failure_to_lock_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(OSError, match="Input/output error"), Checkpoints(tmp_path / "run", {}, 5):
        pass
