"""What a training script needs to go on after it was stopped: written whole, checked before use, gone after success.

    results/<study>/checkpoints/<run>/<identity>/step-00000037/    whatever the loop saved, and checkpoint.json

`identity` is a hash of everything that decides the run (`provenance.origin`): a checkpoint of another configuration,
other data, code or libraries is not continued, and stays until the run has succeeded. checkpoint.json holds the size
and hash of every other file.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from goodhart.errors import InputError
from goodhart.runtime import distributed
from goodhart.runtime.signals import Stopped, defer_signals, stoppable
from goodhart.store.checksums import sha256
from goodhart.store.files import publish, read_json, write_json
from goodhart.store.provenance import digest, origin_of

RECORD, STATE = "checkpoint.json", "state.pt"
LIBRARIES = ("torch", "transformers", "trl", "peft")
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

    def __init__(self, root: Path, identity: Mapping[str, Any], minutes: float, outputs: Sequence[Path] = ()) -> None:
        """`identity` is the origin of the `outputs`; the libraries that train, and where, decide a run as well."""
        self.root, self.minutes, self.outputs, self.identity = root, minutes, outputs, identity
        self.folder = root / digest({"origin": identity, "libraries": {name: version(name) for name in LIBRARIES}})[:16]
        self.step = 0
        self._last = time.monotonic()

    def __enter__(self) -> Checkpoints:
        waited = False
        if distributed.rank() == 0:
            self._lock, waited = _lock(self.root)
        if (
            distributed.agree(waited)
            and self.outputs
            and all(origin_of(path) == self.identity for path in self.outputs)
        ):
            self._say("done meanwhile by the other process")
            sys.exit(0)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if distributed.rank():
            return
        if kind is None or not any(self.root.glob("*/step-*")):
            shutil.rmtree(self.root, ignore_errors=True)
        os.close(self._lock)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint of this run that is whole, or None; what is damaged is named and passed over.

        The first process of a job looks, for all.
        """
        found = distributed.gather(self._newest() if distributed.rank() == 0 else None)[0]
        self.step = found.step if found else 0
        return found

    def _newest(self) -> Checkpoint | None:
        for folder in sorted(self.folder.glob("step-*"), reverse=True):
            try:
                found = read_checkpoint(folder)
            except (InputError, OSError) as error:
                self._say(f"{error} It is passed over.")
                continue
            self._say(f"going on after step {found.step}, from {folder}")
            return found
        others = [folder for folder in self.root.glob("*/step-*") if folder.parent != self.folder]
        if others:
            self._say(f"{others[0].parent} is of other inputs, code or libraries; starting from the beginning")
        return None

    def due(self) -> bool:
        """Whether it is time for another one; the first process decides for all."""
        return distributed.agree(time.monotonic() - self._last >= self.minutes * 60)

    def save(self, step: int, write: Callable[[Path], None], notes: Mapping[str, Any] | None = None) -> None:
        """Keep what `write` puts into the folder it is given as the state after `step`, and drop older ones but one.

        A signal waits until it is done. In a job of several processes, all must call this.
        """
        with defer_signals():
            try:
                self._save(step, write, notes or {})
            except InputError as error:  # the disk is full; others may wait for this process where there are several
                if distributed.count() > 1:
                    raise
                self._say(f"no checkpoint of step {step}: {error}")
            self.step, self._last = step, time.monotonic()

    def _save(self, step: int, write: Callable[[Path], None], notes: Mapping[str, Any]) -> None:
        with publish(self.folder / f"step-{step:08d}") as temporary:
            temporary.mkdir(parents=True)
            write(temporary)
            files = sorted(path for path in temporary.rglob("*") if path.is_file())
            sizes = {
                path.relative_to(temporary).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
                for path in files
            }
            write_json(temporary / RECORD, {"step": step, "notes": dict(notes), "files": sizes})
        if distributed.rank() == 0:
            for folder in sorted(self.folder.glob("step-*"))[:-KEPT]:
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def autosave(self, state: Callable[[], tuple[int, dict[str, Any]]]) -> Iterator[Callable[[], None]]:
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
                if distributed.count() == 1:
                    keep()
                raise

    def restore(self) -> dict[str, Any] | None:
        """The newest state that `autosave` saved, on the CPU."""
        import torch

        newest = self.newest()
        return newest and torch.load(newest.folder / STATE, map_location="cpu", weights_only=True)

    @staticmethod
    def _say(what: str) -> None:
        if distributed.rank() == 0:
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


def _lock(root: Path) -> tuple[int, bool]:
    """Lock a run for this process, once any other one that works on it is done; the system unlocks it at its end.

    Returns:
        the open lock, and whether there was another process.
    """
    waited = False
    path = root / "lock"
    while True:
        root.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the other one has just removed the folder
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waited:
                owner = os.read(handle, 200).decode().strip() or "another process"
                print(f"waiting: {owner} is at work on this run", file=sys.stderr, flush=True)
            waited = True
            os.close(handle)
            time.sleep(1)
            continue
        except OSError as error:  # a file system without locks
            print(f"{path} cannot be locked ({error.strerror}); going on without", file=sys.stderr, flush=True)
            return handle, waited
        if _is(handle, path):
            with suppress(OSError):  # on a full disk it is a lock without a name
                os.ftruncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            return handle, waited
        os.close(handle)


def _is(handle: int, path: Path) -> bool:
    """Whether an open file still has its name, and was not removed since."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
