"""Every output of a study, and the rule that creates it."""

_RUNS = {name: config[f"{name}s"] for name in ("method", "level", "seed")}

# The rules whose outputs belong to a study, with the wildcards of rules that run more than once.
MADE_BY = {
    "generate_problems" if study.embedded(config) else "load_problems": {},
    "resolve_policy" if config["policy"]["model"] else "pretrain_policy": {},
    **({"resolve_backbone": {}} if config["reward"]["model"] else {}),
    (
        "sample_preferences"
        if config["preferences"]["source"] == "sampled"
        else "load_preferences"
    ): {},
    "derive_hyperparameters": {"stage": ["offline", "reward", "online"]},
    "collect_derived": {},
    "score_reference": {},
    "sample_reference": {},
    "derive_beta": {"level": study.all_levels(config)},
    "collect_beta_grid": {},
    "train_reward": {"member": range(config["reward"]["members"])},
    "evaluate_rewards": {},
    "train_offline": _RUNS,
    "probe_offline": _RUNS,
    "collect_runs": {},
    "tabulate_levels": {},
    "fit_power_law": {"method": config["methods"], "arm": list(study.arms(config))},
    "fit_overoptimisation": {},
    "draw_figures": {},
    "show_samples": {},
    "write_findings": {},
}

# Every output of the study: path -> rule.
ARTEFACTS = {
    file: name
    for name, wildcards in MADE_BY.items()
    for file in expand(map(str, getattr(rules, name).output), **wildcards)
} | {
    str(pattern).format(**cell._asdict()): "adapt_online"
    for cell in study.cells(config)
    for pattern in rules.adapt_online.output
}


def any_of(values):
    """Values as a bash brace expansion, so that the paths of a hundred seeds fit into one command line."""
    words = [str(value) for value in values]
    return words[0] if len(words) == 1 else "{" + ",".join(words) + "}"


def artefacts(wildcards):
    """The flag that names all outputs as STEP=PATH; the shell expands its braces."""
    made = [
        (name, pattern, wildcards)
        for name, wildcards in MADE_BY.items()
        for pattern in getattr(rules, name).output
    ] + [
        (
            "adapt_online",
            pattern,
            {**_RUNS, "level": [level], "kl_level": [kl_level]},
        )
        for level, kl_level in dict.fromkeys(
            (cell.level, cell.kl_level) for cell in study.cells(config)
        )
        for pattern in rules.adapt_online.output
    ]
    return "--artefacts " + " ".join(
        f"{name}="
        + str(pattern).format(
            **{key: any_of(values) for key, values in wildcards.items()}
        )
        for name, pattern, wildcards in made
    )
