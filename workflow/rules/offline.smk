"""The offline stage: one adapter per method, level and seed, and a probe of each adapter."""


use rule model_step as train_offline with:
    """DPO (Eq. 1) at one beta and seed, on the cached reference log-probs."""
    input:
        beta=BETA,
        preferences=PREFERENCES,
        logprobs=LOGPROBS,
        policy=POLICY,
        derived=DERIVED.format(stage="offline"),
    output:
        adapter=directory(f"{OFFLINE_RUN}/adapter"),
        metrics=f"{OFFLINE_RUN}/metrics.json",
    log:
        f"{LOGS}/train_offline/{{method}}-{{level}}-seed-{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/train_offline/{{method}}-{{level}}-seed-{{seed}}.tsv"
    params:
        **flags_of(
            "train_offline",
            "method",
            "seed",
            MODELS,
            config["offline"],
            autosave=True,
        ),


use rule model_step as probe_offline with:
    """Entropy, OOD distance, diversity, preference accuracy and win rate of one offline checkpoint."""
    input:
        **EVALUATED,
        baseline=BASELINE,
        preferences=PREFERENCES,
        logprobs=LOGPROBS,
        derived_offline=DERIVED.format(stage="offline"),
    output:
        probe=f"{OFFLINE_RUN}/probe.parquet",
    log:
        f"{LOGS}/probe_offline/{{method}}-{{level}}-seed-{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/probe_offline/{{method}}-{{level}}-seed-{{seed}}.tsv"
    params:
        **flags_of("probe_offline", EVAL),
