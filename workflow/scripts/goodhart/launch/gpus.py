"""Start a script on exclusive GPUs: `python gpus.py --gpus N script.py ...`; for N > 1, one process per GPU.

A machine may have more GPUs than a job needs, and several jobs may start at once. A job therefore leases each device by
locking a file, which the system unlocks when the job ends in any way. The candidates are the GPUs in
`CUDA_VISIBLE_DEVICES`, which a scheduler may set, or otherwise all GPUs. Lock names include the SLURM job, because a
cluster that shows each job only its own GPUs calls the first one 0 in every job. Without any GPU, the script runs on
the CPU.
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

WAIT = 5.0  # seconds between attempts to lease devices
ACCELERATE = (
    *("-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
)

_leases: list[FileLock] = []  # keeps a reference to the locks: an unreferenced lock is released


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
    """The names of the GPUs in `CUDA_VISIBLE_DEVICES` if it is set, otherwise of all GPUs of this machine."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def lease(devices: list[str], count: int, folder: Path | None = None) -> list[str]:
    """Lock `count` of the devices once that many are free; the locks last as long as this process."""
    folder = folder or Path(tempfile.gettempdir())
    among = os.environ.get("SLURM_JOB_ID", f"user-{os.getuid()}")
    while True:
        leased: dict[str, FileLock] = {}
        for device in devices:
            name = "".join(c if c.isalnum() else "-" for c in device)
            lock = FileLock(
                folder / f"goodhart-{among}-{name}.lock",
                on_acquired=lambda handle: os.set_inheritable(handle, True),  # survives exec
            )
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
