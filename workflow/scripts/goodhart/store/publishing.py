"""Atomic outputs: written under a temporary name, synced to disk and then renamed.

A file or folder under its final name is therefore complete and on disk, and replaces an older one atomically. A step
writes its outputs one after the other once all its work is done, so that an earlier failure leaves older outputs
unchanged. After a failure between two outputs, Snakemake deletes all outputs of a failed job, and marks those of a
killed job as incomplete; a script that was run by hand must be rerun.
"""

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from goodhart.errors import InputError
from goodhart.runtime import distributed

FULL = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded", errno.EFBIG: "File too large"}


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write a file or folder to; rename it to `path` on success only.

    A failed step leaves the previous output and no temporary. The temporary of a killed step is removed when the same
    output is published next. In a job of several processes, which all write the same content, rank 0 publishes.

    Raises:
        InputError: if the disk is full.
    """
    path = Path(path).resolve() if Path(path).is_symlink() else Path(path)  # a symbolic link stays a link
    temporary, aside = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("tmp", "old"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        yield temporary
        if distributed.rank():
            return
        for each in (*temporary.rglob("*"), temporary):
            _sync(each)
        if not (path.is_dir() and _exchange(temporary, path)):
            if path.is_dir():  # path is missing for a moment, but the old output remains until then
                path.rename(aside)
            temporary.replace(path)
        _sync(path.parent)
    except Exception as error:
        if reason := _full(error):
            where = path.parent.absolute()
            raise InputError(f"there is no room for {path.name} in {where} ({reason}); make room and rerun.") from error
        raise
    finally:
        if aside.exists() and not path.exists():
            aside.rename(path)
        for left in (temporary, aside):
            _remove(left)


def _sync(path: Path) -> None:
    """Force a file or a folder onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: a file system that cannot sync folders
            raise
    finally:
        os.close(handle)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names atomically; return False where the system does not support it."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    here = -100  # AT_FDCWD
    return library.renameat2(here, os.fsencode(one), here, os.fsencode(other), 2) == 0  # 2: RENAME_EXCHANGE


def _clear(path: Path) -> None:
    """Remove temporaries left by killed writers of `path`; restore an old folder that one of them had moved aside."""
    for left in path.parent.glob(f".{path.name}.*"):
        number, _, end = left.name.removeprefix(f".{path.name}.").partition(".")
        if end in ("tmp", "old") and number.isdigit() and not _runs(int(number)):
            if end == "old" and not path.exists():
                left.rename(path)
            _remove(left)


def _runs(process: int) -> bool:
    """Whether another process with that id runs; this process has left no temporary yet."""
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return process != os.getpid()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _full(error: BaseException | None) -> str | None:
    """Why the disk is full, if an error or one of the errors in its context reports this.

    Libraries in other languages report it in the message only, and some fail again during cleanup.
    """
    while error:
        for number, text in FULL.items():
            if getattr(error, "errno", None) == number or f"os error {number})" in str(error) or text in str(error):
                return text
        error = error.__context__
    return None
