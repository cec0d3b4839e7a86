"""Scripts that a server of imported libraries runs: in every way as `python SCRIPT` would run them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from goodhart.launch import warm
from house import wait_for

SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
import beside
print(json.dumps({"argv": sys.argv, "file": __file__, "name": __name__, "folder": os.getcwd(), "path": sys.path[0],
    "colour": os.environ.get("COLOUR"), "mask": os.umask(0o777), "warm": "warmed" in sys.modules, "beside": beside.X}))
print("to stderr", file=sys.stderr, flush=True)
Path(f"began-{sys.argv[1]}").open("a").write("once ")
what = sys.argv[1]
if what == "exit":
    sys.exit(7)
if what == "fail":
    raise ValueError("broken")
if what == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if what == "wait":
    signal.signal(signal.SIGTERM, lambda *_: (Path("told").touch(), sys.exit(3)))
    Path("waiting").write_text(str(os.getpid()))
    time.sleep(60)
"""
SERVE = "import sys; from goodhart.launch import warm; warm.LIBRARIES = ('warmed',)"
SERVE += "; warm.serve(sys.argv[1])"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/script.py").write_text(SCRIPT)
    (tmp_path / "scripts/beside.py").write_text("X = 5")
    (tmp_path / "warmed.py").touch()
    return tmp_path


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "120"]) as process:
        yield process
        process.kill()


@pytest.fixture
def server(folder: Path, owner: subprocess.Popen[bytes]) -> Iterator[str]:
    """The name of a server that listens, and has imported nothing but a module of ours."""
    name = f"warm-{owner.pid}"
    paths = {**os.environ, "PYTHONPATH": f"{Path(warm.__file__).parents[2]}:{folder}"}
    (folder / f"{name}.log").touch()
    with subprocess.Popen([sys.executable, "-c", SERVE, name], cwd=folder, env=paths) as process:
        wait_for(lambda: (folder / name).exists())
        yield name
        process.kill()


@pytest.fixture
def start(folder: Path) -> Start:
    def call(name: str, *argv: str, **options: Any) -> subprocess.Popen[str]:
        line = [sys.executable, "-S", warm.__file__, name, "scripts/script.py", *argv]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(line, **{"cwd": folder, "env": {**os.environ, "COLOUR": "red"}, **pipes, **options})

    return call


def test_a_script_sees_what_it_would_see_alone(server: str, start: Start, folder: Path) -> None:
    output, errors = start(server, "go", "--flag", "a b", umask=0o027).communicate(timeout=30)
    assert json.loads(output) == {
        "argv": ["scripts/script.py", "go", "--flag", "a b"],
        "file": str(folder / "scripts/script.py"),
        "name": "__main__",
        "folder": str(folder),
        "path": str(folder / "scripts"),
        "colour": "red",
        "mask": 0o027,
        "warm": True,
        "beside": 5,
    }
    assert errors == "to stderr\n"


def test_the_caller_ends_as_the_script_does(server: str, start: Start, folder: Path) -> None:
    running = {what: start(server, what) for what in ("go", "exit", "fail", "kill")}
    ended = {what: process.communicate(timeout=30)[1] for what, process in running.items()}
    assert {what: process.returncode for what, process in running.items()} == {
        "go": 0,
        "exit": 7,
        "fail": 1,
        "kill": -signal.SIGKILL,
    }
    assert ended["kill"].endswith("script.py: ended by SIGKILL\n")
    assert ended["fail"].endswith("ValueError: broken\n")
    assert {(folder / f"began-{what}").read_text() for what in running} == {"once "}


def test_signals_reach_the_script(server: str, start: Start, folder: Path) -> None:
    caller = start(server, "wait")
    wait_for((folder / "waiting").exists)
    caller.send_signal(signal.SIGTERM)
    caller.communicate(timeout=30)
    assert caller.returncode == 3
    assert (folder / "told").exists()


def test_a_signal_that_comes_early_is_not_lost(server: str, start: Start, folder: Path) -> None:
    callers = [start(server, "wait") for _ in range(4)]
    for number, caller in enumerate(callers):
        time.sleep(0.02 * number)
        caller.send_signal(signal.SIGTERM)
    for caller in callers:
        caller.communicate(timeout=30)
        assert caller.returncode in (3, -signal.SIGTERM)


def test_a_script_dies_with_a_caller_that_is_killed(server: str, start: Start, folder: Path) -> None:
    caller = start(server, "wait")
    script = int(wait_for(lambda: (folder / "waiting").exists() and (folder / "waiting").read_text()))
    assert script != caller.pid
    caller.kill()
    wait_for(lambda: not Path(f"/proc/{script}").exists(), seconds=10)
    assert not (folder / "told").exists()
    caller.communicate()


def test_without_a_server_it_is_plain_python(start: Start, folder: Path, owner: subprocess.Popen[bytes]) -> None:
    name = f"warm-{owner.pid}"
    with (folder / f"{name}.log").open("w") as log:
        fcntl.flock(log, fcntl.LOCK_EX)  # another call has started one, which is not there yet
        caller = start(name, "exit")
        output, _ = caller.communicate(timeout=30)
    assert caller.returncode == 7
    assert json.loads(output)["warm"] is False
    assert sorted(path.name for path in folder.glob("warm-*")) == [f"{name}.log"]


def test_an_environment_too_large_for_the_server_is_run_by_plain_python(server: str, start: Start) -> None:
    large = {f"LARGE_{number}": "x" * 100_000 for number in range(4)}
    output, _ = start(server, "go", env={**os.environ, **large}).communicate(timeout=30)
    assert json.loads(output)["warm"] is False


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
        return caller.connect_ex(str(path)) == 0


def test_the_first_call_starts_the_server_which_ends_with_its_owner(
    start: Start, folder: Path, owner: subprocess.Popen[bytes]
) -> None:
    """This one imports all libraries; nobody but its user may connect."""
    name = f"warm-{owner.pid}"
    with socket.socket(socket.AF_UNIX) as killed:  # one of the same number was killed here
        killed.bind(str(folder / name))
    (folder / f"{name}.log").touch()
    assert json.loads(start(name, "go").communicate(timeout=30)[0])["warm"] is False
    wait_for(lambda: listens(folder / name))
    assert (folder / name).stat().st_mode & 0o077 == 0
    script = folder / "scripts/script.py"
    script.write_text("import sys; print('trl' in sys.modules and 'peft' in sys.modules)")
    assert start(name).communicate(timeout=30)[0] == "True\n"
    owner.kill()
    owner.wait()
    wait_for(lambda: not list(folder.glob("warm-*")), seconds=30)
