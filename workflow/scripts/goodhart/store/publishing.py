"""Outputs appear whole or not at all: written under a temporary name, on the disk before they are renamed.

What holds: a file or folder under its own name is whole, and on the disk; it takes the place of an older one in one
step. A step writes its outputs one after the other when all its work is done, so that a failure leaves the older ones
alone. Where it falls between two of them, Snakemake deletes all outputs of a failed job and knows that a killed one was
not finished; a script run by hand is run again.
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

    A failed step leaves what was there before, and no temporary; that of a killed one goes when the same output is
    published next. In a job of several processes, all of which write the same, the first one's is kept.

    Raises:
        InputError: where the disk is full.
    """
    path = Path(path).resolve() if Path(path).is_symlink() else Path(path)  # a link stays one
    temporary, aside = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("tmp", "old"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        yield temporary
        if distributed.rank():
            return
        for each in (*temporary.rglob("*"), temporary):
            _sync(each)
        if path.is_dir():
            if not _exchange(temporary, path):  # then a moment without it, and the old one not gone before the new
                path.rename(aside)
                temporary.rename(path)
        else:
            temporary.replace(path)
        _sync(path.parent)
    except Exception as error:
        if reason := _full(error):
            where = path.parent.absolute()
            raise InputError(f"there is no room for {path.name} in {where} ({reason}); free some and rerun.") from error
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
        if error.errno != errno.EINVAL:  # a folder, on a file system that syncs none
            raise
    finally:
        os.close(handle)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step, where the system can."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    here = -100  # AT_FDCWD
    return library.renameat2(here, os.fsencode(one), here, os.fsencode(other), 2) == 0  # 2: RENAME_EXCHANGE


def _clear(path: Path) -> None:
    """Remove what writers of `path` left that were killed; an old folder one of them had moved aside comes back."""
    for left in path.parent.glob(f".{path.name}.*"):
        number, _, end = left.name.removeprefix(f".{path.name}.").partition(".")
        if end in ("tmp", "old") and number.isdigit() and not _runs(int(number)):
            if end == "old" and not path.exists():
                left.rename(path)
            _remove(left)


def _runs(process: int) -> bool:
    """Whether another process of that number runs; this one has left nothing yet."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _full(error: BaseException | None) -> str | None:
    """Why a disk takes no more, if that is what an error says, or the one that it arose from.

    Libraries written in other languages only say it, and others fail again as they clean up.
    """
    while error:
        for number, text in FULL.items():
            if getattr(error, "errno", None) == number or f"os error {number})" in str(error) or text in str(error):
                return text
        error = error.__context__
    return None
