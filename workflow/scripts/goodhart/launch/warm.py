r"""Start a script in a process that has already imported torch, transformers, PEFT and TRL.

    python -S workflow/scripts/goodhart/launch/warm.py .snakemake/warm-1 workflow/scripts/adapt_online.py --adapter ...

The imports take seven to twelve seconds on one core, and a study on one machine would repeat them about forty times.
The first call starts a background server, which imports the libraries, listens on the socket named by the first
argument (.snakemake/warm-1), and forks for every requested script. The caller waits for its script, forwards signals to
it and exits with the same status; if the caller is killed, its script is killed. Without a server, or before it
listens, a caller becomes a plain `python SCRIPT`: the server saves time and affects only what libraries read on import
(numpy has one thread). The server ends with the process whose id is the number in the socket name.
"""

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
    *("trl.trainer.dpo_trainer", "trl.trainer.reward_trainer"),
)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # a fork has no threads of its parent
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
REQUEST, NUMBER = 1 << 20, 20  # maximum bytes of a request and of a number; a message arrives in one piece


def main(name: str, *argv: str) -> NoReturn:
    """Run a script on the server if it is running, otherwise in this process; the first call starts the server."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        try:
            server.connect(name)
        except OSError:
            _start_server(name)
        else:
            _follow(server, argv)
    os.execv(sys.executable, [sys.executable, *argv])


def _follow(server: socket.socket, argv: Sequence[str]) -> None:
    """Run a script on the server with this process's streams and exit status; return only if it was not started."""

    def hand_on(number: int, _frame: object) -> None:
        with suppress(OSError):
            server.send(bytes([number]))

    mask = os.umask(0)
    os.umask(mask)
    told = {"argv": argv, "folder": os.getcwd(), "mask": mask, "environment": dict(os.environ)}
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # signals wait until it is known which process runs the script
    try:
        socket.send_fds(server, [json.dumps(told).encode()], [0, 1, 2])
        int(server.recv(NUMBER))
        for caught in SIGNALS:
            signal.signal(caught, hand_on)
    except (OSError, ValueError):  # the server has ended (an empty message), or the environment exceeds one message
        return
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        status = int(server.recv(NUMBER))
    except (OSError, ValueError):
        sys.exit("warm.py: the server that monitors this script was killed; rerun once the script has ended.")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        print(f"{os.path.basename(argv[0])}: ended by {signal.Signals(number).name}", file=sys.stderr, flush=True)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _start_server(name: str) -> None:
    """Start the server unless another call has; it outlives this process and receives no signals to its group."""
    import fcntl
    import subprocess

    line = [sys.executable, os.path.abspath(__file__), "--serve", name]
    environment = os.environ | dict.fromkeys(THREADS, "1")
    # Fails if the folder is not writable, or if a server holds the lock, which it inherits with the log.
    with suppress(OSError), open(f"{name}.log", "a") as log:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment
        )


def serve(name: str) -> None:
    """Import the libraries, then fork for every caller, until the owner process has ended."""
    import gc
    import importlib

    sys.path.pop(0)  # this folder: its modules could shadow optional dependencies
    owner = os.pidfd_open(int(name.rpartition("-")[2]))
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # otherwise garbage collection in a fork would copy the pages it visits
    sys.stdout.flush()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks are never waited for
    os.umask(0o077)  # only this user may connect, because a connection can run code
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        with suppress(FileNotFoundError):  # left by a killed server
            os.unlink(name)
        listener.bind(name)
        listener.listen(256)
        while owner not in select.select([listener.fileno(), owner], [], [])[0]:
            caller, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                os.close(owner)
                _keep(caller)
            caller.close()
    for left in (name, f"{name}.log"):
        os.unlink(left)
    os._exit(0)  # skips unloading the libraries, which takes a second


def _keep(caller: socket.socket) -> NoReturn:
    """In a fork of the server: run one script in a further fork and send its exit status to the caller."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        message, streams, _, _ = socket.recv_fds(caller, REQUEST, 3)
        request = json.loads(message)
        caller.send(b"0")  # from here on, the caller waits for the script and no longer runs it itself
    except (OSError, ValueError):  # the caller is gone or runs the script itself
        os._exit(1)
    if (pid := os.fork()) == 0:
        caller.close()
        _run(streams, **request)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(pid)
    while ended not in select.select([ended, caller.fileno()], [], [])[0]:
        numbers = caller.recv(NUMBER)
        for number in numbers or [signal.SIGKILL]:  # an empty message means that the caller was killed
            signal.pidfd_send_signal(ended, number)
        if not numbers:
            break
    status = os.waitpid(pid, 0)[1]
    with suppress(OSError):  # the caller may have gone
        caller.send(str(status).encode())
    os._exit(0)


def _run(streams: Sequence[int], argv: list[str], folder: str, mask: int, environment: dict[str, str]) -> NoReturn:
    """Run the script like `python SCRIPT` in the caller: same streams, arguments, folder, umask and environment."""
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
    with suppress(OSError), open("/proc/self/comm", "w") as called:  # the name that `top` shows
        called.write(os.path.basename(script))
    sys.path.insert(0, os.path.dirname(script))
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__file__ = script
    with open(script, "rb") as source:
        code = compile(source.read(), script, "exec", dont_inherit=True)
    exec(code, main.__dict__)
    sys.exit()


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        main(*sys.argv[1:])
