"""What a job asks a cluster for: memory of its node and minutes, from the models it runs and the tokens it passes.

Neither need be exact. A job that meets a limit is submitted again with so much more (`attempt`); training goes on from
its checkpoint. Throughputs are modest on purpose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

MIB, GIB = 2**20, 2**30
LIBRARIES = 3 * GIB  # torch with CUDA, transformers and their like, before any model; a CPU process takes 0.5
START = 600.0  # seconds to read the weights over a network file system, tokenise and write
SHORTEST = 20  # minutes
READ, WRITE = 1e14, 1e13  # FLOP a second of a GPU: passes over whole sequences; sampling, a token at a time
READ_CPU, WRITE_CPU = 2e10, 5e9  # ... of a CPU thread
ALL = 1500  # problems, where the config says all and nothing is counted yet (GSM8K tests 1,319)


class Model(NamedTuple):
    """The sizes of a model that its manifest records."""

    parameters: float
    hidden: int
    layers: int


class Work(NamedTuple):
    """Tokens that a job passes, by model and by what is done with them."""

    sampled: float = 0  # written by the policy
    read: float = 0  # read by the policy, without gradients
    trained: float = 0
    scored: float = 0  # read by a reward
    taught: float = 0  # a reward is trained on


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
    policy = _model(inputs["policy"]) if "policy" in inputs else _embedded(config)
    backbone = _model(inputs["backbone"]) if "backbone" in inputs else policy
    models = {inputs.get("policy"): policy, inputs.get("backbone", inputs.get("policy")): backbone}  # shared: once
    derived = {name: _derived(path) for name, path in inputs.items() if name.startswith("derived")}
    needed = memory(config, list(models.values()), derived) / MIB
    minutes = seconds(config, policy, backbone, work(rule, config, derived)) / 60
    return Request(ceil(needed) * attempt, max(SHORTEST, ceil(minutes)) * attempt)


def memory(config: Mapping[str, Any], models: list[Model], derived: Mapping[str, Mapping[str, int]]) -> float:
    """Bytes of the node's memory that a job may take.

    On a GPU: the libraries and the weights in 16 bits, as they lie on disk and pass through, for each of its processes.
    On a CPU: the libraries, the weights twice in float32 (as they are, and as adapters are merged into them), and the
    largest batch with all that a backward pass could keep of it: 34 hidden states a layer and four copies of the
    logits, for a vocabulary of at most parameters / hidden words. Never more than V_GB of Eq. B.3, for which batches
    are made.
    """
    if config["gpus"]:
        return config["gpus"] * (LIBRARIES + sum(2 * model.parameters for model in models))
    new, prompt = config["sampling"]["max_new_tokens"], config["sampling"]["prompt_tokens"]
    embedded = config["policy"]["model"] is None
    rows = config["policy"]["pretraining"]["sampling_batch_size"] if embedded else config["sampling"]["batch_size"]
    tokens = rows * (new if embedded else prompt + new)
    for values in derived.values():
        rows = max(2 * values["batch_size"], values["inference_batch_size"])
        tokens = max(tokens, rows * values["max_length"])
    weights = sum(8 * model.parameters for model in models)
    batch = max(4 * tokens * (34 * m.hidden * m.layers + 4 * m.parameters / m.hidden) for m in models)
    return LIBRARIES + min(weights + batch, config["memory_gb"] * GIB)


def work(rule: str, config: Mapping[str, Any], derived: Mapping[str, Mapping[str, int]]) -> Work:
    """The tokens that a job of a rule passes; sequences are taken at their full length, which few have."""
    online, members = config["online"], config["reward"]["members"]
    response = config["sampling"]["max_new_tokens"]
    whole = config["sampling"]["prompt_tokens"] + response
    problems = config["task"]["evaluation_problems"] or ALL
    values = next((derived[name] for name in ("derived", "derived_offline") if name in derived), {})
    pairs = 2 * values.get("n", 0) * values.get("max_length", 0)  # both responses of all pairs of the training split
    everything, held_out = pairs / 0.8, pairs / 8  # of all three splits, and of the test split
    if rule == "pretrain_policy":
        pretraining = config["policy"]["pretraining"]
        return Work(trained=pretraining["steps"] * pretraining["batch_size"] * 2 * response)
    if rule == "sample_preferences":
        return Work(sampled=2 * config["task"]["arithmetic"]["preference_problems"] * response)
    if rule == "sample_reference":
        return Work(sampled=problems * response)
    if rule == "score_reference":
        return Work(read=everything)
    if rule == "train_reward":
        return Work(taught=config["reward"]["epochs"] * pairs)
    if rule == "evaluate_rewards":
        return Work(scored=members * (held_out + problems * whole))
    if rule == "train_offline":
        return Work(trained=config["offline"]["epochs"] * pairs)
    if rule == "probe_offline":
        return Work(problems * response, read=problems * whole + held_out, scored=members * problems * whole)
    if rule == "adapt_online":
        evaluated = problems * (2 + online["steps"] // online["evaluate_every"])
        updated = online["steps"] * online["prompts_per_step"]
        drawn = evaluated + updated
        return Work(drawn * response, 2 * drawn * whole, updated * whole, members * drawn * whole)
    return Work()


def seconds(config: Mapping[str, Any], policy: Model, backbone: Model, passed: Work) -> float:
    """How long a job may take: 2 FLOP a weight and token that is read or written, 6 where gradients go back."""
    gpus, threads = config["gpus"], config["threads"]
    read, write = (gpus * READ, gpus * WRITE) if gpus else (threads * READ_CPU, threads * WRITE_CPU)
    passes = policy.parameters * (2 * passed.read + 6 * passed.trained)
    passes += backbone.parameters * (2 * passed.scored + 6 * passed.taught)
    return START + passes / read + 2 * policy.parameters * passed.sampled / write


def _embedded(config: Mapping[str, Any]) -> Model:
    """The policy that a study is about to train, without its few embeddings."""
    sizes = config["policy"]["pretraining"]
    heads = (2 * sizes["heads"] + 2 * sizes["kv_heads"]) * sizes["head_dim"]
    matrices = sizes["hidden_size"] * (heads + 3 * sizes["mlp_size"])
    return Model(sizes["layers"] * matrices, sizes["hidden_size"], sizes["layers"])


def _model(folder: Path) -> Model:
    """The sizes of a model folder; one without them is for its job to refuse."""
    manifest = _read(folder / "manifest.json", folder)
    try:
        return Model(float(manifest["parameters"]), int(manifest["hidden_size"]), len(manifest["projections"]) // 4)
    except (KeyError, TypeError, ValueError):
        return Model(0, 1, 0)


def _derived(path: Path) -> dict[str, int]:
    """What of the derived values decides how much a job does; none of a record that its job will refuse."""
    record = _read(path, path)
    try:
        used = {name: record["values"][name]["value"] for name in ("batch_size", "inference_batch_size", "max_length")}
        return {**used, "n": record["inputs"]["n"]}
    except (KeyError, TypeError):
        return dict.fromkeys(("batch_size", "inference_batch_size", "max_length", "n"), 0)


def _read(path: Path, named: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, error.strerror, str(named)) from error
    except ValueError:
        content = {}
    return content if isinstance(content, dict) else {}
