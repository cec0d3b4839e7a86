"""Every output of a study, and the rule that creates it."""


def _of(stage):
    """The replicates whose files of a stage belong to the study."""
    return list(
        dict.fromkeys(study.drawn(config, stage, r) for r in config["replicates"])
    )


_RUNS = {name: config[f"{name}s"] for name in ("method", "level", "replicate")}
_PREFERENCES = {"replicate": _of("preferences")}

# The rules whose outputs belong to a study, with the wildcards of rules that run more than once.
MADE_BY = {
    "generate_problems" if study.embedded(config) else "load_problems": {
        "replicate": _of("task")
    },
    "resolve_policy" if config["policy"]["model"] else "pretrain_policy": {
        "replicate": _of("policy")
    },
    **(
        {"resolve_backbone": {"replicate": _of("backbone")}}
        if config["reward"]["model"]
        else {}
    ),
    (
        "sample_preferences"
        if config["preferences"]["source"] == "sampled"
        else "load_preferences"
    ): _PREFERENCES,
    "derive_hyperparameters": {**_PREFERENCES, "stage": list(DERIVED)},
    "collect_derived": _PREFERENCES,
    "score_reference": _PREFERENCES,
    "sample_reference": {"replicate": _of("reference")},
    "derive_beta": {**_PREFERENCES, "level": study.all_levels(config)},
    "collect_beta_grid": {},
    "train_reward": {
        "replicate": _of("rewards"),
        "member": range(config["reward"]["members"]),
    },
    **(
        {
            "train_held_out": {
                "replicate": _of("rewards"),
                "member": range(config["reward"]["held_out"]),
            }
        }
        if HELD_OUT
        else {}
    ),
    "evaluate_rewards": {"replicate": _of("scores")},
    "train_offline": _RUNS,
    "probe_offline": _RUNS,
    "collect_runs": {},
    "tabulate_levels": {},
    "fit_power_law": {"method": config["methods"], "arm": list(study.arms(config))},
    "fit_overoptimisation": {},
    "decide": {},
    "draw_figures": {},
    "show_samples": {},
    "write_findings": {},
}

MADE = [
    *MADE_BY.items(),
    *(
        ("adapt_online", {**_RUNS, "level": [level], "kl_level": [kl_level]})
        for level, kl_level in dict.fromkeys(
            (cell.level, cell.kl_level) for cell in study.cells(config)
        )
    ),
]

# Every output of the study.
ARTEFACTS = [
    file
    for name, wildcards in MADE
    for file in expand(map(str, getattr(rules, name).output), **wildcards)
]


def any_of(values):
    """Values as a bash brace expansion, so that the paths of a hundred replicates fit into one command line."""
    words = [str(value) for value in values]
    return words[0] if len(words) == 1 else "{" + ",".join(words) + "}"


def artefacts(wildcards):
    """The flag that names all outputs as STEP=PATH; the shell expands its braces."""
    return "--artefacts " + " ".join(
        f"{name}="
        + str(pattern).format(
            **{key: any_of(values) for key, values in wildcards.items()}
        )
        for name, wildcards in MADE
        for pattern in getattr(rules, name).output
    )
