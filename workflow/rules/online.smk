"""The online stage: one run per cell (offline level, level of the beta in Eq. 10, replicate); an arm is a set of cells."""


use rule model_step as adapt_online with:
    """One online run against the ensemble (Eq. 8-10): its trajectory, updates, responses and adapter."""
    input:
        **EVALUATED,
        kl_beta=drawn("preferences", BETA.replace("{level}", "{kl_level}")),
        derived_online=drawn("preferences", DERIVED["online"]),
    output:
        output=directory(f"{ONLINE_RUN}/adapter"),
        trajectory=f"{ONLINE_RUN}/trajectory.parquet",
        updates=f"{ONLINE_RUN}/steps.parquet",
        responses=f"{ONLINE_RUN}/responses.parquet",
    log:
        f"{LOG}/adapt_online/{{method}}-{{level}}-kl-{{kl_level}}.log",
    benchmark:
        f"{BENCHMARK}/adapt_online/{{method}}-{{level}}-kl-{{kl_level}}.tsv"
    params:
        **flags_of(
            "adapt_online",
            "replicate",
            config["online"],
            SAMPLED,
            study.judge(config),
            evaluation_seed(),
            autosave=True,
        ),
