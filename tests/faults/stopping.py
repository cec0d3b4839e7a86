"""Steps of the tiny study in processes of their own, stopped where a test says."""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from goodhart import cli
from tiny_study import Study

Plan = Callable[[pytest.MonkeyPatch], object]  # has to be picklable

# Each step is forked off a server that has imported the large libraries and done nothing else: importing them takes ten
# seconds, and forking this process, whose threads would be missing, may wait for one of them for ever.
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["trl.trainer.dpo_trainer", "trl.trainer.reward_trainer", "pandas", "pyarrow.parquet"])


def run_apart(
    study: Study,
    name: str,
    outputs: Path,
    *plans: Plan,
    after: float | None = None,
    changes: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a step as its script would, in a process of its own, with faults planned or a SIGKILL `after` some seconds.

    Returns:
        its exit code (minus the signal's number if one killed it), and what it wrote.
    """
    log = outputs / f"{name.replace('/', '-')}.stderr"
    outputs.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    step = Study(study.root, {**study.changes, **(changes or {})})
    process = _server.Process(target=_run, args=(step, name, outputs, plans, log))
    process.start()
    if after is not None:
        time.sleep(after)
        process.kill()
    process.join(300)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"{name} did not end: {log.read_text()}")
    return process.exitcode, log.read_text()


def _run(step: Study, name: str, outputs: Path, plans: tuple[Plan, ...], log: Path) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.argv[0] = f"{name.partition('/')[0]}.py"
    try:
        for plan in plans:
            plan(pytest.MonkeyPatch())
        cli.run(lambda: step.run(name, outputs))
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)


@dataclass(frozen=True)
class At:
    """A plan: just before the call of a function of that number, from 1, the process gets a signal or an exception."""

    function: str  # its dotted path
    number: int
    fault: signal.Signals | Exception

    def __call__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        function, calls = pkgutil.resolve_name(self.function), iter(range(1, sys.maxsize))

        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == self.number:
                if isinstance(self.fault, Exception):
                    raise self.fault
                os.kill(os.getpid(), self.fault)
            return function(*args, **kwargs)

        monkeypatch.setattr(self.function, call)


def results(folder: Path) -> dict[str, bytes]:
    """The bytes of every result below a folder: whatever is no log, no checkpoint and no temporary file."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".stderr"]
    parts = {path: path.relative_to(folder).parts for path in files}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if "checkpoints" not in parts[path] and not any(part.startswith(".") for part in parts[path])
    }
