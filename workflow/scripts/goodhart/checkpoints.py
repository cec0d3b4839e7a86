"""What a training script needs to go on after it was stopped: written whole, checked before use, gone after success.

    results/<study>/checkpoints/<run>/<identity>/step-00000037/    whatever the loop saved, and checkpoint.json

`identity` is a hash of everything that decides the run (`provenance.origin`): a checkpoint of another configuration,
other data or other code is left alone, not continued. checkpoint.json holds the size and hash of every other file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from goodhart import processes
from goodhart.artifacts import publish, read_json, write_json
from goodhart.errors import InputError
from goodhart.interruption import Stopped, held, stoppable
from goodhart.manifest import sha256

RECORD, STATE = "checkpoint.json", "state.pt"
KEPT = 2  # the newest, and one to fall back on


class Checkpoint(NamedTuple):
    """A valid checkpoint: its folder, the steps done, and what the loop noted beside its state."""

    folder: Path
    step: int
    notes: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, and the right to write them, which one process at a time has.

        with Checkpoints(folder, origin, minutes) as checkpoints:
            ...  # train from checkpoints.newest(), save when checkpoints.due(), publish the results

    Left without an exception, the folder is removed; otherwise it stays for the next attempt.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any], minutes: float) -> None:
        self.root, self.minutes = root, minutes
        self.folder = root / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        self.step = 0
        self._last = time.monotonic()

    def __enter__(self) -> Checkpoints:
        if processes.rank() == 0:
            self._lock = _lock(self.root)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if processes.rank():
            return
        if kind is None or not any(self.root.glob("*/step-*")):
            shutil.rmtree(self.root, ignore_errors=True)
        os.close(self._lock)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint of this run that is whole, or None; what is damaged is named and passed over."""
        for folder in sorted(self.folder.glob("step-*"), reverse=True):
            try:
                found = read_checkpoint(folder)
            except InputError as error:
                self._say(f"{error} It is passed over.")
                continue
            self._say(f"going on after step {found.step}, from {folder}")
            self.step = found.step
            return found
        others = [folder for folder in self.root.glob("*/step-*") if folder.parent != self.folder]
        if others:
            self._say(f"{others[0].parent} is of another configuration, data or code; starting from the beginning")
        return None

    def due(self) -> bool:
        """Whether it is time for another one; the first process decides for all."""
        return processes.agree(time.monotonic() - self._last >= self.minutes * 60)

    def save(self, step: int, write: Callable[[Path], None], notes: Mapping[str, Any] | None = None) -> None:
        """Keep what `write` puts into the folder it is given as the state after `step`, and drop older ones but one.

        A signal waits until it is done. In a job of several processes, all must call this.
        """
        with held():
            with publish(self.folder / f"step-{step:08d}") as temporary:
                temporary.mkdir(parents=True)
                write(temporary)
                files = sorted(path for path in temporary.rglob("*") if path.is_file())
                sizes = {
                    path.relative_to(temporary).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
                    for path in files
                }
                write_json(temporary / RECORD, {"step": step, "notes": dict(notes or {}), "files": sizes})
            self.step, self._last = step, time.monotonic()
            if processes.rank() == 0:
                for folder in sorted(self.folder.glob("step-*"))[:-KEPT]:
                    shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def keeping(self, state: Callable[[], tuple[int, dict[str, Any]]]) -> Iterator[Callable[[], None]]:
        """For a loop of our own: yields what it calls after each step, which saves `state()` when that is due.

        `state` returns the steps done and what torch can save. A signal ends the loop in mid-step, and the state is
        saved as the last whole step left it; in a job of one process only, as several might stop at different steps.
        """
        import torch

        def keep() -> None:
            step, content = state()
            self.save(step, lambda folder: torch.save(content, folder / STATE))

        with stoppable():
            try:
                yield lambda: keep() if self.due() else None
            except Stopped:
                if processes.count() == 1:
                    keep()
                raise

    def restore(self) -> dict[str, Any] | None:
        """The newest state that `keeping` saved, on the CPU."""
        import torch

        newest = self.newest()
        return newest and torch.load(newest.folder / STATE, map_location="cpu", weights_only=True)

    @staticmethod
    def _say(what: str) -> None:
        if processes.rank() == 0:
            print(what, file=sys.stderr, flush=True)


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, every byte of it checked, or `InputError` with what is wrong."""
    record = read_json(folder / RECORD, ["step", "notes", "files"])
    for name, expected in record["files"].items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"checkpoint {folder} lacks {name}.")
        if path.stat().st_size != expected["bytes"] or sha256(path) != expected["sha256"]:
            raise InputError(f"checkpoint {folder} is damaged: {name} is not what was written.")
    return Checkpoint(folder, record["step"], record["notes"])


def _lock(root: Path) -> int:
    """Lock a run for this process, once any other one that works on it is done; the system unlocks it at its end."""
    told = False
    while True:
        root.mkdir(parents=True, exist_ok=True)
        path = root / "lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                os.ftruncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                return handle
        except BlockingIOError:
            if not told:
                print(f"waiting: {path.read_text().strip()} is at work on this run", file=sys.stderr, flush=True)
                told = True
            time.sleep(1)
        except OSError as error:  # a file system without locks
            print(f"{path} cannot be locked ({error.strerror}); going on without", file=sys.stderr, flush=True)
            return handle
        os.close(handle)
