r"""Start a script in a process that has imported torch, transformers, PEFT and TRL already.

    python -S workflow/scripts/goodhart/warm.py .snakemake/warm-1234 workflow/scripts/adapt_online.py --adapter ...

Importing them takes a core seven to twelve seconds, which a study on one machine would pay some forty times. The first
call starts a server in the background, which imports them, listens on a socket of that name, and forks itself for every
script it is asked to run. The caller waits for its script, hands on signals to it and ends as it does; where a caller
was killed, its script is killed. Without a server, or before it listens, a caller becomes a plain `python SCRIPT`: the
server saves time and decides nothing. It ends with the process whose number its name carries.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

LIBRARIES = (
    *("pandas", "pyarrow.parquet", "datasets", "scipy.stats", "scipy.optimize"),
    *("transformers.models.qwen3.modeling_qwen3", "peft", "seaborn"),
)
TRAINERS = ("DPOTrainer", "RewardTrainer")  # of TRL, which imports them when they are asked for
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NUMBER = 8  # bytes of a number that is sent


def main(name: str, *argv: str) -> NoReturn:
    """Run a script warm if there is a server, else cold; the first call starts the server."""
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(name)
            _follow(server, argv)
        except OSError:
            _start_server(name)
    os.execv(sys.executable, [sys.executable, *argv])


def _follow(server: socket.socket, argv: Sequence[str]) -> None:
    """Have the server run a script on this process's streams, and end as it ends; `OSError` if it does not begin."""
    pid = 0
    early: list[int] = []

    def hand_on(number: int, _frame: object) -> None:
        if pid:
            os.kill(pid, number)
        else:
            early.append(number)

    before = [(number, signal.signal(number, hand_on)) for number in SIGNALS]
    mask = os.umask(0)
    os.umask(mask)
    told = {"argv": argv, "folder": os.getcwd(), "mask": mask, "environment": dict(os.environ)}
    request = json.dumps(told).encode()
    try:
        socket.send_fds(server, [len(request).to_bytes(NUMBER, "big")], [0, 1, 2])
        server.sendall(request)
        pid = _read_number(server)
    except OSError:
        for caught, handler in before:
            signal.signal(caught, handler)
        for number in early:
            os.kill(os.getpid(), number)
        raise
    for number in early:
        os.kill(pid, number)
    try:
        status = _read_number(server)
    except OSError:
        sys.exit(f"warm.py: what watches over process {pid} was killed; once that has ended, rerun.")
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def _start_server(name: str) -> None:
    """Start the server unless another call has; it outlives this process, and signals to this process's group."""
    import subprocess

    try:
        log = os.open(f"{name}.log", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError:  # another call was first, or nothing can be written there
        return
    line = [sys.executable, os.path.abspath(__file__), "--serve", name]
    subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    os.close(log)


def serve(name: str) -> None:
    """Import the libraries, then fork for every caller, until the owner has ended."""
    import gc
    import importlib

    owner = os.pidfd_open(int(name.rpartition("-")[2]))
    for library in LIBRARIES:
        importlib.import_module(library)
    for trainer in TRAINERS:
        getattr(importlib.import_module("trl"), trainer)
    gc.freeze()  # or a collection in a fork would copy every page it looks at
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks are waited for by nobody
    os.umask(0o077)  # who may connect may run code
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen(256)
        while not _first(owner, listener):
            caller, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                os.close(owner)
                _keep(caller)
            caller.close()
    for left in (name, f"{name}.log"):
        os.unlink(left)
    os._exit(0)  # unloading all that takes a second


def _keep(caller: socket.socket) -> None:
    """In a fork of the server: run one script in a fork of this process, and tell the caller how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(caller, NUMBER, 3)
    request = json.loads(_read(caller, int.from_bytes(length, "big")))
    if (pid := os.fork()) == 0:
        caller.close()
        _run(streams, **request)
    _send_number(caller, pid)
    ended = os.pidfd_open(pid)
    if not _first(ended, caller):  # a caller says nothing more; it was killed
        os.kill(pid, signal.SIGKILL)
    _send_number(caller, os.waitpid(pid, 0)[1])
    os._exit(0)


def _run(streams: Sequence[int], argv: list[str], folder: str, mask: int, environment: dict[str, str]) -> NoReturn:
    """Become what `python SCRIPT` would be in the caller's place."""
    from types import ModuleType

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.umask(mask)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = argv
    script = os.path.abspath(argv[0])
    sys.path[0] = os.path.dirname(script)
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__file__ = script
    with open(script, "rb") as source:
        code = compile(source.read(), script, "exec")
    exec(code, main.__dict__)
    sys.exit()


def _first(ended: int, stream: socket.socket) -> bool:
    """Wait for a process or a stream; whether the process has ended."""
    return ended in select.select([ended, stream.fileno()], [], [])[0]


def _send_number(stream: socket.socket, number: int) -> None:
    with suppress(OSError):  # nobody may listen any more
        stream.sendall(number.to_bytes(NUMBER, "big"))


def _read_number(stream: socket.socket) -> int:
    return int.from_bytes(_read(stream, NUMBER), "big")


def _read(stream: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = stream.recv(size - len(content))
        if not part:
            raise ConnectionError("the other side has ended")
        content += part
    return content


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        main(*sys.argv[1:])
