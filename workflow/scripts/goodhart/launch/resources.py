"""The resources that a job requests from a cluster: node memory and runtime, from its models and token counts.

Neither estimate must be exact. A job that exceeds a limit is resubmitted with `attempt` times the request, and training
resumes from its checkpoint. Assumed throughputs are deliberately low.
"""

import json
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from goodhart.memory.sizes import Batch, Model, host_memory
from goodhart.runtime.types import T

MIB = 2**20
START = 600.0  # seconds to read the weights over a network file system, tokenise and write
SHORTEST = 20  # minutes
READ, WRITE = 1e14, 1e13  # FLOP/s per GPU: passes over whole sequences (READ), sampling token by token (WRITE)
READ_CPU, WRITE_CPU = 2e10, 5e9  # FLOP/s per CPU thread
ALL = 1500  # problems, if the config uses all and they are not counted yet (GSM8K has 1,319 test problems)
NO_MODEL = Model(parameters=0, hidden=1, layers=0)
NO_BATCH = Batch(pairs=0, batch_size=0, inference_batch_size=0, max_length=0)


class Work(NamedTuple):
    """Token counts of a job, by model and operation."""

    sampled: float = 0  # written by the policy
    read: float = 0  # read by the policy, without gradients
    trained: float = 0
    scored: float = 0  # read by a reward model
    taught: float = 0  # a reward model is trained on these


class Request(NamedTuple):
    """The resources that a job requests."""

    mem_mb: int
    runtime: int  # minutes


def request(rule: str, config: Mapping[str, Any], inputs: Mapping[str, Path], attempt: int) -> Request:
    """The request of a job at its n-th attempt, from the config and those of its inputs that determine its size.

    Args:
        inputs: input files by their names in the rule. Used are the model folders `policy` and `backbone`, and
            `derived` and `derived_...`, the values of Appendix C.

    Raises:
        FileNotFoundError: an input does not exist yet; its name is included, as Snakemake requires.
    """
    policy = _read(inputs["policy"], Model.of, NO_MODEL) if "policy" in inputs else Model.embedded(config)
    backbone = _read(inputs["backbone"], Model.of, NO_MODEL) if "backbone" in inputs else policy
    models = {inputs.get("policy"): policy, inputs.get("backbone", inputs.get("policy")): backbone}  # shared: once
    batches = {name: _read(path, Batch.of, NO_BATCH) for name, path in inputs.items() if name.startswith("derived")}
    needed = host_memory(config, models.values(), batches.values()) / MIB
    trained = next((batches[name] for name in ("derived", "derived_offline") if name in batches), None)
    minutes = seconds(config, policy, backbone, work(rule, config, trained)) / 60
    return Request(ceil(needed) * attempt, max(SHORTEST, ceil(minutes)) * attempt)


def work(rule: str, config: Mapping[str, Any], batch: Batch | None) -> Work:
    """The token counts of a job, over the pairs of `batch` if its rule reads pairs.

    Every sequence counts with its maximum length, although few are that long.
    """
    online, members, others = config["online"], config["reward"]["members"], config["reward"]["held_out"]
    response = config["sampling"]["max_new_tokens"]
    whole = config["sampling"]["prompt_tokens"] + response
    problems = config["task"]["evaluation_problems"] or ALL
    preference_problems = config["task"][config["task"]["source"]].get("preference_problems", 0)
    pairs = 2 * batch.pairs * batch.max_length if batch else 0  # tokens of both responses of all training pairs
    everything, held_out = pairs / 0.8, pairs / 8  # tokens of all three splits, and of the test split
    pretraining = config["policy"]["pretraining"]
    updated = online["steps"] * online["prompts_per_step"]
    evaluated = problems * (2 + online["steps"] // online["evaluate_every"])
    drawn = updated + evaluated
    probed = problems * (1 + config["evaluation"]["floor_seeds"])
    passed = {
        "pretrain_policy": Work(trained=pretraining["steps"] * pretraining["batch_size"] * 2 * response),
        "sample_preferences": Work(sampled=2 * preference_problems * response),
        "sample_reference": Work(sampled=2 * problems * response),
        "score_reference": Work(read=everything),
        "train_reward": Work(taught=config["reward"]["epochs"] * pairs),
        "train_held_out": Work(taught=config["reward"]["epochs"] * pairs),
        "evaluate_rewards": Work(scored=(members + others) * (held_out + 2 * problems * whole)),
        "train_offline": Work(trained=config["offline"]["epochs"] * pairs),
        "probe_offline": Work(
            probed * response,
            2 * problems * whole + held_out,
            scored=(members * probed + others * problems) * whole,
        ),
        "adapt_online": Work(
            drawn * response,
            (2 * updated + 3 * evaluated) * whole,
            updated * whole,
            (members * drawn + others * evaluated) * whole,
        ),
    }
    return passed.get(rule, Work())


def seconds(config: Mapping[str, Any], policy: Model, backbone: Model, passed: Work) -> float:
    """Estimated runtime of a job: 2 FLOP per weight and token without gradients, 6 per weight and token trained on."""
    gpus, threads = config["gpus"], config["threads"]
    read, write = (gpus * READ, gpus * WRITE) if gpus else (threads * READ_CPU, threads * WRITE_CPU)
    passes = policy.parameters * (2 * passed.read + 6 * passed.trained)
    passes += backbone.parameters * (2 * passed.scored + 6 * passed.taught)
    return START + passes / read + 2 * policy.parameters * passed.sampled / write


def _read(path: Path, of: Callable[[Any], T], default: T) -> T:
    """The sizes of a model folder or a record; `default` if what is read is invalid, which its job will report."""
    try:
        return of(json.loads((path if path.suffix == ".json" else path / "manifest.json").read_text()))
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
    except (KeyError, TypeError, ValueError):
        return default
