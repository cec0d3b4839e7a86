"""The checked configuration, and how jobs start Python."""

import os
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

# Jobs run the interpreter that runs Snakemake, unless a conda environment is activated in front of it.
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

# How jobs start Python. Without GPUs, and where Snakemake itself runs, with the libraries imported already; those that train or sample, in
# place of the shell, which would die of a signal before they have saved, and on GPUs of their own, a process on each.
# These and the next are no parameters: a study may go on with others.
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

if not config["gpus"]:  # a study that asks for no GPU uses none
    os.environ.update(CUDA_VISIBLE_DEVICES="")
