"""A study's configuration: checked before any job, and the online runs it asks for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from goodhart.data.pairing import columns_of
from goodhart.errors import InputError
from goodhart.hyperparameters.betas import parse_level
from goodhart.verifiers.registry import verifier

SAME = "same"  # an arm whose online beta is the offline one: Eq. 10 literally


class Cell(NamedTuple):
    """One online run: which offline checkpoint, and which level's beta enters Eq. 10."""

    method: str
    level: str
    kl_level: str
    seed: int


def arms(config: Mapping[str, Any]) -> dict[str, str]:
    """The arms of the study; one that a study sets to null, to be rid of a default, is none."""
    return {name: chosen for name, chosen in config["arms"].items() if chosen is not None}


def kl_level(config: Mapping[str, Any], arm: str, level: str) -> str:
    """The level whose beta enters Eq. 10 for an offline level in an arm."""
    chosen = arms(config)[arm]
    return level if chosen == SAME else chosen


def cells(config: Mapping[str, Any], arm: str | None = None) -> list[Cell]:
    """The online runs of one arm, or of all arms with a run that several share named once."""
    return list(
        dict.fromkeys(
            Cell(method, level, kl_level(config, name, level), seed)
            for name in ([arm] if arm else arms(config))
            for method in config["methods"]
            for level in config["levels"]
            for seed in config["seeds"]
        )
    )


def all_levels(config: Mapping[str, Any]) -> list[str]:
    """Every level whose beta is needed: the offline ones, and those that only enter Eq. 10."""
    return list(dict.fromkeys([*config["levels"], *(c.kl_level for c in cells(config))]))


def overrides(config: Mapping[str, Any], stage: str) -> dict[str, float]:
    """What replaces Appendix C in a stage: the stage's own, over those of the embedded policy where it is in use.

    The online stage trains the offline adapter, whose shape and length it therefore shares.
    """
    embedded = config["policy"]["pretraining"]["override"][stage] if config["policy"]["model"] is None else {}
    shared = {}
    if stage == "online":
        offline = overrides(config, "offline")
        names = ("lora_rank", "lora_alpha", "max_length", "inference_batch_size")
        shared = {name: offline[name] for name in names if name in offline}
    return {**shared, **embedded, **config[stage]["override"]}


def sampling(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `sampling.settings.Sampling`; the embedded policy samples more rows together."""
    chosen = {name: config["sampling"][name] for name in ("max_new_tokens", "batch_size", "engine", "stop")}
    if config["policy"]["model"] is None:
        chosen["batch_size"] = config["policy"]["pretraining"]["sampling_batch_size"]
    return chosen


def task(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the problems are, how many of them each split has, and the seed that draws them."""
    return _flat(config["task"], config["task"]["source"], ("online_problems", "evaluation_problems", "seed"))


def preferences(config: Mapping[str, Any]) -> dict[str, Any]:
    """Where the preference pairs come from, and the seed that draws and splits them."""
    return _flat(config["preferences"], config["preferences"]["source"], ("seed",))


def model(config: Mapping[str, Any], role: str) -> dict[str, Any]:
    """A model that is given, for the policy or the reward models."""
    return {name: config[role][name] for name in ("model", "revision", "prompts")}


def pretraining(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the embedded policy's pretraining."""
    return {**config["policy"]["pretraining"], "sampling_batch_size": None, "threads": config["threads"]}


def training(config: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The length of an offline stage, and its seed if that is no wildcard."""
    return {name: config[stage][name] for name in ("epochs", "seed") if name in config[stage]}


def derivation(config: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """What Appendix C is applied to in a stage, and what replaces its values."""
    return {
        "memory_gb": config["memory_gb"],
        **{name: config[stage].get(name) for name in ("epochs", "steps")},
        "override": [f"{name}={value}" for name, value in overrides(config, stage).items()],
        "seed": config["preferences"]["seed"],
    }


def memory(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the memory of every stage beside its models and derived values."""
    return {
        **sampling(config),
        **{name: config[name] for name in ("precision", "memory_gb")},
        "device": "cuda" if config["gpus"] else "cpu",
        "members": config["reward"]["members"],
        "prompt_tokens": config["sampling"]["prompt_tokens"],
        "prompts_per_step": config["online"]["prompts_per_step"],
    }


def _flat(section: Mapping[str, Any], inner: str, names: tuple[str, ...]) -> dict[str, Any]:
    return {**section[inner], **{name: section[name] for name in names}}


def check(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Raise `InputError` with one sentence that names the key, unless `config` is a study the workflow can run."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(schema).iter_errors(config))
    if error is not None:
        key = ".".join(map(str, error.absolute_path)) or "the top level"
        raise InputError(f"config: {key}: {error.message}.")
    for level in [*config["levels"], *(chosen for chosen in arms(config).values() if chosen != SAME)]:
        try:
            parse_level(level)
        except InputError as error:
            raise InputError(f"config: levels and arms: {error}") from error
    seen: dict[tuple[str, float], str] = {}
    for level in config["levels"]:
        if (other := seen.setdefault(parse_level(level), level)) != level:
            raise InputError(f"config: levels: {other} and {level} are the same level; keep one.")
    try:
        verifier(config["task"]["verifier"])
    except InputError as error:
        raise InputError(f"config: task.verifier: {error}") from error
    given = config["preferences"]["dataset"]
    try:
        columns_of(given["form"], given)
    except InputError as error:
        raise InputError(f"config: preferences.dataset.form: {error}") from error
    if not arms(config):
        raise InputError("config: arms: every arm is null; keep at least one.")
    embedded = config["task"]["source"] == "arithmetic"
    for name in ("online_problems", "evaluation_problems"):
        if embedded and config["task"][name] is None:
            raise InputError(f"config: task.{name}: task.source arithmetic needs a number.")
    shape = config["policy"]["pretraining"]
    if shape["heads"] % shape["kv_heads"]:
        raise InputError("config: policy.pretraining.heads: must be a multiple of kv_heads.")
    if config["policy"]["model"] is None and not embedded:
        raise InputError("config: policy.model: name a model; only task.source arithmetic can train its own policy.")
    if config["preferences"]["source"] == "sampled" and not embedded:
        raise InputError("config: preferences.source: sampled needs task.source arithmetic; use dataset.")
