"""An output is whole or not there: what killed writers left goes, a full disk is told, a folder is replaced at once."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from goodhart.errors import InputError
from goodhart.store import publishing
from goodhart.store.publishing import publish
from house import wait_for

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def write(path: Path, text: str, folder: bool) -> None:
    with publish(path) as temporary:
        if folder:
            temporary.mkdir()
        (temporary / "part" if folder else temporary).write_text(text)


def dead() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_writer_left_goes_with_the_next_output(tmp_path: Path) -> None:
    alive = f".out.{os.getppid()}.tmp"
    for name in (f".out.{dead()}.tmp", f".out.{os.getpid()}.tmp", alive, ".out.tmp", ".out.x.tmp", ".other.1.tmp"):
        (tmp_path / name).write_text("half")
    (tmp_path / f".out.{dead()}.old").mkdir()
    write(tmp_path / "out", "whole", folder=False)
    assert {p.name for p in tmp_path.iterdir()} == {"out", alive, ".out.tmp", ".out.x.tmp", ".other.1.tmp"}
    assert (tmp_path / "out").read_text() == "whole"


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_that_was_moved_aside_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    """As after a kill between the two renames of a system that cannot swap names; then the next writer fails too."""
    if not exchange:
        monkeypatch.setattr(publishing, "_exchange", lambda *_: False)
    write(tmp_path / "out", "old", folder=True)
    (tmp_path / "out").rename(tmp_path / f".out.{dead()}.old")
    with pytest.raises(RuntimeError), publish(tmp_path / "out"):
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    write(tmp_path / "out", "new", folder=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out/part").read_text() == "new"


def test_a_folder_is_there_at_every_moment_of_its_replacement(tmp_path: Path) -> None:
    """Another process replaces it again and again and is killed; every look finds it, at last whole."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom goodhart.store.publishing import publish\n"
        "for text in map(str, range(10**6)):\n"
        "    with publish(Path(sys.argv[1])) as folder:\n"
        "        folder.mkdir()\n"
        "        for name in 'ab': (folder / name).write_text(text)\n"
    )
    output = tmp_path / "out"
    writer = subprocess.Popen([sys.executable, "-c", code, str(output)], cwd=SCRIPTS)
    try:
        wait_for(output.exists)
        end = time.monotonic() + 2
        looks = [output.is_dir() for _ in iter(lambda: time.monotonic() < end, False)]
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert all(looks)
    texts = {(output / name).read_text() for name in "ab"}
    assert len(texts) == 1
    assert int(texts.pop()) > 1
    write(output, "last", folder=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("folder", [False, True])
def test_a_full_disk_is_told_in_one_sentence(tmp_path: Path, folder: bool) -> None:
    """A limit on the size of files stands for it; it needs no right to mount anything."""
    write(tmp_path / "out", "old", folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(InputError) as caught:
            write(tmp_path / "out", "x" * 5000, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == f"there is no room for out in {tmp_path} (File too large); make room and rerun."
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out/part" if folder else tmp_path / "out").read_text() == "old"


def test_an_error_of_cleaning_up_does_not_hide_the_full_disk(tmp_path: Path) -> None:
    """As in matplotlib, which closes a PDF that it could not begin."""

    def fail_twice() -> None:
        with publish(tmp_path / "out"):
            try:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                raise AttributeError

    with pytest.raises(InputError, match="there is no room for out in"):
        fail_twice()


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), True),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), True),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), True),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), False),
        (RuntimeError("something else"), False),
    ],
)
def test_what_says_that_a_disk_is_full(tmp_path: Path, error: Exception, full: bool) -> None:
    """In whatever language a library was written."""

    def fail_half_way() -> None:
        with publish(tmp_path / "out") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(InputError if full else type(error)):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []
