"""Values derived from Appendix C and the reference policy: hyperparameters, log-probs, betas, responses."""


use rule step as derive_hyperparameters with:
    """Appendix C for one stage; an override is recorded beside the value that it replaces."""
    input:
        model=lambda wildcards: (
            THE_BACKBONE if wildcards.stage == "reward" else drawn("policy", POLICY)
        )(wildcards),
        preferences=drawn("preferences", PREFERENCES),
    output:
        derived=f"{REPLICATE}/derived/{{stage}}.json",
    log:
        f"{LOG}/derive_hyperparameters/{{stage}}.log",
    benchmark:
        f"{BENCHMARK}/derive_hyperparameters/{{stage}}.tsv"
    localrule: True
    params:
        **flags_of(
            "derive_hyperparameters",
            lambda wildcards: study.derivation(config, wildcards.stage),
            seeded(config["preferences"]),
        ),


use rule step as collect_derived with:
    """The derived hyperparameters of all stages in one file."""
    input:
        **DERIVED,
    output:
        derived=ALL_DERIVED,
    log:
        f"{LOG}/collect_derived.log",
    benchmark:
        f"{BENCHMARK}/collect_derived.tsv"
    localrule: True
    params:
        **flags_of("collect_derived"),


use rule step as plan_memory with:
    """The peak memory of every stage, and whether it fits; only the target `memory` runs this rule."""
    input:
        policy=of_each("policy", POLICY)[0],
        backbone=(
            of_each("backbone", BACKBONE)
            if config["reward"]["model"]
            else of_each("policy", POLICY)
        )[0],
        derived=of_each("preferences", ALL_DERIVED)[0],
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
    """Log-probs of all preference responses under the reference policy: one pass for every level."""
    input:
        preferences=drawn("preferences", PREFERENCES),
        policy=drawn("policy", POLICY),
        derived=drawn("preferences", DERIVED["offline"]),
    output:
        logprobs=LOGPROBS,
    log:
        f"{LOG}/score_reference.log",
    benchmark:
        f"{BENCHMARK}/score_reference.tsv"
    params:
        **flags_of("score_reference", MODELS),


use rule model_step as sample_reference with:
    """Responses of the reference policy: the scale of the true reward and the baseline of win rates."""
    input:
        problems=drawn("task", PROBLEMS),
        policy=drawn("policy", POLICY),
    output:
        responses=RESPONSES,
    log:
        f"{LOG}/sample_reference.log",
    benchmark:
        f"{BENCHMARK}/sample_reference.tsv"
    params:
        **flags_of("sample_reference", SAMPLED, evaluation_seed("seed")),


use rule step as derive_beta with:
    """The beta of one level (Eq. 6-7)."""
    input:
        logprobs=drawn("preferences", LOGPROBS),
    output:
        beta=BETA,
    log:
        f"{LOG}/derive_beta/{{level}}.log",
    benchmark:
        f"{BENCHMARK}/derive_beta/{{level}}.tsv"
    localrule: True
    params:
        **flags_of("derive_beta", "level", "replicate"),


use rule step as collect_beta_grid with:
    """The beta grid of the study in one file."""
    input:
        betas=[
            path
            for level in study.all_levels(config)
            for path in dict.fromkeys(
                of_each("preferences", BETA.replace("{level}", level))
            )
        ],
    output:
        beta_grid=f"{RESULTS}/beta_grid.json",
    log:
        f"{LOGS}/collect_beta_grid.log",
    benchmark:
        f"{BENCHMARKS}/collect_beta_grid.tsv"
    localrule: True
    params:
        **flags_of("collect_beta_grid"),
