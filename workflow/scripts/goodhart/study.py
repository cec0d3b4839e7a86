"""The configuration of a study: validation before any job runs, the online runs, and the settings of each step."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from goodhart.data.pairing import columns_of
from goodhart.errors import InputError
from goodhart.hyperparameters.betas import parse_level
from goodhart.training.methods import METHODS
from goodhart.verifiers.registry import verifier

SAME = "same"  # the online beta of such an arm is the offline beta, as Eq. 10 states literally


class Cell(NamedTuple):
    """One online run: its offline checkpoint (method, level, seed), and `kl_level`, the level of the beta in Eq. 10."""

    method: str
    level: str
    kl_level: str
    seed: int


def arms(config: Mapping[str, Any]) -> dict[str, str]:
    """The arms of the study; a study removes an arm of the default configuration by setting it to null."""
    return {name: chosen for name, chosen in config["arms"].items() if chosen is not None}


def cells(config: Mapping[str, Any], arm: str | None = None) -> list[Cell]:
    """The online runs of one arm, or of all arms; a run that several arms share is listed once."""
    return list(
        dict.fromkeys(
            Cell(method, level, level if chosen == SAME else chosen, seed)
            for name, chosen in arms(config).items()
            for method in config["methods"]
            for level in config["levels"]
            for seed in config["seeds"]
            if arm in (None, name)
        )
    )


def all_levels(config: Mapping[str, Any]) -> list[str]:
    """Every level that needs a beta: the offline levels, and the levels that only enter Eq. 10."""
    return list(dict.fromkeys([*config["levels"], *(cell.kl_level for cell in cells(config))]))


def overrides(config: Mapping[str, Any], stage: str) -> dict[str, float]:
    """The values that replace Appendix C in a stage: its `override`, which takes precedence over the embedded policy's.

    The online stage trains the offline adapter, and therefore shares its shape and length.
    """
    embedded = config["policy"]["pretraining"]["override"][stage] if config["policy"]["model"] is None else {}
    offline = overrides(config, "offline") if stage == "online" else {}
    names = ("lora_rank", "lora_alpha", "max_length", "inference_batch_size")
    shared = {name: offline[name] for name in names if name in offline}
    return {**shared, **embedded, **config[stage]["override"]}


def pick(section: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The settings with these names."""
    return {name: section[name] for name in names}


def source(config: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The settings of the source that is selected in `task` or `preferences`, and those shared by all its sources."""
    shared = {name: value for name, value in config[section].items() if name not in ("source", "verifier")}
    return {**config[section][config[section]["source"]], **shared}


def sampling(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `sampling.settings.Sampling`; the embedded policy has a batch size of its own."""
    chosen = pick(config["sampling"], "max_new_tokens", "batch_size", "engine", "stop")
    if config["policy"]["model"] is None:
        chosen["batch_size"] = config["policy"]["pretraining"]["sampling_batch_size"]
    return chosen


def derivation(config: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The settings from which Appendix C derives the values of a stage, and the overrides."""
    return {
        "memory_gb": config["memory_gb"],
        **{name: config[stage].get(name) for name in ("epochs", "steps")},
        "override": [f"{name}={value}" for name, value in overrides(config, stage).items()],
        "seed": config["preferences"]["seed"],
    }


def memory(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that determine the memory of every stage, in addition to its models and derived values."""
    return {
        **sampling(config),
        **pick(config, "precision", "memory_gb"),
        "device": "cuda" if config["gpus"] else "cpu",
        "members": config["reward"]["members"],
        "prompt_tokens": config["sampling"]["prompt_tokens"],
        "prompts_per_step": config["online"]["prompts_per_step"],
    }


def complete(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that requires every key it defines, because config.yaml has a default for each key."""
    inner = {name: complete(one) for name, one in schema.get("properties", {}).items()}
    return {**schema, "properties": inner, "required": list(inner)} if inner else dict(schema)


def check(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Raise `InputError` with one sentence that names the key, unless `config` is a valid study."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(complete(schema)).iter_errors(config))
    if error is not None:
        key = ".".join(map(str, error.absolute_path)) or "the top level"
        raise InputError(f"config: {key}: {error.message}.")
    levels = [*config["levels"], *(chosen for chosen in arms(config).values() if chosen != SAME)]
    pairs, shape = config["preferences"]["dataset"], config["policy"]["pretraining"]
    parsed_by: dict[str, Callable[[], object]] = {
        "levels and arms": lambda: [parse_level(level) for level in levels],
        "task.verifier": lambda: verifier(config["task"]["verifier"]),
        "preferences.dataset.form": lambda: columns_of(pairs["form"], pairs),
    }
    for key, parse in parsed_by.items():
        try:
            parse()
        except InputError as error:
            raise InputError(f"config: {key}: {error}") from error
    parsed = [parse_level(level) for level in config["levels"]]
    same = [level for level in config["levels"] if parsed.count(parse_level(level)) > 1]
    unknown = [name for name in config["methods"] if name not in METHODS]
    embedded = config["task"]["source"] == "arithmetic"
    mistakes = {
        f"methods: unknown offline method {', '.join(unknown)}: choose from {', '.join(METHODS)}": unknown,
        f"levels: {' and '.join(same)} are the same level; keep one": same,
        "arms: every arm is null; keep at least one": not arms(config),
        **{
            f"task.{name}: task.source arithmetic requires a number": embedded and config["task"][name] is None
            for name in ("online_problems", "evaluation_problems")
        },
        "policy.pretraining.heads: must be a multiple of kv_heads": shape["heads"] % shape["kv_heads"],
        "policy.model: name a model; null requires task.source arithmetic": (
            config["policy"]["model"] is None and not embedded
        ),
        "preferences.source: sampled requires task.source arithmetic; use dataset": (
            config["preferences"]["source"] == "sampled" and not embedded
        ),
    }
    for sentence, found in mistakes.items():
        if found:
            raise InputError(f"config: {sentence}.")
