"""What a job asks a cluster for: memory of its node and minutes, from the models it runs and the tokens it passes.

Neither need be exact. A job that meets a limit is submitted again with so much more (`attempt`); training goes on from
its checkpoint. Throughputs are modest on purpose.
"""

import json
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from goodhart.memory.sizes import Batch, Model, host_memory

MIB = 2**20
START = 600.0  # seconds to read the weights over a network file system, tokenise and write
SHORTEST = 20  # minutes
READ, WRITE = 1e14, 1e13  # FLOP a second of a GPU: passes over whole sequences; sampling, a token at a time
READ_CPU, WRITE_CPU = 2e10, 5e9  # ... of a CPU thread
ALL = 1500  # problems, where the config says all and nothing is counted yet (GSM8K tests 1,319)


class Work(NamedTuple):
    """Tokens that a job passes, by model and by what is done with them."""

    sampled: float = 0  # written by the policy
    read: float = 0  # read by the policy, without gradients
    trained: float = 0
    scored: float = 0  # read by a reward model
    taught: float = 0  # a reward model is trained on


class Request(NamedTuple):
    """What a job asks for."""

    mem_mb: int
    runtime: int  # minutes


def request(rule: str, config: Mapping[str, Any], inputs: Mapping[str, Path], attempt: int) -> Request:
    """What a job of a rule asks for at its n-th attempt, from the files among its inputs that say how large it is.

    Args:
        inputs: by the rule's names: model folders `policy` and `backbone`, and `derived`, `derived_...` of Appendix C.

    Raises:
        FileNotFoundError: naming an input that is not there yet, as Snakemake wants it.
    """
    policy = _model(inputs["policy"]) if "policy" in inputs else Model.embedded(config)
    backbone = _model(inputs["backbone"]) if "backbone" in inputs else policy
    models = {inputs.get("policy"): policy, inputs.get("backbone", inputs.get("policy")): backbone}  # shared: once
    batches = {name: _batch(path) for name, path in inputs.items() if name.startswith("derived")}
    needed = host_memory(config, models.values(), batches.values()) / MIB
    trained = next((batches[name] for name in ("derived", "derived_offline") if name in batches), None)
    minutes = seconds(config, policy, backbone, work(rule, config, trained)) / 60
    return Request(ceil(needed) * attempt, max(SHORTEST, ceil(minutes)) * attempt)


def work(rule: str, config: Mapping[str, Any], batch: Batch | None) -> Work:
    """The tokens that a job of a rule passes, over the pairs of a stage if it takes any.

    Sequences are taken at their full length, which few have.
    """
    online, members = config["online"], config["reward"]["members"]
    response = config["sampling"]["max_new_tokens"]
    whole = config["sampling"]["prompt_tokens"] + response
    problems = config["task"]["evaluation_problems"] or ALL
    pairs = 2 * batch.pairs * batch.max_length if batch else 0  # both responses of all pairs of the training split
    everything, held_out = pairs / 0.8, pairs / 8  # of all three splits, and of the test split
    pretraining = config["policy"]["pretraining"]
    updated = online["steps"] * online["prompts_per_step"]
    drawn = updated + problems * (2 + online["steps"] // online["evaluate_every"])
    passed = {
        "pretrain_policy": Work(trained=pretraining["steps"] * pretraining["batch_size"] * 2 * response),
        "sample_preferences": Work(sampled=2 * config["task"]["arithmetic"]["preference_problems"] * response),
        "sample_reference": Work(sampled=problems * response),
        "score_reference": Work(read=everything),
        "train_reward": Work(taught=config["reward"]["epochs"] * pairs),
        "evaluate_rewards": Work(scored=members * (held_out + problems * whole)),
        "train_offline": Work(trained=config["offline"]["epochs"] * pairs),
        "probe_offline": Work(problems * response, problems * whole + held_out, scored=members * problems * whole),
        "adapt_online": Work(drawn * response, 2 * drawn * whole, updated * whole, members * drawn * whole),
    }
    return passed.get(rule, Work())


def seconds(config: Mapping[str, Any], policy: Model, backbone: Model, passed: Work) -> float:
    """How long a job may take: 2 FLOP a weight and token that is read or written, 6 where gradients go back."""
    gpus, threads = config["gpus"], config["threads"]
    read, write = (gpus * READ, gpus * WRITE) if gpus else (threads * READ_CPU, threads * WRITE_CPU)
    passes = policy.parameters * (2 * passed.read + 6 * passed.trained)
    passes += backbone.parameters * (2 * passed.scored + 6 * passed.taught)
    return START + passes / read + 2 * policy.parameters * passed.sampled / write


def _model(folder: Path) -> Model:
    """The sizes of a model folder; one without them is for its job to refuse."""
    try:
        return Model.of(_read(folder / "manifest.json", folder))
    except (KeyError, TypeError, ValueError):
        return Model(parameters=0, hidden=1, layers=0)


def _batch(path: Path) -> Batch:
    """The batches of a stage; none of a record that its job will refuse."""
    try:
        return Batch.of(_read(path, path))
    except (KeyError, TypeError, ValueError):
        return Batch(pairs=0, batch_size=0, inference_batch_size=0, max_length=0)


def _read(path: Path, named: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, error.strerror, str(named)) from error
