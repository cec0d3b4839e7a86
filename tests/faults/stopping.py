"""Steps of the tiny study in processes of their own, stopped where a test says."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from goodhart import commandline
from tiny_study import Study

Plan = Callable[[pytest.MonkeyPatch], None]


def run_apart(
    study: Study,
    name: str,
    outputs: Path,
    plan: Plan = lambda _: None,
    after: float | None = None,
    changes: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a step as its script would, in a forked process, with faults planned or a SIGKILL `after` so many seconds.

    Returns:
        its exit code (minus the signal's number if one killed it), and what it wrote to stderr.
    """
    log = outputs / f"{name.replace('/', '-')}.stderr"
    outputs.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.argv[0] = f"{name.partition('/')[0]}.py"
        try:
            plan(pytest.MonkeyPatch())
            commandline.run(lambda: Study(study.root, changes).run(name, outputs))
        except SystemExit as error:
            os._exit(int(error.code or 0))
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(70)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), log.read_text()


def at_call(owner: Any, name: str, number: int, fault: Callable[[], None]) -> Plan:
    """A plan: `fault` just before the call of `owner.name` of that number, from 1."""

    def plan(monkeypatch: pytest.MonkeyPatch) -> None:
        function, calls = getattr(owner, name), iter(range(1, sys.maxsize))

        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == number:
                fault()
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    return plan


def send(number: signal.Signals) -> Callable[[], None]:
    """A fault: this process gets the signal."""
    return lambda: os.kill(os.getpid(), number)


def results(folder: Path) -> dict[str, bytes]:
    """The bytes of every result below a folder: whatever is no log, no checkpoint and no temporary file."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".stderr")
    files = (path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if "checkpoints" not in path.relative_to(folder).parts
    }
