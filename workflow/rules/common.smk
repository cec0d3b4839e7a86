"""What the rules share: the checked configuration, paths, and the code that each of them runs."""

import os
import shlex
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
from goodhart.store.fingerprint import fingerprint  # noqa: E402

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
    PYTHON += f" -S workflow/scripts/goodhart/launch/warm.py .snakemake/warm-{os.getpid()}"
os.environ.update(PYTHON=PYTHON, LAUNCH=f"exec {PYTHON}")
if config["gpus"]:
    os.environ[
        "LAUNCH"
    ] += f" workflow/scripts/goodhart/launch/gpus.py --gpus {config['gpus']}"

os.environ.update(CHECKPOINT_MINUTES=str(config["checkpoint_minutes"]))

if not config["gpus"]:  # a study that asks for no GPU uses none
    os.environ.update(CUDA_VISIBLE_DEVICES="")

RESULTS = f"results/{config['study']}"
LOGS = f"logs/{config['study']}"
BENCHMARKS = f"benchmarks/{config['study']}"
CHECKPOINTS = f"{RESULTS}/checkpoints"
LOCAL = {
    ".csv",
    ".gguf",
    ".json",
    ".jsonl",
    ".parquet",
}  # endings of files; anything else is a name on the hub
ENVIRONMENT = "../../envs/goodhart.yaml"

OFFLINE_RUN = f"{RESULTS}/offline/{{method}}/{{level}}/seed-{{seed}}"
ONLINE_RUN = f"{RESULTS}/online/{{method}}/{{level}}/kl-{{kl_level}}/seed-{{seed}}"
POLICY = f"{RESULTS}/policy"
BACKBONE = f"{RESULTS}/reward/backbone" if config["reward"]["model"] else POLICY
MEMBERS = expand(
    f"{RESULTS}/reward/member-{{member}}/adapter",
    member=range(config["reward"]["members"]),
)
PROBES = expand(
    f"{OFFLINE_RUN}/probe.parquet",
    method=config["methods"],
    level=config["levels"],
    seed=config["seeds"],
)
FITS = expand(
    f"{RESULTS}/fit/{{method}}-{{arm}}.json",
    method=config["methods"],
    arm=study.arms(config),
)
ONLINE_RUNS = [ONLINE_RUN.format(**cell._asdict()) for cell in study.cells(config)]


wildcard_constraints:
    method="[a-z]+",
    level=r"[pb]\d+(\.\d+)?",
    kl_level=r"[pb]\d+(\.\d+)?",
    seed=r"\d+",
    member=r"\d+",
    stage="offline|reward|online",


def local_files(source):
    """What of a data or model source lies on this machine, so that a change of it reruns what it feeds.

    A path that leads nowhere is returned too: Snakemake then says that it is missing.
    """
    path = Path(source)
    if path.is_dir():
        return sorted(str(file) for file in path.iterdir() if file.is_file())
    written_as_path = source.startswith((".", os.sep)) or source.count(os.sep) > 1
    return (
        [source]
        if written_as_path or path.suffix in LOCAL and ":" not in source
        else []
    )


def code(script):
    """The fingerprint of a script and all it imports: a parameter, so that an edit reruns what it affects."""
    return fingerprint(SCRIPTS / f"{script}.py")


def model_of(wildcards):
    """The model folder a stage trains: the reward's backbone or the policy."""
    return BACKBONE if wildcards.stage == "reward" else POLICY


def training_length(wildcards):
    """The flag that says how long a stage trains: epochs, or online updates."""
    if wildcards.stage == "online":
        return f"--steps {config['online']['steps']}"
    return f"--epochs {config[wildcards.stage]['epochs']}"


def overrides(wildcards):
    """The flags that replace values of Appendix C in one stage."""
    return " ".join(
        f"--override {name}={value}"
        for name, value in study.overrides(config, wildcards.stage).items()
    )


def prompt_template(wildcards):
    """The template of dataset problems; a function, or Snakemake would take {question} for a wildcard."""
    return config["task"]["dataset"]["template"]


def optional(flag, value):
    """A flag and its value, or nothing where the configuration says null."""
    return "" if value is None else f"{flag} {shlex.quote(str(value))}"


def sampling(wildcards):
    """The flags that say how responses are drawn; a function, as Snakemake would read {} in a stop string as a wildcard."""
    chosen = config["sampling"]
    stops = "".join(f" --stop={shlex.quote(string)}" for string in chosen["stop"])
    return (
        f"--max-new-tokens {chosen['max_new_tokens']} --batch-size {study.sampling_batch(config)}"
        f" --engine {chosen['engine']}{stops}"
    )
