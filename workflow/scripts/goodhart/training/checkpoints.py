"""What a training script needs to go on after it was stopped: written whole, checked before use, gone after success.

    results/<study>/checkpoints/<run>/<origin>/step-00000037/    whatever the loop saved, and checkpoint.json

`origin` is a hash of everything that decides the run (`provenance.Origin`): a checkpoint of another configuration,
other data, code or libraries is not continued, and stays until the run has succeeded. checkpoint.json holds the size
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

from filelock import FileLock, Timeout

from goodhart.errors import InputError
from goodhart.runtime import distributed
from goodhart.runtime.signals import Stopped, defer_signals, stoppable
from goodhart.store.checksums import check_files, describe_files, digest
from goodhart.store.files import publish, read_json, write_json
from goodhart.store.provenance import Origin

RECORD, STATE = "checkpoint.json", "state.pt"
LIBRARIES = ("torch", "transformers", "trl", "peft")
NEWEST = 2  # the newest, and one to fall back on


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

    def __init__(self, root: Path, origin: Mapping[str, Any], minutes: float, outputs: Sequence[Path] = ()) -> None:
        """`origin` is that of the `outputs`; the libraries that train, and where, decide a run as well."""
        self.root, self.minutes, self.outputs, self.origin = root, minutes, outputs, origin
        self.folder = root / digest({"origin": origin, "libraries": {name: version(name) for name in LIBRARIES}})[:16]
        self.step = 0
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        waited = False
        if distributed.rank() == 0:
            self._lock, waited = _lock(self.root)
        if distributed.agree(waited) and self.outputs and all(Origin.read(p) == self.origin for p in self.outputs):
            self._say("done meanwhile by the other process")
            sys.exit(0)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if distributed.rank():
            return
        if kind is None or not any(self.root.glob("*/step-*")):
            shutil.rmtree(self.root, ignore_errors=True)
        self._lock.release()

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
                record = read_json(folder / RECORD, ["step", "notes", "files"])
                check_files(folder, record["files"])
            except (InputError, OSError) as error:
                self._say(f"{str(error).partition(';')[0]}. It is passed over.")
                continue
            self._say(f"going on after step {record['step']}, from {folder}")
            return Checkpoint(folder, record["step"], record["notes"])
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
            files = describe_files(temporary, (path for path in temporary.rglob("*") if path.is_file()))
            write_json(temporary / RECORD, {"step": step, "notes": dict(notes), "files": files})
        if distributed.rank() == 0:
            for folder in sorted(self.folder.glob("step-*"))[:-NEWEST]:
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


def _lock(root: Path) -> tuple[FileLock, bool]:
    """Lock a run for this process, once any other one that works on it is done; the system unlocks it at its end.

    Returns:
        the lock, and whether there was another process.
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
                print(f"waiting: {owner} is at work on this run", file=sys.stderr, flush=True)
        except FileNotFoundError:  # the other one has just removed the folder
            continue
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            print(f"{path} cannot be locked ({error.strerror}); going on without", file=sys.stderr, flush=True)
            return lock, waited


def _sign(handle: int) -> None:
    """Write into a lock which process has it; on a full disk the lock stays empty."""
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
