"""The configuration of a study: validation before any job runs, the online runs, and the settings of each step."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from goodhart.data.pairing import columns_of
from goodhart.data.tasks.registry import TASKS, task_of
from goodhart.errors import InputError
from goodhart.hyperparameters.betas import parse_level
from goodhart.training.methods import METHODS
from goodhart.verifiers.registry import verifier

SAME = "same"  # the online beta of such an arm is the offline beta, as Eq. 10 states literally


class Cell(NamedTuple):
    """One online run: its offline checkpoint (method, level, replicate), and `kl_level`, the beta's level in Eq. 10."""

    method: str
    level: str
    kl_level: str
    replicate: int


def arms(config: Mapping[str, Any]) -> dict[str, str]:
    """The arms of the study; a study removes an arm of the default configuration by setting it to null."""
    return {name: chosen for name, chosen in config["arms"].items() if chosen is not None}


def cells(config: Mapping[str, Any], arm: str | None = None) -> list[Cell]:
    """The online runs of one arm, or of all arms; a run that several arms share is listed once."""
    return list(
        dict.fromkeys(
            Cell(method, level, level if chosen == SAME else chosen, replicate)
            for name, chosen in arms(config).items()
            for method in config["methods"]
            for level in config["levels"]
            for replicate in config["replicates"]
            if arm in (None, name)
        )
    )


# What redraws the files of a stage: any of these entries of `redraw`.
REDRAWN_BY = {
    "task": {"task"},
    "policy": {"policy"},
    "preferences": {"preferences"},
    "rewards": {"rewards"},
    "reference": {"task", "policy"},  # responses of the reference policy
    "scores": {"task", "policy", "preferences", "rewards"},  # of these responses and of held-out pairs
    "backbone": set(),  # a named backbone of the reward models
}


def drawn(config: Mapping[str, Any], stage: str, replicate: int) -> int:
    """The replicate whose files of a stage this replicate uses: its own, or 0 for a stage that is not redrawn."""
    return replicate if REDRAWN_BY[stage] & set(config["redraw"]) else 0


def evaluation_seed(config: Mapping[str, Any], replicate: int) -> int:
    """The sampling seed of all evaluations of a replicate; replicates with the same problems share it."""
    return int(config["evaluation"]["seed"]) + drawn(config, "task", replicate)


def bootstrapped(config: Mapping[str, Any]) -> str | None:
    """ "prompts" if replicates draw their preference pairs from a data set, by a bootstrap of its prompts."""
    redrawn = "preferences" in config["redraw"] and config["preferences"]["source"] == "dataset"
    return "prompts" if redrawn else None


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


def embedded(config: Mapping[str, Any]) -> bool:
    """Whether the problems are those of an embedded task, which are generated."""
    return config["task"]["source"] in TASKS


def verifier_of(config: Mapping[str, Any]) -> str:
    """The name of the verifier: `task.verifier`; if that is null, the embedded task's own, or gsm8k for a dataset."""
    own = TASKS[config["task"]["source"]].verifier if embedded(config) else "gsm8k"
    return config["task"]["verifier"] or own


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


def judge(config: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of the judge that labels the preference pairs, if the study samples them."""
    return dict(config["preferences"]["sampled"]) if config["preferences"]["source"] == "sampled" else {}


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


def _source(section: Mapping[str, Any]) -> str:
    name = section["source"]
    if name in TASKS:
        task_of(name, section[name])
    elif name != "dataset":
        raise InputError(f"unknown task {name!r}: choose from {', '.join([*TASKS, 'dataset'])}.")
    return name


def complete(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that requires every key it defines, because config.yaml has a default for each key."""
    inner = {name: complete(one) for name, one in schema.get("properties", {}).items()}
    return {**schema, "properties": inner, "required": list(inner)} if inner else dict(schema)


def check(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Raise `InputError` with one sentence that names the key, unless `config` is a valid study."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    if "seeds" in config:
        raise InputError(
            "config: seeds is now replicates, whole repetitions of the pipeline; redraw says which stages each repeats."
        )
    error = best_match(Draft202012Validator(complete(schema)).iter_errors(config))
    if error is not None:
        key = ".".join(map(str, error.absolute_path)) or "the top level"
        raise InputError(f"config: {key}: {error.message}.")
    levels = [*config["levels"], *(chosen for chosen in arms(config).values() if chosen != SAME)]
    pairs, shape = config["preferences"]["dataset"], config["policy"]["pretraining"]
    parsed_by: dict[str, Callable[[], object]] = {
        "levels and arms": lambda: [parse_level(level) for level in levels],
        "task.source": lambda: _source(config["task"]),
        "task.verifier": lambda: verifier(verifier_of(config)),
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
    generated = embedded(config)
    redraw, trained = set(config["redraw"]), config["policy"]["model"] is None
    # A stage that was trained on redrawn data would know problems or pairs on which it is evaluated.
    follows = {"task": "policy", "policy": "preferences", "preferences": "rewards"} if trained else {}
    follows |= {"preferences": "rewards"}
    if config["preferences"]["source"] == "sampled":
        follows |= {"task": "preferences" if not trained else "policy"}
    share = config["preferences"]["held_out_share"]
    mistakes = {
        "redraw: a named policy cannot be redrawn; use [preferences, rewards] or []": not trained
        and "policy" in redraw,
        f"methods: unknown offline method {', '.join(unknown)}: choose from {', '.join(METHODS)}": unknown,
        f"levels: {' and '.join(same)} are the same level; keep one": same,
        **{
            f"redraw: {earlier} without {later}, which is trained on it; add {later}": (
                earlier in redraw and later not in redraw
            )
            for earlier, later in follows.items()
        },
        "arms: every arm is null; keep at least one": not arms(config),
        f"decision.arm: the study has no such arm; choose from {', '.join(arms(config))}": config["decision"]["arm"]
        not in arms(config),
        **{
            f"task.{name}: an embedded task needs a number": generated and config["task"][name] is None
            for name in ("online_problems", "evaluation_problems")
        },
        "preferences.held_out_share: with reward.held_out it must be at least 0.1, without it 0": (
            share < 0.1 if config["reward"]["held_out"] else share > 0
        ),
        "policy.pretraining.heads: must be a multiple of kv_heads": shape["heads"] % shape["kv_heads"],
        "policy.model: name a model; null requires an embedded task": (
            config["policy"]["model"] is None and not generated
        ),
        "preferences.source: sampled requires an embedded task; use dataset": (
            config["preferences"]["source"] == "sampled" and not generated
        ),
    }
    for sentence, found in mistakes.items():
        if found:
            raise InputError(f"config: {sentence}.")
