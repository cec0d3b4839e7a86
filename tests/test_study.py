"""The configuration: the schema and config.yaml cannot drift apart, and a mistake is told with the name of its key."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from goodhart import study
from goodhart.errors import InputError
from goodhart.hyperparameters.betas import parse_level

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "config" / "config.yaml").read_text()
CONFIG: dict[str, Any] = yaml.safe_load(TEXT)
SCHEMA: dict[str, Any] = study.complete(
    yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text())
)
OPEN = {"arms"}  # mappings whose keys a study chooses


def mappings(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all mappings of a configuration, the top one first."""
    yield path
    for key, value in node.items():
        if isinstance(value, dict):
            yield from mappings(value, (*path, key))


def at(node: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path:
        node = node[key]
    return node


def changed(path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *parents, key = path.split(".")
    at(config, tuple(parents))[key] = value
    return config


def required_keys(schema: dict[str, Any], path: str = "") -> set[str]:
    """Dotted keys that the schema requires; a mapping that requires none of its keys counts as one."""
    if not schema.get("required"):
        return {path}
    return {key for name in schema["required"] for key in required_keys(schema["properties"][name], f"{path}.{name}")}


def allowed_keys(schema: dict[str, Any], path: str = "") -> set[str]:
    if not schema.get("required"):
        return {path}
    return {key for name, s in schema["properties"].items() for key in allowed_keys(s, f"{path}.{name}")}


def config_keys(node: Any, schema: dict[str, Any], path: str = "") -> set[str]:
    if not isinstance(node, dict) or not schema.get("required"):
        return {path}
    inner = schema["properties"]
    return {key for name, value in node.items() for key in config_keys(value, inner.get(name, {}), f"{path}.{name}")}


def test_the_default_study_passes() -> None:
    study.check(CONFIG, SCHEMA)


def test_schema_and_config_name_the_same_keys() -> None:
    assert config_keys(CONFIG, SCHEMA) == required_keys(SCHEMA) == allowed_keys(SCHEMA)


def test_no_level_of_the_schema_takes_unknown_keys() -> None:
    def closed(schema: dict[str, Any], path: str) -> Iterator[str]:
        if schema.get("type") == "object" and schema.get("additionalProperties", True) is True:
            yield path
        for name, inner in schema.get("properties", {}).items():
            yield from closed(inner, f"{path}.{name}")

    assert [*closed(SCHEMA, "config"), *closed(SCHEMA["$defs"]["override"], "override")] == []


def test_every_key_of_the_config_is_explained() -> None:
    """By a comment on its line, or above it, or by one of a section it lies in."""
    silent: list[str] = []
    sections: list[tuple[int, bool]] = []  # indentation, and whether a comment explains it
    above = False
    for line in TEXT.splitlines():
        match = re.match(r"(\s*)([a-z_]+):(.*)", line)
        if match is None:
            above = line.lstrip().startswith("#")
            continue
        depth = len(match[1])
        sections = [(d, explained) for d, explained in sections if d < depth]
        explained = above or " #" in match[3] or any(said for _, said in sections)
        is_section = match[3].partition("#")[0].strip() == ""
        if not is_section and not explained:
            silent.append(line.strip())
        sections.append((depth, explained))
        above = False
    assert silent == []


@pytest.mark.parametrize("path", [p for p in mappings(CONFIG) if p != ("arms",)], ids=".".join)
def test_a_key_that_does_not_exist_is_an_error_that_names_it(path: tuple[str, ...]) -> None:
    config = copy.deepcopy(CONFIG)
    at(config, path)["stpes"] = 1
    with pytest.raises(InputError, match="'stpes'") as caught:
        study.check(config, SCHEMA)
    assert ".".join(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("key", sorted(required_keys(SCHEMA)))
def test_a_key_that_is_missing_is_an_error_that_names_it(key: str) -> None:
    config = copy.deepcopy(CONFIG)
    *parents, name = key.removeprefix(".").split(".")
    del at(config, tuple(parents))[name]
    with pytest.raises(InputError, match=f"'{name}' is a required property"):
        study.check(config, SCHEMA)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("study", "with/slash"),
        ("study", ""),
        ("replicates", []),
        ("replicates", [0, 0]),
        ("replicates", [-1]),
        ("replicates", 3),
        ("redraw", ["online"]),
        ("methods", ["dop"]),
        ("methods", "dpo"),
        ("levels", ["20"]),
        ("levels", ["p20", "p20"]),
        ("levels", ["p20 "]),
        ("levels", []),
        ("arms", {}),
        ("arms.paper", "Same"),
        ("arms.paper", 20),
        ("precision", "float16"),
        ("memory_gb", 0),
        ("threads", 0),
        ("threads", 1.5),
        ("gpus", -1),
        ("task.source", "reasoning"),
        ("task.verifier", "gsm8"),
        ("task.verifier", 8),
        ("preferences.dataset.form", "pair"),
        ("preferences.dataset.form", "scored"),
        ("task.online_problems", 0),
        ("task.evaluation_problems", 1),
        ("task.arithmetic.terms", [1]),
        ("task.arithmetic.terms", []),
        ("task.sorting.letters", 1),
        ("task.sorting.alphabet", 27),
        ("task.sorting.error_share", 1.1),
        ("task.dataset.template", "no place for it"),
        ("policy.model", ""),
        ("policy.prompts", "template"),
        ("reward.prompts", None),
        ("preferences.dataset.prompt_column", ""),
        ("policy.pretraining.head_dim", 15),
        ("policy.pretraining.learning_rate", 0),
        ("policy.pretraining.learning_rate", "5e-3"),
        ("preferences.dataset.pairs", 0),
        ("reward.members", 0),
        ("reward.override", {"max_length": 1}),
        ("offline.override", {"lora_dropout": 1.0}),
        ("offline.override", {"batch_size": 3.5}),
        ("online.prompts_per_step", 1),
        ("online.kl_percentile", 101),
        ("online.kl_percentile", -1),
        ("online.evaluate_every", 0),
        ("sampling.batch_size", 0),
        ("sampling.max_new_tokens", True),
        ("evaluation.seed", None),
    ],
)
def test_a_wrong_value_is_an_error_that_names_its_key(key: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"config: {re.escape(key)}") as caught:
        study.check(changed(key, value), SCHEMA)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("levels", ["p0"], "'p0'"),
        ("levels", ["p100"], "'p100'"),
        ("levels", ["b0"], "'b0'"),
        ("levels", ["b0.0"], "'b0.0'"),
        ("arms", {"matched": "p0"}, "'p0'"),
        ("task.source", "dataset", "policy.model"),
        (
            "task",
            {**CONFIG["task"], "source": "sorting", "sorting": {**CONFIG["task"]["sorting"], "alphabet": 5}},
            "5 of 5",
        ),
    ],
)
def test_what_a_schema_cannot_say_is_checked_too(key: str, value: Any, named: str) -> None:
    with pytest.raises(InputError, match=re.escape(named)):
        study.check(changed(key, value), SCHEMA)


def test_seeds_are_now_replicates() -> None:
    with pytest.raises(InputError, match="config: seeds is now replicates"):
        study.check(CONFIG | {"seeds": [0, 1]}, SCHEMA)


@pytest.mark.parametrize(
    ("model", "redraw", "named"),
    [
        (None, ["task"], "redraw: task without policy"),
        (None, ["task", "policy"], "redraw: policy without preferences"),
        (None, ["preferences"], "redraw: preferences without rewards"),
        ("some/model", ["policy", "preferences", "rewards"], "redraw: a named policy"),
        ("some/model", ["preferences"], "redraw: preferences without rewards"),
    ],
)
def test_what_is_trained_on_redrawn_data_is_redrawn_too(model: str | None, redraw: list[str], named: str) -> None:
    config = changed("redraw", redraw)
    config["policy"]["model"] = model
    with pytest.raises(InputError, match=f"config: {named}"):
        study.check(config, SCHEMA)


def test_a_stage_that_is_not_redrawn_is_that_of_replicate_0() -> None:
    config = changed("redraw", ["preferences", "rewards"])
    assert [study.drawn(config, stage, 3) for stage in ("task", "reference", "backbone")] == [0, 0, 0]
    assert [study.drawn(config, stage, 3) for stage in ("preferences", "rewards", "scores")] == [3, 3, 3]
    assert study.evaluation_seed(config, 3) == config["evaluation"]["seed"]
    assert study.evaluation_seed(changed("evaluation.seed", 5), 3) == 8  # the default redraws the problems


@pytest.mark.parametrize(
    ("redraw", "own"),
    [
        ([], set()),
        (["rewards"], {"rewards", "scores"}),
        (["preferences", "rewards"], {"preferences", "rewards", "scores"}),
        (["policy", "preferences", "rewards"], {"policy", "preferences", "rewards", "reference", "scores"}),
        (["task", "policy", "preferences", "rewards"], {*study.REDRAWN_BY} - {"backbone"}),
    ],
)
def test_the_stages_that_a_replicate_draws_anew(redraw: list[str], own: set[str]) -> None:
    """What rests on a stage that is redrawn is redrawn with it; a named backbone never is."""
    config = changed("redraw", redraw)
    study.check(config, SCHEMA)
    assert {stage for stage in study.REDRAWN_BY if study.drawn(config, stage, 2) == 2} == own
    assert {study.drawn(config, stage, 2) for stage in study.REDRAWN_BY} <= {0, 2}
    assert {study.drawn(config, stage, 0) for stage in study.REDRAWN_BY} == {0}


def test_pairs_of_a_data_set_are_redrawn_by_a_bootstrap_of_prompts() -> None:
    assert study.bootstrapped(CONFIG) is None  # sampled pairs are sampled anew
    config = changed("preferences.source", "dataset")
    assert study.bootstrapped(config) == "prompts"
    assert study.bootstrapped(config | {"redraw": ["rewards"]}) is None


def test_the_primary_contrast_is_that_of_a_named_arm() -> None:
    study.check(changed("decision.arm", "paper"), SCHEMA)
    with pytest.raises(
        InputError, match=r"config: decision\.arm: the study has no such arm; choose from paper, matched"
    ):
        study.check(changed("decision.arm", "matchd"), SCHEMA)
    with pytest.raises(InputError, match=r"config: decision\.arm: the study has no such arm; choose from paper"):
        study.check(changed("arms", {"paper": "same", "matched": None}), SCHEMA)


def test_only_sampled_preferences_have_a_judge() -> None:
    """The judge of a data set is unknown, so that it can score no responses of a policy."""
    assert study.judge(CONFIG) == {"correct_weight": 6.0, "filler_weight": 1.5}
    assert study.judge(changed("preferences.source", "dataset")) == {}


def test_held_out_reward_models_need_prompts_of_their_own() -> None:
    for share in (0, 0.05):
        with pytest.raises(
            InputError, match=r"preferences\.held_out_share: with reward\.held_out it must be at least 0\.1"
        ):
            study.check(changed("preferences.held_out_share", share), SCHEMA)
    config = changed("reward.held_out", 0)
    with pytest.raises(InputError, match=r"held_out_share: .* without it 0"):
        study.check(config, SCHEMA)
    config["preferences"]["held_out_share"] = 0
    study.check(config, SCHEMA)


def test_sampled_preferences_need_the_embedded_task() -> None:
    config = changed("task.source", "dataset")
    config["policy"]["model"], config["redraw"] = "some/model", []
    with pytest.raises(InputError, match=r"preferences\.source"):
        study.check(config, SCHEMA)
    config["preferences"]["source"] = "dataset"
    study.check(config, SCHEMA)


@pytest.mark.parametrize(
    ("level", "meaning"),
    [
        ("p20", ("percentile", 20)),
        ("p2.5", ("percentile", 2.5)),
        ("p99.9", ("percentile", 99.9)),
        ("b0.10", ("beta", 0.1)),
        ("b3", ("beta", 3)),
    ],
)
def test_a_level_is_a_percentile_or_a_beta(level: str, meaning: tuple[str, float]) -> None:
    assert parse_level(level) == meaning


@pytest.mark.parametrize("level", ["", "p", "20", "p100", "p0", "b0", "b-1", "p20%", "P20", "b1e-3", "p20\n", "p.5"])
def test_anything_else_is_no_level(level: str) -> None:
    with pytest.raises(InputError, match="is neither a percentile"):
        parse_level(level)


def test_the_default_study_has_24_runs() -> None:
    """Four levels, three replicates, two arms that share no run."""
    cells = study.cells(CONFIG)
    assert len(cells) == len(set(cells)) == 24
    assert len(study.cells(CONFIG, "paper")) == len(study.cells(CONFIG, "matched")) == 12


def test_arms_share_the_runs_that_they_agree_on() -> None:
    config = changed("arms.matched", "p20")
    assert len(study.cells(config)) == 21
    shared = set(study.cells(config, "paper")) & set(study.cells(config, "matched"))
    assert shared == {study.Cell("dpo", "p20", "p20", replicate) for replicate in (0, 1, 2)}


def test_an_arm_decides_which_beta_goes_online() -> None:
    config = {"methods": ["dpo"], "levels": ["p20", "b0.5"], "replicates": [7], "arms": {"paper": "same", "low": "p5"}}
    assert study.cells(config, "paper") == [("dpo", "p20", "p20", 7), ("dpo", "b0.5", "b0.5", 7)]
    assert study.cells(config, "low") == [("dpo", "p20", "p5", 7), ("dpo", "b0.5", "p5", 7)]
    assert study.all_levels(config) == ["p20", "b0.5", "p5"]


@pytest.mark.parametrize("model", [None, "some/model"])
def test_a_stages_override_goes_over_that_of_the_embedded_policy(model: str | None) -> None:
    config = changed("policy.pretraining.override.offline", {"batch_size": 8, "learning_rate": 0.1})
    config["policy"]["model"], config["offline"]["override"] = model, {"batch_size": 4}
    embedded = {"learning_rate": 0.1} if model is None else {}
    assert study.overrides(config, "offline") == {"batch_size": 4, **embedded}


def test_a_task_has_a_verifier_of_its_own() -> None:
    found = {
        source: study.verifier_of(changed("task.source", source)) for source in ("sorting", "arithmetic", "dataset")
    }
    assert found == {"sorting": "exact", "arithmetic": "gsm8k", "dataset": "gsm8k"}
    assert study.verifier_of(changed("task.verifier", "math")) == "math"


def test_an_arm_set_to_null_is_none() -> None:
    """A study file names only what differs, so null is how it gets rid of a default arm."""
    config = changed("arms.paper", None)
    study.check(config, SCHEMA)
    assert list(study.arms(config)) == ["matched"]
    assert study.cells(config) == study.cells(CONFIG, "matched")
    with pytest.raises(InputError, match="arms: every arm is null"):
        study.check(changed("arms", {"paper": None, "matched": None}), SCHEMA)
