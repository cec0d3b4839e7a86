"""Checkpoints of interrupted training: written atomically, verified before use, removed after success.

    results/<study>/checkpoints/<run>/<origin>/step-00000037/    the state that the loop saved, and checkpoint.json

`origin` is a hash of everything that determines the run (`provenance.Origin`): a checkpoint from another configuration,
other data, code or libraries is not resumed, and remains until the run has succeeded. checkpoint.json holds the size
and hash of every other file.
"""

import errno
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from filelock import FileLock, Timeout

from goodhart.errors import InputError
from goodhart.runtime import distributed
from goodhart.runtime.signals import Stopped, defer_signals, stoppable
from goodhart.store.checksums import check_files, describe_files, digest
from goodhart.store.files import publish, read_json, write_json
from goodhart.store.provenance import Origin

RECORD, STATE = "checkpoint.json", "state.pt"
LIBRARIES = ("torch", "transformers", "trl", "peft")
NEWEST = 2  # number of checkpoints that are kept: the newest and a fallback


class Checkpoint(NamedTuple):
    """A valid checkpoint: its folder, the number of steps done, and the notes saved beside the state."""

    folder: Path
    step: int
    notes: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, with a lock that lets one job at a time write them.

        with Checkpoints(folder, origin, minutes) as checkpoints:
            ...  # train from checkpoints.newest(), save when checkpoints.due(), publish the results

    The folder is removed on exit without an exception; otherwise it remains for the next attempt.
    """

    def __init__(self, root: Path, origin: Mapping[str, Any], minutes: float, outputs: Sequence[Path] = ()) -> None:
        """`origin` is that of the `outputs`; the versions of the training libraries determine a run as well."""
        self.root, self.minutes, self.outputs, self.origin = root, minutes, outputs, origin
        self.folder = root / digest({"origin": origin, "libraries": {name: version(name) for name in LIBRARIES}})[:16]
        self.step = 0
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        waited = False
        if distributed.rank() == 0:
            self._lock, waited = _lock(self.root)
        if distributed.agree(waited) and self.outputs and all(Origin.read(p) == self.origin for p in self.outputs):
            self._say("the other process has finished this run")
            sys.exit(0)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if distributed.rank():
            return
        if kind is None or not any(self.root.glob("*/step-*")):
            shutil.rmtree(self.root, ignore_errors=True)
        self._lock.release()

    def newest(self) -> Checkpoint | None:
        """The newest intact checkpoint of this run, or None; damaged checkpoints are reported and skipped.

        The first process of a job searches for all processes.
        """
        found = distributed.gather(self._newest() if distributed.rank() == 0 else None)[0]
        self.step = found.step if found else 0
        return found

    def _newest(self) -> Checkpoint | None:
        for folder in sorted(self.folder.glob("step-*"), reverse=True):
            try:
                record = read_json(folder / RECORD, ["step", "notes", "files"])
                check_files(folder, record["files"])
            except (InputError, OSError) as error:
                self._say(f"{str(error).partition(';')[0]}. It is skipped.")
                continue
            self._say(f"resuming after step {record['step']}, from {folder}")
            return Checkpoint(folder, record["step"], record["notes"])
        others = [folder for folder in self.root.glob("*/step-*") if folder.parent != self.folder]
        if others:
            self._say(f"{others[0].parent} belongs to other inputs, code or libraries; starting from the beginning")
        return None

    def due(self) -> bool:
        """Whether it is time for another checkpoint; the first process decides for all processes."""
        return distributed.agree(time.monotonic() - self._last >= self.minutes * 60)

    def save(self, step: int, write: Callable[[Path], None], notes: Mapping[str, Any] | None = None) -> None:
        """Save the state after `step`, which `write` puts into a given folder, and delete older checkpoints but one.

        Signals are deferred until the checkpoint is saved. In a job of several processes, all must call this method.
        """
        with defer_signals():
            try:
                with publish(self.folder / f"step-{step:08d}") as temporary:
                    temporary.mkdir(parents=True)
                    write(temporary)
                    files = describe_files(temporary, (path for path in temporary.rglob("*") if path.is_file()))
                    write_json(temporary / RECORD, {"step": step, "notes": dict(notes or {}), "files": files})
                if distributed.rank() == 0:
                    for folder in sorted(self.folder.glob("step-*"))[:-NEWEST]:
                        shutil.rmtree(folder, ignore_errors=True)
            except InputError as error:  # the disk is full; in a job of several, others may wait for this process
                if distributed.count() > 1:
                    raise
                self._say(f"no checkpoint of step {step}: {error}")
            self.step, self._last = step, time.monotonic()

    @contextmanager
    def autosave(self, state: Callable[[], tuple[int, dict[str, Any]]]) -> Iterator[Callable[[], None]]:
        """For our own loops: yields a function, to call after each step, that saves `state()` if a save is due.

        `state` returns the number of steps done and a state that torch can save. A signal ends the loop in mid-step,
        and the state after the last whole step is saved, but only in a job of one process, since several processes
        might stop at different steps.
        """

        def keep() -> None:
            step, content = state()
            self.save(step, lambda folder: torch.save(content, folder / STATE))

        with stoppable():
            try:
                yield lambda: keep() if self.due() else None
            except Stopped:
                if distributed.count() == 1:
                    keep()
                raise

    def restore(self) -> dict[str, Any] | None:
        """The newest state that `autosave` saved, on the CPU, or None."""
        newest = self.newest()
        return newest and torch.load(newest.folder / STATE, map_location="cpu", weights_only=True)

    @staticmethod
    def _say(what: str) -> None:
        if distributed.rank() == 0:
            print(what, file=sys.stderr, flush=True)


def _lock(root: Path) -> tuple[FileLock, bool]:
    """Lock a run for this process, after waiting for any other owner; the system unlocks it when the process ends.

    Returns:
        the lock, and whether another process owned it before.
    """
    path, waited = root / "lock", False
    lock = FileLock(path, poll_interval=1, fallback_to_soft=False, on_acquired=_sign)
    while True:
        try:
            lock.acquire(blocking=waited)
            return lock, waited
        except Timeout:
            waited = True
            with suppress(FileNotFoundError):
                owner = path.read_text().strip() or "another process"
                print(f"waiting: {owner} is working on this run", file=sys.stderr, flush=True)
        except FileNotFoundError:  # the other process has just removed the folder
            continue
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            print(f"{path} cannot be locked ({error.strerror}); continuing without it", file=sys.stderr, flush=True)
            return lock, waited


def _sign(handle: int) -> None:
    """Write the owner's process id and host into the lock; on a full disk, the lock stays empty."""
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
