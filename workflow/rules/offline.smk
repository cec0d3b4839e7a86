"""The offline stage: one adapter per method, level and replicate, and a probe of each adapter."""


use rule model_step as train_offline with:
    """DPO (Eq. 1) at one beta, on the cached reference log-probs."""
    input:
        beta=drawn("preferences", BETA),
        preferences=drawn("preferences", PREFERENCES),
        logprobs=drawn("preferences", LOGPROBS),
        policy=drawn("policy", POLICY),
        derived=drawn("preferences", DERIVED["offline"]),
    output:
        adapter=directory(f"{OFFLINE_RUN}/adapter"),
        metrics=f"{OFFLINE_RUN}/metrics.json",
    log:
        f"{LOG}/train_offline/{{method}}-{{level}}.log",
    benchmark:
        f"{BENCHMARK}/train_offline/{{method}}-{{level}}.tsv"
    params:
        **flags_of(
            "train_offline",
            "method",
            "replicate",
            MODELS,
            config["offline"],
            autosave=True,
        ),


use rule model_step as probe_offline with:
    """Entropy, OOD distance, diversity, preference accuracy and win rate of one offline checkpoint."""
    input:
        **EVALUATED,
        baseline=drawn("scores", BASELINE),
        preferences=drawn("preferences", PREFERENCES),
        logprobs=drawn("preferences", LOGPROBS),
        derived_offline=drawn("preferences", DERIVED["offline"]),
    output:
        probe=f"{OFFLINE_RUN}/probe.parquet",
        responses=f"{OFFLINE_RUN}/responses.parquet",
        floor=f"{OFFLINE_RUN}/floor.parquet",
    log:
        f"{LOG}/probe_offline/{{method}}-{{level}}.log",
    benchmark:
        f"{BENCHMARK}/probe_offline/{{method}}-{{level}}.tsv"
    params:
        **flags_of(
            "probe_offline",
            SAMPLED,
            study.judge(config),
            study.pick(config["evaluation"], "floor_seeds"),
            evaluation_seed(),
        ),
