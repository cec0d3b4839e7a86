"""Start a script on GPUs of its own: `python gpus.py --gpus N script.py ...`; with several, a process on each.

A machine may have more GPUs than a job wants, and several jobs may start at once: a job leases its devices by locking a
file for each, which the system unlocks when the job ends, however it ends. Of the GPUs that `CUDA_VISIBLE_DEVICES`
names, as a scheduler sets it, or else of all. Locks are those of one SLURM job: a cluster that shows each job its own
GPUs alone calls the first of them 0 in all jobs of a node. Without any GPU, the script runs on the CPU.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

WAIT = 5.0  # seconds between two looks for a free device
ACCELERATE = ["-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_machines", "1"]
ACCELERATE += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]

_leases: list[FileLock] = []  # of this process, as a lock that nobody refers to is released


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    devices = visible()
    if 0 < len(devices) < args.gpus:
        sys.exit(f"gpus.py: error: requested {args.gpus} GPUs, {len(devices)} visible; lower gpus in the config.")
    if devices and args.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(lease(devices, args.gpus))
    if args.gpus and not devices:
        print("gpus.py: no GPU is visible; the job runs on the CPU", file=sys.stderr, flush=True)
    several = [*ACCELERATE, "--num_processes", str(args.gpus)] if args.gpus > 1 else []
    os.execv(sys.executable, [sys.executable, *several, *args.command])


def visible() -> list[str]:
    """The names of this machine's GPUs, or of those that the environment leaves to this job."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def lease(devices: list[str], count: int, folder: Path | None = None) -> list[str]:
    """Lock `count` of the devices, waiting until so many are free; the locks last as long as this process."""
    folder = folder or Path(tempfile.gettempdir())
    among = os.environ.get("SLURM_JOB_ID", f"user-{os.getuid()}")
    while True:
        leased: dict[str, FileLock] = {}
        for device in devices:
            name = "".join(c if c.isalnum() else "-" for c in device)
            path = folder / f"goodhart-{among}-{name}.lock"
            lock = FileLock(path, on_acquired=lambda handle: os.set_inheritable(handle, True))  # goes through exec
            with suppress(Timeout):
                lock.acquire(blocking=False)
                leased[device] = lock
            if len(leased) == count:
                _leases.extend(leased.values())
                return list(leased)
        for lock in leased.values():
            lock.release()
        time.sleep(WAIT)


if __name__ == "__main__":
    main()
