"""The checked configuration, and how jobs start Python."""

import os
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

# Jobs use Snakemake's own Python interpreter, unless an activated conda environment precedes it in PATH.
os.environ.update(
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )
)

SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

from goodhart import study  # noqa: E402
from goodhart.errors import InputError  # noqa: E402

try:
    study.check(
        config,
        yaml.safe_load((SCRIPTS.parent / "schemas" / "config.schema.yaml").read_text()),
    )
except InputError as error:
    raise WorkflowError(str(error))

# How jobs start Python. In a study without GPUs, local jobs are forked from a server that has already imported the
# libraries. Jobs that train or sample replace the shell (exec), because a signal would otherwise end the shell before
# the job has saved; with GPUs, each job gets its own GPUs and one process per GPU. PYTHON and LAUNCH are not parameters
# of a rule, so that a study may continue on other hardware.
PYTHON = "python"
if workflow.is_main_process and not config["gpus"] and hasattr(os, "pidfd_open"):
    PYTHON += (
        f" -S workflow/scripts/goodhart/launch/warm.py .snakemake/warm-{os.getpid()}"
    )
os.environ.update(PYTHON=PYTHON, LAUNCH=f"exec {PYTHON}")
if config["gpus"]:
    os.environ[
        "LAUNCH"
    ] += f" workflow/scripts/goodhart/launch/gpus.py --gpus {config['gpus']}"

if not config["gpus"]:  # a study that requests no GPU must not use any
    os.environ.update(CUDA_VISIBLE_DEVICES="")
