"""Where everything comes from: the record of the whole study."""

_RUNS = {name: config[f"{name}s"] for name in ("method", "level", "seed")}

# The rules whose outputs a study holds, with the wildcards of those that run more than once.
MADE_BY = {
    (
        "generate_problems"
        if config["task"]["source"] == "arithmetic"
        else "load_problems"
    ): {},
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

# Every output of the study, and the rule that makes it.
ARTEFACTS = {
    file: name
    for name, wildcards in MADE_BY.items()
    for file in expand(map(str, getattr(rules, name).output), **wildcards)
} | {
    str(pattern).format(**cell._asdict()): "adapt_online"
    for cell in study.cells(config)
    for pattern in rules.adapt_online.output
}


rule write_provenance:
    """Every file of the study with its size, hash and origin; models, data, seeds, code and software."""
    input:
        artefacts=list(ARTEFACTS),
        derived=f"{RESULTS}/derived.json",
    output:
        f"{RESULTS}/provenance.json",
    log:
        f"{LOGS}/write_provenance.log",
    benchmark:
        f"{BENCHMARKS}/write_provenance.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("write_provenance"),
        artefacts=[f"{name}={file}" for file, name in ARTEFACTS.items()],
    shell:
        "python workflow/scripts/write_provenance.py --artefacts {params.artefacts} --derived {input.derived}"
        " --output {output} &> {log}"


rule write_crate:
    """The study as an RO-Crate, for archives; on request only."""
    input:
        rules.write_provenance.output,
    output:
        f"{RESULTS}/ro-crate-metadata.json",
    log:
        f"{LOGS}/write_crate.log",
    benchmark:
        f"{BENCHMARKS}/write_crate.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("write_crate"),
        license="https://spdx.org/licenses/Apache-2.0",
    shell:
        "python workflow/scripts/write_crate.py --provenance {input} --license {params.license}"
        " --output {output} &> {log}"
