"""The online stage: one run per cell (offline level, level of the beta in Eq. 10, seed); an arm is a set of cells."""


use rule model_step as adapt_online with:
    """One online run against the ensemble (Eq. 8-10): its trajectory, updates, samples and adapter."""
    input:
        **EVALUATED,
        kl_beta=f"{RESULTS}/beta/{{kl_level}}.json",
        derived_online=DERIVED.format(stage="online"),
    output:
        output=directory(f"{ONLINE_RUN}/adapter"),
        trajectory=f"{ONLINE_RUN}/trajectory.parquet",
        updates=f"{ONLINE_RUN}/steps.parquet",
        samples=f"{ONLINE_RUN}/samples.parquet",
    log:
        f"{LOGS}/adapt_online/{{method}}-{{level}}-kl-{{kl_level}}-seed-{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/adapt_online/{{method}}-{{level}}-kl-{{kl_level}}-seed-{{seed}}.tsv"
    params:
        **flags_of("adapt_online", "seed", config["online"], EVAL, autosave=True),
