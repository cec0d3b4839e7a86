"""Values derived from Appendix C and the reference policy: hyperparameters, log-probs, betas, responses."""


use rule step as derive_hyperparameters with:
    """Appendix C for one stage; an override is recorded beside the value that it replaces."""
    input:
        model=lambda wildcards: BACKBONE if wildcards.stage == "reward" else POLICY,
        preferences=PREFERENCES,
    output:
        derived=DERIVED,
    log:
        f"{LOGS}/derive_hyperparameters/{{stage}}.log",
    benchmark:
        f"{BENCHMARKS}/derive_hyperparameters/{{stage}}.tsv"
    localrule: True
    params:
        **flags_of(
            "derive_hyperparameters",
            lambda wildcards: study.derivation(config, wildcards.stage),
        ),


use rule step as collect_derived with:
    """The derived hyperparameters of all stages in one file."""
    input:
        offline=DERIVED.format(stage="offline"),
        reward=DERIVED.format(stage="reward"),
        online=DERIVED.format(stage="online"),
    output:
        derived=f"{RESULTS}/derived.json",
    log:
        f"{LOGS}/collect_derived.log",
    benchmark:
        f"{BENCHMARKS}/collect_derived.tsv"
    localrule: True
    params:
        **flags_of("collect_derived"),


use rule step as plan_memory with:
    """The peak memory of every stage, and whether it fits; only the target `memory` runs this rule."""
    input:
        policy=POLICY,
        backbone=BACKBONE,
        derived=f"{RESULTS}/derived.json",
    output:
        json=f"{RESULTS}/memory.json",
        markdown=f"{RESULTS}/memory.md",
    log:
        f"{LOGS}/plan_memory.log",
    benchmark:
        f"{BENCHMARKS}/plan_memory.tsv"
    localrule: True
    params:
        **flags_of("plan_memory", study.memory(config)),


use rule model_step as score_reference with:
    """Log-probs of all preference responses under the reference policy: one pass for every level and seed."""
    input:
        preferences=PREFERENCES,
        policy=POLICY,
        derived=DERIVED.format(stage="offline"),
    output:
        logprobs=LOGPROBS,
    log:
        f"{LOGS}/score_reference.log",
    benchmark:
        f"{BENCHMARKS}/score_reference.tsv"
    params:
        **flags_of("score_reference", MODELS),


use rule model_step as sample_reference with:
    """Responses of the reference policy: the scale of the true reward and the baseline of win rates."""
    input:
        problems=PROBLEMS,
        policy=POLICY,
    output:
        responses=RESPONSES,
    log:
        f"{LOGS}/sample_reference.log",
    benchmark:
        f"{BENCHMARKS}/sample_reference.tsv"
    params:
        **flags_of("sample_reference", SAMPLED, config["evaluation"]),


use rule step as derive_beta with:
    """The beta of one level (Eq. 6-7)."""
    input:
        logprobs=LOGPROBS,
    output:
        beta=BETA,
    log:
        f"{LOGS}/derive_beta/{{level}}.log",
    benchmark:
        f"{BENCHMARKS}/derive_beta/{{level}}.tsv"
    localrule: True
    params:
        **flags_of("derive_beta", "level"),


use rule step as collect_beta_grid with:
    """The beta grid of the study in one file."""
    input:
        betas=expand(BETA, level=study.all_levels(config)),
    output:
        beta_grid=f"{RESULTS}/beta_grid.json",
    log:
        f"{LOGS}/collect_beta_grid.log",
    benchmark:
        f"{BENCHMARKS}/collect_beta_grid.tsv"
    localrule: True
    params:
        **flags_of("collect_beta_grid"),
